//! What changed, line by line.

pub(crate) mod of_change;
pub(crate) mod of_releases;
pub(crate) mod of_undo;
