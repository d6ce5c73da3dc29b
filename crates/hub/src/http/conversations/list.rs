//! `GET /api/v1/conversations`

use backstay_api::v1::{ConversationView, ListConversations, Page};
use backstay_store::conversations::{self, Key};
use backstay_types::{Conversation, Timestamp};

use super::view::views;
use crate::http::{ApiError, Call, paging};

/// Conversations, the one heard from last first.
pub(crate) async fn list(call: Call<ListConversations>) -> Result<Page<ConversationView>, ApiError> {
    let limit = paging::limit(call.query.limit)?;
    let after = call.query.cursor.as_deref().map(read_key).transpose()?;
    let mut store = call.app.store.read();
    let found = conversations::list(&mut store, after, limit + 1).await?;
    let page = paging::page(found, limit, write_key);
    let items = views(&mut store, page.items).await?;
    Ok(Page { items, next: page.next })
}

fn write_key(conversation: &Conversation) -> String {
    format!("{}.{}", conversation.last_seen_at.as_microsecond(), conversation.id)
}

fn read_key(text: &str) -> Result<Key, ApiError> {
    let key = text.split_once('.').and_then(|(micros, id)| {
        let last_seen_at = Timestamp::from_microsecond(micros.parse().ok()?).ok()?;
        Some(Key { last_seen_at, id: id.parse().ok()? })
    });
    key.ok_or_else(|| ApiError::invalid("cursor", "it is not one of this list"))
}
