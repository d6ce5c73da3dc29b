//! What the hub does without being asked.

pub(crate) mod beat;
pub(crate) mod flush;
pub(crate) mod housekeeping;
pub(crate) mod tail;
