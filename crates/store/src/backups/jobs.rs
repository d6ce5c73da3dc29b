//! Jobs: queued, running, ended. How one ended is taken once.

use std::collections::HashMap;

use backstay_types::{
    BackupJobId, DeploymentId, NodeId, Timestamp,
    backup::{BackupJob, BackupJobState, BackupTask, BackupTaskKind, Destination, job::FileEntry},
};

use super::{Whose, read_whose, whose};
use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::{json, word},
};

const WHAT: &str = "backup job";

/// Which jobs.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only of this repository.
    pub whose: Option<Whose>,
    /// Only of this kind.
    pub task: Option<BackupTaskKind>,
    /// Only those in this state.
    pub state: Option<BackupJobState>,
    /// Behind this one.
    pub after: Option<BackupJobId>,
    /// At most so many.
    pub limit: u32,
}

/// Keeps a new job. One with this id stays as it is; true when it is new.
///
/// # Errors
/// When the database refuses.
pub async fn insert(tx: &mut Tx, job: &BackupJob) -> Result<bool> {
    let insert = "INSERT INTO backup_jobs (id, node_id, task, of_node, state, deployment_id, asked_at, ended_at, job, \
                  awaited_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING";
    let deployment = match &job.task {
        BackupTask::Save(work) => work.deployment,
        BackupTask::Restore(work) => match work.destination {
            Destination::WithDeployment { deployment } => Some(deployment),
            _ => None,
        },
        _ => None,
    };
    let awaited_by = match &job.task {
        BackupTask::Restore(work) if matches!(work.destination, Destination::BeforeStart { .. }) => {
            Some(&work.stack)
        }
        _ => None,
    };
    if let (Some(stack), Some(node)) = (awaited_by, job.node) {
        // The newest is the one that counts.
        query("UPDATE backup_jobs SET awaited_by = NULL WHERE node_id = $1 AND awaited_by = $2")
            .bind(node)
            .bind(stack)
            .run(tx)
            .await?;
    }
    let done = query(insert)
        .bind(job.id.to_string())
        .bind(whose(job.node))
        .bind(word(&job.task.kind())?)
        .bind(job.task.is_of_node() && job.node.is_some())
        .bind(word(&job.state)?)
        .bind(deployment)
        .bind(job.asked_at)
        .bind(job.ended_at)
        .bind(json(job)?)
        .bind(awaited_by)
        .run(tx)
        .await?;
    Ok(done > 0)
}

/// Writes a job that was in state `before`.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it no longer is.
pub async fn update(tx: &mut Tx, before: BackupJobState, job: &BackupJob) -> Result<()> {
    query("UPDATE backup_jobs SET state = $1, ended_at = $2, job = $3 WHERE id = $4 AND state = $5")
        .bind(word(&job.state)?)
        .bind(job.ended_at)
        .bind(json(job)?)
        .bind(job.id.to_string())
        .bind(word(&before)?)
        .run_one(tx, WHAT, job.id)
        .await
}

/// One.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: BackupJobId) -> Result<Option<BackupJob>> {
    query("SELECT job FROM backup_jobs WHERE id = $1").bind(id.to_string()).optional(ex, read).await
}

/// A part of a list, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor, wanted: &Wanted) -> Result<Vec<BackupJob>> {
    let mut select = query("SELECT job FROM backup_jobs WHERE 1 = 1");
    if let Some(node) = wanted.whose {
        select.push(" AND node_id = ").push_bind(whose(node));
    }
    if let Some(task) = wanted.task {
        select.push(" AND task = ").push_bind(word(&task)?);
    }
    if let Some(state) = wanted.state {
        select.push(" AND state = ").push_bind(word(&state)?);
        if !state.is_final() {
            select.push(" AND ended_at IS NULL");
        }
    }
    if let Some(after) = wanted.after {
        select.push(" AND id < ").push_bind(after.to_string());
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(wanted.limit);
    select.all(ex, read).await
}

/// All that have not ended, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open(ex: &mut impl Executor) -> Result<Vec<BackupJob>> {
    query("SELECT job FROM backup_jobs WHERE ended_at IS NULL ORDER BY id").all(ex, read).await
}

/// Those of a repository that have not ended, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open_of(ex: &mut impl Executor, node: Whose) -> Result<Vec<BackupJob>> {
    query("SELECT job FROM backup_jobs WHERE ended_at IS NULL AND node_id = $1 ORDER BY id")
        .bind(whose(node))
        .all(ex, read)
        .await
}

/// Nodes that have something to do: those for whom a job waits or runs.
///
/// # Errors
/// When the database cannot be read.
pub async fn waiting_nodes(ex: &mut impl Executor) -> Result<Vec<(NodeId, BackupJobState)>> {
    query("SELECT node_id, state FROM backup_jobs WHERE ended_at IS NULL AND of_node = 1")
        .all(ex, |row| Ok((row.get("node_id")?, row.word("state")?)))
        .await
}

/// The newest that was made for a deployment.
///
/// # Errors
/// When the database cannot be read.
pub async fn for_deployment(ex: &mut impl Executor, deployment: DeploymentId) -> Result<Vec<BackupJob>> {
    query("SELECT job FROM backup_jobs WHERE deployment_id = $1 ORDER BY id DESC")
        .bind(deployment)
        .all(ex, read)
        .await
}

/// Restores that are to be done before a stack starts on a node, whether they wait, run, or came to nothing: until their data
/// came to stay, or somebody said that it starts without.
///
/// # Errors
/// When the database cannot be read.
pub async fn awaited(ex: &mut impl Executor) -> Result<Vec<BackupJob>> {
    query("SELECT job FROM backup_jobs WHERE awaited_by IS NOT NULL ORDER BY id").all(ex, read).await
}

/// The stack need not wait for a restore any more.
///
/// # Errors
/// When the database refuses.
pub async fn no_longer_awaited(tx: &mut Tx, id: BackupJobId) -> Result<()> {
    let update = "UPDATE backup_jobs SET awaited_by = NULL WHERE id = $1 AND awaited_by IS NOT NULL";
    query(update).bind(id.to_string()).run(tx).await.map(drop)
}

/// How many jobs of a kind ended in which state at `since` or later, by repository: well, and not well.
///
/// # Errors
/// When the database cannot be read.
pub async fn rates(
    ex: &mut impl Executor,
    task: BackupTaskKind,
    since: Timestamp,
) -> Result<HashMap<Whose, (u64, u64)>> {
    let select = query(
        "SELECT node_id, state, COUNT(*) AS n FROM backup_jobs WHERE ended_at >= $1 AND task = $2 \
         GROUP BY node_id, state",
    );
    let read = |row: &Row| Ok((read_whose(row)?, row.word::<BackupJobState>("state")?, row.get::<u64>("n")?));
    let mut found: HashMap<Whose, (u64, u64)> = HashMap::new();
    for (node, state, count) in select.bind(since).bind(word(&task)?).all(ex, read).await? {
        let rate = found.entry(node).or_default();
        match state {
            BackupJobState::Done => rate.0 += count,
            BackupJobState::Failed => rate.1 += count,
            _ => {}
        }
    }
    Ok(found)
}

/// Keeps what a job found in a snapshot.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such job.
pub async fn set_files(tx: &mut Tx, id: BackupJobId, files: &[FileEntry]) -> Result<()> {
    let update = "UPDATE backup_jobs SET files = $1 WHERE id = $2";
    query(update).bind(json(files)?).bind(id.to_string()).run_one(tx, WHAT, id).await
}

/// What a job found in a snapshot, while it is kept.
///
/// # Errors
/// When the database cannot be read.
pub async fn files(ex: &mut impl Executor, id: BackupJobId) -> Result<Option<Vec<FileEntry>>> {
    let select = query("SELECT files FROM backup_jobs WHERE id = $1").bind(id.to_string());
    Ok(select.optional(ex, |row| row.opt_json("files")).await?.flatten())
}

/// Forgets what jobs found in snapshots that ended before `files`, and jobs that ended before `jobs`.
///
/// # Errors
/// When the database refuses.
pub async fn sweep(tx: &mut Tx, files: Timestamp, jobs: Timestamp) -> Result<()> {
    query("UPDATE backup_jobs SET files = NULL WHERE files IS NOT NULL AND ended_at < $1")
        .bind(files)
        .run(tx)
        .await?;
    query("DELETE FROM backup_jobs WHERE ended_at < $1 AND awaited_by IS NULL")
        .bind(jobs)
        .run(tx)
        .await
        .map(drop)
}

fn read(row: &Row) -> Result<BackupJob> {
    row.json("job")
}
