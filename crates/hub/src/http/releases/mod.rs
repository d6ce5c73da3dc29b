//! A release and what is in it; a stack and who runs what of it.

pub(crate) mod get;
pub(crate) mod get_file;
pub(crate) mod get_stack;
