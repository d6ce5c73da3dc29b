//! Conversations, and deliveries of the tools that report them.

use backstay_types::{Change, Conversation, DeliveryId, Deployment, ForeignId, Timestamp, ToolEvent, Undo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Page, Paging};
use crate::{body::Binary, endpoint::endpoints};

endpoints! {
    /// Conversations, the one heard from last first.
    ListConversations = Get "/api/v1/conversations" Viewer (query: Paging) -> Page<ConversationView>;
    /// One conversation: what it said, what it changed, where that went.
    GetConversation = Get "/api/v1/conversations/{conversation}" Viewer (path: ConversationPath) -> ConversationDetail;
    /// The conversation behind a tool's own id, minted at first sight.
    ResolveConversation = Post "/api/v1/conversations/resolve" Operator
        (body: ResolveConversationRequest) -> Conversation;
    /// Webhook deliveries, newest first; those that could not be understood too.
    ListDeliveries = Get "/api/v1/deliveries" Viewer (query: DeliveriesQuery) -> Page<Delivery>;
    /// The sources of webhooks, with what came from each.
    ListWebhooks = Get "/api/v1/webhooks" Viewer () -> Page<Webhook>;
    /// Sends this hub a signed delivery of that source's form, as the source would, and says what became of it.
    TestWebhook = Post "/api/v1/webhooks/{source}/test" Admin (path: WebhookPath) -> WebhookTest;
    /// Receives a tool's events. Signature or token is checked before the body is read.
    ReceiveWebhook = Post "/hooks/{source}" Webhook (path: WebhookPath, body: Binary) -> DeliveryReceipt;
}

/// A conversation with its figures.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConversationView {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// How many commits it caused (guesses left out).
    pub changes: u64,
    /// How many deployments these led to.
    pub deployments: u64,
    /// How many of those failed.
    pub failures: u64,
    /// Whether all it changed was taken back.
    pub undone: bool,
}

/// All about a conversation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConversationDetail {
    /// The conversation.
    #[serde(flatten)]
    pub view: ConversationView,
    /// Commits, oldest first; guesses are marked in their links.
    pub commits: Vec<Change>,
    /// What its tool reported, oldest first; the newest 1000.
    pub events: Vec<ToolEvent>,
    /// Deployments, oldest first.
    pub deployed: Vec<Deployment>,
    /// Undos of it.
    pub undos: Vec<Undo>,
}

/// Which conversation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConversationPath {
    /// Its id, or a foreign id written `tool/kind/value`.
    pub conversation: String,
}

/// A tool's own id.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ResolveConversationRequest {
    /// The foreign id.
    #[serde(flatten)]
    pub id: ForeignId,
}

/// Which deliveries.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeliveriesQuery {
    /// Only from this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only those that could not be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecognised: Option<bool>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A received webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Our id.
    pub id: DeliveryId,
    /// The source: `openclaw`, `claude-code`, `github`, `gitlab`, `gitea`, `cloudevents`.
    pub source: String,
    /// The sender's idempotency key.
    pub key: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The size of its body in bytes.
    pub bytes: u64,
    /// How many events were read from it.
    pub events: u64,
    /// Why it, or part of it, could not be understood.
    pub unrecognised: Option<String>,
}

/// A source of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// The source, see [`Delivery::source`].
    pub source: String,
    /// The path that it sends to, under the hub's address.
    pub path: String,
    /// How many secrets are valid now; none means that every delivery is refused.
    pub secrets: u64,
    /// The newest delivery.
    pub last: Option<Delivery>,
    /// Deliveries within the last 24 hours.
    pub deliveries: u64,
    /// How many of those could not be understood.
    pub unrecognised: u64,
}

/// What became of a delivery that was sent for a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookTest {
    /// Whether it was taken, and understood.
    pub ok: bool,
    /// The status that the hub answered with.
    pub status: u16,
    /// What the hub answered, or why it could not be asked.
    pub detail: String,
    /// The delivery, when one was kept.
    pub delivery: Option<DeliveryId>,
}

/// Which source.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WebhookPath {
    /// The source, see [`Delivery::source`].
    pub source: String,
}

/// That a delivery is durable.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryReceipt {
    /// Our id of the first delivery with this key.
    pub delivery: DeliveryId,
    /// Whether it had been received before; nothing changed then.
    pub replay: bool,
}
