//! Operators' words that nodes may leave safe mode.

use std::collections::HashMap;

use backstay_types::{LeaveSafeMode, NodeId, SafeModeId, Timestamp};

use crate::{
    Result, Tx,
    db::{Executor, query},
    value::json,
};

/// A word, and when it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub word: LeaveSafeMode,
    /// When it was given; a statement that was signed later carries it.
    pub at: Timestamp,
}

/// Keeps a word for a node, in place of any earlier one.
///
/// # Errors
/// When the database refuses.
pub async fn set_leave(tx: &mut Tx, node: NodeId, word: &LeaveSafeMode, at: Timestamp) -> Result<()> {
    query(
        "INSERT INTO safe_mode_leaves (node_id, word, at) VALUES ($1, $2, $3) \
         ON CONFLICT (node_id) DO UPDATE SET word = excluded.word, at = excluded.at",
    )
    .bind(node)
    .bind(json(word)?)
    .bind(at)
    .run(tx)
    .await
    .map(drop)
}

/// Forgets the word for a node, when it meant this time in safe mode.
///
/// # Errors
/// When the database refuses.
pub async fn forget_leave(tx: &mut Tx, node: NodeId, safe_mode: SafeModeId) -> Result<()> {
    if leaves(tx).await?.get(&node).is_some_and(|kept| kept.word.safe_mode == safe_mode) {
        query("DELETE FROM safe_mode_leaves WHERE node_id = $1").bind(node).run(tx).await?;
    }
    Ok(())
}

/// The words that wait to be heard, by node.
///
/// # Errors
/// When the database cannot be read.
pub async fn leaves(ex: &mut impl Executor) -> Result<HashMap<NodeId, Word>> {
    let rows = query("SELECT node_id, word, at FROM safe_mode_leaves")
        .all(ex, |row| Ok((row.get("node_id")?, Word { word: row.json("word")?, at: row.get("at")? })))
        .await?;
    Ok(rows.into_iter().collect())
}
