//! Decisions about rollouts, with what they were made from.

use backstay_types::{Decision, DecisionKind, Digest, RolloutId, Timestamp};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::{json, word},
};

const WHAT: &str = "decision";

/// A decision to keep.
#[derive(Debug, Clone)]
pub struct NewDecision {
    /// The rollout.
    pub rollout: RolloutId,
    /// When.
    pub at: Timestamp,
    /// What was decided.
    pub kind: DecisionKind,
    /// Why.
    pub reason: String,
    /// Who, where a person decided.
    pub by: Option<String>,
    /// What it was made from.
    pub inputs: serde_json::Value,
    /// A digest over what planning saw.
    pub snapshot: Option<Digest>,
    /// Of one that waits: for what, in a word or two.
    pub topic: Option<String>,
}

/// Keeps a decision under the rollout's next number.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when another was kept at the same moment.
pub async fn insert(tx: &mut Tx, decision: &NewDecision) -> Result<()> {
    let number = count(tx, decision.rollout).await? + 1;
    query(
        "INSERT INTO rollout_decisions (rollout_id, number, at, kind, reason, decided_by, inputs, snapshot, topic) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(decision.rollout)
    .bind(number)
    .bind(decision.at)
    .bind(word(&decision.kind)?)
    .bind(decision.reason.as_str())
    .bind(decision.by.as_deref())
    .bind(json(&decision.inputs)?)
    .bind(decision.snapshot)
    .bind(decision.topic.as_deref())
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, decision.rollout))
    .map(drop)
}

/// How many decisions are kept of a rollout.
///
/// # Errors
/// When the database cannot be read.
pub async fn count(ex: &mut impl Executor, rollout: RolloutId) -> Result<u32> {
    let select = query("SELECT COALESCE(MAX(number), 0) AS n FROM rollout_decisions WHERE rollout_id = $1");
    Ok(select.bind(rollout).optional(ex, |row| row.get("n")).await?.unwrap_or(0))
}

/// For what a rollout waits, when that is the last that is kept of it.
///
/// # Errors
/// When the database cannot be read.
pub async fn waits_for(ex: &mut impl Executor, rollout: RolloutId) -> Result<Option<String>> {
    let select =
        query("SELECT topic FROM rollout_decisions WHERE rollout_id = $1 ORDER BY number DESC LIMIT 1");
    Ok(select.bind(rollout).optional(ex, |row| row.opt("topic")).await?.flatten())
}

/// All of a rollout, in order.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_rollout(ex: &mut impl Executor, rollout: RolloutId) -> Result<Vec<Decision>> {
    query("SELECT * FROM rollout_decisions WHERE rollout_id = $1 ORDER BY number")
        .bind(rollout)
        .all(ex, read)
        .await
}

fn read(row: &Row) -> Result<Decision> {
    Ok(Decision {
        rollout: row.get("rollout_id")?,
        number: row.get("number")?,
        at: row.get("at")?,
        kind: row.word("kind")?,
        reason: row.get("reason")?,
        by: row.opt("decided_by")?,
        inputs: row.json("inputs")?,
        snapshot: row.opt("snapshot")?,
    })
}
