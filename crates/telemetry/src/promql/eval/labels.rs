//! Labels of what is computed.

use crate::{Labels, METRIC_NAME};

/// What is computed from a metric is no longer that metric.
pub(super) fn without_name(labels: &Labels) -> Labels {
    labels.filtered(|name| !is_reserved(name))
}

pub(super) fn is_reserved(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The labels of a group: those of `by`, or all but those of `without`.
pub(super) fn grouped(labels: &Labels, grouping: &[String], without: bool) -> Labels {
    let listed = |name: &str| grouping.iter().any(|label| label == name);
    match without {
        true => labels.filtered(|name| name != METRIC_NAME && !listed(name)),
        false => labels.filtered(listed),
    }
}
