//! Deployments, rollouts, and the logs of what runs.

use backstay_types::{
    CommitId, ConversationId, Decision, Deployment, DeploymentId, FailurePattern, FleetHealth, NodeName,
    Rollout, RolloutId, RolloutState, StackName, StepRecord, Timestamp, TreeDigest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::{agent::LogLine, body::Events, endpoint::endpoints};

endpoints! {
    /// Deployments, newest first.
    ListDeployments = Get "/api/v1/deployments" Viewer (query: DeploymentsQuery) -> Page<DeploymentView>;
    /// One deployment with its steps.
    GetDeployment = Get "/api/v1/deployments/{deployment}" Viewer (path: DeploymentPath) -> DeploymentDetail;
    /// Rollouts, newest first.
    ListRollouts = Get "/api/v1/rollouts" Viewer (query: RolloutsQuery) -> Page<RolloutView>;
    /// One rollout.
    GetRollout = Get "/api/v1/rollouts/{rollout}" Viewer (path: RolloutPath) -> RolloutView;
    /// Every decision about a rollout with what it was made from, in order; made again from that, when asked.
    GetRolloutDecisions = Get "/api/v1/rollouts/{rollout}/decisions" Viewer
        (path: RolloutPath, query: DecisionsQuery) -> RolloutDecisions;
    /// Keeps a rollout from moving anyone new. What is under way comes to its end.
    PauseRollout = Post "/api/v1/rollouts/{rollout}/pause" Operator
        (path: RolloutPath, body: RolloutReason) -> RolloutView;
    /// Lets a paused rollout go on.
    ResumeRollout = Post "/api/v1/rollouts/{rollout}/resume" Operator
        (path: RolloutPath, body: RolloutReason) -> RolloutView;
    /// Opens the next wave at once, whatever its gate waits for.
    PromoteRollout = Post "/api/v1/rollouts/{rollout}/promote" Operator
        (path: RolloutPath, body: PromoteRequest) -> RolloutView;
    /// Ends a rollout and bans its release until something newer is there.
    AbortRollout = Post "/api/v1/rollouts/{rollout}/abort" Operator
        (path: RolloutPath, body: RolloutReason) -> RolloutView;
    /// Lets a rollout go on in spite of freezes and closed windows, from now to its end. It is recorded who did and why.
    OverrideRollout = Post "/api/v1/rollouts/{rollout}/override" Operator
        (path: RolloutPath, body: RolloutReason) -> RolloutView;
    /// How well the whole fleet is, and what follows from it.
    GetFleetHealth = Get "/api/v1/fleet-health" Viewer () -> FleetHealth;
    /// Whether everything is stopped.
    GetEmergencyStop = Get "/api/v1/emergency-stop" Viewer () -> EmergencyStopView;
    /// Stops everything: nothing forward begins anywhere until it is lifted. What runs keeps running, undos go through.
    SetEmergencyStop = Post "/api/v1/emergency-stop" Operator (body: EmergencyStopRequest) -> EmergencyStopView;
    /// The last log lines of a stack on a node, asked through the node's own check-in.
    GetLogs = Get "/api/v1/nodes/{node}/stacks/{stack}/logs" Operator (path: LogsPath, query: LogsQuery) -> Logs;
    /// The last log lines and all that come, as server-sent events. Each plain event is one line as JSON. An event
    /// `gap` says that lines before the next one are left out; an event `problem` says why the stream ends, as a
    /// problem document. A stream that ends without one may be asked for again.
    FollowLogs = Get "/api/v1/nodes/{node}/stacks/{stack}/logs/follow" Operator
        (path: LogsPath, query: LogsQuery) -> Events;
}

/// Which deployments.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeploymentsQuery {
    /// Only on this node (name or id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only of this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Only of this rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// Only those caused by this conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A deployment with the names that people know.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentView {
    /// The deployment.
    #[serde(flatten)]
    pub deployment: Deployment,
    /// The node's name.
    pub node_name: NodeName,
    /// The release's tree.
    pub tree: TreeDigest,
    /// A commit that carries it.
    pub commit: CommitId,
    /// Conversations that caused it.
    pub conversations: Vec<ConversationId>,
}

/// A deployment with its steps.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentDetail {
    /// The deployment.
    #[serde(flatten)]
    pub view: DeploymentView,
    /// Its steps, in order.
    pub steps: Vec<StepRecord>,
}

/// Which deployment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentPath {
    /// Its id.
    pub deployment: DeploymentId,
}

/// Which rollouts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RolloutsQuery {
    /// Only of this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RolloutState>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A rollout with its figures.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RolloutView {
    /// The rollout.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// The release's tree.
    pub tree: TreeDigest,
    /// A commit that carries it.
    pub commit: CommitId,
    /// Conversations that caused it.
    pub conversations: Vec<ConversationId>,
    /// Deployments by state word.
    pub deployments: std::collections::BTreeMap<String, u64>,
    /// Nodes that it is for and that have no deployment yet.
    pub waiting: u64,
    /// Its waves, in order; none when everyone goes at once, and once it has ended.
    pub waves: Vec<WaveView>,
    /// What it waits for, or why it goes on; empty once it has ended.
    pub gate: String,
    /// What its gate goes by; absent once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchView>,
    /// What its failures have in common, once it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<FailurePattern>,
}

/// Whether decisions are to be made again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DecisionsQuery {
    /// Make each again from what was kept of it, and say whether the same comes out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<bool>,
}

/// The decisions about a rollout.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RolloutDecisions {
    /// In order.
    pub decisions: Vec<DecisionView>,
}

/// A decision, and what it came to when it was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionView {
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// Whether the same came out. Absent when it was not asked for, and where a person decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<bool>,
    /// What came out: its reason, another decision, or why it could not be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_out: Option<String>,
}

/// What a gate goes by: what became of the nodes in the waves that are open, and what it is measured against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchView {
    /// Nodes in the waves that are open.
    pub nodes: u64,
    /// Of these, those that are not there yet.
    pub on_their_way: u64,
    /// Those that run the release.
    pub run: u64,
    /// Attempts that ended.
    pub ended: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// Nodes that run the release and have fallen silent.
    pub silent: u64,
    /// With fewer ended attempts than this, any failure stops it.
    pub min_sample: u32,
    /// So many nodes in the waves that are open have to run it before the next one begins; 0 when every wave is open.
    #[serde(default)]
    pub needs_run: u64,
    /// So many have to have tried it before that.
    #[serde(default)]
    pub needs_tried: u64,
    /// Nodes that have not come to an end of their attempt, and are not heard from.
    #[serde(default)]
    pub away: u64,
    /// The rules that stop it.
    pub rules: Vec<RuleView>,
    /// Until when what was moved is watched, once all of it is there.
    pub watched_until: Option<Timestamp>,
    /// Nodes that may not begin now.
    pub held_back: u64,
    /// Why the first of them may not: a freeze, a window.
    pub held_by: Option<String>,
    /// Why it moves nobody at all, if so: everything is stopped, someone paused it, a freeze of everyone.
    pub still: Option<String>,
}

/// A rule that stops a rollout, and what it sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuleView {
    /// The rule, such as `failed_ratio > 0.05`.
    pub rule: String,
    /// Its figure now; absent where nothing is known of it yet.
    pub value: Option<f64>,
    /// Whether it is too much.
    pub holds: bool,
}

/// A wave of a rollout that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaveView {
    /// Who is in it: a label selector or a share.
    pub of: String,
    /// Whether its nodes may begin.
    pub open: bool,
    /// How many nodes are in it and in none before it.
    pub nodes: u64,
    /// How many of these run the release.
    pub run: u64,
    /// How many failed.
    pub failed: u64,
}

/// Why something is done to a rollout.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RolloutReason {
    /// Why.
    pub reason: String,
}

/// Which wave is to follow at once, and why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PromoteRequest {
    /// The wave that is open now, from 0, as [`Rollout::wave`] says: asked again, no further wave is opened.
    pub wave: u32,
    /// Why.
    pub reason: String,
}

/// Everything stopped, or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmergencyStopView {
    /// Whether everything is stopped.
    pub stopped: bool,
    /// Who stopped it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// Stop everything, or lift the stop.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EmergencyStopRequest {
    /// Whether to stop.
    pub stopped: bool,
    /// Why.
    pub reason: String,
}

/// Which rollout.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RolloutPath {
    /// Its id.
    pub rollout: RolloutId,
}

/// Whose logs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LogsPath {
    /// Node, by name or id.
    pub node: String,
    /// The stack.
    pub stack: StackName,
}

/// How much of the logs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogsQuery {
    /// Only this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many lines of each service; 100 when absent, 5000 at most; of a follower 1000, and 0 is none of the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
}

/// Log lines, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    /// The lines.
    pub lines: Vec<LogLine>,
}
