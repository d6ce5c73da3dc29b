//! Desired state: what each node should run. Written by the holder of a lease alone.

use std::collections::HashMap;

use backstay_types::{DeploymentId, Digest, NodeId, ReleaseId, StackName, Timestamp, TreeDigest};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
    dialect,
    leases::{self, Lease},
    value::Bind as _,
};

/// What a node should run, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The node.
    pub node: NodeId,
    /// Raised when a hub is restored from backup.
    pub epoch: u64,
    /// Raised by one whenever the digest changes.
    pub generation: u64,
    /// Digest of what is asked for.
    pub digest: Digest,
    /// The signed statement as JSON that the store does not look into.
    pub statement: String,
    /// When it was written.
    pub updated_at: Timestamp,
}

/// A stack of a node's desired state, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredStack {
    /// The node.
    pub node: NodeId,
    /// The stack.
    pub stack: StackName,
    /// The release.
    pub release: ReleaseId,
    /// The attempt.
    pub deployment: DeploymentId,
    /// Why this release.
    pub reason: String,
}

/// Replaces the desired state of the nodes in `desired` (any number, each once), whose stacks are in `stacks`.
/// A newer (epoch, generation) replaces an older; the same one only with the same digest, which renews it.
///
/// # Errors
/// [`LeaseLost`](StoreError::LeaseLost) when another reconciler has taken over, [`Stale`](StoreError::Stale) when
/// a row is newer than what should replace it.
pub async fn replace(tx: &mut Tx, lease: &Lease, desired: &[Desired], stacks: &[DesiredStack]) -> Result<()> {
    leases::fence(tx, lease).await?;
    let rows = desired.iter().map(|d| {
        vec![
            d.node.value(),
            d.epoch.value(),
            d.generation.value(),
            d.digest.value(),
            d.statement.as_str().value(),
            d.updated_at.value(),
        ]
    });
    let written = dialect::bulk(
        tx,
        "INSERT INTO desired (node_id, epoch, generation, digest, statement, updated_at) VALUES ",
        " ON CONFLICT (node_id) DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation, \
         digest = excluded.digest, statement = excluded.statement, updated_at = excluded.updated_at \
         WHERE desired.epoch < excluded.epoch OR (desired.epoch = excluded.epoch AND \
         (desired.generation < excluded.generation OR \
         (desired.generation = excluded.generation AND desired.digest = excluded.digest)))",
        rows.collect(),
    )
    .await?;
    if written != desired.len() as u64 {
        return Err(StoreError::stale(
            "desired state of node",
            desired.first().map_or(String::new(), |d| d.node.to_string()),
        ));
    }
    for chunk in desired.chunks(500) {
        let mut delete = query("DELETE FROM desired_stacks WHERE node_id IN ");
        delete.push_list(chunk.iter().map(|d| d.node));
        delete.run(tx).await?;
    }
    write_stacks(tx, stacks, "").await
}

/// Words the reasons for stacks of nodes anew, where nothing else has changed: nothing is signed for it.
///
/// # Errors
/// [`LeaseLost`](StoreError::LeaseLost) when another reconciler has taken over.
pub async fn reword(tx: &mut Tx, lease: &Lease, stacks: &[DesiredStack]) -> Result<()> {
    leases::fence(tx, lease).await?;
    let tail = " ON CONFLICT (node_id, stack) DO UPDATE SET reason = excluded.reason";
    write_stacks(tx, stacks, tail).await
}

async fn write_stacks(tx: &mut Tx, stacks: &[DesiredStack], tail: &'static str) -> Result<()> {
    let rows = stacks.iter().map(|s| {
        vec![
            s.node.value(),
            s.stack.as_str().value(),
            s.release.value(),
            s.deployment.value(),
            s.reason.as_str().value(),
        ]
    });
    let head = "INSERT INTO desired_stacks (node_id, stack, release_id, deployment_id, reason) VALUES ";
    dialect::bulk(tx, head, tail, rows.collect()).await.map(drop)
}

/// Takes back what a node should run, until it is signed anew: what was said to a machine is not said to the one that takes
/// its place. Its generation stays, so that what comes next is newer.
///
/// # Errors
/// When the database refuses.
pub async fn withhold(tx: &mut Tx, node: NodeId) -> Result<()> {
    query("UPDATE desired SET statement = '', updated_at = 0 WHERE node_id = $1")
        .bind(node)
        .run(tx)
        .await
        .map(drop)
}

/// What one node should run.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, node: NodeId) -> Result<Option<Desired>> {
    query("SELECT * FROM desired WHERE node_id = $1 AND statement <> ''").bind(node).optional(ex, read).await
}

/// The statement of a node, when it is another than the version that is `known`, or the same written again later.
///
/// # Errors
/// When the database cannot be read.
pub async fn newer(ex: &mut impl Executor, node: NodeId, known: Option<&Version>) -> Result<Option<String>> {
    let mut select = query("SELECT statement FROM desired WHERE node_id = $1 AND statement <> ''").bind(node);
    if let Some(known) = known {
        select.push(" AND (epoch <> ").push_bind(known.epoch);
        select.push(" OR generation <> ").push_bind(known.generation);
        select.push(" OR digest <> ").push_bind(known.digest);
        select.push(" OR updated_at > ").push_bind(known.updated_at).push(")");
    }
    select.optional(ex, |row| row.get("statement")).await
}

/// What several nodes should run, in no order; nodes without desired state are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(ex: &mut impl Executor, nodes: &[NodeId]) -> Result<Vec<Desired>> {
    let mut found = Vec::with_capacity(nodes.len());
    for chunk in nodes.chunks(500) {
        let mut select = query("SELECT * FROM desired WHERE node_id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, read).await?);
    }
    Ok(found)
}

/// What all nodes should run, by node id, after `after`.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor, after: Option<NodeId>, limit: u32) -> Result<Vec<Desired>> {
    let mut select = query("SELECT * FROM desired");
    if let Some(after) = after {
        select.push(" WHERE node_id > ").push_bind(after);
    }
    select.push(" ORDER BY node_id LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// What nodes should run that was written at `since` or later, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn since(ex: &mut impl Executor, since: Timestamp) -> Result<Vec<Desired>> {
    query("SELECT * FROM desired WHERE updated_at >= $1 ORDER BY updated_at").bind(since).all(ex, read).await
}

/// Which generation a node is at, without the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The node.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: u64,
    /// Its generation.
    pub generation: u64,
    /// Digest of what is asked for.
    pub digest: Digest,
    /// When it was written.
    pub updated_at: Timestamp,
}

/// The versions of all nodes, in no order.
///
/// # Errors
/// When the database cannot be read.
pub async fn versions(ex: &mut impl Executor) -> Result<Vec<Version>> {
    let map = |row: &Row| {
        Ok(Version {
            node: row.get("node_id")?,
            epoch: row.get("epoch")?,
            generation: row.get("generation")?,
            digest: row.get("digest")?,
            updated_at: row.get("updated_at")?,
        })
    };
    query("SELECT node_id, epoch, generation, digest, updated_at FROM desired").all(ex, map).await
}

/// The stacks of one node, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn stacks_of(ex: &mut impl Executor, node: NodeId) -> Result<Vec<DesiredStack>> {
    query("SELECT * FROM desired_stacks WHERE node_id = $1 ORDER BY stack")
        .bind(node)
        .all(ex, read_stack)
        .await
}

/// The stacks of all nodes, in no order.
///
/// # Errors
/// When the database cannot be read.
pub async fn all_stacks(ex: &mut impl Executor) -> Result<Vec<DesiredStack>> {
    query("SELECT * FROM desired_stacks").all(ex, read_stack).await
}

/// The tree that each node should run of each stack.
///
/// # Errors
/// When the database cannot be read.
pub async fn trees(ex: &mut impl Executor) -> Result<HashMap<(NodeId, StackName), TreeDigest>> {
    let select =
        "SELECT d.node_id, d.stack, r.tree FROM desired_stacks d JOIN releases r ON r.id = d.release_id";
    let read = |row: &Row| Ok(((row.get("node_id")?, row.get("stack")?), row.get("tree")?));
    Ok(query(select).all(ex, read).await?.into_iter().collect())
}

/// Whether a node should run a release with this tree, or ran one, so that it may have the pack.
///
/// # Errors
/// When the database cannot be read.
pub async fn may_fetch(ex: &mut impl Executor, node: NodeId, tree: Digest) -> Result<bool> {
    let select = "SELECT s.stack FROM desired_stacks s JOIN releases r ON r.id = s.release_id \
                  WHERE s.node_id = $1 AND r.tree = $2 LIMIT 1";
    if !query(select).bind(node).bind(tree).all(ex, |_| Ok(())).await?.is_empty() {
        return Ok(true);
    }
    // What it ran before: the way back is to be whole, too.
    let select = "SELECT d.stack FROM deployments d JOIN releases r ON r.id = d.release_id \
                  WHERE d.node_id = $1 AND d.state = 'succeeded' AND r.tree = $2 LIMIT 1";
    Ok(!query(select).bind(node).bind(tree).all(ex, |_| Ok(())).await?.is_empty())
}

fn read(row: &Row) -> Result<Desired> {
    Ok(Desired {
        node: row.get("node_id")?,
        epoch: row.get("epoch")?,
        generation: row.get("generation")?,
        digest: row.get("digest")?,
        statement: row.get("statement")?,
        updated_at: row.get("updated_at")?,
    })
}

pub(crate) fn read_stack(row: &Row) -> Result<DesiredStack> {
    Ok(DesiredStack {
        node: row.get("node_id")?,
        stack: row.get("stack")?,
        release: row.get("release_id")?,
        deployment: row.get("deployment_id")?,
        reason: row.get("reason")?,
    })
}
