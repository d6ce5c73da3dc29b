//! What the page asks in one question: an overview, a table of nodes, a search, and what happens now.

use std::collections::BTreeMap;

use backstay_types::{
    AgentUpdate, CommitId, Constraint, ConversationId, DeploymentId, FleetHealth, Labels, NodeId, NodeName,
    NodeState, Refs, StackHealth, StackName, Timestamp, TreeDigest, Undo,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EmergencyStopView, RolloutView, TimelineEntry};
use crate::{body::Events, endpoint::endpoints};

endpoints! {
    /// What happens, as server-sent events, from where the reader was (`Last-Event-ID`, or `after`). `hello` says where
    /// the ledger is; each `entry` is a timeline entry and its id is the entry's position; `reset` says that more has
    /// happened than is told here, and where the ledger is: read anew what is shown. Without a position of their own:
    /// `nodes`, nodes whose state or health changed (at most once a second), `touched`, deployments and
    /// conversations of which more is known now, and `database`, when the hub's database goes away or comes back.
    FollowEvents = Get "/api/v1/events" Viewer (query: EventsQuery) -> Events;
    /// The fleet at a glance: what runs, what happens, what needs a person.
    GetOverview = Get "/api/v1/overview" Viewer () -> Overview;
    /// Nodes as rows of a table: any part of it, filtered and sorted.
    ListNodeRows = Get "/api/v1/node-rows" Viewer (query: NodeRowsQuery) -> NodeRows;
    /// Whatever has this text in its name, title or id, best first.
    Search = Get "/api/v1/search" Viewer (query: SearchQuery) -> SearchHits;
}

/// From where to follow.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventsQuery {
    /// Entries after this position; only what comes when absent. `Last-Event-ID` goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Where the ledger is: the data of `hello` and `reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsHello {
    /// Position of the newest entry.
    pub seq: u64,
    /// The hub's version.
    pub version: String,
    /// When the hub's process started.
    pub started_at: Timestamp,
}

/// The data of `database`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseState {
    /// Since when the hub cannot read its database; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<Timestamp>,
}

/// The data of `nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodesChanged {
    /// Nodes that changed.
    pub changed: Vec<NodeChanged>,
    /// Whether more changed than are named.
    pub more: bool,
}

/// A node that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeChanged {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whether it is heard from.
    pub state: NodeState,
    /// The worst health among its stacks; absent when it runs none.
    pub health: Option<StackHealth>,
}

/// The data of `touched`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Touched {
    /// Deployments that got steps or another state.
    pub deployments: Vec<DeploymentId>,
    /// Conversations that got events.
    pub conversations: Vec<ConversationId>,
    /// Whether there are more of either than are named.
    pub more: bool,
}

/// The fleet at a glance.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// When this was so.
    pub at: Timestamp,
    /// Position of the newest ledger entry.
    pub seq: u64,
    /// Nodes by state.
    pub nodes: BTreeMap<String, u64>,
    /// Stacks on nodes, by health.
    pub health: BTreeMap<String, u64>,
    /// Agents by version.
    pub agents: BTreeMap<String, u64>,
    /// Stacks, by name.
    pub stacks: Vec<StackSpread>,
    /// Rollouts under way.
    pub rollouts: Vec<RolloutView>,
    /// Whether everything is stopped.
    pub stop: EmergencyStopView,
    /// Undos that have not ended.
    pub undos: Vec<Undo>,
    /// Freezes in force, oldest first: somebody wants it so, and it is to be known.
    #[serde(default)]
    pub freezes: Vec<Constraint>,
    /// What needs a person, worst first.
    pub attention: Vec<Attention>,
    /// How well the whole fleet is.
    pub fleet: FleetHealth,
    /// The newest update of agents, while it runs or has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_update: Option<AgentUpdate>,
    /// The last 48 hours, oldest first.
    pub hours: Vec<HourFigures>,
    /// The newest entries that say something to a person.
    pub latest: Vec<TimelineEntry>,
    /// How many repositories are followed.
    pub repositories: u64,
    /// How many things someone should look at in them, though they are deployed.
    #[serde(default)]
    pub warnings: u64,
}

/// Who runs which version of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackSpread {
    /// The stack.
    pub stack: StackName,
    /// The repository's name.
    pub repository: String,
    /// The tree that the branch asks for.
    pub tree: Option<TreeDigest>,
    /// A commit that carries it.
    pub commit: Option<CommitId>,
    /// The commit's first line.
    pub subject: Option<String>,
    /// Who runs what, most nodes first.
    pub versions: Vec<super::VersionCount>,
}

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attention {
    /// What it is about.
    pub kind: AttentionKind,
    /// One line for people: what is so, and what to do.
    pub summary: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it is about.
    pub refs: Refs,
    /// The name of the node, repository or source that it is about, or the version of the agent, where it is one.
    pub name: Option<String>,
}

/// What needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// An undo waits for a resolution.
    UndoConflicted,
    /// A node's way back failed.
    NodeBroken,
    /// Something on a node departs from what should be, and was given up on.
    DriftEscalated,
    /// A node is in safe mode.
    SafeMode,
    /// A stack is down or not as it should be.
    StackUnwell,
    /// A rollout stopped by itself.
    RolloutHalted,
    /// An update of agents stopped, by itself or by a person.
    AgentsHalted,
    /// A repository of backups is damaged.
    BackupDamaged,
    /// Backups failed, are late, or have no room.
    BackupUnwell,
    /// A restore waits for its machine, or for its stack to run there.
    RestoreWaiting,
    /// A drill failed: a snapshot may not bring its stack back.
    DrillFailed,
    /// No recovery key is set: once the hub is lost, nobody opens any backup.
    RecoveryKeyMissing,
    /// Nodes are not heard from.
    NodesOffline,
    /// A repository's history was rewritten.
    RewriteToAccept,
    /// A repository cannot be read.
    RepositoryUnwell,
    /// A branch that some nodes follow cannot be read, or its history was rewritten.
    BranchUnwell,
    /// An undo could not be pushed and waits for a merge.
    UndoAwaitingMerge,
    /// A webhook could not be understood.
    DeliveryUnrecognised,
}

/// Deployments that ended in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HourFigures {
    /// When the hour began.
    pub at: Timestamp,
    /// Deployments that were planned in it.
    pub deployments: u64,
    /// How many of these failed or went back.
    pub failures: u64,
}

/// Which part of the table of nodes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeRowsQuery {
    /// Only those that this label selector matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Only those with this text in their name or in a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
    /// Only those with a stack of this health; with `stack`, of that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<StackHealth>,
    /// Only those that run or should run this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Only those that run this tree, whole or its first digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Only those of which this is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<NodeMark>,
    /// By what; by name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<NodeSort>,
    /// The other way round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descending: Option<bool>,
    /// The first row, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// At most this many rows; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What is out of the ordinary about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeMark {
    /// It is in safe mode.
    SafeMode,
    /// Something on it departs from what should be.
    Drift,
    /// It is in maintenance.
    Maintenance,
    /// Its updates are off.
    UpdatesOff,
    /// It, or some nodes with it, are pinned. A pin of everyone is no mark.
    Pinned,
    /// It follows another branch than the deployed one.
    Following,
    /// A freeze is for it, or for some nodes with it. A freeze of everyone is no mark.
    Frozen,
    /// It is being taken out of the fleet.
    Decommissioning,
}

/// What a table of nodes is sorted by; then by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeSort {
    /// Its name.
    #[default]
    Name,
    /// Its state, what needs a person first.
    State,
    /// Its worst health, worst first.
    Health,
    /// When it was heard from, the longest silent first.
    LastSeen,
    /// When it joined, oldest first.
    Joined,
    /// The version of its agent.
    Version,
}

/// A part of the table of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRows {
    /// How many rows the whole table has.
    pub total: u64,
    /// The number of the first row here.
    pub offset: u32,
    /// The rows.
    pub rows: Vec<NodeRow>,
}

/// A node as a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRow {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whether it is heard from.
    pub state: NodeState,
    /// When it was heard from.
    pub last_seen_at: Option<Timestamp>,
    /// Its labels.
    pub labels: Labels,
    /// The version of its agent.
    pub agent_version: Option<String>,
    /// The worst health among its stacks; absent when it runs none.
    pub health: Option<StackHealth>,
    /// Why it is in safe mode; absent when it is not.
    pub safe_mode: Option<String>,
    /// What is out of the ordinary about it.
    #[serde(default)]
    pub marks: Vec<NodeMark>,
    /// Its stacks, by name.
    pub stacks: Vec<NodeRowStack>,
}

/// A stack in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRowStack {
    /// The stack.
    pub stack: StackName,
    /// What runs.
    pub tree: Option<TreeDigest>,
    /// Its health.
    pub health: StackHealth,
    /// Whether what runs is what should.
    pub wanted: bool,
}

/// What to search.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SearchQuery {
    /// The text; at least 1 and at most 200 bytes.
    pub q: String,
    /// At most this many; 20 when absent, 100 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchHits {
    /// Best first.
    pub hits: Vec<SearchHit>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchHit {
    /// What it is.
    pub kind: HitKind,
    /// By what its view asks for it: a name for nodes, stacks and repositories, else an id.
    pub id: String,
    /// A line for people.
    pub title: String,
    /// More about it.
    pub detail: String,
    /// When it came to be, or was heard from.
    pub at: Option<Timestamp>,
    /// For a commit: its repository's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// Kinds of things that a search finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HitKind {
    /// A node.
    Node,
    /// A stack.
    Stack,
    /// A conversation.
    Conversation,
    /// A commit.
    Commit,
    /// A release.
    Release,
    /// A deployment.
    Deployment,
    /// A rollout.
    Rollout,
    /// An undo.
    Undo,
    /// A repository.
    Repository,
}
