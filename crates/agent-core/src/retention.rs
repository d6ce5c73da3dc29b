//! Which releases stay on disk.

use std::collections::BTreeSet;

use backstay_types::TreeDigest;

use crate::journal::{Operation, StackRecord};

/// The trees of a stack that must or should stay: what runs, the way back, what an operation
/// works on, and the `newest` latest of the valid ones besides. Sorted.
pub fn releases_to_keep(
    record: &StackRecord,
    operation: Option<&Operation>,
    newest: usize,
) -> Vec<TreeDigest> {
    let mut keep: BTreeSet<TreeDigest> =
        record.committed.iter().chain(&record.previous).map(|c| c.tree).collect();
    keep.extend(operation.map(|o| o.target.tree));
    let mut others: Vec<_> = record.validated.iter().filter(|(tree, _)| !keep.contains(tree)).collect();
    others.sort_by(|a, b| b.1.at.cmp(&a.1.at).then(a.0.cmp(b.0)));
    keep.extend(others.into_iter().take(newest).map(|(tree, _)| *tree));
    keep.into_iter().collect()
}
