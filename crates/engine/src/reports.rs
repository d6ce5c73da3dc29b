//! What agents report. Each report is taken once, and acknowledged only when it is durable.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use backstay_api::agent::{Report, ReportBody};
use backstay_store::{StoreError, Tx, deployments, reports, safe_mode};
use backstay_types::{Deployment, DeploymentId, DeploymentState, Event, NodeId, Refs, ReportId};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{Engine, EngineError};

/// The most batches that are taken in one transaction.
const TOGETHER: usize = 256;

/// Batches that wait to be taken. Whoever comes to its turn takes all that wait: a fleet that reports at once
/// costs a few syncs of the disk, not one for each node.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    waiting: Mutex<VecDeque<Batch>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Batch {
    node: NodeId,
    reports: Vec<Report>,
    taken: oneshot::Sender<Result<(), EngineError>>,
}

impl Desk {
    fn lay(&self, batch: Batch) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(batch);
    }

    /// The batches that have waited longest.
    fn next(&self) -> Vec<Batch> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(TOGETHER);
        waiting.drain(..count).collect()
    }
}

impl Engine {
    /// Takes a batch of a node's reports, oldest first. All that are returned are durable; a report that was taken
    /// before, or that concerns something that this hub does not know, is acknowledged and changes nothing.
    ///
    /// # Errors
    /// When the store fails; none of the batch was taken then.
    pub async fn take_reports(&self, node: NodeId, batch: Vec<Report>) -> Result<Vec<ReportId>, EngineError> {
        let ids = batch.iter().map(|report| report.id).collect();
        let (taken, mut answer) = oneshot::channel();
        self.inner.desk.lay(Batch { node, reports: batch, taken });
        let _turn = self.inner.desk.turn.lock().await;
        loop {
            match answer.try_recv() {
                // Another has taken it along.
                Ok(result) => return result.map(|()| ids),
                Err(TryRecvError::Closed) => return Err(EngineError::Stopping),
                Err(TryRecvError::Empty) => self.take_together(self.inner.desk.next()).await,
            }
        }
    }

    /// Takes batches in one transaction; when that fails each alone, so that one that cannot be taken holds up no other.
    async fn take_together(&self, batches: Vec<Batch>) {
        let all: Vec<_> = batches.iter().map(|batch| (batch.node, batch.reports.as_slice())).collect();
        let together = self.take_all(&all).await;
        let alone = together.is_err() && batches.len() > 1;
        if let (Err(error), true) = (&together, alone) {
            tracing::warn!(%error, batches = batches.len(), "reports cannot be taken together; each alone");
        }
        let mut first = Some(together);
        for batch in batches {
            let result = match (alone, first.take()) {
                (true, _) => self.take_all(&[(batch.node, &batch.reports)]).await,
                (false, Some(Err(error))) => Err(error),
                (false, _) => Ok(()),
            };
            // Whoever asked may have gone; its reports are taken all the same.
            let _ = batch.taken.send(result);
        }
    }

    async fn take_all(&self, batches: &[(NodeId, &[Report])]) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let now = self.inner.world.now();
        let mut matters = false;
        for (node, reports) in batches {
            for report in *reports {
                if reports::take(&mut tx, report.id, *node, now).await? {
                    self.take(&mut tx, *node, report).await?;
                    matters |= !matches!(report.body, ReportBody::StepFinished { .. });
                }
            }
        }
        tx.commit().await?;
        // Nothing is planned by steps.
        if matters {
            self.wake();
        }
        Ok(())
    }

    /// An agent is at one deployment of a stack at a time. What was open before the one that it begins has come to an end,
    /// and the word of that was lost, with its journal.
    async fn end_earlier(&self, tx: &mut Tx, begun: &Deployment) -> Result<(), EngineError> {
        for earlier in deployments::open_before(tx, begun.node, &begun.stack, begun.id).await? {
            let state = DeploymentState::Superseded;
            deployments::finish(tx, earlier.id, &state, self.inner.world.now(), &[]).await?;
            let steps = deployments::steps_digest(tx, earlier.id).await?;
            tx.record(Event::DeploymentFinished { state, steps }, refs(&earlier))?;
        }
        Ok(())
    }

    async fn take(&self, tx: &mut Tx, node: NodeId, report: &Report) -> Result<(), EngineError> {
        match &report.body {
            ReportBody::DeploymentStarted { deployment, previous } => {
                let Some(known) = own(tx, node, *deployment).await? else { return Ok(()) };
                if known.state == DeploymentState::Pending {
                    self.end_earlier(tx, &known).await?;
                    deployments::start(tx, known.id, *previous, report.at).await?;
                    tx.record(Event::DeploymentStarted, refs(&known))?;
                }
            }
            ReportBody::StepFinished { deployment, record } => {
                let Some(known) = own(tx, node, *deployment).await? else { return Ok(()) };
                deployments::add_step(tx, known.id, record).await?;
                if !known.state.is_final() {
                    deployments::advance(tx, known.id, record.step).await?;
                }
            }
            ReportBody::DeploymentFinished { deployment, state, containers } => {
                let Some(known) = own(tx, node, *deployment).await? else { return Ok(()) };
                // What was given up while its node could not be told may have been done all the same, and runs there.
                let given_up =
                    known.state == DeploymentState::Superseded && *state != DeploymentState::Superseded;
                if !state.is_final() || (known.state.is_final() && !given_up) {
                    return Ok(());
                }
                // What the hub's clock says: windows and "at that time" are judged by it.
                let now = self.inner.world.now();
                match given_up {
                    true => deployments::finish_given_up(tx, known.id, state, now, containers).await?,
                    false => deployments::finish(tx, known.id, state, now, containers).await?,
                }
                if *state == DeploymentState::Succeeded {
                    self.came_to_stay(tx, &known).await?;
                }
                let steps = deployments::steps_digest(tx, known.id).await?;
                tx.record(Event::DeploymentFinished { state: state.clone(), steps }, refs(&known))?;
            }
            ReportBody::Drift { stack, detail, healed, escalated } => {
                let end = match (healed, escalated) {
                    (true, _) => " (put right)",
                    (false, true) => " (given up: it needs a person)",
                    (false, false) => "",
                };
                let detail = format!("{detail}{end}");
                let refs = Refs { node: Some(node), stack: Some(stack.clone()), ..Refs::default() };
                tx.record(Event::DriftReported { detail }, refs)?;
            }
            ReportBody::StackRemoved { stack, deployment } => {
                let Some(known) = own(tx, node, *deployment).await? else { return Ok(()) };
                // Where there was something to take away, the deployment's end has said so already.
                if !known.state.is_final() {
                    let now = self.inner.world.now();
                    tracing::debug!(%node, %stack, "there was nothing to take away");
                    deployments::finish(tx, known.id, &DeploymentState::Succeeded, now, &[]).await?;
                    let steps = deployments::steps_digest(tx, known.id).await?;
                    let event = Event::DeploymentFinished { state: DeploymentState::Succeeded, steps };
                    tx.record(event, refs(&known))?;
                }
            }
            ReportBody::AgentUpdate { update, version, outcome } => {
                self.agent_answered(tx, node, *update, version, outcome).await?;
            }
            ReportBody::StatementRefused { reason } => {
                tracing::warn!(%node, reason, "a node refused a statement");
                let detail = format!("refused a statement: {reason}");
                tx.record(Event::DriftReported { detail }, Refs { node: Some(node), ..Refs::default() })?;
            }
            ReportBody::SafeModeEntered { stack, reason, .. } => {
                tracing::warn!(%node, %stack, reason, "a node went into safe mode");
                let refs = Refs { node: Some(node), stack: Some(stack.clone()), ..Refs::default() };
                tx.record(Event::SafeModeEntered { reason: reason.clone() }, refs)?;
            }
            ReportBody::SafeModeLeft { safe_mode, reason } => {
                safe_mode::forget_leave(tx, node, *safe_mode).await?;
                let refs = Refs { node: Some(node), ..Refs::default() };
                tx.record(Event::SafeModeLeft { reason: reason.clone() }, refs)?;
            }
            ReportBody::Outage { from, to, detail } => {
                let event = Event::NodeWasCutOff { from: *from, to: *to, detail: detail.clone() };
                tx.record(event, Refs { node: Some(node), ..Refs::default() })?;
            }
            ReportBody::Unknown => tracing::debug!(%node, "a report of a kind that this hub does not know"),
        }
        Ok(())
    }
}

/// A deployment of this node. Anything else is not this node's to report on.
async fn own(tx: &mut Tx, node: NodeId, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
    let found = deployments::get(tx, id).await?.filter(|d| d.node == node);
    if found.is_none() {
        tracing::warn!(%node, deployment = %id, "a report on a deployment that is not known here");
    }
    Ok(found)
}

fn refs(deployment: &Deployment) -> Refs {
    Refs {
        node: Some(deployment.node),
        stack: Some(deployment.stack.clone()),
        release: Some(deployment.release),
        rollout: Some(deployment.rollout),
        deployment: Some(deployment.id),
        ..Refs::default()
    }
}
