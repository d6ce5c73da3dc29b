//! `POST /agent/v1/join`: a one-time token becomes a node's own credential.

use backstay_api::agent::{JoinNode, JoinRequest, JoinResponse};
use backstay_store::{StoreError, Tx, nodes, tokens};
use backstay_types::{ErrorCode, Event, Node, NodeId, Refs, Timestamp, TokenId};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    app::App,
    auth::{Kind, Presented, mint},
    http::{ApiError, Call},
};

/// Lets a node in.
pub(crate) async fn join(call: Call<JoinNode>) -> Result<JoinResponse, ApiError> {
    let Call { app, body, .. } = call;
    let now = app.world.now();
    let presented = Presented::<TokenId>::read(Kind::Join, &body.token).ok_or_else(refused)?;
    let mut tx = app.store.begin().await?;
    let (node, credential) = admit(&app, &mut tx, &body, presented, now).await?;
    tx.commit().await?;
    app.live.heard(node.id, now, Some(body.facts), None);
    app.engine.wake();
    tracing::info!(node = %node.id, name = %node.name, "a node has joined");
    let hub_key = BASE64_STANDARD.encode(app.keys.signing.verifying_key().as_bytes());
    Ok(JoinResponse { node: node.id, credential, hub_key, now })
}

/// Uses the token up and gives the node its place: a new one, or the one of that name that was revoked.
async fn admit(
    app: &App,
    tx: &mut Tx,
    request: &JoinRequest,
    presented: Presented<TokenId>,
    now: Timestamp,
) -> Result<(Node, backstay_types::Secret), ApiError> {
    let before = nodes::by_name(tx, &request.name).await?;
    let id: NodeId = before.as_ref().map_or_else(|| app.world.mint(), |node| node.id);
    let (credential, hash) = mint(Kind::Agent, id, None, &app.world);
    if !tokens::consume(tx, presented.id, presented.hash(), id, now).await? {
        return Err(refused());
    }
    let labels = request.labels.clone();
    let node = Node { id, name: request.name.clone(), labels, joined_at: now, revoked_at: None };
    match before {
        None => nodes::insert(tx, &node, hash).await.map_err(|error| match error {
            StoreError::Conflict { .. } => taken(&request.name),
            other => other.into(),
        })?,
        // The same identity on new hardware, or after its disk was lost.
        Some(before) if before.revoked_at.is_some() => {
            nodes::set_credential(tx, id, hash).await?;
            nodes::set_labels(tx, id, &node.labels).await?;
        }
        Some(_) => return Err(taken(&request.name)),
    }
    let refs = Refs { node: Some(id), ..Refs::default() };
    tx.record(Event::NodeJoined { name: node.name.clone() }, refs)?;
    Ok((node, credential))
}

fn refused() -> ApiError {
    ApiError::new(ErrorCode::BS4010, "expected an unused join token that has not run out")
        .with_hint("`backstay nodes token` makes another")
}

fn taken(name: &backstay_types::NodeName) -> ApiError {
    ApiError::new(ErrorCode::BS4005, format!("there is a node `{name}` already"))
        .with_hint("take another name; or, when this is the same machine, revoke the old one first")
}
