//! The agent's decisions, without its hands.
//!
//! [`Core`] takes an [`Input`] (a verified statement, a finished task, a look at
//! the machine, time that passed) and gives [`Action`]s, each with its reason,
//! to be done in order by whoever drives it: the agent's shell, a simulated
//! agent, a test's script. It has no clock, disk, network or runtime; the time
//! and random numbers come in with each input.
//!
//! What must survive is a [`Journal`]. The core never acts on a state that it
//! has not first asked to be made durable: [`Act::Persist`] comes before the act
//! that depends on it. After a crash [`Core::start`] takes the journal as it was
//! left and goes on, or goes back.
//!
//! Absent on purpose: how files are fetched, what a container is, how a probe
//! is asked. Those are tasks, done elsewhere.

mod action;
mod core;
mod drift;
mod intake;
mod journal;
mod operation;
mod probe;
mod queue;
mod reach;
mod recovery;
mod recurrence;
mod retention;
mod safety;

pub use self::{
    action::{Act, Action, Change, Done, Failure, Finished, Hold, Input, Step, Task, TaskId, Transaction},
    core::{Core, Cx, Settings},
    drift::{Deviation, Seen, deviations, same_images},
    intake::{Verdict, judge},
    journal::{
        Activating, Adopted, Asked, Baking, BootId, Committed, Ended, Exchanging, Fetching, Journal, Links,
        Operation, Phase, Prepared, PreparedService, Probing, Ready, Removing, ReturnCause, Returning,
        Saving, StackRecord, Staged, Validated,
    },
    probe::{ProbeRun, ProbeStep},
    reach::Reach,
    recurrence::{Departures, Finding, Followed, Limits, Recurring, describe as describe_finding},
    retention::releases_to_keep,
    safety::{InSafeMode, Left, OUTAGE, Outage, Safety, Trouble},
};
