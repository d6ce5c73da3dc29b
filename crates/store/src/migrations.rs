//! Migrations: moves of stacks from node to node. Where each stack is on its way is kept whole.

use backstay_types::{Migration, MigrationId, NodeId};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::json,
};

const WHAT: &str = "migration";

/// A migration, and which version of it that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// As it is.
    pub migration: Migration,
    /// Raised with every change.
    pub version: u64,
}

/// Keeps a new migration.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when there is one with this id.
pub async fn insert(tx: &mut Tx, migration: &Migration) -> Result<()> {
    query(
        "INSERT INTO migrations (id, from_node_id, to_node_id, version, migration, created_at, finished_at) \
         VALUES ($1, $2, $3, 1, $4, $5, $6)",
    )
    .bind(migration.id)
    .bind(migration.from.node)
    .bind(migration.to.node)
    .bind(json(migration)?)
    .bind(migration.created_at)
    .bind(migration.finished_at)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, migration.id))
    .map(drop)
}

/// Writes a migration as it is now.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when another has written it since `version`.
pub async fn update(tx: &mut Tx, version: u64, migration: &Migration) -> Result<()> {
    query(
        "UPDATE migrations SET migration = $1, finished_at = $2, version = version + 1 \
         WHERE id = $3 AND version = $4",
    )
    .bind(json(migration)?)
    .bind(migration.finished_at)
    .bind(migration.id)
    .bind(version)
    .run_one(tx, WHAT, migration.id)
    .await
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: MigrationId) -> Result<Option<Kept>> {
    query("SELECT * FROM migrations WHERE id = $1").bind(id).optional(ex, read).await
}

/// Those under way, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open(ex: &mut impl Executor) -> Result<Vec<Kept>> {
    query("SELECT * FROM migrations WHERE finished_at IS NULL ORDER BY id").all(ex, read).await
}

/// Newest first, before id `before`; of a node only those that lead from it or to it.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    ex: &mut impl Executor,
    node: Option<NodeId>,
    before: Option<MigrationId>,
    limit: u32,
) -> Result<Vec<Kept>> {
    let mut select = query("SELECT * FROM migrations WHERE 1 = 1");
    if let Some(node) = node {
        select.push(" AND (from_node_id = ").push_bind(node);
        select.push(" OR to_node_id = ").push_bind(node).push(")");
    }
    if let Some(before) = before {
        select.push(" AND id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

fn read(row: &Row) -> Result<Kept> {
    Ok(Kept { migration: row.json("migration")?, version: row.get("version")? })
}
