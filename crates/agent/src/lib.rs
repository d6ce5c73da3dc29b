//! The agent's I/O: disk, runtimes, probes, poll loop.
//!
//! [`backstay_agent_core`] decides; this crate does what it says, in the order
//! that it says. The daemon itself holds the journal, the links and the talk
//! with the hub, and stays small. Everything heavy, and everything that reads
//! what others wrote, happens in a short-lived child of the same program
//! (`backstay-agent internal step`); processes that it runs have a supervisor
//! each (`backstay-agent internal supervise`) that outlives it.
//!
//! Absent on purpose: decisions, and any way for the hub to call in.

mod apply;
mod backup;
mod child;
mod cli;
mod crash;
mod daemon;
mod disk;
mod error;
mod facts;
mod join;
mod minimal;
mod proc;
mod runtime;
mod settings;
pub mod simulated;
mod ssh;
mod status;
mod step;
mod tasks;
mod update;
mod world;

pub use self::{cli::main, disk::Identity, error::AgentError, world::system};
