//! Rollouts: nodes moving to a release.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CommitId, ReleaseId, RepositoryId, RolloutId, StackName, UndoId};

/// A set of nodes moving to a release. A rollback is a rollout too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// The stack.
    pub stack: StackName,
    /// The release that nodes move to.
    pub release: ReleaseId,
    /// Forward or back.
    pub kind: RolloutKind,
    /// Why there is one. Rollouts of one commit share it.
    pub cause: Cause,
    /// Where it stands.
    pub state: RolloutState,
    /// How many nodes may be updating at once; all when absent.
    pub max_updating: Option<u32>,
    /// Why it is in this state.
    pub reason: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutKind {
    /// To a new release.
    Update,
    /// Back to an earlier state; goes before updates.
    Rollback,
    /// Away from nodes that are no longer meant to run the stack; its data stays.
    Removal,
}

/// What set a rollout off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// A commit on the deployed branch.
    Change {
        /// The repository.
        repository: RepositoryId,
        /// The commit.
        commit: CommitId,
    },
    /// An undo.
    Undo {
        /// The undo.
        undo: UndoId,
    },
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Nodes are moving or waiting for their turn.
    Running,
    /// Every node that it was for runs the release.
    Succeeded,
    /// It stopped by itself because a node failed.
    Halted,
    /// A newer one took its place.
    Superseded,
}
