//! What the tests of the whole share: a fleet of real programs on this machine.
//!
//! A [`Fleet`] is a hub, some agents, an upstream repository and a work tree
//! where people and assistants commit. Its stacks run as processes or, where a
//! test is about containers, under Docker Compose with an engine for each node.
#![allow(clippy::expect_used, reason = "test support: a failure here is a failed test")]

mod api;
mod cli;
mod fleet;
mod hub;
mod node;
pub mod stacks;

pub use api::Api;
pub use cli::Cli;
pub use fleet::{Fleet, FleetBuilder, REPOSITORY, Upstream};
pub use hub::{DIR, Hub};
pub use node::{Node, Place};
