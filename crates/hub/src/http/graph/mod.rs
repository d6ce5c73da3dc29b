//! What happened, on a time axis.

pub(crate) mod get;
mod items;
mod lanes;
