//! Saving the data of what runs, before another release takes its place.

use std::fs;

use backstay_agent_core::Committed;
use backstay_api::statement::DesiredStack;
use backstay_manifest::{BackupSource, format_duration};
use backstay_types::{ErrorCode, FailureKind, StackName, Step};
use tokio::time::timeout;

use super::Machine;
use crate::{
    backup::{DataPlan, Errand, Unsaved},
    step::{Fail, Failed, Records},
};

impl Machine {
    /// Has it saved, or says why it is not. Only a stack that requires a snapshot fails for want of one.
    pub(super) async fn snapshot(
        &self,
        target: &DesiredStack,
        running: Option<&Committed>,
        records: &mut Records,
    ) -> Result<(), Failed> {
        let started = records.start();
        if target.data.is_some() {
            return self.make_ready(target, records).await;
        }
        let Some(running) = running else {
            records.skipped(Step::Snapshot, "nothing ran before");
            return Ok(());
        };
        let plan = match self.data(&target.stack, running.tree).await {
            Ok(plan) => plan,
            // What cannot be read requires nothing that could be known.
            Err(reason) => {
                records
                    .skipped(Step::Snapshot, format!("no snapshot: what has data cannot be told: {reason}"));
                return Ok(());
            }
        };
        if plan.backups.off || !self.has_data(&target.stack, &plan) {
            let why = if plan.backups.off { "backups of the stack are off" } else { "it has no data" };
            records.skipped(Step::Snapshot, why);
            return Ok(());
        }
        let (wait, require) = (plan.backups.wait, plan.backups.require);
        let saved = timeout(wait, self.backups.before(&target.stack, target.deployment, None)).await;
        let saved = match saved {
            Ok(saved) => saved.map_err(|unsaved| unsaved.why),
            Err(_) => Err(format!("it took longer than {}", format_duration(wait))),
        };
        match saved {
            Ok(said) => records.done(started, Step::Snapshot, said),
            Err(reason) if require => {
                let reason = format!("no snapshot: {reason}");
                let failed = Fail::coded(Step::Snapshot, FailureKind::Node, ErrorCode::BS9025, reason);
                records.failed(&failed);
                return Err(failed);
            }
            Err(reason) => {
                tracing::warn!(stack = %target.stack, reason, "a deployment goes on without a snapshot");
                records.skipped(Step::Snapshot, format!("no snapshot: {reason}"));
            }
        }
        Ok(())
    }

    /// Has the data made ready that comes with the release, and what is there saved. Without it there is no deployment: the
    /// release would run on data that is not its own.
    async fn make_ready(&self, target: &DesiredStack, records: &mut Records) -> Result<(), Failed> {
        let started = records.start();
        match self.backups.before(&target.stack, target.deployment, target.data).await {
            Ok(said) => records.done(started, Step::Snapshot, said),
            Err(Unsaved { why, temporary }) => {
                let kind = if temporary { FailureKind::Unavailable } else { FailureKind::Node };
                let reason = format!("the data that goes back with it is not ready: {why}");
                let failed = Fail::coded(Step::Snapshot, kind, ErrorCode::BS9044, reason);
                records.failed(&failed);
                return Err(failed);
            }
        }
        Ok(())
    }

    /// Has what writes stopped and the data saved once more, before the stack is taken away. Without it nothing is.
    pub(super) async fn save_last(&self, target: &DesiredStack, records: &mut Records) -> Result<(), Failed> {
        let started = records.start();
        match self.backups.before(&target.stack, target.deployment, None).await {
            Ok(said) => records.done(started, Step::Snapshot, format!("stopped; {said}")),
            Err(Unsaved { why, temporary }) => {
                let kind = if temporary { FailureKind::Unavailable } else { FailureKind::Node };
                let reason = format!("it could not be saved before it moves away: {why}");
                let failed = Fail::coded(Step::Snapshot, kind, ErrorCode::BS9055, reason);
                records.failed(&failed);
                return Err(failed);
            }
        }
        Ok(())
    }

    /// Puts the data in place that comes with the release.
    pub(super) async fn exchange(&self, target: &DesiredStack, records: &mut Records) -> Result<(), Failed> {
        let started = records.start();
        let done = self.errand(Errand::PutInPlace(target.deployment), Step::Snapshot).await;
        let said = done.inspect_err(|failed| records.failed(failed))?;
        records.done(started, Step::Snapshot, said);
        Ok(())
    }

    /// What an undo left half-way is put back before anything else is made ready to run on it. It is tried again for a while:
    /// what keeps it from being put back may be away for a moment.
    pub(super) async fn settle(&self, stack: &StackName) -> Result<(), Failed> {
        let settled = self.backups.errand(Errand::Settle(stack.clone())).await;
        settled.map(drop).map_err(|reason| {
            let reason = format!("the data of an earlier undo could not be put back: {reason}");
            tracing::warn!(%stack, reason, "nothing is deployed on it");
            Fail::coded(Step::Validate, FailureKind::Unavailable, ErrorCode::BS9044, reason)
        })
    }

    /// Has something done about a deployment's data, as a step of it.
    pub(super) async fn errand(&self, errand: Errand, step: Step) -> Result<String, Failed> {
        let done = self.backups.errand(errand).await;
        done.map_err(|reason| Fail::coded(step, FailureKind::Node, ErrorCode::BS9044, reason))
    }

    /// Whether there is anything to save. What is declared is always meant to be there.
    fn has_data(&self, stack: &StackName, plan: &DataPlan) -> bool {
        let state = self.layout.state(stack);
        plan.backups.items.iter().any(|item| match &item.what {
            BackupSource::Path { path, volume: None } if item.line == 0 => {
                fs::read_dir(state.join(path)).is_ok_and(|mut entries| entries.next().is_some())
                    || state.join(path).is_file()
            }
            _ => true,
        })
    }
}
