//! The ledger for people: timeline, correlation, and why.

use backstay_types::{
    Change, CommitId, Conversation, ConversationId, Deployment, DeploymentId, EventId, LedgerEntry, NodeName,
    Refs, Release, ReleaseId, Removed, RolloutId, StackName, Timestamp, UndoId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::endpoint::endpoints;

endpoints! {
    /// What happened, in ledger order; filters are and-ed. Newest first, or oldest first after a position.
    ListTimeline = Get "/api/v1/timeline" Viewer (query: TimelineQuery) -> Page<TimelineEntry>;
    /// From any one id, everything that hangs together with it, oldest first.
    GetRelated = Get "/api/v1/related" Viewer (query: RelatedQuery) -> Related;
    /// Which conversation put this stack, file or line into production, when, and what happened after.
    GetWhy = Get "/api/v1/why" Viewer (query: WhyQuery) -> Why;
    /// Where each line of a file that runs came from.
    GetWhyFile = Get "/api/v1/why/file" Viewer (query: WhyFileQuery) -> WhyFile;
    /// The ledger as it is chained, oldest first, for checking it away from the hub.
    ExportLedger = Get "/api/v1/ledger" Admin (query: LedgerQuery) -> LedgerExport;
}

/// Which part of the timeline.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TimelineQuery {
    /// Only about this conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// Only about this node (name or id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only about this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Only about this undo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoId>,
    /// Only about this rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// Only of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only from this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Entries after this position, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// With `after`: wait this long for a first entry, in milliseconds; 30000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A ledger entry with the names that people know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// The entry.
    #[serde(flatten)]
    pub entry: LedgerEntry,
    /// The name of the node that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<NodeName>,
    /// The title of the conversation that it is about, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_title: Option<String>,
}

/// Exactly one id to start from.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RelatedQuery {
    /// A conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// A commit, whole or its first digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// A rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// A deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// A node (name or id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A container's id in its runtime, whole or its first digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// An undo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoId>,
}

/// Everything that hangs together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Related {
    /// The items, oldest first.
    pub items: Vec<RelatedItem>,
}

/// One thing that hangs together with another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelatedItem {
    /// When it came to be.
    pub at: Timestamp,
    /// `conversation`, `commit`, `release`, `rollout`, `deployment`, `node`, `container`, `undo`.
    pub kind: String,
    /// Its id, as that kind writes it.
    pub id: String,
    /// One line for people.
    pub summary: String,
    /// The ids that it carries itself.
    pub refs: Refs,
}

/// What to explain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyQuery {
    /// Node, by name or id.
    pub node: String,
    /// The stack.
    pub stack: StackName,
    /// A file of the stack, relative to its folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A line of the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// Blame for what runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// The node.
    pub node: NodeName,
    /// The stack.
    pub stack: StackName,
    /// The release that runs; once the stack was taken away, the last that ran.
    pub release: Release,
    /// Set once the stack was taken away from the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
    /// The text of the line, when a line was asked for.
    pub text: Option<String>,
    /// The commit that made it so.
    pub change: Change,
    /// The conversations behind that commit.
    pub conversations: Vec<Conversation>,
    /// The deployment that first brought it to this node.
    pub deployment: Option<Deployment>,
    /// What happened on this node with this stack after that, oldest first.
    pub after: Vec<LedgerEntry>,
    /// Set while the node is being taken out of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decommissioning: Option<super::Decommissioning>,
}

/// Which file to explain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyFileQuery {
    /// Node, by name or id.
    pub node: String,
    /// The stack.
    pub stack: StackName,
    /// A file of the stack, relative to its folder.
    pub file: String,
}

/// A file that runs, line by line.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyFile {
    /// The node.
    pub node: NodeName,
    /// The release that runs; once the stack was taken away, the last that ran.
    pub release: Release,
    /// The lines, in order. Values that look like secrets are hidden.
    pub lines: Vec<WhyLine>,
    /// The commits that the lines came from, newest first.
    pub changes: Vec<Change>,
    /// The conversations behind those.
    pub conversations: Vec<Conversation>,
}

/// A line and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyLine {
    /// Its text.
    pub text: String,
    /// The commit that made it so.
    pub commit: CommitId,
}

/// Which part of the ledger.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LedgerQuery {
    /// Entries after this position; from the start when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most this many; 1000 when absent, 5000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Rows as they are chained.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LedgerExport {
    /// The rows, oldest first.
    pub rows: Vec<LedgerRow>,
    /// Position of the newest entry.
    pub head: u64,
}

/// A ledger row with all that its hash is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerRow {
    /// Position, from 1.
    pub seq: u64,
    /// Id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// Kind.
    pub kind: String,
    /// Ids.
    pub refs: Refs,
    /// Hash over salt and body.
    pub body_hash: backstay_types::Digest,
    /// Salt in hexadecimal digits; absent once erased.
    pub salt: Option<String>,
    /// The body's JSON exactly as stored; absent once erased.
    pub body: Option<String>,
    /// Hash of the chain up to here.
    pub hash: backstay_types::Digest,
}
