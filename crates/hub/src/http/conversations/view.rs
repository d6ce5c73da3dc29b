//! A conversation with its figures.

use backstay_api::v1::ConversationView;
use backstay_store::{Reader, figures, figures::ConversationFigures};
use backstay_types::Conversation;

use crate::http::ApiError;

/// Conversations with their figures, in the same order.
pub(super) async fn views(
    store: &mut Reader,
    found: Vec<Conversation>,
) -> Result<Vec<ConversationView>, ApiError> {
    let ids: Vec<_> = found.iter().map(|conversation| conversation.id).collect();
    let mut figures = figures::of_conversations(store, &ids).await?;
    let undone = backstay_store::undone(store, &ids).await?;
    let mut views = Vec::with_capacity(found.len());
    for conversation in found {
        let undone = undone.contains(&conversation.id);
        let figures = figures.remove(&conversation.id).unwrap_or_default();
        let ConversationFigures { changes, deployments, failures } = figures;
        views.push(ConversationView { conversation, changes, deployments, failures, undone });
    }
    Ok(views)
}
