//! What nodes are in the fleet: their labels, and how they leave it.

use std::collections::BTreeMap;

use backstay_types::{
    CommitId, EnvironmentName, HostFacts, Labels, NodeId, NodeName, NodeState, StackHealth, StackName,
    Timestamp, TreeDigest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LiftRequest, NodePath, NodesQuery, Page};
use crate::endpoint::{Empty, endpoints};

endpoints! {
    /// Sets labels of a node and takes others off, all at once. A rollout that runs keeps its waves as they were.
    LabelNode = Post "/api/v1/nodes/{node}/labels" Admin
        (path: NodePath, body: LabelsRequest) -> LabelledNode;
    /// The same for all nodes that a selector matches now: all of them, or none.
    LabelNodes = Post "/api/v1/node-labels" Admin (body: LabelNodesRequest) -> Page<LabelledNode>;
    /// What there is: nodes, revoked ones too, with their machines and what they run, by name.
    GetInventory = Get "/api/v1/inventory" Viewer (query: NodesQuery) -> Page<InventoryNode>;
    /// Takes a node out of the fleet: nothing forward begins there, what it runs is taken away when it next checks in, and
    /// then it is revoked. Data stays.
    DecommissionNode = Post "/api/v1/nodes/{node}/decommission" Admin
        (path: NodePath, body: DecommissionRequest) -> DecommissionPlan;
    /// Lets a node stay that is being taken out. What was taken away there already comes back.
    CancelDecommission = Post "/api/v1/nodes/{node}/decommission/cancel" Admin
        (path: NodePath, body: LiftRequest) -> Empty;
}

/// Labels to set and to take off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LabelsRequest {
    /// Pairs to set, in place of what their keys had.
    pub set: BTreeMap<String, String>,
    /// Keys to take off; one that is not there is no error.
    pub remove: Vec<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Change nothing; say what would come of it.
    pub dry_run: bool,
}

/// Labels for several nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelNodesRequest {
    /// Which nodes: a label selector, as in `fleet.toml`.
    pub nodes: String,
    /// What to change.
    #[serde(flatten)]
    pub labels: LabelsRequest,
}

/// A node's labels before and after, and what that means for what it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelledNode {
    /// The node.
    pub node: NodeName,
    /// Its labels before.
    pub before: Labels,
    /// Its labels after.
    pub after: Labels,
    /// The stacks for which it makes a difference, by name.
    pub stacks: Vec<MovedStack>,
}

/// A stack that a node comes to run, no longer is to run, or runs in another environment or release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MovedStack {
    /// The stack.
    pub stack: StackName,
    /// What it was to run of it; absent where it was not assigned.
    pub before: Option<AssignedStack>,
    /// What it is to run of it; absent where it is no longer assigned.
    pub after: Option<AssignedStack>,
    /// Whether it is taken away there; otherwise what is no longer assigned is left as it is.
    pub taken_away: bool,
}

/// What a node is to run of a stack, leaving aside when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssignedStack {
    /// As a node of which environment, where the stack has any.
    pub environment: Option<EnvironmentName>,
    /// The release's commit; absent where it keeps what it runs.
    pub commit: Option<CommitId>,
}

/// How a node is taken out of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecommissionRequest {
    /// Why.
    pub reason: String,
    /// Revoke it at once, and leave running what it runs.
    #[serde(default)]
    pub keep_running: bool,
    /// Change nothing; say what would come of it.
    #[serde(default)]
    pub dry_run: bool,
}

/// What taking a node out of the fleet takes away, and what stays there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecommissionPlan {
    /// The node.
    pub node: NodeName,
    /// Since when it is being taken out; absent where it is not.
    pub since: Option<Timestamp>,
    /// Whether it is revoked by now.
    pub revoked: bool,
    /// What it runs, by stack.
    pub stacks: Vec<LeftStack>,
}

/// A stack that a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftStack {
    /// The stack.
    pub stack: StackName,
    /// A commit that carries what runs.
    pub commit: Option<CommitId>,
    /// Its services, as the node reported them.
    pub containers: Vec<String>,
    /// Named volumes, as its Compose file has them. They stay, as do the files in its state folder.
    pub volumes: Vec<String>,
}

/// That a node is being taken out of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decommissioning {
    /// Since when.
    pub since: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A node in the inventory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InventoryNode {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its labels.
    pub labels: Labels,
    /// Whether it is heard from.
    pub state: NodeState,
    /// Whether it is in safe mode.
    pub safe_mode: bool,
    /// Set while it is being taken out of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decommissioning: Option<Decommissioning>,
    /// When it joined.
    pub joined_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last heard from.
    pub last_seen_at: Option<Timestamp>,
    /// Its machine and its agent's version, as it said last.
    pub facts: Option<HostFacts>,
    /// What it runs, by name.
    pub stacks: Vec<InventoryStack>,
    /// What it is still to come to run, or to lose.
    pub pending: Vec<PendingUpdate>,
}

/// A stack that a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InventoryStack {
    /// The stack.
    pub stack: StackName,
    /// The tree that runs, as the node said last; what it settled on where it has not said.
    pub tree: Option<TreeDigest>,
    /// A commit that carries it, where the hub deployed it.
    pub commit: Option<CommitId>,
    /// Since when, where the hub deployed it.
    pub since: Option<Timestamp>,
    /// How it does, as the node said last.
    pub health: StackHealth,
}

/// Something that a node was told and has not done yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingUpdate {
    /// The stack; absent for the agent itself.
    pub stack: Option<StackName>,
    /// Where it is to go: a commit, or the agent's version.
    pub to: String,
    /// Why.
    pub reason: String,
}
