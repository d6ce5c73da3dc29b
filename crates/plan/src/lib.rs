//! Decisions, and nothing else: what should run where, which releases may be
//! planned, and what an undo takes back.
//!
//! Every function takes a snapshot of the world and returns what to do with the
//! reason for it. Nothing here reads a clock, a database or a file; nothing here
//! is told what changed, only what is.

mod agents;
pub mod backups;
mod constraint;
mod fleet;
mod gate;
mod health;
mod history;
pub mod inputs;
mod migration;
pub mod pattern;
mod policy;
mod promotion;
mod reach;
mod selection;
mod snapshot;
mod wanted;

pub use agents::{
    AgentHeld, AgentNode, AgentStep, AgentsInputs, AgentsNext, agent_place, agents, agents_held, agents_next,
    agents_replayed,
};
pub use constraint::{Candidate, in_force, standing};
pub use fleet::{
    Attempt, Decided, FleetPlan, PinToGood, Progress, RolloutEnd, RolloutRef, RolloutStart, StackStanding,
    Standing, WaveFigures, WaveOpened, plan, progress,
};
pub use gate::{Gate, GateFigures, Judged, Waves, cuts, gate, judged, members, needs, place_in_line};
pub use health::{FleetInputs, FleetVerdict, fleet_inputs, judge, pace, verdict};
pub use history::{History, HistoryChange, Refusal, Selection, Selector};
pub use inputs::Inputs;
pub use migration::{MigrationAct, MigrationFacts, MigrationNext, Whereabouts, next_step};
pub use policy::{Policy, Rest};
pub use promotion::{
    Entry, EntryInputs, EnvironmentFacts, Passing, SourceInputs, Verdict, Within, entry, passing,
    taken_back_by, verdicts,
};
pub use snapshot::{
    Assignment, Branches, FleetSnapshot, Follow, Followers, GoBack, Leavers, Leaving, MaxUpdating, Members,
    Moved, Movers, Need, NodeFacts, Origin, Past, Pasts, Reason, Settled, Share, StackFacts, Told, Try,
    TryState, Unproven,
};
pub use wanted::{Wanted, wanted};
