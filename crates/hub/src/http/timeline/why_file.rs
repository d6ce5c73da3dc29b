//! `GET /api/v1/why/file`

use backstay_api::v1::{GetWhyFile, WhyFile, WhyLine};
use backstay_engine::ExplainedFile;

use crate::http::{ApiError, Call, find};

/// Where each line of a file that runs came from.
pub(crate) async fn why_file(call: Call<GetWhyFile>) -> Result<WhyFile, ApiError> {
    let Call { app, query, .. } = call;
    let node = find::node(&mut app.store.read(), &query.node).await?;
    let explained = app.engine.explain_file(node.id, &query.stack, &query.file).await?;
    let ExplainedFile { release, lines, changes, conversations } = explained;
    let lines = lines.into_iter().map(|(commit, text)| WhyLine { text, commit }).collect();
    Ok(WhyFile { node: node.name, release, lines, changes, conversations })
}
