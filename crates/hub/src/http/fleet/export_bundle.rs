//! `POST /api/v1/nodes/{node}/bundle`

use std::{io::Seek as _, time::Duration};

use axum::body::{Body, Bytes};
use backstay_api::{
    Binary,
    bundle::{Head, Part, PartContent},
    statement::{DesiredAction, SignedStatement},
    v1::ExportBundle,
};
use backstay_store::desired;
use backstay_types::{Digest, TreeDigest};
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, header};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::{
    app::App,
    http::{ApiError, Call, Reply, find},
};

const DAY: u64 = 24 * 3600;
const MOST_IMAGES: usize = 200;

/// The node's statement, signed anew so that it lasts as long as the bundle may travel, and the packs that it asks for.
pub(crate) async fn export_bundle(call: Call<ExportBundle>) -> Result<Reply<Binary>, ApiError> {
    let Call { app, path, body, .. } = call;
    let valid = body.valid_seconds.unwrap_or(30 * DAY);
    if !(60..=365 * DAY).contains(&valid) {
        return Err(ApiError::invalid("valid_seconds", "expected a minute to a year"));
    }
    let is_image = |part: &Part| matches!(part.content, PartContent::Image { .. });
    if body.images.len() > MOST_IMAGES || !body.images.iter().all(is_image) {
        return Err(ApiError::invalid("images", "expected at most 200 parts that are images"));
    }
    let mut store = app.store.read();
    let node = find::node(&mut store, &path.node).await?;
    let Some(desired) = desired::get(&mut store, node.id).await? else {
        return Err(ApiError::missing("statement of node", &path.node));
    };
    let signed: SignedStatement = serde_json::from_str(&desired.statement).map_err(ApiError::internal)?;
    let mut statement = signed.open(&app.keys.signing.verifying_key()).map_err(ApiError::internal)?;
    let now = app.world.now();
    statement.issued_at = now;
    statement.expires_at = statement.expires_at.max(now + Duration::from_secs(valid));
    let mut trees: Vec<_> =
        statement.stacks.iter().filter(|stack| stack.action == DesiredAction::Run).map(|s| s.tree).collect();
    trees.sort_unstable();
    trees.dedup();
    let (mut parts, mut files) = (Vec::new(), Vec::new());
    for tree in trees {
        let (part, file) = pack(&app, tree).await?;
        parts.push(part);
        files.push(file);
    }
    let mut length: u64 = parts.iter().map(|part| part.bytes).sum();
    parts.extend(body.images);
    let key = &app.keys.signing;
    let head = Head { node: node.id, made_at: now, statement: statement.sign(key), parts }.write(key);
    length += head.len() as u64;
    let files = stream::iter(files).flat_map(|file| ReaderStream::with_capacity(file, 64 << 10));
    let all = stream::once(async { Ok(Bytes::from(head)) }).chain(files);
    Ok(Reply::raw(Body::from_stream(all)).header(header::CONTENT_LENGTH, HeaderValue::from(length)))
}

/// A release's pack, and what the head says of it.
async fn pack(app: &App, tree: TreeDigest) -> Result<(Part, File), ApiError> {
    let (file, bytes) = app.packs.open::<ApiError>(tree, async || Ok(app.engine.pack(tree).await?)).await?;
    let mut file = file.into_std().await;
    let hashed = tokio::task::spawn_blocking(move || {
        let (sha256, _) = Digest::of_reader(&mut file)?;
        file.rewind()?;
        Ok::<_, std::io::Error>((sha256, file))
    });
    let (sha256, file) = hashed.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok((Part { content: PartContent::Pack { tree }, bytes, sha256 }, File::from_std(file)))
}
