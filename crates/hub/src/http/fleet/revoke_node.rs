//! `POST /api/v1/nodes/{node}/revoke`

use backstay_api::{Empty, v1::RevokeNode};
use backstay_store::nodes;
use backstay_types::{Event, Refs};

use crate::http::{ApiError, Call, find};

/// Takes a node's credential away. What it runs keeps running.
pub(crate) async fn revoke_node(call: Call<RevokeNode>) -> Result<Empty, ApiError> {
    let Call { app, path, caller, .. } = call;
    let node = find::node(&mut app.store.read(), &path.node).await?;
    let mut tx = app.store.begin().await?;
    nodes::revoke(&mut tx, node.id, app.world.now()).await?;
    app.engine.forget_decommission(&mut tx, &node, &caller.by()).await?;
    tx.record(Event::NodeRevoked { name: node.name }, Refs { node: Some(node.id), ..Refs::default() })?;
    tx.commit().await?;
    app.roster.forget_nodes();
    app.engine.wake();
    Ok(Empty {})
}
