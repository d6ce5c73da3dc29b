//! Saving the data of what runs, before another release takes its place.

use std::fs;

use backstay_agent_core::Committed;
use backstay_api::statement::DesiredStack;
use backstay_manifest::{BackupSource, format_duration};
use backstay_types::{ErrorCode, FailureKind, StackName, Step};
use tokio::time::timeout;

use super::Machine;
use crate::{
    backup::DataPlan,
    step::{Fail, Failed, Records},
};

impl Machine {
    /// Has it saved, or says why it is not. Only a stack that requires a snapshot fails for want of one.
    pub(super) async fn snapshot(
        &self,
        target: &DesiredStack,
        running: &Committed,
        records: &mut Records,
    ) -> Result<(), Failed> {
        let started = records.start();
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
        let saved = timeout(wait, self.backups.before(&target.stack, target.deployment)).await;
        let saved = saved.unwrap_or_else(|_| Err(format!("it took longer than {}", format_duration(wait))));
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
