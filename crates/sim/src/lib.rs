//! Dev only: hub and agents under virtual time, network and disks.
//!
//! A seed is a [`Scenario`]: a fleet, and everything that happens to it. [`run`]
//! plays it with the real engine, planner and store and with the real core of
//! the agent on every node, in one loop that owns time: the same seed gives the
//! same run, to the last line of its account ([`Outcome::digest`]). Disks lose
//! what was not synced, messages are lost, doubled and late, the hub dies in
//! the middle of what it does, people push bad releases and change their minds.
//!
//! What must hold is an [`Invariant`]; it is judged by what was really done, as
//! seen from outside, never by what hub or agents believe. That each of them can
//! fail is shown by a [`Planted`] bug, put in beside the product and not in it.
//!
//! What is simulated and not real: HTTP, the agent's disk, its runtimes. These
//! have tests of their own.

mod chance;
mod content;
mod context;
mod disk;
mod hub;
mod invariant;
mod node;
mod program;
mod pulse;
mod queue;
mod scenario;
mod shrink;
mod sim;
mod stage;
mod trace;
mod truth;
mod upstream;
mod window;

use std::io;

use backstay_types::Digest;

pub use content::Kind;
pub use invariant::{Invariant, Planted, Violation};
pub use program::Make;
pub use scenario::{Happening, Planned, Scenario, Strategy};
pub use shrink::{Shrunk, shrink};
pub use stage::Stage;
pub use window::{Opens, Window, Zone};

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What did not hold, if anything: the run ended with it.
    pub violation: Option<Violation>,
    /// Simulated hours, times nodes.
    pub node_hours: f64,
    /// How many lines its account has.
    pub events: u64,
    /// Over all lines of its account.
    pub digest: Digest,
    /// The lines: all where they were asked for, else the last.
    pub trace: Vec<String>,
}

/// Runs a scenario, with a bug put in where one is named. `all_lines` keeps the whole account.
///
/// # Errors
/// When the run itself fails: no folder, no `git`. What hub and agents do wrong is an outcome.
pub fn run(scenario: &Scenario, planted: Option<Planted>, all_lines: bool) -> io::Result<Outcome> {
    sim::Sim::new(scenario, planted, all_lines)?.run()
}
