//! Conversations: where changes come from.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, DeliveryId, EventId};

/// A conversation with an assistant. One session key outlives many session ids; all of them are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conversation {
    /// Minted at first sight.
    pub id: ConversationId,
    /// The tool it took place in, such as `openclaw` or `claude-code`.
    pub tool: String,
    /// The ids under which other tools know it.
    pub foreign_ids: Vec<ForeignId>,
    /// A short description for people, when one is known.
    pub title: Option<String>,
    /// When Backstay first heard of it.
    pub first_seen_at: Timestamp,
    /// When Backstay last heard of it.
    pub last_seen_at: Timestamp,
    /// When the tool said that it ended.
    pub ended_at: Option<Timestamp>,
}

/// A foreign id of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ForeignId {
    /// The tool that gave it.
    pub tool: String,
    /// What it identifies: `session_key`, `session_id`, `run_id`, `resumed_from`, …
    pub kind: String,
    /// The id itself.
    pub value: String,
}

/// Something that happened in a conversation, as its tool reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolEvent {
    /// Our id.
    pub id: EventId,
    /// The conversation, once one is known.
    pub conversation: Option<ConversationId>,
    /// The delivery that carried it.
    pub delivery: DeliveryId,
    /// When it happened by the tool's clock, or when it arrived.
    pub at: Timestamp,
    /// What happened.
    pub kind: ToolEventKind,
    /// One line for people, secrets taken out.
    pub summary: String,
    /// Commit ids named by the event.
    pub commits: Vec<String>,
}

/// Kinds of tool events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolEventKind {
    /// A session began.
    SessionStarted,
    /// A session ended.
    SessionEnded,
    /// A tool call succeeded.
    ToolCall,
    /// A tool call failed.
    ToolCallFailed,
    /// The assistant finished its turn.
    TurnEnded,
    /// Understood, but none of the above.
    Other,
}
