//! Leaving a stack alone while its data is saved or put back.

use backstay_api::statement::DesiredStack;
use backstay_types::StackName;
use std::collections::BTreeSet;

use super::{Core, Cx};
use crate::{
    action::{Hold, Task},
    queue::{self, Call},
};

/// Who wants to be alone.
#[derive(Debug, Clone)]
pub(super) struct Held {
    wanted: Hold,
    granted: bool,
}

impl Held {
    pub(super) fn new(wanted: Hold) -> Self {
        Self { wanted, granted: false }
    }

    /// Whether a stack is left alone for it.
    pub(super) fn is_about(&self, stack: &StackName) -> bool {
        self.wanted.stack.as_ref().is_none_or(|held| held == stack)
    }
}

impl Core {
    /// The hold that is granted: nothing is done to what it names until it is released.
    pub fn granted(&self) -> Option<u64> {
        self.hold.as_ref().filter(|held| held.granted).map(|held| held.wanted.id)
    }

    /// Whether something is asked for that only waits for the hold to end.
    pub fn is_awaited(&self, cx: &Cx<'_>) -> bool {
        if self.hold.is_none() || self.is_expired(self.now(cx)) {
            return false;
        }
        let waits = |desired: &DesiredStack| self.waits(desired, cx).is_some();
        let other = |desired: &DesiredStack| !self.is_held(&desired.stack);
        let next = queue::next(&self.journal, self.settings.manifest_schema, waits, other);
        next.is_some_and(|(_, call)| matches!(call, Call::Deploy | Call::Remove))
    }

    /// Grants what is wanted, once nothing is under way.
    pub(super) fn grant(&mut self) {
        let Some(held) = &self.hold else { return };
        let operation = self.journal.operation.as_ref();
        let busy = operation.is_some_and(|operation| held.is_about(&operation.target.stack))
            || self.running.as_ref().is_some_and(|running| touches(&running.task, held));
        if let Some(held) = self.hold.as_mut().filter(|_| !busy) {
            held.granted = true;
        }
    }

    pub(super) fn release(&mut self, id: u64, cx: &Cx<'_>) {
        if let Some(held) = self.hold.take_if(|held| held.wanted.id == id) {
            // What was seen of it is of before.
            match &held.wanted.stack {
                Some(stack) => drop(self.seen.remove(stack)),
                None => self.seen.clear(),
            }
            self.look_again_at_once(cx);
        }
    }

    pub(super) fn is_held(&self, stack: &StackName) -> bool {
        self.hold.as_ref().is_some_and(|held| held.is_about(stack))
    }

    pub(super) fn holds_all(&self) -> bool {
        self.hold.as_ref().is_some_and(|held| held.wanted.stack.is_none())
    }

    /// The first of some stacks that is not held.
    pub(super) fn unheld(&self, stacks: &BTreeSet<StackName>) -> Option<StackName> {
        stacks.iter().find(|stack| !self.is_held(stack)).cloned()
    }

    fn look_again_at_once(&mut self, cx: &Cx<'_>) {
        self.check_at = cx.mono;
    }
}

/// Whether a task that runs does something to what is held. A look does: it would take for a departure what is meant.
fn touches(task: &Task, held: &Held) -> bool {
    match task {
        Task::Fetch { target }
        | Task::Prepare { target, .. }
        | Task::Snapshot { target, .. }
        | Task::SaveLast { target, .. }
        | Task::Exchange { target }
        | Task::Activate { target, .. }
        | Task::Probe { target, .. }
        | Task::Bake { target, .. } => held.is_about(&target.stack),
        Task::Return { stack, .. }
        | Task::Remove { stack, .. }
        | Task::Stop { stack, .. }
        | Task::Prune { stack, .. }
        | Task::Compare { stack, .. }
        | Task::Mend { stack, .. }
        | Task::Ask { stack, .. }
        | Task::Heal { stack, .. } => held.is_about(stack),
        Task::RestartEngine {} => true,
        Task::Check { stacks } => stacks.keys().any(|stack| held.is_about(stack)),
    }
}
