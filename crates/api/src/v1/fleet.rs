//! Nodes, repositories, stacks, releases, constraints.

use backstay_types::{
    CommitId, Constraint, ConstraintId, HostCondition, HostFacts, HostFigures, Node, NodeSafety, NodeState,
    ObservedStack, Release, ReleaseId, ReleaseStanding, Repository, RepositoryHealth, Rollout, Secret,
    StackName, Timestamp, TokenId, TreeDigest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Decommissioning, Page, Paging};
use crate::endpoint::{Empty, endpoints};

endpoints! {
    /// All nodes, by name.
    ListNodes = Get "/api/v1/nodes" Viewer (query: NodesQuery) -> Page<NodeView>;
    /// One node, by name or id.
    GetNode = Get "/api/v1/nodes/{node}" Viewer (path: NodePath) -> NodeView;
    /// Takes a node's credential away. What it runs keeps running.
    RevokeNode = Post "/api/v1/nodes/{node}/revoke" Admin (path: NodePath) -> Empty;
    /// Lets a node leave safe mode. It does so when it next checks in; what failed may then be tried again.
    LeaveSafeMode = Post "/api/v1/nodes/{node}/leave-safe-mode" Operator
        (path: NodePath, body: LeaveSafeModeRequest) -> NodeView;
    /// Makes a one-time join token.
    CreateJoinToken = Post "/api/v1/join-tokens" Admin (body: CreateJoinTokenRequest) -> JoinToken;
    /// All repositories.
    ListRepositories = Get "/api/v1/repositories" Viewer () -> Page<Repository>;
    /// Adds a repository and fetches it at once.
    AddRepository = Post "/api/v1/repositories" Admin (body: AddRepositoryRequest) -> Repository;
    /// Looks at a repository that might be added: what is there, and what is wrong with it. Nothing is kept.
    CheckRepository = Post "/api/v1/repositories/check" Admin (body: AddRepositoryRequest) -> RepositoryCheck;
    /// Fetches a repository now.
    SyncRepository = Post "/api/v1/repositories/{repository}/sync" Operator (path: RepositoryPath) -> Repository;
    /// Accepts that upstream rewrote the branch's history.
    AcceptRewrite = Post "/api/v1/repositories/{repository}/accept" Operator
        (path: RepositoryPath, body: AcceptRewriteRequest) -> Repository;
    /// All stacks, by name, with who runs what.
    ListStacks = Get "/api/v1/stacks" Viewer () -> Page<StackView>;
    /// One stack's releases, newest first.
    ListReleases = Get "/api/v1/stacks/{stack}/releases" Viewer (path: StackPath, query: Paging) -> Page<ReleaseView>;
    /// Pins, holds, bans, freezes and nodes left alone: those in force, and those that are still to begin.
    ListConstraints = Get "/api/v1/constraints" Viewer (query: ConstraintsQuery) -> Page<Constraint>;
    /// Holds a change, or everything a conversation changed.
    CreateHold = Post "/api/v1/holds" Operator (body: CreateHoldRequest) -> Page<Constraint>;
    /// Maintenance windows, those that open or close soonest first.
    ListWindows = Get "/api/v1/windows" Viewer () -> Page<WindowView>;
    /// Branches that nodes follow instead of the deployed one, each with what was read of its stack there.
    ListBranches = Get "/api/v1/branches" Viewer () -> Page<BranchView>;
    /// Freezes, pins, lets nodes follow another branch, or leaves nodes alone. A branch is fetched and read first; where it
    /// is followed already and its history was rewritten, saying so again accepts that.
    CreateConstraint = Post "/api/v1/constraints" Operator (body: CreateConstraintRequest) -> Constraint;
    /// Lifts a constraint.
    LiftConstraint = Post "/api/v1/constraints/{constraint}/lift" Operator
        (path: ConstraintPath, body: LiftRequest) -> Constraint;
}

/// Which nodes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodesQuery {
    /// Only those that this label selector matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A node with what is known of it now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// The node.
    #[serde(flatten)]
    pub node: Node,
    /// Whether it is heard from.
    pub state: NodeState,
    /// When it was last heard from.
    pub last_seen_at: Option<Timestamp>,
    /// Its machine.
    pub facts: Option<HostFacts>,
    /// What its machine measured last, since this hub started.
    #[serde(default)]
    pub figures: Option<HostFigures>,
    /// When these figures came.
    #[serde(default)]
    pub figures_at: Option<Timestamp>,
    /// What about its machine someone should look at.
    #[serde(default)]
    pub conditions: Vec<HostCondition>,
    /// What it should run.
    pub desired: Vec<DesiredView>,
    /// What it runs, as it said last.
    pub observed: Vec<ObservedStack>,
    /// How safe it is, as it said last: safe mode and why, updates that wait, SSH.
    #[serde(default)]
    pub safety: NodeSafety,
    /// Whether an operator said that it may leave safe mode, and it has not said yet that it did.
    #[serde(default)]
    pub leaving_safe_mode: bool,
    /// Set while it is being taken out of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decommissioning: Option<Decommissioning>,
}

/// What a node should run of a stack, and why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DesiredView {
    /// The stack.
    pub stack: StackName,
    /// The tree.
    pub tree: TreeDigest,
    /// A commit that carries it.
    pub commit: CommitId,
    /// Why this one.
    pub reason: String,
}

/// Which node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodePath {
    /// Name or id.
    pub node: String,
}

/// Why a node may leave safe mode.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeaveSafeModeRequest {
    /// Why: what was mended, or looked at.
    pub reason: String,
}

/// What a join token is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateJoinTokenRequest {
    /// Life in seconds; 3600 when absent, 7 days at most.
    pub expires_in_seconds: Option<u64>,
}

/// A join token. Shown once; the hub keeps only a hash.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinToken {
    /// Its id.
    pub id: TokenId,
    /// The token: `bsj.<id>.<secret>.<fingerprint of the hub's key>`.
    pub token: Secret,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// A repository to add.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AddRepositoryRequest {
    /// Its name, unique in the hub.
    pub name: String,
    /// Git addresses (`https://`, `ssh://`, `user@host:path`, or a local path), in order of preference. No passwords.
    pub endpoints: Vec<String>,
    /// The branch to deploy; the repository's own default when absent.
    pub branch: Option<String>,
    /// Where stacks are; `stacks` and `roles` when absent.
    pub stacks_path: Option<String>,
    /// A token for https endpoints; kept in the hub's secrets, never shown.
    pub credential: Option<Secret>,
}

/// What is in a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryCheck {
    /// The branch that would be followed.
    pub branch: String,
    /// Its tip.
    pub tip: Option<CommitId>,
    /// The stacks there, by name.
    pub stacks: Vec<FoundStack>,
    /// What is wrong with the repository as a whole.
    pub problems: Vec<String>,
}

/// A stack in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundStack {
    /// Its name.
    pub stack: StackName,
    /// Its folder.
    pub path: String,
    /// For which nodes, in words.
    pub assignment: String,
    /// How many of the nodes there are now it is for.
    pub nodes: u64,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// Which repository.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryPath {
    /// Name or id.
    pub repository: String,
}

/// Which rewritten tip is accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AcceptRewriteRequest {
    /// The tip that was looked at; refused when upstream has moved since.
    pub tip: CommitId,
}

/// A stack with who runs what.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StackView {
    /// Its name.
    pub stack: StackName,
    /// The repository's name.
    pub repository: String,
    /// The release that the branch asks for.
    pub release: Option<Release>,
    /// The newest rollout.
    pub rollout: Option<Rollout>,
    /// How many nodes run which tree.
    pub nodes: Vec<VersionCount>,
}

/// How many nodes run a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionCount {
    /// The tree.
    pub tree: TreeDigest,
    /// How many nodes.
    pub nodes: u64,
}

/// Which stack.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StackPath {
    /// Its name.
    pub stack: StackName,
}

/// A release and whether it may be planned.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseView {
    /// The release.
    #[serde(flatten)]
    pub release: Release,
    /// Whether it may be planned.
    #[serde(flatten)]
    pub standing: ReleaseStanding,
}

/// Which constraints.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConstraintsQuery {
    /// Those no longer in force too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Only what limits this node (name or id): pins, branches that it follows, freezes, updates off and maintenance that reach it. Holds and bans
    /// are about releases and are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What to hold. Exactly one of `commit` and `conversation`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateHoldRequest {
    /// A commit, whole or its first digits.
    pub commit: Option<String>,
    /// A conversation.
    pub conversation: Option<backstay_types::ConversationId>,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

/// A maintenance window: outside of it, its nodes begin nothing new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowView {
    /// The repository's name whose `fleet.toml` has it.
    pub repository: String,
    /// The line there.
    pub line: u32,
    /// The stacks that it is for.
    pub stacks: Vec<StackName>,
    /// The nodes that it is for, as a label selector; empty for everyone.
    pub selector: String,
    /// How many nodes that is now.
    pub nodes: u64,
    /// When it opens: minute, hour, day, month, weekday.
    pub opens: String,
    /// How long it stays open, such as `4h`.
    pub lasts: String,
    /// The time zone of its clock.
    pub time_zone: String,
    /// Dates on which it is closed.
    pub blackout: Vec<String>,
    /// Whether it is open.
    pub open: bool,
    /// When it closes, or opens; absent when that is years away.
    pub changes_at: Option<Timestamp>,
}

/// A branch that nodes follow for a stack, instead of the deployed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchView {
    /// The stack.
    pub stack: StackName,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The repository's name.
    pub repository: String,
    /// The newest commit of it that was read whole and accepted.
    pub tip: CommitId,
    /// The newest commit there that changed the stack.
    pub commit: CommitId,
    /// The release that its nodes should run.
    pub release: ReleaseId,
    /// Whether that may be planned. While it is held, its nodes run what the fleet does.
    pub standing: ReleaseStanding,
    /// Whether it could be fetched and read. While not, its nodes keep what they run.
    pub health: RepositoryHealth,
    /// When any of this changed last.
    pub updated_at: Timestamp,
    /// How many nodes follow it or are to.
    pub nodes: u64,
}

/// A freeze, a pin, a branch to follow, or nodes to leave alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateConstraintRequest {
    /// What it does.
    #[serde(flatten)]
    pub effect: NewEffect,
    /// For which nodes: a label selector, `name=…` for one. Everyone when absent, which maintenance, updates that are off
    /// for all stacks and a branch to follow cannot be for.
    #[serde(default)]
    pub nodes: Option<String>,
    /// Why.
    pub reason: String,
    /// When it begins; at once when absent. Where nothing says when it ends, it may not have passed.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// When it ends by itself.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// What a constraint is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum NewEffect {
    /// Nothing forward begins; what is under way ends, and undos go through.
    Freeze {
        /// Only this stack.
        #[serde(default)]
        stack: Option<StackName>,
    },
    /// The nodes run one release of a stack, whatever rollouts say.
    Pin {
        /// The stack.
        stack: StackName,
        /// A release's id, or a commit, whole or its first digits. What the last rollout that succeeded brought when
        /// absent.
        #[serde(default)]
        to: Option<String>,
    },
    /// The nodes run the newest release of another branch of the stack's repository.
    Follow {
        /// The stack.
        stack: StackName,
        /// The branch, without `refs/heads/`.
        branch: String,
    },
    /// The nodes keep what they run, whatever is asked of the others.
    UpdatesOff {
        /// Only this stack.
        #[serde(default)]
        stack: Option<StackName>,
    },
    /// The nodes keep what they run, and count nowhere.
    Maintenance,
}

/// Which constraint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConstraintPath {
    /// Its id.
    pub constraint: ConstraintId,
}

/// Why a constraint is lifted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LiftRequest {
    /// Why.
    pub reason: String,
}
