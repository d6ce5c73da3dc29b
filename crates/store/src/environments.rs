//! Which release each environment is meant to run of each stack.

use backstay_types::{EnvironmentName, ReleaseId, StackName, Timestamp, UndoId};

use crate::{
    Result, Tx,
    db::{Executor, query},
    value::json,
};

/// What an environment is meant to run of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentRelease {
    /// The stack.
    pub stack: StackName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The release.
    pub release: ReleaseId,
    /// Since when.
    pub since: Timestamp,
    /// Who let it in: a user, or a part of Backstay such as `promotion`.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The undo that brought it, if one did.
    pub undo: Option<UndoId>,
    /// In which order releases of the stack came to its environments; [`put`] counts it.
    pub turn: i64,
    /// What that was decided from, where the hub did.
    pub inputs: serde_json::Value,
}

/// Keeps what an environment is meant to run, in place of what it was.
///
/// # Errors
/// When the database refuses.
pub async fn put(tx: &mut Tx, row: &EnvironmentRelease) -> Result<()> {
    query(
        "INSERT INTO environment_releases (stack, environment, release_id, since, let_in_by, reason, undo_id, inputs, turn) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
         (SELECT COALESCE(MAX(turn), 0) + 1 FROM environment_releases WHERE stack = $1)) ON CONFLICT (stack, environment) DO UPDATE SET \
         release_id = excluded.release_id, since = excluded.since, let_in_by = excluded.let_in_by, \
         reason = excluded.reason, undo_id = excluded.undo_id, inputs = excluded.inputs, turn = excluded.turn",
    )
    .bind(&row.stack)
    .bind(&row.environment)
    .bind(row.release)
    .bind(row.since)
    .bind(row.by.as_str())
    .bind(row.reason.as_str())
    .bind(row.undo)
    .bind(json(&row.inputs)?)
    .run(tx)
    .await
    .map(drop)
}

/// All, by stack and environment.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor) -> Result<Vec<EnvironmentRelease>> {
    query("SELECT * FROM environment_releases ORDER BY stack, environment")
        .all(ex, |row| {
            Ok(EnvironmentRelease {
                stack: row.get("stack")?,
                environment: row.get("environment")?,
                release: row.get("release_id")?,
                since: row.get("since")?,
                by: row.get("let_in_by")?,
                reason: row.get("reason")?,
                undo: row.opt("undo_id")?,
                turn: row.get("turn")?,
                inputs: row.json("inputs")?,
            })
        })
        .await
}
