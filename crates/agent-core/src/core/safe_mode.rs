//! Failed updates, and what they lead to: pauses, then safe mode, until something good happens.

use std::collections::{BTreeMap, BTreeSet};

use backstay_api::{
    agent::ReportBody,
    statement::{DesiredAction, DesiredStack},
};
use backstay_types::{
    FailingStack, FailureKind, LeaveSafeMode, NodeSafety, RolloutKind, SafeMode, SshState, StackName,
    WaitingUpdate,
};

use super::{Batch, Core, Cx};
use crate::{
    action::Change,
    journal::Asked,
    safety::{InSafeMode, Trouble},
};

/// So often what should run may fail to, in safe mode, before it is stopped.
const TRIES: u32 = 3;

/// How an update failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// What ran before runs again.
    Returned,
    /// The way back failed too.
    Broken,
}

/// What brings a stack into safe mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Updates that failed.
    Updates,
    /// What departs over and over and makes it unwell.
    Drift,
}

impl Core {
    /// An update that had been activated did not stay. Part of the transaction that ends it.
    pub(super) fn update_failed(
        &mut self,
        target: &DesiredStack,
        how: Failed,
        why: &str,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let stack = &target.stack;
        let mut record = self.record(stack);
        record.trouble.failed(target.tree);
        record.trouble.astray |= how == Failed::Broken;
        let failures = record.trouble.failures;
        self.paused
            .insert(stack.clone(), cx.mono.saturating_add(record.trouble.pause(self.settings.failure_pause)));
        self.set_record(stack, record, out);
        let reason = match how {
            Failed::Broken => format!("an update failed ({why}), and so did the way back"),
            Failed::Returned if failures >= self.settings.failures => {
                format!("{failures} updates in a row failed; the last: {why}")
            }
            Failed::Returned => return,
        };
        self.enter_safe_mode(stack, reason, By::Updates, cx, out);
    }

    pub(super) fn enter_safe_mode(
        &mut self,
        stack: &StackName,
        reason: String,
        by: By,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let now = self.now(cx);
        let mode = self.journal.safety.safe_mode.get_or_insert_with(|| InSafeMode {
            id: cx.world.mint(),
            since: now,
            stacks: BTreeMap::new(),
            drifted: BTreeSet::new(),
        });
        match by {
            By::Updates => mode.drifted.remove(stack),
            By::Drift => mode.drifted.insert(stack.clone()),
        };
        let (safe_mode, known) = (mode.id, mode.stacks.insert(stack.clone(), reason.clone()).is_some());
        self.persist_safety(out);
        if !known {
            let stack = stack.clone();
            self.report(ReportBody::SafeModeEntered { safe_mode, stack, reason }, cx, out);
        }
    }

    /// A release proved itself, or the stack is gone: whatever was wrong with the stack is over. Part of the
    /// transaction that says so.
    pub(super) fn trouble_over(&mut self, stack: &StackName, why: &str, cx: &Cx<'_>, out: &mut Batch) {
        self.paused.remove(stack);
        let Some(mode) = &mut self.journal.safety.safe_mode else { return };
        mode.drifted.remove(stack);
        if mode.stacks.remove(stack).is_none() {
            return;
        }
        let safe_mode = mode.id;
        if mode.stacks.is_empty() {
            self.journal.safety.safe_mode = None;
            let reason = format!("{stack}: {why}");
            self.report(ReportBody::SafeModeLeft { safe_mode, reason }, cx, out);
        }
        self.persist_safety(out);
    }

    /// An operator's word, when it means this very time in safe mode.
    pub(super) fn leave_by_word(&mut self, word: &LeaveSafeMode, cx: &Cx<'_>, out: &mut Batch) {
        let Some(mode) = self.journal.safety.safe_mode.take_if(|mode| mode.id == word.safe_mode) else {
            return;
        };
        for stack in mode.stacks.keys() {
            let mut record = self.record(stack);
            // A word changes nothing about what runs.
            let Trouble { astray, left, .. } = record.trouble;
            record.trouble = Trouble { astray, left, ..Trouble::default() };
            // Somebody has looked at it: what was given up is put right anew.
            record.departures.take_up_again();
            self.set_record(stack, record, out);
            self.paused.remove(stack);
        }
        self.persist_safety(out);
        let reason = format!("{} said so: {}", word.by, word.reason);
        self.report(ReportBody::SafeModeLeft { safe_mode: mode.id, reason }, cx, out);
        out.name("left");
        // What was stopped is started again by the next look.
        self.check_at = cx.mono;
    }

    /// Why an update may not be begun now; nothing when it may. The way back always may.
    pub(super) fn waits(&self, desired: &DesiredStack, cx: &Cx<'_>) -> Option<String> {
        if desired.kind == RolloutKind::Rollback || desired.action == DesiredAction::Remove {
            return None;
        }
        let record = self.journal.stacks.get(&desired.stack);
        if let Some(mode) = &self.journal.safety.safe_mode {
            if !mode.stacks.contains_key(&desired.stack) {
                return Some("the node is in safe mode".to_owned());
            }
            if record.is_some_and(|record| record.trouble.trees.contains(&desired.tree)) {
                return Some("the node is in safe mode, and this release failed here".to_owned());
            }
        }
        let pause = self.paused.get(&desired.stack).is_some_and(|until| *until > cx.mono);
        pause.then(|| {
            let failures = record.map_or(0, |record| record.trouble.failures);
            let pause = record.map(|r| r.trouble.pause(self.settings.failure_pause)).unwrap_or_default();
            let times = if failures == 1 {
                "the last update".to_owned()
            } else {
                format!("the last {failures} updates")
            };
            format!("{times} failed here; the next is tried at most {} s later", pause.as_secs())
        })
    }

    /// Why an attempt is not made, when a newer one has come to its end here.
    fn is_past(&self, desired: &DesiredStack) -> Option<String> {
        let epoch = self.journal.held.as_ref()?.epoch;
        let record = self.journal.stacks.get(&desired.stack)?;
        let past = record.is_past(Asked { epoch, deployment: desired.deployment });
        past.then(|| "the hub asks for an earlier deployment than the last that ended here".to_owned())
    }

    /// What should run could not be made to. In safe mode that is tried a few times, then the stack is stopped.
    pub(super) fn unhealed(&mut self, stack: &StackName, kind: Option<FailureKind>, out: &mut Batch) {
        // What came here by drift is never stopped: part of it may serve still.
        let mode = self.journal.safety.safe_mode.as_ref();
        let failing = mode.is_some_and(|m| m.stacks.contains_key(stack) && !m.drifted.contains(stack));
        // What is wrong with the machine is not the release's fault; it may pass.
        if !failing || kind.is_some_and(FailureKind::is_of_node) {
            return;
        }
        let mut record = self.record(stack);
        record.trouble.unhealed = record.trouble.unhealed.saturating_add(1);
        if record.trouble.unhealed >= TRIES {
            self.to_stop.insert(stack.clone());
        }
        self.set_record(stack, record, out);
        out.flush("unhealed", "what should run could not be made to");
    }

    /// It was stopped.
    pub(super) fn stopped(&mut self, stack: &StackName, done: bool, out: &mut Batch) {
        let mut record = self.record(stack);
        if !done {
            // Tried again when it has failed once more.
            return;
        }
        record.trouble.stopped = true;
        self.set_record(stack, record, out);
        out.flush("stopped", "not even its last good release runs");
        self.seen.remove(stack);
    }

    pub(super) fn persist_safety(&self, out: &mut Batch) {
        out.change(Change::Safety(Box::new(self.journal.safety.clone())));
    }

    /// What check-ins tell of it. What only the machine knows is left open.
    pub fn safety(&self, cx: &Cx<'_>) -> NodeSafety {
        let stopped = |stack| self.journal.stacks.get(stack).is_some_and(|record| record.trouble.stopped);
        let safe_mode = self.journal.safety.safe_mode.as_ref().map(|mode| SafeMode {
            id: mode.id,
            since: mode.since,
            stacks: mode
                .stacks
                .iter()
                .map(|(stack, reason)| FailingStack {
                    stack: stack.clone(),
                    reason: reason.clone(),
                    stopped: stopped(stack),
                })
                .collect(),
            minimal_stack: false,
        });
        let held = self.journal.held.iter().flat_map(|held| &held.stacks);
        let open = held.filter(|desired| {
            let record = self.journal.stacks.get(&desired.stack);
            record.is_none_or(|record| {
                !record.is_settled(desired.deployment)
                    && record.committed.as_ref().is_none_or(|c| c.tree != desired.tree)
            })
        });
        let waiting = open.filter_map(|desired| {
            let reason = self.is_past(desired).or_else(|| self.waits(desired, cx))?;
            Some(WaitingUpdate { stack: desired.stack.clone(), reason })
        });
        NodeSafety { waiting: waiting.collect(), safe_mode, ssh: SshState::Unknown }
    }
}
