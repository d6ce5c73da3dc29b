//! Backups: whose turn it is, orders for nodes and what they answer, and what is done with repositories.
//!
//! What is deliberately not here: targets, passwords and the program that works on repositories. The hub lends its
//! hands for these; what it did is told here.

mod awaited;
mod damage;
mod dating;
mod drills;
mod elsewhere;
mod jobs;
mod marked;
mod needs;
mod repairing;
mod repositories;
mod restore;
mod schedule;
mod upkeep;

use std::time::Duration;

pub use backstay_plan::backups::{
    Ceiling, DrillRhythm, Fate, Keep, Reached, Resting, Rhythm, Upkeep, UpkeepKind, UpkeepRules,
};
use backstay_types::{NodeId, Refs, StackName};

pub(crate) use awaited::Awaited;
pub use drills::WantedDrill;
pub use jobs::{NextOrder, Wanted};
pub use repairing::Repairing;
pub use repositories::KnownTarget;
pub use restore::{FoundSnapshot, WantedRestore, WantedSnapshot};
pub use upkeep::{Chore, Work};

/// Whose data: a node's, or the hub's own state.
pub type Whose = Option<NodeId>;

/// By which rules backups are made and kept.
#[derive(Debug, Clone)]
pub struct BackupRules {
    /// How often.
    pub rhythm: Rhythm,
    /// What is kept.
    pub keep: Keep,
    /// How repositories are looked after.
    pub upkeep: UpkeepRules,
    /// How often drills are made.
    pub drills: DrillRhythm,
    /// How much room repositories may take.
    pub ceiling: Ceiling,
    /// How long a node may take for a job.
    pub deadline: Duration,
}

/// Who does what nobody asked for.
const SCHEDULE: &str = "schedule";

fn refs(node: Whose, stack: Option<&StackName>) -> Refs {
    Refs { node, stack: stack.cloned(), ..Refs::default() }
}
