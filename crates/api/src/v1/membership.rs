//! What nodes are in the fleet: their labels.

use std::collections::BTreeMap;

use backstay_types::{CommitId, EnvironmentName, Labels, NodeName, StackName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NodePath, Page};
use crate::endpoint::endpoints;

endpoints! {
    /// Sets labels of a node and takes others off, all at once. A rollout that runs keeps its waves as they were.
    LabelNode = Post "/api/v1/nodes/{node}/labels" Admin
        (path: NodePath, body: LabelsRequest) -> LabelledNode;
    /// The same for all nodes that a selector matches now: all of them, or none.
    LabelNodes = Post "/api/v1/node-labels" Admin (body: LabelNodesRequest) -> Page<LabelledNode>;
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
