//! Moving stacks from one node to another, with their data.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BackupJobId, DeploymentId, Digest, MigrationId, NodeId, NodeName, ReleaseId, StackName,
    backup::SnapshotId,
};

/// How long a validator's keys rest between two machines: two epochs of 32 slots of 12 seconds. What the first one signed
/// last is on the chain by then, and seen by whoever looks for doubles.
pub const TWO_EPOCHS: Duration = Duration::from_secs(2 * 32 * 12);

/// A move of stacks from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Migration {
    /// Its id.
    pub id: MigrationId,
    /// The node that they leave.
    pub from: Stay,
    /// The node that they come to.
    pub to: Stay,
    /// The migration that this one is the way back of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_of: Option<MigrationId>,
    /// Somebody has said, typing its name, that the node that they leave is gone for good: nothing is asked of it, and its
    /// newest proven snapshot is what moves.
    #[serde(default)]
    pub from_gone: bool,
    /// Somebody has said, typing its name, that the node that they come to is gone for good: nothing runs there, whatever it
    /// has not told.
    #[serde(default)]
    pub to_gone: bool,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Timestamp,
    /// Who said that it is not to be after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// When the last of its stacks had come to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The stacks, each on its own way.
    pub stacks: Vec<Passage>,
}

/// A node that a stack stays on, before or after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stay {
    /// The node.
    pub node: NodeId,
    /// Its name when the migration was asked for.
    pub name: NodeName,
}

/// A stack on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passage {
    /// The stack.
    pub stack: StackName,
    /// The release that it ran when the migration was asked for.
    pub release: ReleaseId,
    /// Whether older data could make a validator sign twice: its keys rest for two epochs between the two nodes.
    #[serde(default)]
    pub double_sign: bool,
    /// Where it is.
    pub step: MigrationStep,
    /// Since when.
    pub since: Timestamp,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// The copy that is made while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<BackupJobId>,
    /// That copy fetched to the other node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<BackupJobId>,
    /// The deployment that stops it, saves it once more and takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<DeploymentId>,
    /// When the node that it leaves had told that it is stopped and away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// Until when a validator's keys rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_until: Option<Timestamp>,
    /// The last snapshot, whose data moves; absent where there is no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// That data put in place on the other node, before the stack starts there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<BackupJobId>,
    /// The deployment that starts it on the other node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<DeploymentId>,
    /// When it ran there, healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// What was compared, item by item.
    #[serde(default)]
    pub checks: Vec<ItemCheck>,
    /// Why it does not move, or did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// An item of a stack's data, on both nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemCheck {
    /// Its name, as in `[[backup]]`.
    pub item: String,
    /// Files and folders that arrived.
    pub files: u64,
    /// Bytes of content that arrived.
    pub bytes: u64,
    /// SHA-256 over path, kind, mode and content of what was left, read there once nothing wrote any more; absent where
    /// nobody could read it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
    /// The same over what arrived, read back from its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Digest>,
}

impl ItemCheck {
    /// Whether what arrived is what was left, as far as both were read.
    pub fn is_equal(&self) -> bool {
        self.from.is_none() || self.to.is_none() || self.from == self.to
    }
}

/// Where a stack is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationStep {
    /// Waits for its turn.
    Waiting,
    /// Runs where it was, and is copied to the backup target.
    Copying,
    /// Runs where it was, and the copy is fetched to the other node.
    Fetching,
    /// Is being stopped where it was, saved once more and taken away.
    Stopping,
    /// Runs nowhere for a while: a validator's keys rest.
    Resting,
    /// Its data is put in place on the other node, and it is started there and probed.
    Starting,
    /// Runs on the other node.
    Switched,
    /// Did not come to run on the other node, or was not to: first it must be known not to run there.
    GoingBack,
    /// Is started where it was, with the data that stayed there.
    Resuming,
    /// Did not move: it runs where it was, or, where that failed too, `failed` says so.
    Stayed,
}

impl MigrationStep {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Switched | Self::Stayed)
    }

    /// Whether nothing was touched yet where the stack runs.
    pub fn is_before_stop(self) -> bool {
        matches!(self, Self::Waiting | Self::Copying | Self::Fetching)
    }

    /// Its name, as on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Copying => "copying",
            Self::Fetching => "fetching",
            Self::Stopping => "stopping",
            Self::Resting => "resting",
            Self::Starting => "starting",
            Self::Switched => "switched",
            Self::GoingBack => "going_back",
            Self::Resuming => "resuming",
            Self::Stayed => "stayed",
        }
    }
}

/// How a migration stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// Under way.
    Running,
    /// All of it runs on the other node.
    Done,
    /// Some of it runs on the other node, the rest where it was.
    Partly,
    /// None of it has moved.
    Failed,
    /// None of it has moved, since somebody said so.
    Cancelled,
}

impl Migration {
    /// How it stands.
    pub fn state(&self) -> MigrationState {
        let moved = self.stacks.iter().filter(|one| one.step == MigrationStep::Switched).count();
        match (self.finished_at, moved) {
            (None, _) => MigrationState::Running,
            (Some(_), moved) if moved == self.stacks.len() => MigrationState::Done,
            (Some(_), 0) if self.cancelled_by.is_some() => MigrationState::Cancelled,
            (Some(_), 0) => MigrationState::Failed,
            (Some(_), _) => MigrationState::Partly,
        }
    }
}

impl Passage {
    /// A stack that is to move.
    pub fn new(stack: StackName, release: ReleaseId, double_sign: bool, at: Timestamp) -> Self {
        Self {
            stack,
            release,
            double_sign,
            step: MigrationStep::Waiting,
            since: at,
            waits: None,
            copy: None,
            ahead: None,
            stop: None,
            stopped_at: None,
            rest_until: None,
            snapshot: None,
            restore: None,
            start: None,
            started_at: None,
            checks: Vec::new(),
            failed: None,
        }
    }

    /// How long it ran nowhere, where it ran again.
    pub fn stood_still(&self) -> Option<Duration> {
        let took = self.started_at?.duration_since(self.stopped_at?);
        Duration::try_from(took).ok()
    }
}
