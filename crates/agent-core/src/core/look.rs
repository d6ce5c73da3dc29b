//! What follows from looking at what runs.

use backstay_api::agent::ReportBody;
use backstay_types::{StackName, TreeDigest};
use std::time::Duration;

use super::{Batch, Core, Cx};
use crate::{
    action::{Act, Done, Failure, Task},
    drift::{Deviation, Seen, deviations},
};

/// How soon to look again when it could not be told what runs.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// So many looks at most before an engine that does not answer is started again once more.
const LONGEST_SILENCE: u32 = 240;

/// What a deviation is about. Each is put right and told of by itself: a way back that stays closed must not hide
/// that the stack itself runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concern {
    /// What runs.
    Running,
    /// The way back.
    WayBack,
    /// That it cannot be told.
    Unknown,
}

impl Concern {
    fn of(deviation: &Deviation) -> Self {
        match deviation {
            Deviation::Links | Deviation::Release | Deviation::Runtime(_) => Self::Running,
            Deviation::Previous => Self::WayBack,
            Deviation::Unknown(_) => Self::Unknown,
        }
    }
}

impl Core {
    pub(super) fn checked(&mut self, result: Result<Done, Failure>, cx: &Cx<'_>, out: &mut Batch) {
        let Ok(Done::Checked(all)) = result else {
            self.look_again(cx);
            return;
        };
        self.to_heal.clear();
        self.to_ask.clear();
        self.engine_answers(&all);
        for seen in all {
            let stack = seen.stack.clone();
            let record = self.record(&stack);
            let known = seen.containers.is_ok();
            let mut found = deviations(&record, self.journal.links(&stack), &seen);
            if record.trouble.stopped {
                found.retain(|deviation| !matches!(deviation, Deviation::Runtime(_)));
            }
            self.seen.insert(stack.clone(), seen);
            for concern in [Concern::Unknown, Concern::Running, Concern::WayBack] {
                let mine = about(&found, concern);
                if mine.is_empty() {
                    self.told.remove(&(stack.clone(), concern));
                    self.is_right_again(&stack, concern, cx, out);
                } else if concern == Concern::Unknown {
                    self.look_again(cx);
                    self.tell(&stack, concern, &describe(&mine), false, cx, out);
                } else if !self.is_given_up(&stack, concern, &describe(&mine), cx, out) {
                    self.to_heal.push_back((stack.clone(), mine));
                }
            }
            if known && self.stands_still(&stack, &record) {
                self.to_ask.insert(stack);
            }
        }
    }

    /// Counts how often the container engine did not answer; each restart of it is waited for twice as long.
    fn engine_answers(&mut self, all: &[Seen]) {
        let silent = all.iter().any(|seen| {
            let committed = self.journal.stacks.get(&seen.stack).and_then(|record| record.committed.as_ref());
            let prepared = committed.and_then(|committed| committed.prepared.as_ref());
            seen.containers.is_err() && prepared.is_some_and(|prepared| prepared.runtime == "compose")
        });
        if !silent {
            (self.engine_silent, self.restart_engine_at) = (0, self.settings.restart_engine.unwrap_or(0));
            return;
        }
        self.engine_silent = self.engine_silent.saturating_add(1);
        if self.restart_engine_at == 0 {
            self.restart_engine_at = self.settings.restart_engine.unwrap_or(0);
        }
    }

    /// Whether the container engine is to be started again now.
    pub(super) fn engine_is_due(&mut self) -> bool {
        let due =
            self.settings.restart_engine.is_some() && self.engine_silent >= self.restart_engine_at.max(1);
        if due {
            self.engine_silent = 0;
            self.restart_engine_at = self.restart_engine_at.saturating_mul(2).min(LONGEST_SILENCE);
        }
        due
    }

    pub(super) fn look_again(&mut self, cx: &Cx<'_>) {
        self.check_at = self.check_at.min(cx.mono.saturating_add(LOOK_AGAIN));
    }

    /// Puts right what departed. Links at once, the rest by a task.
    pub(super) fn heal(&mut self, stack: StackName, found: &[Deviation], out: &mut Batch) -> bool {
        let why = describe(found);
        if found.contains(&Deviation::Links) {
            let links = self.journal.links(&stack);
            out.act(Act::SetLinks { stack: stack.clone(), links, back: false }, why.clone());
        }
        let record = Box::new(self.record(&stack));
        let runtime = found.iter().any(|d| matches!(d, Deviation::Runtime(_)));
        let release = found.contains(&Deviation::Release);
        let previous = found.contains(&Deviation::Previous);
        let concern = found.first().map_or(Concern::Running, Concern::of);
        self.healing = Some((concern, why.clone()));
        self.run(Task::Heal { stack, record, runtime, release, previous }, why, out)
    }

    pub(super) fn healed(
        &mut self,
        stack: &StackName,
        runtime: bool,
        result: Result<Done, Failure>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let Some((concern, was)) = self.healing.take() else { return };
        self.counts_as_healed(stack, concern, &was, result.is_ok(), cx, out);
        let kind = result.as_ref().err().map(|failure| failure.kind);
        let why = match result {
            Ok(Done::Healed(seen)) => {
                if runtime {
                    self.found_back(stack, out);
                }
                let found = deviations(&self.record(stack), self.journal.links(stack), &seen);
                self.seen.insert(stack.clone(), *seen);
                let left = about(&found, concern);
                if left.is_empty() {
                    self.healed_again(stack, concern, out);
                    self.tell(stack, concern, &was, true, cx, out);
                    self.told.remove(&(stack.clone(), concern));
                    return;
                }
                describe(&left)
            }
            Ok(_) => return,
            Err(failure) => failure.reason,
        };
        if concern == Concern::Running {
            self.unhealed(stack, kind, out);
        }
        let told = self.told.get(&(stack.clone(), concern));
        // The same failure may be worded differently each time: it goes by what was found.
        if told != Some(&was) {
            self.tell(stack, concern, &format!("{was}; putting it right failed: {why}"), false, cx, out);
            self.told.insert((stack.clone(), concern), was);
        }
    }

    /// What failed when nothing had run before it was stopped, or was not.
    pub(super) fn left(
        &mut self,
        stack: &StackName,
        result: Result<Done, Failure>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let was = "a release that failed could not be stopped; nothing ran before it";
        let Err(failure) = result else {
            let mut record = self.record(stack);
            (record.trouble.astray, record.trouble.left) = (false, None);
            self.set_record(stack, record, out);
            self.tell(stack, Concern::Running, was, true, cx, out);
            self.told.remove(&(stack.clone(), Concern::Running));
            return;
        };
        self.look_again(cx);
        let key = (stack.clone(), Concern::Running);
        if self.told.get(&key).is_none_or(|told| told != was) {
            self.tell(stack, Concern::Running, &format!("{was}: {}", failure.reason), false, cx, out);
            self.told.insert(key, was.to_owned());
        }
    }

    /// What should run was started: what a way back left is over.
    fn found_back(&mut self, stack: &StackName, out: &mut Batch) {
        let mut record = self.record(stack);
        if record.trouble.astray {
            record.trouble.astray = false;
            self.set_record(stack, record, out);
            out.flush("restored", "what should run was started");
        }
    }

    /// It was put right: what failed before counts no longer.
    fn healed_again(&mut self, stack: &StackName, concern: Concern, out: &mut Batch) {
        let mut record = self.record(stack);
        if concern == Concern::Running && record.trouble.unhealed > 0 {
            record.trouble.unhealed = 0;
            self.set_record(stack, record, out);
        }
    }

    /// Reports drift, unless the same was said last.
    fn tell(
        &mut self,
        stack: &StackName,
        concern: Concern,
        detail: &str,
        healed: bool,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let key = (stack.clone(), concern);
        if !healed && self.told.get(&key).is_some_and(|told| told == detail) {
            return;
        }
        self.told.insert(key, detail.to_owned());
        let (stack, detail) = (stack.clone(), detail.to_owned());
        self.report(ReportBody::Drift { stack, detail, healed, escalated: false }, cx, out);
        out.flush("drift", "what runs departed from what should");
    }

    pub(super) fn pruned(&mut self, stack: &StackName, keep: &[TreeDigest], done: bool, out: &mut Batch) {
        let mut record = self.record(stack);
        let before = record.validated.len();
        record.validated.retain(|tree, _| keep.contains(tree));
        if done && record.validated.len() != before {
            self.set_record(stack, record, out);
            out.flush("pruned", "releases that nobody needs are gone");
        }
    }
}

fn about(found: &[Deviation], concern: Concern) -> Vec<Deviation> {
    found.iter().filter(|deviation| Concern::of(deviation) == concern).cloned().collect()
}

fn describe(found: &[Deviation]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
