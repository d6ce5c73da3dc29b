//! A hub that says what a test wants, and nodes with the real agent.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "shared by test programs that each use a part"
)]

mod backups;
mod hub;
mod node;
mod stack;

pub(crate) use self::{
    backups::Repository,
    hub::{FakeHub, PackMode},
    node::{Node, agent, eventually, eventually_within},
    stack::{Stack, process_stack},
};
