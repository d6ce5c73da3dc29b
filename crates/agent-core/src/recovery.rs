//! What is done first after a start: the journal as it was left decides.

use std::collections::BTreeMap;

use backstay_types::{StackName, Timestamp};

use crate::journal::{Adopted, BootId, Committed, Journal, StackRecord};
use crate::safety::Trouble;

/// Takes stacks whose links are there without a record of ours: the journal was lost. What `current`
/// names counts as committed, until the hub says otherwise. Whether it is what runs nobody knows any more, so it is started
/// again; what is the same keeps running.
pub(crate) fn adopt(
    journal: &mut Journal,
    found: BTreeMap<StackName, Adopted>,
    now: Timestamp,
) -> Vec<StackName> {
    let mut taken = Vec::new();
    for (stack, adopted) in found {
        let Some(current) = adopted.links.current else { continue };
        if journal.stacks.contains_key(&stack) {
            continue;
        }
        let committed = |tree| Committed {
            tree,
            target: None,
            deployment: None,
            prepared: None,
            containers: Vec::new(),
            at: now,
        };
        let record = StackRecord {
            committed: Some(committed(current)),
            previous: adopted.links.previous.map(committed),
            // A way back may have failed, or been under way, when the journal was lost.
            trouble: Trouble { astray: true, ..Trouble::default() },
            ..StackRecord::default()
        };
        journal.stacks.insert(stack.clone(), record);
        taken.push(stack);
    }
    taken
}

/// Moves an interrupted operation to where it goes on. True when the journal changed.
pub(crate) fn resume(journal: &mut Journal, boot: &BootId) -> bool {
    let Some(operation) = journal.operation.take() else { return false };
    let phase = operation.phase.clone().interrupted(boot.clone());
    let changed = phase != operation.phase;
    journal.operation = Some(crate::journal::Operation { phase, ..operation });
    changed
}
