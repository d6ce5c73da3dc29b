//! What happened as marks and spans on a time axis.

use backstay_types::{ConversationId, Refs, StackName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::endpoints;

endpoints! {
    /// What happened in a window of time, in lanes. Where deployments are many, they come counted in buckets.
    GetGraph = Get "/api/v1/graph" Viewer (query: GraphQuery) -> Graph;
}

/// Which window, and of what.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GraphQuery {
    /// From this time on.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// What a lane stands for; a stack when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LanesBy>,
    /// Only of this stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Only of this node (name or id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only of this conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
}

/// What a lane stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LanesBy {
    /// A stack.
    #[default]
    Stack,
    /// A node.
    Node,
}

/// A window of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Graph {
    /// From this time on.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// Position of the newest ledger entry.
    pub seq: u64,
    /// The lanes, by name.
    pub lanes: Vec<Lane>,
    /// How many lanes more there would be; those with failures are not among them.
    pub more_lanes: u64,
    /// Marks and spans, oldest first.
    pub items: Vec<GraphItem>,
    /// The width of a bucket in seconds; absent when deployments come one by one.
    pub bucket_seconds: Option<u64>,
    /// Counted deployments, oldest first.
    pub buckets: Vec<Bucket>,
    /// Kinds of which only the newest are here.
    pub truncated: Vec<GraphKind>,
}

/// A lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lane {
    /// What items refer to.
    pub key: String,
    /// The stack's or node's name.
    pub name: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphItem {
    /// What it is.
    pub kind: GraphKind,
    /// By what its view asks for it; of a ledger entry, its position.
    pub id: String,
    /// The lanes that it is in; those of the whole fleet are in none.
    pub lanes: Vec<String>,
    /// When it happened or began.
    pub at: Timestamp,
    /// When it ended; absent for a moment, and for what goes on.
    pub until: Option<Timestamp>,
    /// How it ended or where it stands, in the word of its kind.
    pub state: String,
    /// A line for people.
    pub title: String,
    /// What it is about.
    pub refs: Refs,
    /// Whether it can be undone, or is a point to return to.
    pub undo: bool,
}

/// Kinds of things on the time axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GraphKind {
    /// A conversation: from its first word to its last.
    Conversation,
    /// A commit.
    Commit,
    /// A deployment.
    Deployment,
    /// A rollout that stopped by itself.
    Halt,
    /// An undo.
    Undo,
    /// What runs departed from what should.
    Drift,
    /// A repository's state changed.
    Repository,
    /// A pin, hold or ban was set or lifted.
    Constraint,
    /// A node joined or was taken out.
    Node,
}

/// Deployments of a lane that were planned within a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// The lane.
    pub lane: String,
    /// When the bucket begins.
    pub at: Timestamp,
    /// How many.
    pub count: u64,
    /// How many of these failed or went back.
    pub failures: u64,
}
