//! Backups: what is saved, what a snapshot is known to be good for, and what hub, agent and the program
//! `backstay-backup` say to each other about it.

mod drill;
pub mod job;
mod order;
mod record;
mod snapshot;

pub use drill::{
    DrillCheck, DrillCheckKind, DrillHistory, DrillReport, DrillResult, DrillStart, DrillVerdict, DrillWork,
};
pub use order::{
    BackupOrder, BackupPhase, BackupProgress, BackupReason, BackupWork, Destination, ItemOutcome, ItemResult,
    RestoreWork, SaveWork, WorkOutcome,
};
pub use record::{
    BackupHistory, BackupJob, BackupJobState, BackupResult, BackupTask, BackupTaskKind, Damage, KeptSnapshot,
    RepositoryFacts, SnapshotHold, Trouble,
};
pub use snapshot::{Proof, Snapshot, SnapshotId, SnapshotTags};
