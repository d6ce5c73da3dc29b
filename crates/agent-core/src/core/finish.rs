//! What follows from a task that ended.

use backstay_api::{
    agent::ReportBody,
    statement::{DesiredAction, DesiredStack},
};
use backstay_types::{Container, DeploymentState, FailureKind, Step, StepOutcome, StepRecord};
use std::time::Duration;

use super::{Batch, Core, Cx, safe_mode::Failed};
use crate::{
    action::{Change, Done, Failure, Finished, Task},
    drift::{Seen, same_images},
    journal::{
        Asked, Committed, Ended, Leaving, Phase, Prepared, Ready, Removing, ReturnCause, Returning,
        StackRecord, Staged, Validated,
    },
    safety::{Left, Trouble},
};

/// The longest pause between tries to fetch.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How long images are tried for that a registry does not give: less than content, of which hub and Git are sure.
const IMAGE_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long a stack that moves away stands still for a hub that does not answer.
const LEAVING_PATIENCE: Duration = Duration::from_secs(2 * 60);

impl Core {
    pub(super) fn on_finished(&mut self, finished: Finished, cx: &Cx<'_>, out: &mut Batch) {
        let Some(running) = self.running.take_if(|running| running.id == finished.id) else { return };
        match running.task {
            Task::Prune { stack, keep, .. } => self.pruned(&stack, &keep, finished.result.is_ok(), out),
            Task::Check { .. } => self.checked(finished.result, cx, out),
            Task::Compare { stack, .. } => self.compared(&stack, finished.result, cx, out),
            Task::Mend { stack, found, .. } => self.mended(&stack, &found, finished.result, cx, out),
            Task::Ask { stack, .. } => self.asked(&stack, finished.result, cx, out),
            Task::Heal { stack, runtime, .. } => self.healed(&stack, runtime, finished.result, cx, out),
            // What came of it the next look shows.
            Task::RestartEngine {} => self.look_again(cx),
            Task::Stop { stack, .. } => self.stopped(&stack, finished.result.is_ok(), out),
            Task::Return { stack, .. } if self.journal.operation.is_none() => {
                self.left(&stack, finished.result, cx, out);
            }
            _ => self.step_finished(finished, cx, out),
        }
    }

    /// A task of the operation ended.
    fn step_finished(&mut self, finished: Finished, cx: &Cx<'_>, out: &mut Batch) {
        let Some(operation) = self.journal.operation.clone() else { return };
        let target = operation.target;
        match (operation.phase, finished.result) {
            (Phase::Fetching(_), Ok(Done::Fetched)) => {
                self.report_steps(&target, finished.records, cx, out);
                self.set_phase(Phase::Staged(Staged {}), out);
                out.flush("staged", "its files are here and are what was signed");
            }
            (Phase::Fetching(_), Err(failure)) => {
                self.not_had(&target, failure, finished.records, cx, out);
            }
            (Phase::Staged(_), Ok(Done::Prepared(prepared))) => {
                self.report_steps(&target, finished.records, cx, out);
                let mut record = self.record(&target.stack);
                let validated = Validated { at: self.now(cx), prepared: (*prepared).clone() };
                record.validated.insert(target.tree, validated);
                self.set_record(&target.stack, record, out);
                self.set_phase(Phase::Ready(Ready { prepared: *prepared }), out);
                out.flush("ready", "it is valid and can run");
            }
            (Phase::Staged(_), Err(failure)) => self.not_had(&target, failure, finished.records, cx, out),
            (Phase::Saving(phase), Ok(Done::Saved)) if target.data.is_some() => {
                self.report_steps(&target, finished.records, cx, out);
                self.fetch_failing = None;
                self.set_phase(Phase::Exchanging(phase.exchange()), out);
                out.flush("exchanging", "its data is ready beside its place");
            }
            (Phase::Saving(phase), Ok(Done::Saved)) => {
                self.report_steps(&target, finished.records, cx, out);
                self.activate(&target, phase, out);
            }
            (Phase::Saving(_), Err(failure)) if target.data.is_some() => {
                self.not_had(&target, failure, finished.records, cx, out);
            }
            (Phase::Exchanging(phase), Ok(Done::Exchanged)) => {
                self.report_steps(&target, finished.records, cx, out);
                self.activate(&target, phase.exchanged(), out);
            }
            (Phase::Saving(_), Err(failure)) => self.fail(&target, failure, finished.records, cx, out),
            (Phase::Activating(phase), Ok(Done::Activated(_))) => {
                self.report_steps(&target, finished.records, cx, out);
                self.set_phase(Phase::Probing(phase.activated()), out);
                out.flush("probing", "the runtime took it");
            }
            (Phase::Probing(phase), Ok(Done::Healthy(containers))) => {
                self.report_steps(&target, finished.records, cx, out);
                if let Err(reason) = same_images(&phase.prepared, &containers) {
                    let failure = Failure { step: Step::Probe, kind: FailureKind::Mismatch, reason };
                    self.go_back(&target, phase.prepared, failure, Vec::new(), cx, out);
                } else if phase.prepared.bake.is_zero() {
                    self.commit(&target, phase.prepared, containers, cx, out);
                } else {
                    self.set_phase(Phase::Baking(phase.healthy(containers)), out);
                    out.flush("baking", "it is healthy");
                }
            }
            (Phase::Baking(phase), Ok(Done::Healthy(containers))) => {
                self.report_steps(&target, finished.records, cx, out);
                self.commit(&target, phase.prepared, containers, cx, out);
            }
            (Phase::Exchanging(crate::Exchanging { prepared }), Err(failure))
            | (Phase::Activating(crate::Activating { prepared, .. }), Err(failure))
            | (Phase::Probing(crate::Probing { prepared, .. }), Err(failure))
            | (Phase::Baking(crate::Baking { prepared, .. }), Err(failure)) => {
                self.go_back(&target, prepared, failure, finished.records, cx, out);
            }
            (Phase::Returning(phase), Ok(Done::Returned(containers))) => {
                self.returned(&target, phase, containers, finished.records, cx, out);
            }
            (Phase::Returning(phase), Err(failure)) => {
                self.return_failed(&target, phase, failure, finished.records, cx, out);
            }
            (Phase::Leaving(_), Ok(Done::Saved)) => {
                self.report_steps(&target, finished.records, cx, out);
                self.fetch_failing = None;
                self.set_phase(Phase::Removing(Removing::default()), out);
                out.flush("removing", "its data is saved to the last byte");
            }
            (Phase::Leaving(phase), Err(failure)) => {
                self.not_saved(&target, phase, failure, finished.records, cx, out);
            }
            (Phase::Removing(_), Ok(Done::Removed)) => self.removed(&target, cx, out),
            (Phase::Removing(phase), Err(failure)) => {
                let failures = phase.failures + 1;
                self.set_phase(Phase::Removing(Removing { failures }), out);
                out.flush("removing", &failure.reason);
                self.retry_at = Some(cx.mono.saturating_add(pause(failures)));
            }
            // Nothing else fits together: the task is asked for again by the phase.
            _ => {}
        }
    }

    /// What was to be saved last could not be. Tries again for a while; then what was stopped is started again, and stays.
    fn not_saved(
        &mut self,
        target: &DesiredStack,
        phase: Leaving,
        failure: Failure,
        records: Vec<StepRecord>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let (since, count) = self.fetch_failing.unwrap_or((cx.mono, 0));
        let away = failure.kind == FailureKind::Unavailable;
        let failures = phase.failures + u32::from(!away);
        let patient = cx.mono.saturating_sub(since) < LEAVING_PATIENCE;
        if patient && failures < self.settings.return_tries {
            self.fetch_failing = Some((since, count + 1));
            self.set_phase(Phase::Leaving(Leaving { failures, ..phase }), out);
            out.flush("leaving", &failure.reason);
            self.retry_at = Some(cx.mono.saturating_add(pause(count + 1)));
            return;
        }
        self.fetch_failing = None;
        self.report_steps(target, records, cx, out);
        let why = failure.reason.clone();
        let returning = Returning::new(phase.prepared, ReturnCause::failed(failure));
        self.set_phase(Phase::Returning(returning), out);
        out.flush("returning", &why);
    }

    /// It, or an image of it, could not be had. Tries again for a while, since networks come back.
    fn not_had(
        &mut self,
        target: &DesiredStack,
        failure: Failure,
        records: Vec<StepRecord>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let (since, count) = self.fetch_failing.unwrap_or((cx.mono, 0));
        let patience = match failure.step {
            Step::Validate => self.settings.fetch_patience.min(IMAGE_PATIENCE),
            _ => self.settings.fetch_patience,
        };
        let patient = cx.mono.saturating_sub(since) < patience;
        if failure.kind == FailureKind::Unavailable && patient {
            self.fetch_failing = Some((since, count + 1));
            self.retry_at = Some(cx.mono.saturating_add(pause(count + 1)));
            return;
        }
        self.fetch_failing = None;
        self.fail(target, failure, records, cx, out);
    }

    /// It failed before anything that runs was touched.
    pub(super) fn fail(
        &mut self,
        target: &DesiredStack,
        failure: Failure,
        records: Vec<StepRecord>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        self.report_steps(target, records, cx, out);
        let Failure { step, kind, reason } = failure;
        let state = DeploymentState::Failed { step, failure: kind, reason: reason.clone() };
        self.end_operation(&reason, state, cx, out);
        out.flush("failed", &reason);
        self.to_prune.insert(target.stack.clone());
    }

    /// It failed after it was activated.
    fn go_back(
        &mut self,
        target: &DesiredStack,
        prepared: Prepared,
        failure: Failure,
        records: Vec<StepRecord>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        self.report_steps(target, records, cx, out);
        let why = failure.reason.clone();
        let cause = ReturnCause::failed(failure);
        self.trust_previous(target, out);
        let committed = self.record(&target.stack).committed.map(|c| c.tree);
        if committed == Some(target.tree) && target.data.is_none() {
            // It is what ran before: there is nothing else to go back to.
            let state = cause.broken("it is the release that ran before");
            self.update_failed(target, Failed::Returned, &why, cx, out);
            self.end_operation(&why, state, cx, out);
            out.flush("broken", &why);
            self.seen.remove(&target.stack);
            self.look_again(cx);
            return;
        }
        self.set_phase(Phase::Returning(Returning::new(prepared, cause)), out);
        out.flush("returning", &why);
    }

    /// What was found without a journal and does not prove itself was being tried when that was lost: the link to what ran
    /// before it is the way back.
    fn trust_previous(&mut self, target: &DesiredStack, out: &mut Batch) {
        let mut record = self.record(&target.stack);
        let found = |c: &Committed| c.tree == target.tree && c.prepared.is_none();
        if record.committed.as_ref().is_some_and(found) && record.previous.is_some() {
            record.committed = record.previous.take();
            self.set_record(&target.stack, record, out);
        }
    }

    fn commit(
        &mut self,
        target: &DesiredStack,
        prepared: Prepared,
        containers: Vec<Container>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let now = self.now(cx);
        let record = self.record(&target.stack);
        let again = record.committed.as_ref().is_some_and(|c| c.tree == target.tree);
        let previous = if again { record.previous } else { record.committed };
        let committed = Committed {
            tree: target.tree,
            target: Some(target.clone()),
            deployment: Some(target.deployment),
            prepared: Some(prepared),
            containers: containers.clone(),
            at: now,
        };
        let trouble = if again {
            // Nothing new has proved itself; what failed is still what it was.
            Trouble { stopped: false, unhealed: 0, astray: false, left: None, ..record.trouble.clone() }
        } else {
            Trouble::default()
        };
        // What departed from the release before says nothing of this one.
        let departures = crate::recurrence::Departures::default();
        let mut record =
            StackRecord { committed: Some(committed), previous, ended: None, trouble, departures, ..record };
        let epoch = self.journal.operation.as_ref().map_or(0, |operation| operation.epoch);
        record.made(Asked { epoch, deployment: target.deployment });
        self.set_record(&target.stack, record, out);
        if !again {
            self.trouble_over(&target.stack, "another release proved itself", cx, out);
        }
        self.journal.operation = None;
        out.change(Change::Operation(None));
        let step = StepRecord {
            step: Step::Commit,
            started_at: now,
            millis: 0,
            outcome: StepOutcome::Done,
            detail: "it is the new normal".to_owned(),
        };
        self.report_steps(target, vec![step], cx, out);
        let (deployment, state) = (target.deployment, DeploymentState::Succeeded);
        self.report(
            ReportBody::DeploymentFinished { deployment, state, containers: containers.clone() },
            cx,
            out,
        );
        out.flush("committed", "it proved itself");
        self.saw(target, containers);
        self.to_prune.insert(target.stack.clone());
    }

    fn returned(
        &mut self,
        target: &DesiredStack,
        phase: Returning,
        containers: Vec<Container>,
        records: Vec<StepRecord>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let mut record = self.record(&target.stack);
        let expected = self.committed_prepared(target);
        if let Some(Err(reason)) = expected.map(|prepared| same_images(&prepared, &containers)) {
            let failure = Failure { step: Step::Return, kind: FailureKind::Mismatch, reason };
            return self.return_failed(target, phase, failure, records, cx, out);
        }
        self.report_steps(target, records, cx, out);
        let note = match &mut record.committed {
            Some(committed) => {
                committed.containers.clone_from(&containers);
                ""
            }
            None => "; nothing ran before it, so the stack was stopped",
        };
        (record.trouble.astray, record.trouble.left) = (false, None);
        self.set_record(&target.stack, record, out);
        let why = phase.cause.reason();
        if matches!(phase.cause, ReturnCause::Failed { .. }) && target.action == DesiredAction::Run {
            self.update_failed(target, Failed::Returned, &why, cx, out);
        }
        self.end_operation(&why, phase.cause.returned(note), cx, out);
        out.flush("returned", &why);
        self.saw(target, containers);
        self.to_prune.insert(target.stack.clone());
    }

    fn return_failed(
        &mut self,
        target: &DesiredStack,
        phase: Returning,
        failure: Failure,
        records: Vec<StepRecord>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let phase = phase.failed();
        let failures = phase.failures;
        if failures < self.settings.return_tries {
            self.set_phase(Phase::Returning(phase), out);
            out.flush("returning", &failure.reason);
            self.retry_at = Some(cx.mono.saturating_add(pause(failures)));
            return;
        }
        self.report_steps(target, records, cx, out);
        let why = phase.cause.reason();
        let mut record = self.record(&target.stack);
        if record.committed.is_none() {
            let left = Left { tree: target.tree, prepared: phase.prepared.clone() };
            record.trouble.left = Some(Box::new(left));
            self.set_record(&target.stack, record, out);
        }
        self.update_failed(target, Failed::Broken, &why, cx, out);
        self.end_operation(&why, phase.cause.broken(&failure.reason), cx, out);
        out.flush("broken", &failure.reason);
        // Once it can be told what runs, the next look tries to put it right.
        self.seen.remove(&target.stack);
        self.look_again(cx);
    }

    fn removed(&mut self, target: &DesiredStack, cx: &Cx<'_>, out: &mut Batch) {
        let Some(operation) = self.journal.operation.take() else { return };
        let ended = Ended {
            deployment: target.deployment,
            epoch: operation.epoch,
            generation: operation.generation,
            reason: "removed".to_owned(),
        };
        let asked = Asked { epoch: operation.epoch, deployment: target.deployment };
        let record = StackRecord { ended: Some(ended), newest: Some(asked), ..StackRecord::default() };
        self.set_record(&target.stack, record, out);
        self.trouble_over(&target.stack, "it was removed", cx, out);
        out.change(Change::Operation(None));
        let (stack, deployment) = (target.stack.clone(), target.deployment);
        let state = DeploymentState::Succeeded;
        self.report(ReportBody::DeploymentFinished { deployment, state, containers: Vec::new() }, cx, out);
        self.report(ReportBody::StackRemoved { stack, deployment }, cx, out);
        out.flush("removed", "its containers are gone");
        self.set_links(target, true, out);
        self.seen.remove(&target.stack);
        self.to_prune.insert(target.stack.clone());
    }

    fn report_steps(
        &mut self,
        target: &DesiredStack,
        records: Vec<StepRecord>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let deployment = target.deployment;
        for record in records {
            self.report(ReportBody::StepFinished { deployment, record }, cx, out);
        }
    }

    /// What an operation's end has just shown counts as a look.
    fn saw(&mut self, target: &DesiredStack, containers: Vec<Container>) {
        let stack = target.stack.clone();
        let links = self.journal.links(&stack);
        let seen = Seen {
            stack: stack.clone(),
            links,
            containers: Ok(containers),
            release: true,
            previous: true,
            figures: Default::default(),
        };
        self.seen.insert(stack, seen);
    }
}

/// 1 s, doubling.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}
