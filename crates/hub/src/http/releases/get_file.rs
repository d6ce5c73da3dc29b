//! `GET /api/v1/releases/{release}/file`

use backstay_api::v1::{GetReleaseFile, ReleaseFile};
use backstay_store::releases;
use backstay_types::redact;

use crate::http::{ApiError, Call};

/// So many bytes are shown.
const SHOWN: usize = 1 << 20;

/// A file of a release.
pub(crate) async fn get_file(call: Call<GetReleaseFile>) -> Result<ReleaseFile, ApiError> {
    let Call { app, path, query, .. } = call;
    let release = releases::get(&mut app.store.read(), path.release).await?;
    let release = release.ok_or_else(|| ApiError::missing("release", path.release))?;
    let content = app.engine.release_file(&release, &query.path).await?;
    let bytes = content.len() as u64;
    let text = String::from_utf8(content).ok().filter(|text| !text.contains('\0'));
    let truncated = text.as_ref().is_some_and(|text| text.len() > SHOWN);
    let shown = text.map(|text| redact::redact(&text[..text.floor_char_boundary(SHOWN)]));
    Ok(ReleaseFile { path: query.path, bytes, text: shown, truncated })
}
