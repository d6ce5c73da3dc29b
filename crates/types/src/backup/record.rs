//! What the hub keeps about backups: jobs, snapshots with how far they are proven, repositories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BackupProgress, DrillWork, RestoreWork, SaveWork, Snapshot, SnapshotId, WorkOutcome,
    job::{Problem, Pruned},
};
use crate::{BackupJobId, NodeId, Timestamp};

/// A job about backups: of a node, or of the hub's own upkeep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupJob {
    /// Its id.
    pub id: BackupJobId,
    /// Whose repository it is about; absent for the hub's own state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// What is to be done.
    #[serde(flatten)]
    pub task: BackupTask,
    /// How it stands.
    pub state: BackupJobState,
    /// Who asked for it: a user, or `schedule`.
    pub by: String,
    /// When.
    pub asked_at: Timestamp,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Until when whoever does it must have been heard from; afterwards it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Who cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// How far it is, as told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,
    /// What came of it, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<BackupResult>,
}

/// What a job does. Snapshots are made, put back and tried by nodes, everything else by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum BackupTask {
    /// Makes snapshots of a node's stacks; without a node, of the hub's own state.
    Save(SaveWork),
    /// Puts data back on a node.
    Restore(RestoreWork),
    /// Tries on a node whether a snapshot can be put back.
    Drill(DrillWork),
    /// Reads snapshots back at the target, and at the second one.
    Verify {
        /// Which; all that are not proven yet when empty.
        snapshots: Vec<SnapshotId>,
    },
    /// Checks a repository's structure, and reads a part of its data.
    Check {
        /// Which part of how many, from 0; nothing is read when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<(u32, u32)>,
    },
    /// Forgets what retention does not keep, and takes away data that no snapshot needs.
    Prune {
        /// Only says what it would do.
        dry_run: bool,
    },
    /// What a snapshot holds.
    Files {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Below this path; all of it when empty.
        path: String,
        /// All the way down.
        recursive: bool,
    },
}

impl BackupTask {
    /// Whether a node does it.
    pub fn is_of_node(&self) -> bool {
        matches!(self, Self::Save(_) | Self::Restore(_) | Self::Drill(_))
    }

    /// The other node whose repository it reads.
    pub fn reads_of(&self) -> Option<NodeId> {
        match self {
            Self::Restore(work) => work.of_node,
            _ => None,
        }
    }

    /// Its name, as on the wire.
    pub const fn kind(&self) -> BackupTaskKind {
        match self {
            Self::Save(_) => BackupTaskKind::Save,
            Self::Restore(_) => BackupTaskKind::Restore,
            Self::Drill(_) => BackupTaskKind::Drill,
            Self::Verify { .. } => BackupTaskKind::Verify,
            Self::Check { .. } => BackupTaskKind::Check,
            Self::Prune { .. } => BackupTaskKind::Prune,
            Self::Files { .. } => BackupTaskKind::Files,
        }
    }
}

/// What kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupTaskKind {
    /// Makes snapshots.
    Save,
    /// Puts data back.
    Restore,
    /// Tries whether data can be put back.
    Drill,
    /// Reads snapshots back.
    Verify,
    /// Checks a repository.
    Check,
    /// Forgets and takes away.
    Prune,
    /// Lists files.
    Files,
}

/// How a job stands. Once it is `done`, `failed` or `cancelled` it stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupJobState {
    /// Waits for its turn, or for its node to ask.
    Queued,
    /// Somebody does it.
    Running,
    /// Ended well, with every item.
    Done,
    /// Ended, and something is missing; its result says what. What was saved all the same counts.
    Failed,
    /// Ended because somebody said so.
    Cancelled,
}

impl BackupJobState {
    /// Whether it stays so.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What came of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackupResult {
    /// What the node told, of `save`, `restore` and `drill`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkOutcome>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Bytes that were read from the target, of `verify` and `check`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_read: Option<u64>,
    /// What is wrong in the repository, the first 100, of `verify` and `check`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Snapshots that were forgotten, or would be, of `prune`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<SnapshotId>,
    /// What the prune came to, or would come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// How many files there are, of `files`; they are asked for on their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

/// A snapshot as the hub knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptSnapshot {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// The job that made it; absent when the node never told, and it was found in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<BackupJobId>,
    /// When the hub heard of it.
    pub heard_at: Timestamp,
    /// The date that it has at the target, where the hub does not take it for when it was begun: it cannot have been
    /// made then, or nobody can say. `at` is what the hub takes instead; it makes no other snapshot go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// When its data was last read back at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// Its copy at the second target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<SnapshotId>,
    /// When a drill with it last passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drilled_at: Option<Timestamp>,
    /// When it was found to be damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_at: Option<Timestamp>,
    /// Why retention leaves it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<SnapshotHold>,
}

/// Keeps a snapshot from being forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotHold {
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Until when; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A node's repository, or the hub's own, as the hub knows it. Its passwords are not in here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RepositoryFacts {
    /// When it was made at the target; absent until then.
    pub made_at: Option<Timestamp>,
    /// When it was made at the second target.
    pub second_made_at: Option<Timestamp>,
    /// Bytes that it takes at the target, as last counted.
    pub bytes: u64,
    /// When its structure was last found to be right.
    pub checked_at: Option<Timestamp>,
    /// Which part of its data is read next, of as many as [`RepositoryFacts::parts`].
    pub next_part: u32,
    /// Into how many parts its data is divided for reading.
    pub parts: u32,
    /// When all of its data had last been read.
    pub read_all_at: Option<Timestamp>,
    /// When it was last pruned.
    pub pruned_at: Option<Timestamp>,
    /// When it was last pruned down to what must be kept, because there was no room; absent while there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub squeezed_at: Option<Timestamp>,
    /// When its list of snapshots was last compared with what the hub knows.
    pub listed_at: Option<Timestamp>,
    /// What is wrong with it, when something is.
    pub damaged: Option<Damage>,
    /// When what was damaged was last taken out of it. Which snapshots lost data by it is told by these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired_at: Option<Timestamp>,
    /// A hub takes out what is damaged: until then nobody gets an order to write to it or to read from it. It ends by
    /// itself when the hub is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairing_until: Option<Timestamp>,
    /// Somebody did not find it where it should be: the hub looks next.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspect: bool,
    /// The recovery key (age recipient) to which its password is sealed beside it.
    pub sealed_to: Option<String>,
    /// The same at the second target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_sealed_to: Option<String>,
    /// When the repository at the second target was last checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_checked_at: Option<Timestamp>,
    /// Which part of its data is read next there.
    pub second_next_part: u32,
    /// What does not go at the second target, when something does not: it is away, full, or damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_trouble: Option<Trouble>,
    /// What of the hub's own work with it does not go, though the repository is not damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// Something that the hub tries again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// Since when it fails.
    pub since: Timestamp,
    /// What, and why, as it failed last.
    pub why: String,
}

/// What is wrong with a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// Since when it is known.
    pub since: Timestamp,
    /// What was found, the first 100.
    pub problems: Vec<Problem>,
}

/// When backups of a node were made, and how that went. What the schedule goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackupHistory {
    /// When the newest one that ended well was begun.
    pub last_good_at: Option<Timestamp>,
    /// When the newest one was begun, however it ended.
    pub last_tried_at: Option<Timestamp>,
    /// How many failed since the last good one.
    pub failed_in_a_row: u32,
    /// Why the newest one failed.
    pub last_failure: Option<String>,
}
