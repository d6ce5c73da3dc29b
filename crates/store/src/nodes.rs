//! Nodes, and the soft state of what they said last.

use std::collections::HashMap;

use backstay_types::{
    Digest, HostFacts, Labels, Node, NodeId, NodeName, NodeSafety, ObservedStack, Timestamp,
};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    dialect,
    value::{Bind as _, json},
};

const WHAT: &str = "node";

/// Keeps a node that has joined. `credential` is the hash of its credential.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when the name is taken.
pub async fn insert(tx: &mut Tx, node: &Node, credential: Digest) -> Result<()> {
    query(
        "INSERT INTO nodes (id, name, labels, joined_at, revoked_at, credential_hash) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(node.id)
    .bind(&node.name)
    .bind(json(&node.labels)?)
    .bind(node.joined_at)
    .bind(node.revoked_at)
    .bind(credential)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, &node.name))
    .map(drop)
}

/// Takes a node's credential away. Its name stays taken.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is revoked already or not there.
pub async fn revoke(tx: &mut Tx, id: NodeId, at: Timestamp) -> Result<()> {
    let update = "UPDATE nodes SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
    query(update).bind(at).bind(id).run_one(tx, WHAT, id).await
}

/// The nodes whose credentials were taken away at `since` or later.
///
/// # Errors
/// When the database cannot be read.
pub async fn revoked_since(ex: &mut impl Executor, since: Timestamp) -> Result<Vec<NodeId>> {
    query("SELECT id FROM nodes WHERE revoked_at >= $1").bind(since).all(ex, |row| row.get("id")).await
}

/// Gives a node another credential, by its hash, and lifts a revocation: the same identity on new hardware.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such node.
pub async fn set_credential(tx: &mut Tx, id: NodeId, credential: Digest) -> Result<()> {
    let update = "UPDATE nodes SET credential_hash = $1, revoked_at = NULL WHERE id = $2";
    query(update).bind(credential).bind(id).run_one(tx, WHAT, id).await
}

/// Notes that another machine has joined as a node.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such node.
pub async fn rejoined(tx: &mut Tx, id: NodeId, at: Timestamp) -> Result<()> {
    query("UPDATE nodes SET joined_at = $1 WHERE id = $2").bind(at).bind(id).run_one(tx, WHAT, id).await
}

/// Replaces a node's labels.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such node.
pub async fn set_labels(tx: &mut Tx, id: NodeId, labels: &Labels) -> Result<()> {
    query("UPDATE nodes SET labels = $1 WHERE id = $2")
        .bind(json(labels)?)
        .bind(id)
        .run_one(tx, WHAT, id)
        .await
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: NodeId) -> Result<Option<Node>> {
    query("SELECT * FROM nodes WHERE id = $1").bind(id).optional(ex, read).await
}

/// One by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_name(ex: &mut impl Executor, name: &NodeName) -> Result<Option<Node>> {
    query("SELECT * FROM nodes WHERE name = $1").bind(name).optional(ex, read).await
}

/// The node that a credential belongs to, by its hash; revoked ones too, so that the caller can say so.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_credential(ex: &mut impl Executor, credential: Digest) -> Result<Option<Node>> {
    query("SELECT * FROM nodes WHERE credential_hash = $1").bind(credential).optional(ex, read).await
}

/// Several by id, in no order; unknown ids are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(ex: &mut impl Executor, ids: &[NodeId]) -> Result<Vec<Node>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let mut select = query("SELECT * FROM nodes WHERE id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, read).await?);
    }
    Ok(found)
}

/// By name, after `after`; revoked ones too.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor, after: Option<&NodeName>, limit: u32) -> Result<Vec<Node>> {
    let mut select = query("SELECT * FROM nodes");
    if let Some(after) = after {
        select.push(" WHERE name > ").push_bind(after);
    }
    select.push(" ORDER BY name LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// Ids and names of all that are not revoked, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn names(ex: &mut impl Executor) -> Result<Vec<(NodeId, NodeName)>> {
    query("SELECT id, name FROM nodes WHERE revoked_at IS NULL ORDER BY name")
        .all(ex, |row| Ok((row.get("id")?, row.get("name")?)))
        .await
}

/// All that are not revoked, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn active(ex: &mut impl Executor) -> Result<Vec<Node>> {
    query("SELECT * FROM nodes WHERE revoked_at IS NULL ORDER BY name").all(ex, read).await
}

pub(crate) fn read(row: &Row) -> Result<Node> {
    Ok(Node {
        id: row.get("id")?,
        name: row.get("name")?,
        labels: row.json("labels")?,
        joined_at: row.get("joined_at")?,
        revoked_at: row.opt("revoked_at")?,
    })
}

/// What a node said last. Kept in memory by the hub and flushed in batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftState {
    /// The node.
    pub node: NodeId,
    /// When it was last heard from.
    pub last_seen_at: Timestamp,
    /// Its machine. Absent in a flush: as before.
    pub facts: Option<HostFacts>,
    /// What it runs. Absent in a flush: as before.
    pub observed: Option<Vec<ObservedStack>>,
    /// How safe it is. Absent in a flush: as before.
    pub safety: Option<NodeSafety>,
}

/// Keeps what nodes said last, any number at once, each node at most once. An older time never replaces a newer.
///
/// # Errors
/// When the database refuses.
pub async fn flush_soft(tx: &mut Tx, states: &[SoftState]) -> Result<()> {
    let mut rows = Vec::with_capacity(states.len());
    for state in states {
        rows.push(vec![
            state.node.value(),
            state.last_seen_at.value(),
            state.facts.as_ref().map(json).transpose()?.value(),
            state.observed.as_ref().map(json).transpose()?.value(),
            state.safety.as_ref().map(json).transpose()?.value(),
        ]);
    }
    dialect::bulk(
        tx,
        "INSERT INTO node_soft (node_id, last_seen_at, facts, observed, safety) VALUES ",
        " ON CONFLICT (node_id) DO UPDATE SET last_seen_at = excluded.last_seen_at, \
         facts = COALESCE(excluded.facts, node_soft.facts), \
         observed = COALESCE(excluded.observed, node_soft.observed), \
         safety = COALESCE(excluded.safety, node_soft.safety) \
         WHERE node_soft.last_seen_at <= excluded.last_seen_at",
        rows,
    )
    .await
    .map(drop)
}

/// Forgets what a node said last: another machine has joined under its name.
///
/// # Errors
/// When the database refuses.
pub async fn forget_soft(tx: &mut Tx, id: NodeId) -> Result<()> {
    query("DELETE FROM node_soft WHERE node_id = $1").bind(id).run(tx).await.map(drop)
}

/// What one node said last.
///
/// # Errors
/// When the database cannot be read.
pub async fn soft(ex: &mut impl Executor, id: NodeId) -> Result<Option<SoftState>> {
    query("SELECT * FROM node_soft WHERE node_id = $1").bind(id).optional(ex, read_soft).await
}

/// What these nodes said of their machines, of those that said anything.
///
/// # Errors
/// When the database cannot be read.
pub async fn soft_of(ex: &mut impl Executor, ids: &[NodeId]) -> Result<HashMap<NodeId, HostFacts>> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(500) {
        let mut select =
            query("SELECT node_id, facts FROM node_soft WHERE facts IS NOT NULL AND node_id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, |row| Ok((row.get("node_id")?, row.json("facts")?))).await?);
    }
    Ok(found)
}

/// What all nodes said last.
///
/// # Errors
/// When the database cannot be read.
pub async fn all_soft(ex: &mut impl Executor) -> Result<Vec<SoftState>> {
    query("SELECT * FROM node_soft").all(ex, read_soft).await
}

/// What nodes said last that were heard from after `since`, by any hub.
///
/// # Errors
/// When the database cannot be read.
pub async fn soft_since(ex: &mut impl Executor, since: Timestamp) -> Result<Vec<SoftState>> {
    query("SELECT * FROM node_soft WHERE last_seen_at > $1").bind(since).all(ex, read_soft).await
}

fn read_soft(row: &Row) -> Result<SoftState> {
    Ok(SoftState {
        node: row.get("node_id")?,
        last_seen_at: row.get("last_seen_at")?,
        facts: row.opt_json("facts")?,
        observed: row.opt_json("observed")?,
        safety: row.opt_json("safety")?,
    })
}
