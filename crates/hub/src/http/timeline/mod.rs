//! The ledger for people: timeline, correlation, and why.

pub(crate) mod export;
pub(crate) mod list;
pub(crate) mod related;
pub(crate) mod why;
pub(crate) mod why_file;
