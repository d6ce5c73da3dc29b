//! `POST /api/v1/undos/{undo}/resolve`

use backstay_api::v1::ResolveUndo;
use backstay_types::Undo;

use crate::http::{ApiError, Call};

/// Gives the contents of conflicting files, and goes on.
pub(crate) async fn resolve(call: Call<ResolveUndo>) -> Result<Undo, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    Ok(app.engine.resolve_undo(path.undo, body.files, &caller.by()).await?)
}
