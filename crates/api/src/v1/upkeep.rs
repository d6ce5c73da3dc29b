//! What nodes are kept in order with: drift.

use std::collections::BTreeMap;

use backstay_types::{
    AgentBuild, AgentDecision, AgentOutcome, AgentUpdate, Drift, NodeId, NodeName, StackName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DecisionsQuery, NodePath, Page};
use crate::{Binary, bundle::Part, endpoint::endpoints};

endpoints! {
    /// What departs from what should be, on all nodes or one: what needs a person first. At most 1000.
    ListDrift = Get "/api/v1/drift" Viewer (query: DriftQuery) -> Page<DriftView>;
    /// Which agents run, which programs are here, and how the newest update stands.
    GetAgents = Get "/api/v1/agents" Viewer () -> AgentsView;
    /// Every decision about the newest update of agents with what it was made from, in order; made again, when asked.
    GetAgentDecisions = Get "/api/v1/agents/decisions" Viewer (query: DecisionsQuery) -> AgentDecisions;
    /// Keeps an agent's program. The same one again is kept once.
    UploadAgent = Post "/api/v1/agents/builds" Admin (query: UploadAgentQuery, body: Binary) -> AgentBuild;
    /// Brings a version of the agent to all nodes, wave by wave.
    UpdateAgents = Post "/api/v1/agents/update" Admin (body: UpdateAgentsRequest) -> AgentUpdate;
    /// Stops the update of agents that runs: who was asked stays asked, nobody else is.
    HaltAgents = Post "/api/v1/agents/halt" Operator (body: HaltAgentsRequest) -> AgentUpdate;
    /// What a node should run, with the content, as one signed file for a node that reaches no network. The caller adds
    /// the images that it names, in their order.
    ExportBundle = Post "/api/v1/nodes/{node}/bundle" Operator (path: NodePath, body: BundleRequest) -> Binary;
}

/// Which drift.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DriftQuery {
    /// Only of this node, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What is uploaded.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UploadAgentQuery {
    /// Its version.
    pub version: String,
    /// `x86_64`, `aarch64`, `arm` or `riscv64`.
    pub arch: String,
}

/// Which agent, and how it goes out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UpdateAgentsRequest {
    /// A version whose programs are here.
    pub version: String,
    /// Shares of the fleet in percent, ascending; 5, 25 and 100 when empty.
    #[serde(default)]
    pub waves: Vec<u8>,
    /// How long a wave is watched once all of it has answered, in seconds; 600 when absent, a week at most.
    #[serde(default)]
    pub soak_seconds: Option<u64>,
}

/// Why an update of agents is stopped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HaltAgentsRequest {
    /// Why.
    pub reason: String,
}

/// Agents of the fleet.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentsView {
    /// How many nodes run which version, as they said last.
    pub versions: BTreeMap<String, u64>,
    /// Programs that are here, newest first.
    pub builds: Vec<AgentBuild>,
    /// The newest update.
    pub update: Option<AgentUpdate>,
    /// How many nodes run its version and have shown that it works.
    pub updated: u64,
    /// Where it failed, or was not tried: at most 100.
    pub not_updated: Vec<AgentNodeView>,
}

/// The decisions about an update of agents.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentDecisions {
    /// In order.
    pub decisions: Vec<AgentDecisionView>,
}

/// A decision about an update of agents, and what it came to when it was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentDecisionView {
    /// The decision.
    #[serde(flatten)]
    pub decision: AgentDecision,
    /// Whether the same came out; absent where a person decided, or when it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<bool>,
    /// What came out, or why it could not be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_out: Option<String>,
}

/// A node whose agent was not updated.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentNodeView {
    /// The node's name.
    pub node: NodeName,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: AgentOutcome,
}

/// What goes into a bundle besides the node's releases.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BundleRequest {
    /// Images that the caller will add behind what the hub gives.
    pub images: Vec<Part>,
    /// How long the node may take it up, in seconds; 30 days when absent, a year at most.
    pub valid_seconds: Option<u64>,
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
