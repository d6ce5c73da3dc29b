//! `GET /agent/v1/trees/{digest}.pack`: a release's files, for nodes that should run it.

use axum::body::Body;
use backstay_api::{Binary, agent::GetPack};
use backstay_store::desired;
use backstay_types::TreeDigest;
use http::{HeaderValue, StatusCode, header};
use tokio_util::io::ReaderStream;

use crate::http::{ApiError, Call, Reply};

/// Content named by its digest never changes; only this node may keep it.
const CACHE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Gives the pack, from the disk where it is there.
pub(crate) async fn get_pack(call: Call<GetPack>) -> Result<Reply<Binary>, ApiError> {
    let Call { app, caller, path, headers, .. } = call;
    let digest = path.pack.strip_suffix(".pack").and_then(|digest| digest.parse::<TreeDigest>().ok());
    let tree = digest.ok_or_else(|| ApiError::missing("pack", &path.pack))?;
    // A node that should not run it learns nothing, not even whether it is there.
    if !desired::may_fetch(&mut app.store.read(), caller.node()?, tree).await? {
        return Err(ApiError::missing("pack", &path.pack));
    }
    let tag = HeaderValue::from_str(&format!("\"{tree}\"")).map_err(ApiError::internal)?;
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        let reply = Reply::raw(Body::empty()).status(StatusCode::NOT_MODIFIED);
        return Ok(reply.header(header::ETAG, tag).header(header::CACHE_CONTROL, CACHE));
    }
    let (file, length) = app.packs.open::<ApiError>(tree, async || Ok(app.engine.pack(tree).await?)).await?;
    let stream = ReaderStream::with_capacity(file, 64 << 10);
    Ok(Reply::raw(Body::from_stream(stream))
        .header(header::CONTENT_LENGTH, HeaderValue::from(length))
        .header(header::ETAG, tag)
        .header(header::CACHE_CONTROL, CACHE))
}
