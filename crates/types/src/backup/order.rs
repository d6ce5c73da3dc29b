//! What the hub has a node do about backups, and what the node answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DrillReport, DrillWork, Proof, Snapshot, SnapshotId};
use crate::{BackupJobId, ConversationId, DeploymentId, Digest, NodeId, Secret, StackName, Timestamp};

/// Why a snapshot is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupReason {
    /// Its time has come.
    Schedule,
    /// Somebody asked for it.
    Manual,
    /// Before a deployment.
    Deployment,
    /// Before the way back of a deployment, or an undo.
    Rollback,
    /// Before a restore puts other data in place: the way back of the restore.
    Safety,
    /// For a migration: the stack moves to another node.
    Migration,
}

/// What a node should do next. A node does one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupOrder {
    /// The job that this is part of; the key under which the hub takes the outcome once.
    pub job: BackupJobId,
    /// The node's own password of its repository. The repository itself is at the hub, under
    /// `/agent/v1/repository/`, and takes new files only.
    pub password: Secret,
    /// The password of another node's repository, where the data comes from there. That repository is at the hub, under
    /// `/agent/v1/backups/{job}/repository/`, for as long as the job runs, and is only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_password: Option<Secret>,
    /// After this time the node gives up and says so.
    pub deadline: Timestamp,
    /// Bytes a second that may be sent or fetched; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// What to do.
    #[serde(flatten)]
    pub work: BackupWork,
}

/// What a node does about backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum BackupWork {
    /// Make snapshots.
    Save(SaveWork),
    /// Put data back.
    Restore(RestoreWork),
    /// Try whether a snapshot can be put back, without touching what runs.
    Drill(DrillWork),
}

/// What is saved: each stack's declared data, one snapshot a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SaveWork {
    /// Only these stacks; all that the node runs when empty. One that declares nothing and has no volumes is left out.
    #[serde(default)]
    pub stacks: Vec<StackName>,
    /// Why.
    pub reason: BackupReason,
    /// The deployment that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// The conversation that caused that deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// It is the last snapshot before the stack is taken away: what writes is stopped first, and stays so when it is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

/// What is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreWork {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The stack whose data it is.
    pub stack: StackName,
    /// The node whose data it is, where that is another one than puts it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_node: Option<NodeId>,
    /// Only these items of `[[backup]]`, by name; all of the snapshot when empty.
    #[serde(default)]
    pub items: Vec<String>,
    /// Only these paths inside the snapshot, as `backstay backup files` shows them; all when empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where it goes.
    pub destination: Destination,
}

/// Where restored data goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Destination {
    /// Where it came from. The stack is stopped, a safety snapshot is made, the data is put there, the stack started and
    /// probed.
    InPlace,
    /// Where it came from, together with the release of a deployment of an undo: fetched and kept ready beside its place
    /// while what runs is stopped and saved. The deployment puts it in place, and takes it away again when it fails.
    WithDeployment {
        /// The deployment.
        deployment: DeploymentId,
    },
    /// Where it came from, before the stack starts here: on a machine that took the place of another, or where the stack moves
    /// to. The first deployment of the stack waits for it, and puts it in place.
    BeforeStart {
        /// The deployment that has asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentId>,
    },
    /// A folder of the agent's own, from which only what differs is left to be fetched when the stack's data is put in place.
    Ahead,
    /// A new folder on the node, absolute, which must not exist or be empty. The stack is not touched.
    Folder {
        /// The folder.
        path: String,
    },
}

/// How far a node is; the newest replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupProgress {
    /// What it does.
    pub phase: BackupPhase,
    /// The stack that it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Files done.
    pub files: u64,
    /// Files in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_total: Option<u64>,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
}

/// What a node does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupPhase {
    /// Waits for a deployment or another backup to end.
    Waiting,
    /// Runs hooks, dumps databases, copies what must stand still.
    Preparing,
    /// Reads and sends.
    Saving,
    /// Reads back what it sent.
    Verifying,
    /// Makes the safety snapshot.
    Safety,
    /// Stops the stack.
    Stopping,
    /// Fetches and writes.
    Restoring,
    /// Starts the stack and probes it.
    Starting,
    /// Compares what it restored, and checks databases.
    Comparing,
    /// Takes away what it made to try a snapshot.
    Clearing,
}

/// How a node's work ended. A job of several stacks can end well for some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkOutcome {
    /// Snapshots that were made, with what they are known to be good for; safety snapshots too.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// Every item that was saved or put back, or could not be.
    #[serde(default)]
    pub items: Vec<ItemOutcome>,
    /// How long the stack stood still for it, in milliseconds: paused or stopped.
    #[serde(default)]
    pub still_ms: u64,
    /// Why the job as a whole failed; absent when all items are well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What came of a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Box<DrillReport>>,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemOutcome {
    /// The stack.
    pub stack: StackName,
    /// The item's name, as in `[[backup]]`.
    pub item: String,
    /// How it went.
    #[serde(flatten)]
    pub result: ItemResult,
}

/// How it went with an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum ItemResult {
    /// Well.
    Done {
        /// Files and folders.
        files: u64,
        /// Bytes of content.
        bytes: u64,
        /// How far it is proven.
        proof: Proof,
        /// SHA-256 over what was saved or put back: path, kind, mode and content's digest, in the order of paths.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
    },
    /// Some or all of it is missing.
    Failed {
        /// What was wrong, where, what was expected and what to do.
        why: String,
        /// The first 20 paths that are missing or damaged.
        #[serde(default)]
        paths: Vec<String>,
    },
}
