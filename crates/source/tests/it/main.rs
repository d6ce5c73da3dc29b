//! The mirror against real Git repositories.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests and their helpers")]

mod history;
mod properties;
mod push;
mod statements;
mod support;
mod tree;
mod undo;
mod upstream;
