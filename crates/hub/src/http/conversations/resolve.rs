//! `POST /api/v1/conversations/resolve`

use backstay_api::v1::ResolveConversation;
use backstay_types::{Conversation, ForeignId};

use crate::http::{ApiError, Call};

/// The longest part of a foreign id, in bytes.
const LONGEST: usize = 512;

/// The conversation behind a tool's own id, minted at first sight.
pub(crate) async fn resolve(call: Call<ResolveConversation>) -> Result<Conversation, ApiError> {
    let ForeignId { tool, kind, value } = &call.body.id;
    for (name, text) in [("tool", tool), ("kind", kind), ("value", value)] {
        if text.is_empty() || text.len() > LONGEST || text.contains(char::is_control) {
            return Err(ApiError::invalid(
                name,
                format!("expected 1 to {LONGEST} bytes of text in one line"),
            ));
        }
    }
    Ok(call.app.engine.resolve_conversation(&call.body.id).await?)
}
