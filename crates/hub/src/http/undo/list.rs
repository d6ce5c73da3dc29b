//! `GET /api/v1/undos`

use backstay_api::v1::{ListUndos, Page};
use backstay_store::undos;
use backstay_types::Undo;

use crate::http::{ApiError, Call, paging};

/// Undos, newest first.
pub(crate) async fn list(call: Call<ListUndos>) -> Result<Page<Undo>, ApiError> {
    let limit = paging::limit(call.query.limit)?;
    let before = paging::cursor(call.query.cursor.as_deref())?;
    let found = undos::list(&mut call.app.store.read(), before, limit + 1).await?;
    Ok(paging::page(found, limit, |undo| undo.id.to_string()))
}
