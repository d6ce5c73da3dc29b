//! `GET /api/v1/stacks/{stack}/releases`

use backstay_api::v1::{ListReleases, Page, ReleaseView};
use backstay_store::{releases, stacks};

use crate::http::{ApiError, Call, paging};

/// One stack's releases, newest first.
pub(crate) async fn list_releases(call: Call<ListReleases>) -> Result<Page<ReleaseView>, ApiError> {
    let Call { app, path, query, .. } = call;
    let limit = paging::limit(query.limit)?;
    let before = paging::cursor(query.cursor.as_deref())?;
    let mut store = app.store.read();
    if stacks::get(&mut store, &path.stack).await?.is_none() {
        return Err(ApiError::missing("stack", &path.stack));
    }
    let found = releases::of_stack(&mut store, &path.stack, before, limit + 1).await?;
    let page = paging::page(found, limit, |release| release.id.to_string());
    let mut items = Vec::with_capacity(page.items.len());
    for release in page.items {
        let standing = app.engine.standing(&release).await?;
        items.push(ReleaseView { release, standing });
    }
    Ok(Page { items, next: page.next })
}
