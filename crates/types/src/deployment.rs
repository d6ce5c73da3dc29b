//! Deployments: one node's attempt at a release, step by step.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BackupJobId, DeploymentId, NodeId, ReleaseId, RolloutId, StackName, TreeDigest, UndoId,
    backup::SnapshotId,
};

/// One node's attempt at a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The node.
    pub node: NodeId,
    /// The stack.
    pub stack: StackName,
    /// The release.
    pub release: ReleaseId,
    /// The rollout it is part of.
    pub rollout: RolloutId,
    /// The tree that ran before, if any.
    pub previous: Option<TreeDigest>,
    /// Where it stands.
    pub state: DeploymentState,
    /// When the hub planned it.
    pub created_at: Timestamp,
    /// When the agent began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What ran at its end.
    pub containers: Vec<Container>,
    /// The data that goes into place together with the release: that of an undo that takes data back too, or what is to be
    /// there before the stack first starts here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DeploymentData>,
}

/// Data that a deployment puts in place together with its release: both come to stay, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentData {
    /// What asks for it.
    #[serde(flatten)]
    pub asked_by: DataFor,
    /// The snapshot that it comes from.
    pub snapshot: SnapshotId,
}

/// What asks for data to go into place with a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum DataFor {
    /// An undo.
    Undo {
        /// The undo.
        undo: UndoId,
    },
    /// A restore that is to be done before the stack starts: of a node that was replaced, or of a migration.
    Restore {
        /// Its job.
        job: BackupJobId,
    },
}

impl DeploymentData {
    /// The undo that asks for it, where one does.
    pub fn undo(&self) -> Option<UndoId> {
        match self.asked_by {
            DataFor::Undo { undo } => Some(undo),
            DataFor::Restore { .. } => None,
        }
    }

    /// The restore that it is, where it is one.
    pub fn restore(&self) -> Option<BackupJobId> {
        match self.asked_by {
            DataFor::Restore { job } => Some(job),
            DataFor::Undo { .. } => None,
        }
    }
}

/// Where a deployment stands. Rolled back is never success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeploymentState {
    /// Planned; the agent has not begun.
    Pending,
    /// The agent is at a step.
    Running {
        /// The step.
        step: Step,
    },
    /// The release runs, healthy.
    Succeeded,
    /// The release failed and the node is back on what it ran before.
    RolledBack {
        /// The step that failed.
        step: Step,
        /// What kind of failure.
        failure: FailureKind,
        /// Why, for people.
        reason: String,
    },
    /// The release failed before anything was activated; what ran still runs.
    Failed {
        /// The step that failed.
        step: Step,
        /// What kind of failure.
        failure: FailureKind,
        /// Why, for people.
        reason: String,
    },
    /// The release failed and so did the way back: the node needs a person.
    Broken {
        /// The step that failed.
        step: Step,
        /// What kind of failure.
        failure: FailureKind,
        /// Why, for people.
        reason: String,
    },
    /// Something newer was planned before it began or ended.
    Superseded,
}

impl DeploymentState {
    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running { .. })
    }

    /// Whether it ended without its release running.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::Failed { .. } | Self::Broken { .. })
    }

    /// One word for tables and indexes.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running { .. } => "running",
            Self::Succeeded => "succeeded",
            Self::RolledBack { .. } => "rolled_back",
            Self::Failed { .. } => "failed",
            Self::Broken { .. } => "broken",
            Self::Superseded => "superseded",
        }
    }
}

/// The steps of a deployment, in order; `Return` is the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Get the pack, from the hub or from Git.
    Fetch,
    /// Check the pack against the digest in the signed statement.
    Verify,
    /// Write the release to its own folder.
    Stage,
    /// Check manifest, environment, images and the stack's own `validate`.
    Validate,
    /// Keep the data as it was before.
    Snapshot,
    /// Switch `current` and start.
    Activate,
    /// Ask whether it is healthy.
    Probe,
    /// Watch it for a while.
    Bake,
    /// Make it the new normal.
    Commit,
    /// Go back to what ran before.
    Return,
}

/// What kind of failure ended a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Content or images could not be had.
    Unavailable,
    /// Content did not match what was signed.
    Mismatch,
    /// Not enough disk space.
    DiskFull,
    /// The release is not valid on this node.
    Invalid,
    /// It would not start.
    Start,
    /// It started but did not become or stay healthy.
    Unhealthy,
    /// The node itself failed, whatever the release: its disk is read-only or broken, its container engine is not there.
    Node,
    /// The agent was interrupted twice in the same step.
    Interrupted,
    /// Anything else; the reason says what.
    Other,
}

impl FailureKind {
    /// Whether it says something of the node and nothing of the release: others may do well with it.
    pub fn is_of_node(self) -> bool {
        matches!(self, Self::DiskFull | Self::Node)
    }
}

/// That a stack does not run on a node any more, since it was taken away there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// When.
    pub at: Timestamp,
    /// The rollout that took it away.
    pub rollout: RolloutId,
    /// Why.
    pub reason: String,
}

/// A step as the agent recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// The step.
    pub step: Step,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// How it ended.
    pub outcome: StepOutcome,
    /// A line for people: what was done, or why it failed.
    pub detail: String,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Done.
    Done,
    /// There was nothing to do.
    Skipped,
    /// It failed.
    Failed,
}

/// The id of an image on the node, such as `sha256:…`; for processes, the digest of the executable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ImageId(pub String);

/// A container or supervised process of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// The service in the stack.
    pub service: String,
    /// The runtime's id for it.
    pub id: String,
    /// The name in the runtime.
    pub name: String,
    /// What it runs.
    pub image: ImageId,
    /// Whether it is running.
    pub running: bool,
    /// Health as the runtime reports it, when it has a check.
    pub health: Option<String>,
    /// The deployment that last changed this service.
    pub deployment: Option<DeploymentId>,
}
