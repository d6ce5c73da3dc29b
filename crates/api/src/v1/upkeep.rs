//! What nodes are kept in order with: drift.

use backstay_types::{Drift, NodeId, NodeName, StackName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::endpoint::endpoints;

endpoints! {
    /// What departs from what should be, on all nodes or one: what needs a person first. At most 1000.
    ListDrift = Get "/api/v1/drift" Viewer (query: DriftQuery) -> Page<DriftView>;
}

/// Which drift.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DriftQuery {
    /// Only of this node, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A departure on a node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DriftView {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// The stack.
    pub stack: StackName,
    /// What departed, how, and what becomes of it.
    pub drift: Drift,
}
