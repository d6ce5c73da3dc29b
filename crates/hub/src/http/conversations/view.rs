//! A conversation with its figures.

use backstay_api::v1::ConversationView;
use backstay_store::{Reader, figures, figures::ConversationFigures, undos};
use backstay_types::{Conversation, Undo, UndoState};

use crate::http::ApiError;

/// Conversations with their figures, in the same order.
pub(super) async fn views(
    store: &mut Reader,
    found: Vec<Conversation>,
) -> Result<Vec<ConversationView>, ApiError> {
    let ids: Vec<_> = found.iter().map(|conversation| conversation.id).collect();
    let mut figures = figures::of_conversations(store, &ids).await?;
    let mut views = Vec::with_capacity(found.len());
    for conversation in found {
        let undos = undos::of_conversation(store, conversation.id).await?;
        let undone = is_undone(store, &undos).await?;
        let figures = figures.remove(&conversation.id).unwrap_or_default();
        let ConversationFigures { changes, deployments, failures } = figures;
        views.push(ConversationView { conversation, changes, deployments, failures, undone });
    }
    Ok(views)
}

/// Whether the newest undo stands: it is on its way or done, for everyone, and was not itself undone.
async fn is_undone(store: &mut Reader, found: &[Undo]) -> Result<bool, ApiError> {
    let whole = |undo: &&Undo| undo.scope.nodes.is_none() && undo.scope.stack.is_none();
    let Some(newest) = found.iter().rev().find(whole) else { return Ok(false) };
    if !stands(&newest.state) {
        return Ok(false);
    }
    let of_it = undos::of_undo(store, newest.id).await?;
    Ok(!of_it.iter().any(|undo| stands(&undo.state)))
}

fn stands(state: &UndoState) -> bool {
    matches!(state, UndoState::RollingOut | UndoState::Verified)
}
