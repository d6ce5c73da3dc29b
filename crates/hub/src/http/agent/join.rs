//! `POST /agent/v1/join`: a one-time token becomes a node's own credential.

use backstay_api::agent::{JoinNode, JoinRequest, JoinResponse};
use backstay_store::{StoreError, Tx, desired, nodes, tokens};
use backstay_types::{ErrorCode, Event, Node, NodeId, NodeName, Refs, Secret, Timestamp, TokenId};
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
    app.live.forget(node);
    app.roster.forget_nodes();
    app.engine.wake();
    tracing::info!(%node, name = %body.name, "a node has joined");
    let hub_key = BASE64_STANDARD.encode(app.keys.signing.verifying_key().as_bytes());
    Ok(JoinResponse { node, credential, hub_key, now })
}

/// Uses the token up and gives the node its place: a new one, or the one of that name that was revoked.
async fn admit(
    app: &App,
    tx: &mut Tx,
    request: &JoinRequest,
    presented: Presented<TokenId>,
    now: Timestamp,
) -> Result<(NodeId, Secret), ApiError> {
    let before = nodes::by_name(tx, &request.name).await?;
    let id: NodeId = before.as_ref().map_or_else(|| app.world.mint(), |node| node.id);
    let (credential, hash) = mint(Kind::Agent, id, None, &app.world);
    if !tokens::consume(tx, presented.id, presented.hash(), id, now).await? {
        repeated(app, tx, presented, before.as_ref(), now).await?;
        nodes::set_credential(tx, id, hash).await?;
        return Ok((id, credential));
    }
    match before {
        None => {
            let (name, labels) = (request.name.clone(), request.labels.clone());
            let node = Node { id, name, labels, joined_at: now, revoked_at: None };
            nodes::insert(tx, &node, hash).await.map_err(|error| match error {
                StoreError::Conflict { .. } => taken(&request.name),
                other => other.into(),
            })?;
        }
        // The same identity on new hardware, or after its disk was lost.
        Some(before) if before.revoked_at.is_some() => {
            nodes::set_credential(tx, id, hash).await?;
            nodes::rejoined(tx, id, now).await?;
            // What the machine before it said of itself is not said of this one.
            nodes::forget_soft(tx, id).await?;
            // Nor is it told what the machine before it was told: its data may have to be there first.
            desired::withhold(tx, id).await?;
            // It may have been given others since it joined first; they are its identity's, not its machine's.
            if !request.labels.is_empty() {
                nodes::set_labels(tx, id, &request.labels).await?;
            }
        }
        Some(_) => return Err(taken(&request.name)),
    }
    let refs = Refs { node: Some(id), ..Refs::default() };
    tx.record(Event::NodeJoined { name: request.name.clone() }, refs)?;
    Ok((id, credential))
}

/// Whether a used token is presented again by the node that used it and never got its answer. Once that node has
/// been heard from, the token is worth nothing any more.
async fn repeated(
    app: &App,
    tx: &mut Tx,
    presented: Presented<TokenId>,
    before: Option<&Node>,
    now: Timestamp,
) -> Result<(), ApiError> {
    let user = tokens::used_by(tx, presented.id, presented.hash(), now).await?;
    let node =
        before.filter(|node| user == Some(node.id) && node.revoked_at.is_none()).ok_or_else(refused)?;
    let unheard = app.live.seen(node.id).last_seen_at.is_none() && nodes::soft(tx, node.id).await?.is_none();
    if unheard { Ok(()) } else { Err(refused()) }
}

fn refused() -> ApiError {
    ApiError::new(ErrorCode::BS4010, "expected an unused join token that has not run out")
        .with_hint("`backstay nodes token` makes another")
}

fn taken(name: &NodeName) -> ApiError {
    ApiError::new(ErrorCode::BS4005, format!("there is a node `{name}` already"))
        .with_hint("take another name; or, when this is the same machine, revoke the old one first")
}
