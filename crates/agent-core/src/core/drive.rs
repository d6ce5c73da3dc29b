//! What to do next: the operation under way, then what is asked for, then upkeep.

use backstay_api::{
    agent::ReportBody,
    statement::{DesiredAction, DesiredStack},
};
use backstay_types::{DeploymentState, FailureKind, StackName, Step, StepOutcome, StepRecord};

use super::{Batch, Core, Cx, Running};
use crate::{
    action::{Act, Change, Task, TaskId},
    drift::deviations,
    journal::{Asked, Committed, Ended, Fetching, Leaving, Operation, Phase, Prepared, Removing, Saving},
    queue::{self, Call},
    retention::releases_to_keep,
};

impl Core {
    pub(super) fn drive(&mut self, cx: &Cx<'_>, out: &mut Batch) {
        self.paused.retain(|_, until| *until > cx.mono);
        self.grant();
        while self.running.is_none() {
            let moved = if self.journal.operation.is_some() {
                self.drive_operation(cx, out)
            } else {
                self.take_next(cx, out) || self.upkeep(cx, out)
            };
            self.grant();
            if !moved {
                break;
            }
        }
    }

    pub(super) fn run(&mut self, task: Task, why: impl Into<String>, out: &mut Batch) -> bool {
        self.last_task += 1;
        let id = TaskId(self.last_task);
        out.act(Act::Run { id, task: Box::new(task.clone()) }, why);
        self.running = Some(Running { id, task });
        true
    }

    /// Starts the task that the operation's phase calls for. False when it has to wait.
    fn drive_operation(&mut self, cx: &Cx<'_>, out: &mut Batch) -> bool {
        let Some(operation) = self.journal.operation.clone() else { return false };
        if self.retry_at.is_some_and(|at| at > cx.mono) {
            return false;
        }
        self.retry_at = None;
        if !operation.phase.is_activated() && self.is_expired(self.now(cx)) {
            // Changes nothing until the hub has renewed it. What was activated goes on or goes back.
            return false;
        }
        let Operation { target, phase, .. } = operation;
        match phase {
            Phase::Fetching(_) => self.run(Task::Fetch { target }, "its files are needed", out),
            Phase::Staged(_) => {
                let task = self.prepare_task(target);
                self.run(task, "its files are here", out)
            }
            Phase::Ready(ready) if self.has_data_before(&target) => {
                self.set_phase(Phase::Saving(Saving { prepared: ready.prepared }), out);
                out.flush("saving", "what runs may have data that the release changes");
                true
            }
            Phase::Saving(_) => {
                let running = self.record(&target.stack).committed.map(Box::new);
                let why = match running {
                    Some(_) => "it takes the place of what runs",
                    None => "its data is to be here before it starts",
                };
                self.run(Task::Snapshot { target, running }, why, out)
            }
            Phase::Exchanging(_) => self.run(Task::Exchange { target }, "its data is ready", out),
            Phase::Ready(ready) => {
                self.activate(&target, Saving { prepared: ready.prepared }, out);
                true
            }
            Phase::Activating(activating) => {
                self.set_links(&target, false, out);
                let why = format!("attempt {}", activating.attempt);
                let from = self.record(&target.stack).committed.map(|committed| committed.tree);
                self.run(Task::Activate { target, prepared: activating.prepared, from }, why, out)
            }
            Phase::Probing(probing) => {
                self.run(Task::Probe { target, prepared: probing.prepared }, "it was started", out)
            }
            Phase::Baking(baking) => {
                self.run(Task::Bake { target, prepared: baking.prepared }, "it is healthy", out)
            }
            Phase::Returning(returning) => {
                self.set_links(&target, true, out);
                let to = self.record(&target.stack).committed.map(Box::new);
                let why = returning.cause.reason();
                let (failed, failed_tree) = (returning.prepared, target.tree);
                let data = target.data.map(|_| target.deployment);
                self.run(Task::Return { stack: target.stack, failed, failed_tree, to, data }, why, out)
            }
            Phase::Leaving(_) => match self.record(&target.stack).committed.map(Box::new) {
                Some(running) => self.run(Task::SaveLast { target, running }, "it moves away from here", out),
                None => {
                    self.set_phase(Phase::Removing(Removing::default()), out);
                    out.flush("removing", "there is nothing to save");
                    true
                }
            },
            Phase::Removing(_) => {
                let record = self.record(&target.stack);
                let left = record.trouble.left.map(|left| left.as_running(self.now(cx)));
                let running = record.committed.or(left).map(Box::new);
                self.run(Task::Remove { stack: target.stack, running }, "the hub asked for it", out)
            }
        }
    }

    /// Writes down the intent to switch.
    pub(super) fn activate(&mut self, target: &DesiredStack, saved: Saving, out: &mut Batch) {
        let mut record = self.record(&target.stack);
        record.project.get_or_insert_with(|| saved.prepared.project.clone());
        self.set_record(&target.stack, record, out);
        self.set_phase(Phase::Activating(saved.activate(self.boot.clone())), out);
        out.flush("activating", "it is ready");
    }

    /// Whether something else runs, whose data is to be kept as it was; or data is to come.
    fn has_data_before(&self, target: &DesiredStack) -> bool {
        let committed = self.journal.stacks.get(&target.stack).and_then(|record| record.committed.as_ref());
        match target.data {
            // It comes with data of its own, even where the release itself runs already, or nothing does.
            Some(_) => true,
            None => self.settings.snapshots && committed.is_some_and(|c| c.tree != target.tree),
        }
    }

    fn prepare_task(&self, target: DesiredStack) -> Task {
        let record = self.record(&target.stack);
        Task::Prepare {
            known: record.validated.get(&target.tree).map(|v| v.prepared.clone()),
            from: record.committed.as_ref().map(|committed| committed.tree),
            running: record.committed.and_then(|c| c.prepared),
            project: record.project,
            target,
        }
    }

    pub(super) fn set_links(&self, target: &DesiredStack, back: bool, out: &mut Batch) {
        let links = self.journal.links(&target.stack);
        let why = if back { "going back" } else { "switching" };
        out.act(Act::SetLinks { stack: target.stack.clone(), links, back }, why);
    }

    /// Takes up the next thing that the held statement asks for. False when there is nothing, or when
    /// it may not be begun now.
    fn take_next(&mut self, cx: &Cx<'_>, out: &mut Batch) -> bool {
        if self.is_expired(self.now(cx)) {
            return false;
        }
        let waits = |desired: &DesiredStack| self.waits(desired, cx).is_some();
        let held = |desired: &DesiredStack| self.is_held(&desired.stack);
        let Some((desired, call)) = queue::next(&self.journal, self.settings.manifest_schema, waits, held)
        else {
            return false;
        };
        let desired = desired.clone();
        match call {
            Call::Same => self.same(desired, cx, out),
            Call::TooNew => self.too_new(&desired, cx, out),
            Call::Gone => self.gone(&desired, cx, out),
            Call::Remove | Call::Deploy => {
                self.begin(desired, cx, out);
                true
            }
        }
    }

    fn begin(&mut self, target: DesiredStack, cx: &Cx<'_>, out: &mut Batch) {
        let (epoch, generation) = self.held_at();
        let phase = match target.action {
            DesiredAction::Run => Phase::Fetching(Fetching {}),
            DesiredAction::Remove => match self.record(&target.stack).committed.and_then(|c| c.prepared) {
                Some(prepared) if target.save => Phase::Leaving(Leaving { prepared, failures: 0 }),
                _ => Phase::Removing(Removing::default()),
            },
        };
        self.report_started(&target, cx, out);
        let operation = Operation { target, epoch, generation, started_at: self.now(cx), phase };
        out.change(Change::Operation(Some(Box::new(operation.clone()))));
        self.journal.operation = Some(operation);
        self.fetch_failing = None;
        out.flush("operation", "the held statement asks for it");
    }

    /// The tree runs already. When it was seen to run well that is all; otherwise it is deployed again.
    fn same(&mut self, desired: DesiredStack, cx: &Cx<'_>, out: &mut Batch) -> bool {
        let record = self.record(&desired.stack);
        let links = self.journal.links(&desired.stack);
        let Some(seen) = self.seen.get(&desired.stack).filter(|seen| seen.containers.is_ok()) else {
            // Not known yet is not the same as not running.
            if self.check_at > cx.mono && !self.seen.contains_key(&desired.stack) {
                self.check_at = cx.mono;
            }
            return false;
        };
        // What was found without a journal may be what was just being tried when that was lost: it has yet to prove itself.
        let found = record.committed.as_ref().is_some_and(|committed| committed.prepared.is_none());
        if found || !deviations(&record, links, seen).is_empty() {
            self.begin(desired, cx, out);
            return true;
        }
        let containers = seen.containers.clone().unwrap_or_default();
        let deployment = desired.deployment;
        self.report_started(&desired, cx, out);
        let skipped = StepRecord {
            step: Step::Commit,
            started_at: self.now(cx),
            millis: 0,
            outcome: StepOutcome::Skipped,
            detail: "this tree already ran".to_owned(),
        };
        self.report(ReportBody::StepFinished { deployment, record: skipped }, cx, out);
        let state = DeploymentState::Succeeded;
        self.report(
            ReportBody::DeploymentFinished { deployment, state, containers: containers.clone() },
            cx,
            out,
        );
        let committed = record.committed.map(|committed| Committed {
            deployment: Some(deployment),
            target: Some(desired.clone()),
            containers,
            ..committed
        });
        let (epoch, _) = self.held_at();
        let mut record = crate::StackRecord { committed, ..record };
        record.made(Asked { epoch, deployment });
        self.set_record(&desired.stack, record, out);
        out.flush("same", "the tree that is asked for already runs");
        true
    }

    fn too_new(&mut self, desired: &DesiredStack, cx: &Cx<'_>, out: &mut Batch) -> bool {
        let reason = format!(
            "stack {} needs manifest schema {}; this agent knows {}: update the agent",
            desired.stack, desired.manifest_schema, self.settings.manifest_schema
        );
        let state = DeploymentState::Failed {
            step: Step::Validate,
            failure: FailureKind::Invalid,
            reason: reason.clone(),
        };
        self.report_started(desired, cx, out);
        self.settle(desired, &reason, out);
        let deployment = desired.deployment;
        self.report(ReportBody::DeploymentFinished { deployment, state, containers: Vec::new() }, cx, out);
        out.flush("refused", &reason);
        true
    }

    fn gone(&mut self, desired: &DesiredStack, cx: &Cx<'_>, out: &mut Batch) -> bool {
        self.settle(desired, "it was not here", out);
        let (stack, deployment) = (desired.stack.clone(), desired.deployment);
        self.report(ReportBody::StackRemoved { stack, deployment }, cx, out);
        out.flush("removed", "there is nothing to remove");
        true
    }

    fn settle(&mut self, desired: &DesiredStack, reason: &str, out: &mut Batch) {
        let (epoch, generation) = self.held_at();
        let mut record = self.record(&desired.stack);
        let (deployment, reason) = (desired.deployment, reason.to_owned());
        record.ended = Some(Ended { deployment, epoch, generation, reason });
        self.set_record(&desired.stack, record, out);
    }

    fn held_at(&self) -> (u64, u64) {
        self.journal.held.as_ref().map_or((0, 0), |held| (held.epoch, held.generation))
    }

    fn report_started(&mut self, target: &DesiredStack, cx: &Cx<'_>, out: &mut Batch) {
        let previous = self.record(&target.stack).committed.map(|c| c.tree);
        let deployment = target.deployment;
        self.report(ReportBody::DeploymentStarted { deployment, previous }, cx, out);
    }

    /// What is done when nothing is asked for.
    fn upkeep(&mut self, cx: &Cx<'_>, out: &mut Batch) -> bool {
        if self.holds_all() {
            return false;
        }
        if let Some(stack) = self.to_prune.pop_first() {
            let record = self.record(&stack);
            let keep = releases_to_keep(&record, None, self.settings.keep);
            let task = Task::Prune { stack, keep, project: record.project };
            return self.run(task, "releases that nobody needs take space", out);
        }
        if self.engine_is_due() {
            return self.run(Task::RestartEngine {}, "the container engine does not answer", out);
        }
        if let Some(stack) = self.unheld(&self.to_stop) {
            self.to_stop.remove(&stack);
            self.to_heal.retain(|(other, _)| *other != stack);
            let running = self.record(&stack).committed.map(Box::new);
            return self.run(Task::Stop { stack, running }, "not even its last good release runs", out);
        }
        if let Some(stack) = self.unheld(&self.to_leave) {
            self.to_leave.remove(&stack);
            if let Some(left) = self.record(&stack).trouble.left {
                let (failed, failed_tree) = (left.prepared, left.tree);
                let task = Task::Return { stack, failed, failed_tree, to: None, data: None };
                return self.run(task, "it failed, and could not be stopped", out);
            }
            return true;
        }
        // Of a stack that is held nothing that was seen before needs to hold after it.
        let hold = self.hold.clone();
        let held = |stack: &StackName| hold.as_ref().is_some_and(|held| held.is_about(stack));
        self.to_heal.retain(|(stack, _)| !held(stack));
        if let Some((stack, found)) = self.to_heal.pop_front() {
            return self.heal(stack, &found, out);
        }
        if self.hold.is_none()
            && let Some((stack, found)) = self.deep.to_mend.pop_front()
        {
            return self.mend(stack, found, out);
        }
        if let Some(stack) = self.unheld(&self.to_ask) {
            self.to_ask.remove(&stack);
            return self.ask(stack, out);
        }
        if self.check_at <= cx.mono {
            self.check_at = cx.mono.saturating_add(self.settings.check_every);
            let left = self.journal.stacks.iter().filter(|(_, record)| record.trouble.left.is_some());
            self.to_leave = left.map(|(stack, _)| stack.clone()).collect();
            let stacks = self.journal.stacks.iter();
            let stacks = stacks
                .filter(|(stack, record)| record.committed.is_some() && !held(stack))
                .map(|(stack, record)| (stack.clone(), Box::new(record.clone())))
                .collect();
            return self.run(Task::Check { stacks }, "it is time to look", out);
        }
        self.hold.is_none() && self.look_deeply(cx, out)
    }

    /// What runs now, as it was made ready.
    pub(super) fn committed_prepared(&self, target: &DesiredStack) -> Option<Prepared> {
        self.record(&target.stack).committed.and_then(|c| c.prepared)
    }
}
