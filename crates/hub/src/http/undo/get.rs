//! `GET /api/v1/undos/{undo}`

use backstay_api::v1::GetUndo;
use backstay_store::undos;
use backstay_types::Undo;

use crate::http::{ApiError, Call};

/// One undo.
pub(crate) async fn get(call: Call<GetUndo>) -> Result<Undo, ApiError> {
    let id = call.path.undo;
    undos::get(&mut call.app.store.read(), id).await?.ok_or_else(|| ApiError::missing("undo", id))
}
