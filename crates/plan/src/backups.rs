//! Backups: which snapshots stay, whose turn it is, and what the hub does with repositories.
//!
//! All of it goes by the hub's clock. What a snapshot says of itself is not trusted to move anything else.

mod ceiling;
mod drills;
mod retention;
mod schedule;
mod upkeep;

pub use ceiling::{Ceiling, Reached, SavedStack, is_below_floor};
pub use drills::{DrillRhythm, DrilledStack, DueDrill, due_drills, next_drill_at};
pub use retention::{Fate, Keep, Kept, SAFETY, retain};
pub use schedule::{Due, Rhythm, SavedNode, due, next_at};
pub use upkeep::{RepositoryState, Resting, Upkeep, UpkeepKind, UpkeepRules, upkeep};
