//! `POST /api/v1/undos`

use backstay_api::v1::CreateUndo;
use backstay_types::Undo;

use super::wanted::wanted;
use crate::http::{ApiError, Call};

/// Undoes. With conflicts it stops at `conflicted` and waits for a resolution.
pub(crate) async fn create(call: Call<CreateUndo>) -> Result<Undo, ApiError> {
    let wanted = wanted(&call.app, call.body).await?;
    Ok(call.app.engine.create_undo(wanted, &call.caller.by()).await?)
}
