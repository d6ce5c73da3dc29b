//! What the failures of stopped rollouts have in common.

use backstay_types::{FailurePattern, Rollout, RolloutId, Timestamp};

use crate::{
    Result, Tx,
    db::{Executor, query},
    rollouts,
    value::json,
};

/// Keeps what was found of a rollout, in place of what was found before.
///
/// # Errors
/// When the database refuses.
pub async fn put(tx: &mut Tx, rollout: RolloutId, pattern: &FailurePattern) -> Result<()> {
    query(
        "INSERT INTO rollout_patterns (rollout_id, open, body) VALUES ($1, $2, $3) \
         ON CONFLICT (rollout_id) DO UPDATE SET open = excluded.open, body = excluded.body",
    )
    .bind(rollout)
    .bind(pattern.open)
    .bind(json(pattern)?)
    .run(tx)
    .await
    .map(drop)
}

/// What was found of these rollouts, in no order; those that were not looked at are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(
    ex: &mut impl Executor,
    rollouts: &[RolloutId],
) -> Result<Vec<(RolloutId, FailurePattern)>> {
    let mut found = Vec::new();
    for chunk in rollouts.chunks(500) {
        let mut select = query("SELECT rollout_id, body FROM rollout_patterns WHERE rollout_id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, |row| Ok((row.get("rollout_id")?, row.json("body")?))).await?);
    }
    Ok(found)
}

/// Rollouts forward that were stopped after `since` and are still to be looked at: never yet, or while attempts were
/// open. Oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn due(ex: &mut impl Executor, since: Timestamp) -> Result<Vec<Rollout>> {
    let select = "SELECT r.* FROM rollouts r LEFT JOIN rollout_patterns p ON p.rollout_id = r.id \
                  WHERE r.state = 'halted' AND r.kind = 'update' AND r.finished_at > $1 \
                  AND (p.rollout_id IS NULL OR p.open > 0) \
                  ORDER BY r.id";
    query(select).bind(since).all(ex, rollouts::read).await
}
