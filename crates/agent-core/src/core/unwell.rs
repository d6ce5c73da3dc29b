//! The last step of drift: what was put right again and again, was left to a person and is still there does no harm while
//! the stack is well. Once it is not, the node goes into safe mode for it.

use backstay_types::{Drift, StackName};

use super::{Batch, Core, Cx, safe_mode::By};
use crate::{
    action::{Done, Failure, Task},
    journal::StackRecord,
    recurrence::named,
};

impl Core {
    /// Whether something of a stack was given up before this look, and is there after it. `before` is the record as it
    /// was. The look that gives it up only tells of it: somebody may be at it.
    pub(super) fn stands_still(&self, stack: &StackName, before: &StackRecord) -> bool {
        let mode = self.journal.safety.safe_mode.as_ref();
        if before.trouble.stopped || mode.is_some_and(|mode| mode.stacks.contains_key(stack)) {
            return false;
        }
        let now = self.record(stack).departures;
        let same = |one: &Drift| now.given_up().any(|now| (now.part, &now.name) == (one.part, &one.name));
        before.departures.given_up().any(|one| same(&one))
    }

    /// Asks a stack whether it is well.
    pub(super) fn ask(&mut self, stack: StackName, out: &mut Batch) -> bool {
        let record = Box::new(self.record(&stack));
        self.run(Task::Ask { stack, record }, "what was given up is still there", out)
    }

    /// It was asked. While it is well nothing follows: safe mode would keep updates from a node that works.
    pub(super) fn asked(
        &mut self,
        stack: &StackName,
        result: Result<Done, Failure>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        // That it could not be asked says nothing about it.
        let Ok(Done::Asked(Err(why))) = result else { return };
        let record = self.record(stack);
        let Some(one) = record.departures.given_up().next() else { return };
        let times = match one.heals {
            1 => "once".to_owned(),
            heals => format!("{heals} times"),
        };
        let reason = format!(
            "{} departed again after it was put right {times} ({}), and the stack is not well: {why}",
            named(&one),
            one.detail
        );
        self.enter_safe_mode(stack, reason, By::Drift, cx, out);
        out.flush("unwell", "what was given up makes the stack unwell");
    }
}
