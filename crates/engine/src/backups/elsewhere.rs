//! Data of one node that is put back on another: who may read what and until when, and what is refused.

use std::collections::HashSet;

use backstay_manifest::{StackManifest, compose};
use backstay_store::{Executor, backups::jobs, deployments, nodes, releases};
use backstay_types::{
    BackupJobId, Deployment, Node, NodeId, Release, StackName, TreeDigest,
    backup::{BackupJob, BackupJobState, BackupTask, Destination, RestoreWork},
    tree::in_folder,
};

use super::awaited;
use crate::{Engine, EngineError, mirrors::blocking};

impl Engine {
    /// The node whose repository `node` may read now, for this job of its own: while it runs, and not a moment longer.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn repository_lent(
        &self,
        node: NodeId,
        job: BackupJobId,
    ) -> Result<Option<NodeId>, EngineError> {
        let found = jobs::get(&mut self.inner.store.read(), job).await?;
        let now = self.inner.world.now();
        let runs = |job: &BackupJob| {
            job.node == Some(node)
                && job.state == BackupJobState::Running
                && job.cancelled_by.is_none()
                && self.order_deadline(job).is_some_and(|deadline| now <= deadline)
        };
        Ok(found.filter(runs).and_then(|job| job.task.reads_of()))
    }

    /// Whether data of one node may be put in the place of what another one runs.
    ///
    /// # Errors
    /// When that node does not run the stack, when the stack must not run twice and it is not known that the first one has
    /// stopped it, or when what the stack says of itself cannot be read.
    pub async fn check_elsewhere(
        &self,
        of: &Node,
        on: &Node,
        work: &RestoreWork,
        tree: Option<TreeDigest>,
    ) -> Result<(), EngineError> {
        if !matches!(work.destination, Destination::InPlace) {
            return Ok(());
        }
        let stack = &work.stack;
        let mut read = self.inner.store.read();
        let Some(here) = runs(&mut read, on.id, stack).await? else {
            let (stack, node) = (stack.clone(), on.name.clone());
            return Err(EngineError::RunsNot { stack, node });
        };
        let mut told = releases::get(&mut read, here.release).await?.into_iter().collect::<Vec<_>>();
        if let Some(tree) = tree {
            told.extend(
                releases::with_tree(&mut read, tree).await?.into_iter().find(|one| one.stack == *stack),
            );
        }
        let stopped = is_stopped(&mut read, of.id, stack).await?;
        for release in told.iter().filter(|_| !stopped) {
            // Data that could make a validator sign twice has a say here too.
            if self.manifest_of(release).await?.is_some_and(|manifest| manifest.exclusive) {
                let (stack, node) = (stack.clone(), of.name.clone());
                return Err(EngineError::NotStopped { stack, node });
            }
        }
        Ok(())
    }

    /// Whether data may wait for a node that does not say that it runs the stack: it will, since it is being deployed there,
    /// or ran there when the machine was lost. Where it was taken away, or never came to run, it would wait for nothing. A hub
    /// that knows of no deployment may have forgotten it with its own machine.
    ///
    /// # Errors
    /// When the node neither runs the stack nor is about to, or the store fails.
    pub async fn check_comes(&self, on: &Node, stack: &StackName) -> Result<(), EngineError> {
        let mut read = self.inner.store.read();
        let latest = deployments::latest(&mut read, on.id, stack).await?;
        let is_over = latest.is_some_and(|one| one.state.is_final());
        if !is_over || runs(&mut read, on.id, stack).await?.is_some() {
            return Ok(());
        }
        Err(EngineError::RunsNot { stack: stack.clone(), node: on.name.clone() })
    }

    /// Whether a node runs a stack, as far as it has told.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn runs_stack(&self, node: NodeId, stack: &StackName) -> Result<bool, EngineError> {
        says_it_runs(&mut self.inner.store.read(), node, stack).await
    }

    /// What a release says of itself; none where it says nothing.
    pub(crate) async fn manifest_of(&self, release: &Release) -> Result<Option<StackManifest>, EngineError> {
        let mirror = self.inner.mirrors.of(&self.repository(release.repository).await?)?;
        let (commit, path) = (release.commit.clone(), release.path.clone());
        let parsed = blocking(move || {
            let read = |file: &str| mirror.try_read(&commit, &in_folder(&path, file));
            let Some(text) = read("stack.toml")? else { return Ok(None) };
            let found = compose::FILE_NAMES.into_iter().find(|file| matches!(read(file), Ok(Some(_))));
            Ok(Some(StackManifest::parse("stack.toml", &text, found)))
        })
        .await?;
        parsed.transpose().map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            EngineError::Conflict(format!("stack.toml of {} cannot be read: {first}", release.stack))
        })
    }

    /// Nodes for which a job waits that they could begin now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn nodes_with_orders(&self) -> Result<HashSet<NodeId>, EngineError> {
        let mut read = self.inner.store.read();
        let open = jobs::open(&mut read).await?;
        let queued =
            open.into_iter().filter(|job| job.task.is_of_node() && job.state == BackupJobState::Queued);
        Ok(ready(&mut read, queued.collect()).await?.into_iter().filter_map(|job| job.node).collect())
    }
}

/// What a node runs of a stack, if it does.
pub(super) async fn runs(
    ex: &mut impl Executor,
    node: NodeId,
    stack: &StackName,
) -> Result<Option<Deployment>, EngineError> {
    let all = deployments::run_by(ex, &[node]).await?;
    Ok(all.into_iter().find(|one| one.stack == *stack))
}

/// Whether a node is known not to run a stack: it never did, or its agent has told that it took it away. A node that was
/// not heard from, or whose credential was taken away, has proven nothing.
async fn is_stopped(ex: &mut impl Executor, node: NodeId, stack: &StackName) -> Result<bool, EngineError> {
    let under_way = deployments::latest(ex, node, stack).await?.is_some_and(|one| !one.state.is_final());
    Ok(!under_way && runs(ex, node, stack).await?.is_none())
}

/// Leaves out restores in place that wait for their stack: the node has to run it before its data can be put there.
pub(super) async fn ready(
    ex: &mut impl Executor,
    jobs: Vec<BackupJob>,
) -> Result<Vec<BackupJob>, EngineError> {
    let mut ready = Vec::with_capacity(jobs.len());
    for job in jobs {
        // Such a one is asked for by the deployment that waits for it.
        if awaited::is_before_start(&job) {
            continue;
        }
        let may = match (in_place(&job), job.node) {
            (Some(stack), Some(node)) => says_it_runs(ex, node, stack).await?,
            _ => true,
        };
        ready.extend(may.then_some(job));
    }
    Ok(ready)
}

/// Whether a node says that it runs a stack. What was deployed to it before says nothing of a new machine under its name.
async fn says_it_runs(ex: &mut impl Executor, node: NodeId, stack: &StackName) -> Result<bool, EngineError> {
    let said = nodes::soft(ex, node).await?.and_then(|said| said.observed).unwrap_or_default();
    Ok(said.iter().any(|one| one.stack == *stack && one.current.is_some()))
}

/// The stack of a restore in place that nobody has begun.
pub(super) fn in_place(job: &BackupJob) -> Option<&StackName> {
    match &job.task {
        BackupTask::Restore(work) if job.state == BackupJobState::Queued => {
            let waits = matches!(work.destination, Destination::InPlace | Destination::BeforeStart { .. });
            waits.then_some(&work.stack)
        }
        _ => None,
    }
}
