//! What work in a child needs besides its call.

use super::Place;
use crate::disk::{Layout, WorkLock};

/// Folders, limits, and the lock that says that work goes on.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) layout: Layout,
    pub(crate) place: Place,
    pub(crate) lock: WorkLock,
}
