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

impl Core {
    pub(super) fn checked(&mut self, result: Result<Done, Failure>, cx: &Cx<'_>, out: &mut Batch) {
        let Ok(Done::Checked(all)) = result else {
            self.look_again(cx);
            return;
        };
        self.to_heal.clear();
        for seen in all {
            let stack = seen.stack.clone();
            let record = self.record(&stack);
            let found = deviations(&record, self.journal.links(&stack), &seen);
            self.seen.insert(stack.clone(), seen);
            if found.iter().any(|d| matches!(d, Deviation::Unknown(_))) {
                self.look_again(cx);
            }
            let (unknown, known): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|d| matches!(d, Deviation::Unknown(_)));
            if known.is_empty() && unknown.is_empty() {
                self.told.remove(&stack);
            }
            if !unknown.is_empty() {
                self.tell(&stack, &describe(&unknown), false, cx, out);
            }
            if !known.is_empty() {
                self.to_heal.push_back((stack, known));
            }
        }
    }

    fn look_again(&mut self, cx: &Cx<'_>) {
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
        self.healing.insert(stack.clone(), why.clone());
        self.run(Task::Heal { stack, record, runtime, release, previous }, why, out)
    }

    pub(super) fn healed(
        &mut self,
        stack: &StackName,
        result: Result<Done, Failure>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let was = self.healing.remove(stack).unwrap_or_default();
        match result {
            Ok(Done::Healed(seen)) => self.healed_to(stack, &was, *seen, cx, out),
            Ok(_) => {}
            Err(failure) => {
                let detail = format!("{was}; putting it right failed: {}", failure.reason);
                self.tell(stack, &detail, false, cx, out);
            }
        }
    }

    fn healed_to(&mut self, stack: &StackName, was: &str, seen: Seen, cx: &Cx<'_>, out: &mut Batch) {
        let left = deviations(&self.record(stack), self.journal.links(stack), &seen);
        self.seen.insert(stack.clone(), seen);
        if left.is_empty() {
            self.told.remove(stack);
            self.tell(stack, was, true, cx, out);
            self.told.remove(stack);
        } else {
            self.tell(stack, &describe(&left), false, cx, out);
        }
    }

    /// Reports drift, unless the same was said last.
    fn tell(&mut self, stack: &StackName, detail: &str, healed: bool, cx: &Cx<'_>, out: &mut Batch) {
        if self.told.get(stack).is_some_and(|told| told == detail) {
            return;
        }
        self.told.insert(stack.clone(), detail.to_owned());
        let (stack, detail) = (stack.clone(), detail.to_owned());
        self.report(ReportBody::Drift { stack, detail, healed }, cx, out);
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

fn describe(found: &[Deviation]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
