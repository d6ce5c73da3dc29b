//! Data that is to be in place before a stack starts on a node: on a machine that took the place of another, or where the
//! stack moves to. Until it is there the stack is never told to run without it.

use std::collections::HashMap;

use backstay_store::{Tx, backups::jobs};
use backstay_types::{
    BackupJobId, DataFor, Deployment, DeploymentData, Event, NodeId, StackName, Timestamp,
    backup::{BackupJob, BackupJobState, BackupTask, Destination},
};

use super::{jobs::LEASE, refs};
use crate::{Engine, EngineError};

/// What stacks wait for, by node and stack.
#[derive(Debug, Default)]
pub(crate) struct Awaited(HashMap<(NodeId, StackName), Await>);

#[derive(Debug)]
struct Await {
    data: DeploymentData,
    since: Timestamp,
}

impl Awaited {
    /// Of the jobs that are awaited.
    pub(crate) fn of(jobs: Vec<BackupJob>) -> Self {
        let one = |job: BackupJob| {
            let BackupTask::Restore(work) = job.task else { return None };
            let data = DeploymentData { asked_by: DataFor::Restore { job: job.id }, snapshot: work.snapshot };
            Some(((job.node?, work.stack), Await { data, since: job.asked_at }))
        };
        Self(jobs.into_iter().filter_map(one).collect())
    }

    /// The data that an attempt has to bring with it.
    pub(crate) fn data_of(&self, node: NodeId, stack: &StackName) -> Option<DeploymentData> {
        self.0.get(&(node, stack.clone())).map(|one| one.data)
    }

    /// Whether an attempt is from before the data was asked for, so that it says nothing of what is there now.
    pub(crate) fn is_before(&self, deployment: &Deployment) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Some(one) = self.0.get(&(deployment.node, deployment.stack.clone())) else { return false };
        deployment.data != Some(one.data) && deployment.created_at <= one.since
    }
}

impl Engine {
    /// The job that makes data ready before a stack starts, for the deployment that asks for it now. None when it is not to be
    /// any more.
    pub(super) async fn job_before_start(
        &self,
        tx: &mut Tx,
        deployment: &Deployment,
        id: BackupJobId,
    ) -> Result<Option<BackupJob>, EngineError> {
        let found = jobs::get(tx, id).await?.filter(|job| job.node == Some(deployment.node));
        let Some(mut job) = found.filter(|_| !deployment.state.is_final()) else { return Ok(None) };
        let BackupTask::Restore(work) = &mut job.task else { return Ok(None) };
        if job.cancelled_by.is_some() {
            return Ok(None);
        }
        work.destination = Destination::BeforeStart { deployment: Some(deployment.id) };
        let before = job.state;
        if before.is_final() {
            // It came to nothing, or an agent that was told so has forgotten it: once more.
            (job.state, job.started_at) = (BackupJobState::Queued, None);
            (job.ended_at, job.result) = (None, None);
        }
        job.lease_until = self.inner.world.now().checked_add(LEASE).ok();
        jobs::update(tx, before, &job).await?;
        Ok(Some(job))
    }

    /// Notes that data came to stay which a stack was to start with.
    pub(crate) async fn came_to_stay(&self, tx: &mut Tx, deployment: &Deployment) -> Result<(), EngineError> {
        if let Some(job) = deployment.data.and_then(|data| data.restore()) {
            jobs::no_longer_awaited(tx, job).await?;
        }
        Ok(())
    }

    /// Has a stack start without the data that it was to wait for.
    pub(crate) async fn start_without(
        &self,
        tx: &mut Tx,
        job: &BackupJob,
        by: &str,
    ) -> Result<BackupJob, EngineError> {
        let mut job = job.clone();
        let before = job.state;
        jobs::no_longer_awaited(tx, job.id).await?;
        if job.cancelled_by.is_none() {
            job.cancelled_by = Some(by.to_owned());
            if before != BackupJobState::Running {
                job.state = BackupJobState::Cancelled;
                job.ended_at = job.ended_at.or(Some(self.inner.world.now()));
            }
            jobs::update(tx, before, &job).await?;
            let event = Event::BackupCancelled { job: job.id, by: by.to_owned() };
            tx.record(event, refs(job.node, None))?;
        }
        Ok(job)
    }
}

/// Whether a job is a restore that a stack waits for before it starts.
pub(super) fn is_before_start(job: &BackupJob) -> bool {
    matches!(&job.task, BackupTask::Restore(work) if matches!(work.destination, Destination::BeforeStart { .. }))
}

/// A job as its node is given it.
pub(super) fn as_given(mut job: BackupJob) -> BackupJob {
    if let BackupTask::Restore(work) = &mut job.task
        && let Destination::BeforeStart { deployment: Some(deployment) } = work.destination
    {
        work.destination = Destination::WithDeployment { deployment };
    }
    job
}
