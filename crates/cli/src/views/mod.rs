//! What several commands show alike. Pure: from data and a frame to text.

pub(crate) mod attention;
pub(crate) mod backup;
pub(crate) mod constraint;
pub(crate) mod event;
pub(crate) mod fields;
pub(crate) mod host;
pub(crate) mod migration;
pub(crate) mod pattern;
pub(crate) mod undo;
