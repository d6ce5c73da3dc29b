//! `POST /api/v1/nodes/{node}/leave-safe-mode`

use backstay_api::v1::{LeaveSafeMode, NodeView};
use backstay_types::{ErrorCode, LeaveSafeMode as Word};

use super::node_view::views;
use crate::http::{ApiError, Call, find, reason};

/// Lets a node leave the safe mode that it is in.
pub(crate) async fn leave_safe_mode(call: Call<LeaveSafeMode>) -> Result<NodeView, ApiError> {
    let Call { app, path, body, caller, .. } = call;
    let (why, by) = (reason(&body.reason)?.to_owned(), caller.by());
    let mut store = app.store.read();
    let node = find::node(&mut store, &path.node).await?;
    let safe_mode = app.live.seen(node.id).safety.and_then(|safety| safety.safe_mode);
    let Some(safe_mode) = safe_mode else {
        let detail = format!("node {} is not in safe mode, as far as this hub has heard", node.name);
        return Err(ApiError::new(ErrorCode::BS4005, detail));
    };
    app.engine.leave_safe_mode(node.id, Word { safe_mode: safe_mode.id, by, reason: why }).await?;
    let views = views(&app, &mut app.store.read(), vec![node]).await?;
    views.into_iter().next().ok_or_else(|| ApiError::internal("a node without a view"))
}
