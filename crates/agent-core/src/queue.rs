//! What to do next about what the hub asks for.

use backstay_api::statement::{DesiredAction, DesiredStack};
use backstay_types::RolloutKind;

use crate::journal::{Asked, Journal};

/// What a desired stack calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It runs already; only the attempt's name is new.
    Same,
    /// It needs a manifest schema that this build does not know.
    TooNew,
    /// It should go and is not here.
    Gone,
    /// It should go.
    Remove,
    /// Another release should run.
    Deploy,
}

/// The next stack to do something about, and what. What needs no work comes first, then the way
/// back, then the rest in the statement's order. What has to `wait` is left out, and so is what is `held`.
pub(crate) fn next(
    journal: &Journal,
    schema: u32,
    waits: impl Fn(&DesiredStack) -> bool,
    is_held: impl Fn(&DesiredStack) -> bool,
) -> Option<(&DesiredStack, Call)> {
    let held = journal.held.as_ref()?;
    let mut open: Vec<_> = held
        .stacks
        .iter()
        .filter(|desired| !is_held(desired))
        .filter(|desired| {
            let asked = Asked { epoch: held.epoch, deployment: desired.deployment };
            let record = journal.stacks.get(&desired.stack);
            record.is_none_or(|record| !record.is_settled(desired.deployment) && !record.is_past(asked))
        })
        .map(|desired| (desired, call(journal, desired, schema)))
        .filter(|(desired, call)| *call != Call::Deploy || !waits(desired))
        .collect();
    open.sort_by_key(|(desired, call)| rank(desired, *call));
    open.into_iter().next()
}

fn rank(desired: &DesiredStack, call: Call) -> u8 {
    match call {
        Call::Same | Call::TooNew | Call::Gone => 0,
        Call::Deploy if desired.kind == RolloutKind::Rollback => 1,
        Call::Deploy | Call::Remove => 2,
    }
}

fn call(journal: &Journal, desired: &DesiredStack, schema: u32) -> Call {
    let record = journal.stacks.get(&desired.stack);
    let committed = record.and_then(|record| record.committed.as_ref());
    let left = record.is_some_and(|record| record.trouble.left.is_some());
    match (desired.action, committed) {
        (DesiredAction::Remove, None) if !left => Call::Gone,
        (DesiredAction::Remove, _) => Call::Remove,
        (DesiredAction::Run, _) if desired.manifest_schema > schema => Call::TooNew,
        // Where data is to come with it, it is not enough that it runs.
        (DesiredAction::Run, Some(committed)) if committed.tree == desired.tree && desired.data.is_none() => {
            Call::Same
        }
        (DesiredAction::Run, _) => Call::Deploy,
    }
}
