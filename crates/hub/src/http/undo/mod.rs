//! Undo.

pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod plan;
pub(crate) mod resolve;
pub(in crate::http) mod wanted;
