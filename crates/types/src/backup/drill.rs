//! Restore drills: what is tried with a snapshot, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SnapshotId;
use crate::{BackupJobId, Digest, StackName, Timestamp};

/// What is tried: a snapshot is restored to scratch on its node, compared, and, where that is allowed, started there beside
/// the stack that runs. The stack itself is not touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillWork {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The stack whose data it is.
    pub stack: StackName,
    /// Bytes of content in it: so much room is needed.
    pub bytes: u64,
    /// What the snapshot was to hold: see [`super::Snapshot::manifest`].
    pub manifest: Digest,
    /// Nothing is started, whatever the stack allows.
    #[serde(default)]
    pub files_only: bool,
}

/// What came of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillReport {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The stack.
    pub stack: StackName,
    /// How it ended.
    pub verdict: DrillVerdict,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Files and folders that were restored.
    pub files: u64,
    /// Bytes of content in them.
    pub bytes: u64,
    /// SHA-256 over path, kind, mode and content of all that was restored, as it was read back from scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What was compared and asked, in that order.
    pub checks: Vec<DrillCheck>,
    /// Whether the stack was started with the data.
    pub start: DrillStart,
    /// How long it took to fetch and write the data, in milliseconds.
    pub restore_ms: u64,
    /// How long all of it took, in milliseconds.
    pub total_ms: u64,
}

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillVerdict {
    /// Every check passed.
    Passed,
    /// Something did not: the snapshot may not bring the stack back. A person has to look at it.
    Failed,
    /// It made way for something else, or had no room; it says nothing about the snapshot.
    PutOff,
    /// There is nothing to be drilled: the stack says so, or does not run on the node any more.
    Off,
}

/// One thing that was compared or asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillCheck {
    /// What kind of thing.
    pub kind: DrillCheckKind,
    /// Which: an item of `[[backup]]`, a file of it, or what a probe asks.
    pub what: String,
    /// How it went.
    #[serde(flatten)]
    pub result: DrillResult,
}

/// What kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillCheckKind {
    /// Restored files against what the snapshot was to hold.
    Files,
    /// A database by its own means: `integrity_check`, `pg_restore --list`.
    Database,
    /// A dump, loaded into a database of scratch, or what a command printed, given back to it.
    Load,
    /// A probe of the stack, asked of what was started beside it.
    Probe,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum DrillResult {
    /// Well.
    Passed,
    /// Not well.
    Failed {
        /// What was wrong, where, and what was expected.
        why: String,
        /// The first 20 paths in the snapshot that it concerns.
        #[serde(default)]
        paths: Vec<String>,
    },
    /// It was not tried.
    LeftOut {
        /// Why not.
        why: String,
    },
}

/// Whether the stack was started beside the one that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "started", rename_all = "snake_case")]
pub enum DrillStart {
    /// It was, cut off from everything but this node.
    Yes,
    /// It was not.
    No {
        /// Why not.
        why: String,
    },
}

/// When a stack on a node was drilled, and how that went. What the schedule goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DrillHistory {
    /// When the newest one that passed ended.
    pub passed_at: Option<Timestamp>,
    /// When the newest one was begun, however it ended.
    pub tried_at: Option<Timestamp>,
    /// How many failed since the last that passed.
    pub failed_in_a_row: u32,
    /// How many were put off since the last that ended otherwise.
    pub put_off_in_a_row: u32,
    /// Why the newest one failed or was put off.
    pub last_failure: Option<String>,
    /// The job of the newest one.
    pub job: Option<BackupJobId>,
    /// Whether the newest one found that there is nothing to be drilled.
    pub off: bool,
    /// The newest snapshot that passed.
    pub snapshot: Option<SnapshotId>,
    /// When that snapshot was begun.
    pub snapshot_at: Option<Timestamp>,
    /// Whether the stack was started with it.
    pub started: bool,
    /// How long it took to fetch and write its data, in milliseconds.
    pub restore_ms: Option<u64>,
    /// Bytes of content in it.
    pub bytes: Option<u64>,
}

impl DrillReport {
    /// One in which nothing was looked at yet.
    pub fn new(work: &DrillWork) -> Self {
        Self {
            snapshot: work.snapshot,
            stack: work.stack.clone(),
            verdict: DrillVerdict::Failed,
            why: None,
            files: 0,
            bytes: 0,
            digest: None,
            checks: Vec::new(),
            start: DrillStart::No { why: "it did not come to that".to_owned() },
            restore_ms: 0,
            total_ms: 0,
        }
    }

    /// The first check that did not pass, in words.
    pub fn first_failure(&self) -> Option<String> {
        self.checks.iter().find_map(|check| match &check.result {
            DrillResult::Failed { why, .. } => Some(format!("{}: {why}", check.what)),
            DrillResult::Passed | DrillResult::LeftOut { .. } => None,
        })
    }
}
