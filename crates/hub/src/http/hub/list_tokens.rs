//! `GET /api/v1/tokens`

use backstay_api::v1::{ListTokens, Page, Token};
use backstay_store::tokens;

use crate::{
    auth::token_view,
    http::{ApiError, Call, paging},
};

/// API tokens and webhook secrets, newest first, without their secrets.
pub(crate) async fn list_tokens(call: Call<ListTokens>) -> Result<Page<Token>, ApiError> {
    let mut store = call.app.store.read();
    let mut shown = Vec::new();
    let mut before = None;
    loop {
        let batch = tokens::list(&mut store, before, 1000).await?;
        let Some(last) = batch.last() else { return Ok(paging::whole(shown)) };
        before = Some(last.id);
        shown.extend(batch.into_iter().filter_map(token_view));
    }
}
