//! Rollouts: nodes moving to a release.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CommitId, EnvironmentName, MigrationId, PartName, ReleaseId, RepositoryId, RolloutId, StackName, UndoId,
};

/// A set of nodes moving to a release. A rollback is a rollout too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// The stack.
    pub stack: StackName,
    /// The environment whose nodes move; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// The branch that its nodes follow instead of the deployed one; absent for the fleet's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The part that moves; absent where the stack moves as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartName>,
    /// The release that nodes move to: that of the part, where a part moves.
    pub release: ReleaseId,
    /// Forward or back.
    pub kind: RolloutKind,
    /// Why there is one. Rollouts of one commit share it.
    pub cause: Cause,
    /// Where it stands.
    pub state: RolloutState,
    /// How many nodes may be updating at once, when it began or, shown while it runs, now; all when absent.
    pub max_updating: Option<u32>,
    /// How it goes out. What was so when it began holds to its end.
    #[serde(default)]
    pub strategy: RolloutStrategy,
    /// The highest place in line (see [`RolloutStrategy::waves`]) of each wave, fixed when it began, so that nobody changes
    /// waves while it runs; absent where a wave goes by labels, whose nodes are noted one by one.
    #[serde(default)]
    pub cuts: Vec<Option<u32>>,
    /// The wave that is open, from 0. Those before it are open too.
    #[serde(default)]
    pub wave: u32,
    /// Set while nobody new is to begin.
    #[serde(default)]
    pub paused: Option<Paused>,
    /// Set when it goes on in spite of freezes and closed windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Overridden>,
    /// Why it is in this state.
    pub reason: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How a rollout goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RolloutStrategy {
    /// Who goes when, in order: a label selector (`ring=sandbox`) or a share of the nodes (`5%`). Shares go by a
    /// node's place in line, which is a hash of node and release: the first node of one release is another's last. The
    /// last wave is everyone. None at all is one wave.
    pub waves: Vec<String>,
    /// How long a wave is watched, from its last node's end to the beginning of the next, in seconds.
    pub soak_seconds: u64,
    /// With fewer ended attempts than this, any failure stops it; and the next wave waits for so many, or for half of the
    /// nodes of the open waves where these are fewer.
    pub min_sample: u32,
    /// The share of the nodes of the open waves that has to run the release before the next wave begins, in percent. 0 is
    /// what rollouts have that began before there was such a share.
    #[serde(default)]
    pub min_success_percent: u8,
    /// It stops as soon as one of these holds, such as `failed_ratio > 0.05`.
    pub stop: Vec<String>,
    /// What becomes of the nodes that run the release when it stops.
    pub on_stop: OnStop,
}

impl Default for RolloutStrategy {
    fn default() -> Self {
        Self {
            waves: Vec::new(),
            soak_seconds: 0,
            min_sample: 20,
            min_success_percent: 50,
            stop: vec!["failed_ratio > 0.05".to_owned(), "heartbeat_drop > 0.03".to_owned()],
            on_stop: OnStop::Keep,
        }
    }
}

/// What becomes of the nodes that run a release whose rollout stops. Those on which it failed are back by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStop {
    /// They keep it until something newer is there.
    #[default]
    Keep,
    /// They go back to what the last rollout that succeeded brought.
    Return,
}

/// Who stopped a rollout for a while, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// Who let a rollout go on in spite of freezes and closed windows, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overridden {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
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
    /// A commit on the deployed branch, or on one that nodes follow instead.
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
    /// Nodes are taken out of the fleet; the constraints on them say by whom and why.
    Decommission,
    /// The stack moves to another node, with its data.
    Migration {
        /// The migration.
        migration: MigrationId,
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
