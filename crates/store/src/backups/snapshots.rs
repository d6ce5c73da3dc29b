//! Snapshots, and how far each is proven.

use std::collections::HashMap;

use backstay_types::{
    BackupJobId, DeploymentId, NodeId, StackName, Timestamp,
    backup::{KeptSnapshot, Proof, Snapshot, SnapshotHold, SnapshotId},
};

use super::{Whose, read_whose, whose};
use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::{json, or_empty},
};

const WHAT: &str = "snapshot";

/// A snapshot with whose repository it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRepository {
    /// Whose repository.
    pub whose: Whose,
    /// The snapshot.
    pub kept: KeptSnapshot,
}

/// Which snapshots.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only in this repository.
    pub whose: Option<Whose>,
    /// Only of this stack.
    pub stack: Option<StackName>,
    /// Only those that are proven so far, or further.
    pub proof: Option<Proof>,
    /// Only those begun before this time.
    pub before: Option<Timestamp>,
    /// Behind this one, as it was listed: time and id.
    pub after: Option<(Timestamp, SnapshotId)>,
    /// At most so many.
    pub limit: u32,
}

/// Keeps a snapshot; one that is known already stays as it is. True when it is new.
///
/// # Errors
/// When the database refuses.
pub async fn insert(
    tx: &mut Tx,
    node: Whose,
    snapshot: &Snapshot,
    job: Option<BackupJobId>,
    heard_at: Timestamp,
) -> Result<bool> {
    let insert = "INSERT INTO backup_snapshots \
                  (node_id, id, at, stack, proof, snapshot, deployment_id, job_id, heard_at) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (node_id, id) DO NOTHING";
    let done = query(insert)
        .bind(whose(node))
        .bind(snapshot.id.digest())
        .bind(snapshot.at)
        .bind(or_empty(snapshot.tags.stack.as_ref()))
        .bind(rank(snapshot.proof))
        .bind(json(snapshot)?)
        .bind(snapshot.tags.deployment)
        .bind(job.map(|job| job.to_string()))
        .bind(heard_at)
        .run(tx)
        .await?;
    Ok(done > 0)
}

/// Notes which date a snapshot has, where that is not taken for when it was begun.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is not there.
pub async fn doubted(tx: &mut Tx, node: Whose, id: SnapshotId, claimed_at: Timestamp) -> Result<()> {
    query("UPDATE backup_snapshots SET claimed_at = $1 WHERE node_id = $2 AND id = $3")
        .bind(claimed_at)
        .bind(whose(node))
        .bind(id.digest())
        .run_one(tx, WHAT, id)
        .await
}

/// Of each repository with snapshots whose date is not believed and of which the hub heard at `since` or later: how many,
/// and when it heard of the first of them.
///
/// # Errors
/// When the database cannot be read.
pub async fn misdated(ex: &mut impl Executor, since: Timestamp) -> Result<Vec<(Whose, u64, Timestamp)>> {
    query(
        "SELECT node_id, COUNT(*) AS misdated, MIN(heard_at) AS heard_at FROM backup_snapshots \
         WHERE claimed_at <> at AND heard_at >= $1 GROUP BY node_id",
    )
    .bind(since)
    .all(ex, |row| Ok((read_whose(row)?, row.get("misdated")?, row.get("heard_at")?)))
    .await
}

/// Notes that a snapshot was read back and is right. It never becomes less proven.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is not there.
pub async fn verified(tx: &mut Tx, node: Whose, id: SnapshotId, at: Timestamp) -> Result<()> {
    raise(tx, node, id, Proof::Verified).await?;
    query("UPDATE backup_snapshots SET verified_at = $1, damaged_at = NULL WHERE node_id = $2 AND id = $3")
        .bind(at)
        .bind(whose(node))
        .bind(id.digest())
        .run_one(tx, WHAT, id)
        .await
}

/// Notes that it is at the second target too, and right there.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is not there.
pub async fn replicated(tx: &mut Tx, node: Whose, id: SnapshotId, copy: SnapshotId) -> Result<()> {
    raise(tx, node, id, Proof::Replicated).await?;
    query("UPDATE backup_snapshots SET copy_id = $1 WHERE node_id = $2 AND id = $3")
        .bind(copy.digest())
        .bind(whose(node))
        .bind(id.digest())
        .run_one(tx, WHAT, id)
        .await?;
    // A drill may have come before its copy.
    let update = "UPDATE backup_snapshots SET proof = $1 WHERE node_id = $2 AND id = $3 AND proof < $1 \
                  AND drilled_at IS NOT NULL AND damaged_at IS NULL";
    let update = query(update).bind(rank(Proof::Drilled)).bind(whose(node)).bind(id.digest());
    update.run(tx).await.map(drop)
}

/// Notes that a drill with it passed. It counts as drilled when all that comes before is shown too: `copied` says
/// whether there has to be a copy of it. Nothing of what the hub has not read back itself. True when it was noted.
///
/// # Errors
/// When the database refuses.
pub async fn drilled(tx: &mut Tx, node: Whose, id: SnapshotId, at: Timestamp, copied: bool) -> Result<bool> {
    let update = "UPDATE backup_snapshots SET drilled_at = $1 WHERE node_id = $2 AND id = $3 AND proof >= $4 \
                  AND damaged_at IS NULL";
    let update = query(update).bind(at).bind(whose(node)).bind(id.digest()).bind(rank(Proof::Verified));
    let noted = update.run(tx).await? > 0;
    let raise = "UPDATE backup_snapshots SET proof = $1 WHERE node_id = $2 AND id = $3 AND drilled_at IS NOT NULL \
                 AND damaged_at IS NULL AND proof >= $4";
    let least = if copied { Proof::Replicated } else { Proof::Verified };
    let raise = query(raise).bind(rank(Proof::Drilled)).bind(whose(node)).bind(id.digest()).bind(rank(least));
    raise.run(tx).await?;
    Ok(noted)
}

/// Raises how far it is proven.
///
/// # Errors
/// When the database refuses.
pub async fn raise(tx: &mut Tx, node: Whose, id: SnapshotId, proof: Proof) -> Result<()> {
    let update = "UPDATE backup_snapshots SET proof = $1 WHERE node_id = $2 AND id = $3 AND proof < $1";
    query(update).bind(rank(proof)).bind(whose(node)).bind(id.digest()).run(tx).await.map(drop)
}

/// Notes that what it needs is damaged: it counts as unproven until it was read back again.
///
/// # Errors
/// When the database refuses.
pub async fn damaged(tx: &mut Tx, node: Whose, id: SnapshotId, at: Timestamp) -> Result<()> {
    let update = "UPDATE backup_snapshots SET proof = $1, drilled_at = NULL, damaged_at = COALESCE(damaged_at, $2) \
                  WHERE node_id = $3 AND id = $4";
    let update = query(update).bind(rank(Proof::Matched)).bind(at).bind(whose(node)).bind(id.digest());
    update.run(tx).await.map(drop)
}

/// Forgets that snapshots of a repository have copies. Gives how many had one.
///
/// # Errors
/// When the database refuses.
pub async fn forget_copies(tx: &mut Tx, node: Whose) -> Result<u64> {
    let update = "UPDATE backup_snapshots SET copy_id = NULL, \
                  proof = CASE WHEN proof = $1 THEN $2 ELSE proof END WHERE node_id = $3 AND copy_id IS NOT NULL";
    let update = query(update).bind(rank(Proof::Replicated)).bind(rank(Proof::Verified));
    update.bind(whose(node)).run(tx).await
}

/// Forgets that a snapshot has a copy.
///
/// # Errors
/// When the database refuses.
pub async fn forget_copy(tx: &mut Tx, node: Whose, id: SnapshotId) -> Result<()> {
    let update = "UPDATE backup_snapshots SET copy_id = NULL, \
                  proof = CASE WHEN proof = $1 THEN $2 ELSE proof END WHERE node_id = $3 AND id = $4";
    let update = query(update).bind(rank(Proof::Replicated)).bind(rank(Proof::Verified));
    update.bind(whose(node)).bind(id.digest()).run(tx).await.map(drop)
}

/// Of each repository with snapshots that lost data: how many, and when the newest of them was begun.
///
/// # Errors
/// When the database cannot be read.
pub async fn lost(ex: &mut impl Executor) -> Result<Vec<(Whose, u64, Timestamp)>> {
    query(
        "SELECT node_id, COUNT(*) AS lost, MAX(at) AS at FROM backup_snapshots WHERE damaged_at IS NOT NULL \
         GROUP BY node_id",
    )
    .all(ex, |row| Ok((read_whose(row)?, row.get("lost")?, row.get("at")?)))
    .await
}

/// Keeps it whatever retention says, or no longer.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is not there.
pub async fn set_hold(tx: &mut Tx, node: Whose, id: SnapshotId, hold: Option<&SnapshotHold>) -> Result<()> {
    query("UPDATE backup_snapshots SET hold = $1 WHERE node_id = $2 AND id = $3")
        .bind(hold.map(json).transpose()?)
        .bind(whose(node))
        .bind(id.digest())
        .run_one(tx, WHAT, id)
        .await
}

/// Forgets snapshots. Gives how many were there.
///
/// # Errors
/// When the database refuses.
pub async fn forget(tx: &mut Tx, node: Whose, ids: &[SnapshotId]) -> Result<u64> {
    let mut gone = 0;
    for chunk in ids.chunks(500) {
        let mut delete = query("DELETE FROM backup_snapshots WHERE node_id = $1").bind(whose(node));
        delete.push(" AND id IN ").push_list(chunk.iter().map(|id| id.digest()));
        gone += delete.run(tx).await?;
    }
    Ok(gone)
}

/// One, in any repository: by its id or its first digits; two when that could mean several.
///
/// # Errors
/// When the database cannot be read.
pub async fn find(ex: &mut impl Executor, digits: &str) -> Result<Vec<InRepository>> {
    let last = format!("{digits}g");
    query("SELECT * FROM backup_snapshots WHERE id >= $1 AND id < $2 ORDER BY id LIMIT 2")
        .bind(digits)
        .bind(last)
        .all(ex, read)
        .await
}

/// One of a repository.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, node: Whose, id: SnapshotId) -> Result<Option<KeptSnapshot>> {
    let select = "SELECT * FROM backup_snapshots WHERE node_id = $1 AND id = $2";
    query(select).bind(whose(node)).bind(id.digest()).optional(ex, |row| Ok(read(row)?.kept)).await
}

/// All of a repository, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of(ex: &mut impl Executor, node: Whose) -> Result<Vec<KeptSnapshot>> {
    query("SELECT * FROM backup_snapshots WHERE node_id = $1 ORDER BY at DESC, id DESC")
        .bind(whose(node))
        .all(ex, |row| Ok(read(row)?.kept))
        .await
}

/// Of a repository, newest first: those that are to be read back, and with `copied` those that are to be copied; none
/// that is known to be damaged. As a rule there are few of them, however many there are in all.
///
/// # Errors
/// When the database cannot be read.
pub async fn undone(ex: &mut impl Executor, node: Whose, copied: bool) -> Result<Vec<KeptSnapshot>> {
    query(
        "SELECT * FROM backup_snapshots WHERE node_id = $1 AND damaged_at IS NULL \
         AND (proof < $2 OR ($3 = 1 AND copy_id IS NULL)) ORDER BY at DESC, id DESC",
    )
    .bind(whose(node))
    .bind(rank(Proof::Verified))
    .bind(copied)
    .all(ex, |row| Ok(read(row)?.kept))
    .await
}

/// A part of a list, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor, wanted: &Wanted) -> Result<Vec<InRepository>> {
    let mut select = query("SELECT * FROM backup_snapshots WHERE 1 = 1");
    if let Some(node) = wanted.whose {
        select.push(" AND node_id = ").push_bind(whose(node));
    }
    if let Some(stack) = &wanted.stack {
        select.push(" AND stack = ").push_bind(stack.as_str());
    }
    if let Some(proof) = wanted.proof {
        select.push(" AND proof >= ").push_bind(rank(proof));
    }
    if let Some(before) = wanted.before {
        select.push(" AND at < ").push_bind(before);
    }
    if let Some((at, id)) = wanted.after {
        select.push(" AND (at < ").push_bind(at).push(" OR (at = ").push_bind(at);
        select.push(" AND id < ").push_bind(id.digest()).push("))");
    }
    select.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(wanted.limit);
    select.all(ex, read).await
}

/// The newest proven one of a stack that was begun at `at` or before.
///
/// # Errors
/// When the database cannot be read.
pub async fn proven_at(
    ex: &mut impl Executor,
    node: Whose,
    stack: Option<&StackName>,
    at: Timestamp,
) -> Result<Option<KeptSnapshot>> {
    query(
        "SELECT * FROM backup_snapshots WHERE node_id = $1 AND stack = $2 AND at <= $3 AND proof >= $4 \
         AND damaged_at IS NULL ORDER BY at DESC, id DESC LIMIT 1",
    )
    .bind(whose(node))
    .bind(or_empty(stack))
    .bind(at)
    .bind(rank(Proof::Verified))
    .optional(ex, |row| Ok(read(row)?.kept))
    .await
}

/// Proven ones that were made for a deployment; behind the others those of which nobody told when they were made.
///
/// # Errors
/// When the database cannot be read.
pub async fn for_deployment(ex: &mut impl Executor, deployment: DeploymentId) -> Result<Vec<InRepository>> {
    let select = "SELECT * FROM backup_snapshots WHERE deployment_id = $1 AND proof >= $2 \
                  ORDER BY CASE WHEN job_id IS NULL OR claimed_at IS NOT NULL THEN 1 ELSE 0 END, at DESC";
    query(select).bind(deployment).bind(rank(Proof::Verified)).all(ex, read).await
}

/// When the newest proven one of each repository was begun.
///
/// # Errors
/// When the database cannot be read.
pub async fn newest_proven(ex: &mut impl Executor) -> Result<Vec<(Whose, Timestamp)>> {
    query("SELECT node_id, MAX(at) AS at FROM backup_snapshots WHERE proof >= $1 AND damaged_at IS NULL GROUP BY node_id")
        .bind(rank(Proof::Verified))
        .all(ex, |row| Ok((read_whose(row)?, row.get("at")?)))
        .await
}

/// When the newest proven snapshot of each stack of each node was begun.
///
/// # Errors
/// When the database cannot be read.
pub async fn proven_of_stacks(ex: &mut impl Executor) -> Result<Vec<(NodeId, StackName, Timestamp)>> {
    query(
        "SELECT node_id, stack, MAX(at) AS at FROM backup_snapshots WHERE proof >= $1 AND damaged_at IS NULL \
         AND stack <> '' AND node_id <> '' GROUP BY node_id, stack",
    )
    .bind(rank(Proof::Verified))
    .all(ex, |row| Ok((row.get("node_id")?, row.get("stack")?, row.get("at")?)))
    .await
}

/// The newest proven snapshot of each stack of each node that is in the fleet, with when one of it was heard of first.
///
/// # Errors
/// When the database cannot be read.
pub async fn newest_of_stacks(ex: &mut impl Executor) -> Result<Vec<(NodeId, StackName, Timestamp)>> {
    query(
        "SELECT node_id, stack, MIN(heard_at) AS heard_at FROM backup_snapshots WHERE proof >= $1 \
         AND damaged_at IS NULL AND stack <> '' AND node_id <> '' GROUP BY node_id, stack",
    )
    .bind(rank(Proof::Verified))
    .all(ex, |row| Ok((row.get("node_id")?, row.get("stack")?, row.get("heard_at")?)))
    .await
}

/// Of each stack of these nodes with snapshots: how many there are, and how many of them are proven.
///
/// # Errors
/// When the database cannot be read.
pub async fn counts(
    ex: &mut impl Executor,
    nodes: &[NodeId],
) -> Result<HashMap<(NodeId, StackName), (u64, u64)>> {
    let mut found = HashMap::new();
    for chunk in nodes.chunks(500) {
        let mut select = query(
            "SELECT node_id, stack, COUNT(*) AS there, \
             SUM(CASE WHEN proof >= $1 AND damaged_at IS NULL THEN 1 ELSE 0 END) AS proven \
             FROM backup_snapshots WHERE stack <> '' AND node_id IN ",
        )
        .bind(rank(Proof::Verified));
        select.push_list(chunk.iter().copied());
        select.push(" GROUP BY node_id, stack");
        let read = |row: &Row| {
            Ok(((row.get("node_id")?, row.get("stack")?), (row.get("there")?, row.get("proven")?)))
        };
        found.extend(select.all(ex, read).await?);
    }
    Ok(found)
}

/// Repositories with snapshots that are less proven than `below` and not known to be damaged.
///
/// # Errors
/// When the database cannot be read.
pub async fn below(ex: &mut impl Executor, below: Proof) -> Result<Vec<Whose>> {
    query("SELECT DISTINCT node_id FROM backup_snapshots WHERE proof < $1 AND damaged_at IS NULL ORDER BY node_id")
        .bind(rank(below))
        .all(ex, read_whose)
        .await
}

/// Repositories that have any snapshot.
///
/// # Errors
/// When the database cannot be read.
pub async fn repositories(ex: &mut impl Executor) -> Result<Vec<Whose>> {
    query("SELECT DISTINCT node_id FROM backup_snapshots").all(ex, read_whose).await
}

fn read(row: &Row) -> Result<InRepository> {
    let mut snapshot: Snapshot = row.json("snapshot")?;
    snapshot.proof = proof(row.get("proof")?)?;
    let kept = KeptSnapshot {
        snapshot,
        job: row.opt::<String>("job_id")?.and_then(|text| text.parse().ok()),
        heard_at: row.get("heard_at")?,
        claimed_at: row.opt("claimed_at")?,
        verified_at: row.opt("verified_at")?,
        copy: row.opt("copy_id")?.map(SnapshotId::new),
        drilled_at: row.opt("drilled_at")?,
        damaged_at: row.opt("damaged_at")?,
        hold: row.opt_json("hold")?,
    };
    Ok(InRepository { whose: read_whose(row)?, kept })
}

const ORDER: [Proof; 5] =
    [Proof::Created, Proof::Matched, Proof::Verified, Proof::Replicated, Proof::Drilled];

fn rank(proof: Proof) -> u32 {
    ORDER.iter().zip(0..).find(|(one, _)| **one == proof).map_or(0, |(_, rank)| rank)
}

fn proof(rank: u32) -> Result<Proof> {
    ORDER
        .get(rank as usize)
        .copied()
        .ok_or_else(|| crate::StoreError::corrupt("backup_snapshots.proof", rank))
}
