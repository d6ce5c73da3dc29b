//! Undo: one id over any number of repositories, stacks and rollouts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CommitId, ConversationId, DeploymentId, NodeName, PartName, RepositoryId, StackName, TreeDigest, UndoId,
    backup::SnapshotId,
};

/// An undo and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// Its id.
    pub id: UndoId,
    /// What was asked.
    pub selector: UndoSelector,
    /// For whom.
    pub scope: UndoScope,
    /// Who asked.
    pub by: String,
    /// Why, in the asker's words.
    pub reason: String,
    /// What it comes to, as computed last.
    pub plan: UndoPlan,
    /// Where it stands.
    pub state: UndoState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What to take back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "select", rename_all = "snake_case")]
pub enum UndoSelector {
    /// What a conversation did.
    Conversation {
        /// The conversation.
        conversation: ConversationId,
        /// Which of the two meanings.
        meaning: Meaning,
    },
    /// Everything since a time.
    Time {
        /// The time.
        to: Timestamp,
        /// Pin each node to what it ran then, instead of the branch's completed rollout.
        exact: bool,
    },
    /// Everything since a commit.
    Commit {
        /// The repository.
        repository: RepositoryId,
        /// The commit to return to.
        to: CommitId,
    },
    /// What a deployment brought.
    Deployment {
        /// The deployment.
        deployment: DeploymentId,
    },
    /// The last change that was deployed.
    Last,
    /// An earlier undo.
    Undo {
        /// The undo to take back.
        undo: UndoId,
    },
}

/// The two exact meanings of undoing a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Take back only what it changed; later work by others stays.
    OnlyIts,
    /// Return to the state just before it began.
    Before,
}

/// For whom to undo. Empty fields mean everyone and everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoScope {
    /// Only nodes that this label selector matches.
    pub nodes: Option<String>,
    /// Only this stack.
    pub stack: Option<StackName>,
    /// Only this part of that stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartName>,
}

/// Where an undo stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum UndoState {
    /// Computed; nothing done yet.
    Planned,
    /// Files conflict; a person must resolve them.
    Conflicted,
    /// Nodes are going back.
    RollingOut,
    /// Every node is verified healthy on the wanted trees.
    Verified,
    /// It could not be finished.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What an undo comes to: what `--dry-run` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoPlan {
    /// One entry for each repository that is touched.
    pub repositories: Vec<RepositoryUndo>,
    /// The nodes that move, and to what.
    pub nodes: Vec<NodeMove>,
    /// What the person should know before saying yes.
    pub notes: Vec<String>,
    /// Whether data goes back too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_data: bool,
    /// What becomes of the data of each node and stack that moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataMove>,
    /// What has to be said in so many words before it is done, and was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub demands: Vec<UndoDemand>,
}

/// What becomes of the data of a stack on a node in an undo that takes data back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataMove {
    /// The node.
    pub node: NodeName,
    /// The stack.
    pub stack: StackName,
    /// The earliest deployment there that is taken back: the data is from just before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<DeploymentId>,
    /// Where the data comes from; absent: the code goes back and the data stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DataSource>,
    /// Why there is no data to go back to, where there is none. To be accepted by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// What happens to the data, in plain words.
    #[serde(default)]
    pub words: Vec<String>,
    /// The snapshot of what was there before, once it is made: `rollback --undo … --with-data` brings that back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<SnapshotId>,
}

/// The snapshot that an undo takes data from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataSource {
    /// The snapshot; it is proven.
    pub snapshot: SnapshotId,
    /// When it was begun: what was written since is taken back.
    pub at: Timestamp,
    /// Bytes of content in it.
    pub bytes: u64,
    /// What of the stack is in it, by the names in `[[backup]]`.
    pub items: Vec<String>,
}

/// Something that an undo needs to be told in so many words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoDemand {
    /// What kind of thing.
    pub demand: DemandKind,
    /// What has to be said: `NODE/STACK`, or a stack.
    pub say: String,
    /// Why, for people.
    pub why: String,
}

/// What an undo needs to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DemandKind {
    /// There is no data to go back to on a node: that its code goes back alone.
    WithoutData,
    /// Another stack uses the same data: that this goes back for it too.
    SharedData,
    /// Older data could make a validator sign twice: the typed confirmation.
    DoubleSign,
}

/// An undo's part in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryUndo {
    /// The repository.
    pub repository: RepositoryId,
    /// How the result reaches nodes.
    pub route: UndoRoute,
    /// The branch's tip that the plan was computed on.
    pub base: CommitId,
    /// Commits taken back, newest first.
    pub commits: Vec<CommitId>,
    /// Commits that belong to the selection but are left alone.
    pub skipped: Vec<SkippedChange>,
    /// Files whose later changes get in the way.
    pub conflicts: Vec<ConflictedFile>,
    /// Paths that the undo commit changes.
    pub files: Vec<String>,
    /// The undo commit, once made (under `refs/backstay/undo/<id>`).
    pub commit: Option<CommitId>,
    /// What became of the push upstream.
    pub push: PushState,
}

/// What became of the push of an undo commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "push", rename_all = "snake_case")]
pub enum PushState {
    /// Nothing to push, or not tried yet.
    NotYet,
    /// Upstream contains it.
    Done,
    /// Upstream refused or is away; nodes stay on the undo ref until it is merged.
    AwaitingMerge {
        /// The branch that it was pushed to, when that worked.
        branch: Option<String>,
        /// What upstream said.
        reason: String,
        /// What to run to merge it.
        command: String,
    },
}

/// How an undo reaches the nodes in its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UndoRoute {
    /// A commit on the deployed branch, for everyone.
    Branch,
    /// Pins in `fleet.toml` for some nodes.
    Pin,
    /// A branch `backstay/undo/<id>` that some nodes follow.
    UndoBranch,
}

/// A commit of the selection that is not taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedChange {
    /// The commit.
    pub commit: CommitId,
    /// Why it is left alone.
    pub reason: String,
}

/// A file on which an undo conflicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConflictedFile {
    /// The path in the repository.
    pub path: String,
    /// The commit whose revert conflicts.
    pub reverting: CommitId,
    /// Later commits that touched the same file.
    pub later: Vec<CommitId>,
    /// The file with conflict markers.
    pub markers: String,
}

/// A node's part in an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeMove {
    /// The node.
    pub node: NodeName,
    /// The stack.
    pub stack: StackName,
    /// What it runs now, or is on its way to.
    pub from: Option<TreeDigest>,
    /// What it will run.
    pub to: TreeDigest,
    /// Containers that exist now.
    pub containers: Vec<String>,
    /// Whether the node has the release already.
    pub cached: bool,
}
