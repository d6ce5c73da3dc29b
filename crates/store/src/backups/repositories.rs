//! Repositories, and how backups into them went.

use std::collections::HashMap;

use backstay_types::{
    NodeId, Timestamp,
    backup::{BackupHistory, RepositoryFacts},
};

use super::{Whose, read_whose, whose};
use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::json,
};

/// A repository with its passwords, as the hub's key sealed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRepository {
    /// Whose it is.
    pub whose: Whose,
    /// The hub's own password, sealed.
    pub sealed: String,
    /// The node's password, sealed; empty for the hub's own state.
    pub node_sealed: String,
    /// What is known about it.
    pub facts: RepositoryFacts,
}

/// Keeps passwords of a repository that is about to be made, unless there are some; gives those that stand.
///
/// # Errors
/// When the database refuses.
pub async fn keep(tx: &mut Tx, node: Whose, sealed: &str, node_sealed: &str) -> Result<KeptRepository> {
    let insert = "INSERT INTO backup_repositories (node_id, sealed, node_sealed, bytes, damaged, facts) \
                  VALUES ($1, $2, $3, 0, 0, $4) ON CONFLICT (node_id) DO NOTHING";
    let facts = json(&RepositoryFacts::default())?;
    query(insert).bind(whose(node)).bind(sealed).bind(node_sealed).bind(facts).run(tx).await?;
    let kept = get(tx, node).await?;
    kept.ok_or_else(|| {
        crate::StoreError::stale("repository", node.map_or("hub".to_owned(), |n| n.to_string()))
    })
}

/// One.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, node: Whose) -> Result<Option<KeptRepository>> {
    query("SELECT * FROM backup_repositories WHERE node_id = $1").bind(whose(node)).optional(ex, read).await
}

/// All, or those of these nodes.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor) -> Result<Vec<KeptRepository>> {
    query("SELECT * FROM backup_repositories ORDER BY node_id").all(ex, read).await
}

/// Notes what is known about one.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is not there.
pub async fn set_facts(tx: &mut Tx, node: Whose, facts: &RepositoryFacts) -> Result<()> {
    let update = "UPDATE backup_repositories SET facts = $1, made_at = $2, bytes = $3, damaged = $4 WHERE node_id = $5";
    query(update)
        .bind(json(facts)?)
        .bind(facts.made_at)
        .bind(facts.bytes)
        .bind(facts.damaged.is_some())
        .bind(whose(node))
        .run_one(tx, "repository", node.map_or("hub".to_owned(), |node| node.to_string()))
        .await
}

/// Says until when a hub repairs one, where that is still said as it was read. [`set_facts`] never changes it.
///
/// # Errors
/// When the database refuses.
pub async fn set_repairing(
    tx: &mut Tx,
    node: Whose,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<bool> {
    let update = "UPDATE backup_repositories SET repairing_until = $1 \
                  WHERE node_id = $2 AND repairing_until IS NOT DISTINCT FROM $3";
    Ok(query(update).bind(to).bind(whose(node)).bind(from).run(tx).await? > 0)
}

/// In two parts, since a sum may be more than a number of the database can be.
const LOW: u64 = 1 << 20;

/// Bytes of all, and how many are damaged.
///
/// # Errors
/// When the database cannot be read.
pub async fn totals(ex: &mut impl Executor) -> Result<(u64, u64)> {
    let select = "SELECT CAST(COALESCE(SUM(bytes / 1048576), 0) AS BIGINT) AS high, \
                  CAST(COALESCE(SUM(bytes % 1048576), 0) AS BIGINT) AS low, \
                  CAST(COALESCE(SUM(damaged), 0) AS BIGINT) AS damaged FROM backup_repositories";
    let read = |row: &Row| {
        let (high, low): (u64, u64) = (row.get("high")?, row.get("low")?);
        Ok((high.saturating_mul(LOW).saturating_add(low), row.get("damaged")?))
    };
    Ok(query(select).optional(ex, read).await?.unwrap_or_default())
}

fn read(row: &Row) -> Result<KeptRepository> {
    let repairing_until = row.opt("repairing_until")?;
    Ok(KeptRepository {
        whose: read_whose(row)?,
        sealed: row.get("sealed")?,
        node_sealed: row.get("node_sealed")?,
        facts: RepositoryFacts { repairing_until, ..row.json("facts")? },
    })
}

/// How backups of one went.
///
/// # Errors
/// When the database cannot be read.
pub async fn history(ex: &mut impl Executor, node: Whose) -> Result<BackupHistory> {
    let select = query("SELECT history FROM backup_history WHERE node_id = $1").bind(whose(node));
    Ok(select.optional(ex, |row| row.json("history")).await?.unwrap_or_default())
}

/// How backups of all went that had any.
///
/// # Errors
/// When the database cannot be read.
pub async fn histories(ex: &mut impl Executor) -> Result<HashMap<Option<NodeId>, BackupHistory>> {
    let read = |row: &Row| Ok((read_whose(row)?, row.json("history")?));
    Ok(query("SELECT node_id, history FROM backup_history").all(ex, read).await?.into_iter().collect())
}

/// Notes how they went.
///
/// # Errors
/// When the database refuses.
pub async fn set_history(tx: &mut Tx, node: Whose, history: &BackupHistory) -> Result<()> {
    let upsert = "INSERT INTO backup_history (node_id, history) VALUES ($1, $2) \
                  ON CONFLICT (node_id) DO UPDATE SET history = excluded.history";
    query(upsert).bind(whose(node)).bind(json(history)?).run(tx).await.map(drop)
}

/// Notes that one was begun.
///
/// # Errors
/// When the database refuses.
pub async fn tried(tx: &mut Tx, node: Whose, at: Timestamp) -> Result<()> {
    let history = BackupHistory { last_tried_at: Some(at), ..history(tx, node).await? };
    set_history(tx, node, &history).await
}
