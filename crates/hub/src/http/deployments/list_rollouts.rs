//! `GET /api/v1/rollouts`

use backstay_api::v1::{ListRollouts, Page, RolloutView};
use backstay_store::rollouts;

use super::view::rollout_views;
use crate::http::{ApiError, Call, paging};

/// Rollouts, newest first.
pub(crate) async fn list_rollouts(call: Call<ListRollouts>) -> Result<Page<RolloutView>, ApiError> {
    let limit = paging::limit(call.query.limit)?;
    let before = paging::cursor(call.query.cursor.as_deref())?;
    let mut store = call.app.store.read();
    let found =
        rollouts::list_in(&mut store, call.query.stack.as_ref(), call.query.state, before, limit + 1).await?;
    let page = paging::page(found, limit, |rollout| rollout.id.to_string());
    let items = rollout_views(&call.app, &mut store, page.items).await?;
    Ok(Page { items, next: page.next })
}
