//! `GET /api/v1/nodes/{node}`

use backstay_api::v1::{GetNode, NodeView};

use super::node_view::views;
use crate::http::{ApiError, Call, find};

/// One node, by name or id.
pub(crate) async fn get_node(call: Call<GetNode>) -> Result<NodeView, ApiError> {
    let mut store = call.app.store.read();
    let node = find::node(&mut store, &call.path.node).await?;
    let view = views(&call.app, &mut store, vec![node]).await?.pop();
    view.ok_or_else(|| ApiError::missing("node", &call.path.node))
}
