//! `POST /api/v1/undos`

use backstay_api::v1::CreateUndo;
use backstay_types::Undo;

use super::wanted::wanted;
use crate::http::{ApiError, Call};

/// Undoes. With conflicts it stops at `conflicted` and waits for a resolution.
pub(crate) async fn create(call: Call<CreateUndo>) -> Result<Undo, ApiError> {
    let (engine, by, id) = (&call.app.engine, call.caller.by(), call.body.id);
    let wanted = wanted(&call.app, call.body).await?;
    Ok(match id {
        Some(id) => engine.create_undo_as(id, wanted, &by).await?,
        None => engine.create_undo(wanted, &by).await?,
    })
}
