//! `GET /agent/v1/agents/{sha256}`: an agent's program, for any node.

use axum::body::Body;
use backstay_api::{Binary, agent::GetAgentBuild};
use backstay_store::agents;
use http::{HeaderValue, header};

use crate::http::{ApiError, Call, Reply};

/// Gives the program.
pub(crate) async fn get_build(call: Call<GetAgentBuild>) -> Result<Reply<Binary>, ApiError> {
    let Call { app, path, .. } = call;
    let found = agents::content(&mut app.store.read(), path.sha256).await?;
    let content = found.ok_or_else(|| ApiError::missing("agent", path.sha256.to_string()))?;
    let length = HeaderValue::from(content.len());
    Ok(Reply::raw(Body::from(content)).header(header::CONTENT_LENGTH, length))
}
