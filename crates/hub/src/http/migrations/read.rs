//! `GET /api/v1/migrations` and `GET /api/v1/migrations/{migration}`

use backstay_api::v1::{GetMigration, ListMigrations, MigrationView, Page};
use backstay_store::migrations;

use crate::http::{ApiError, Call, find, paging};

/// Migrations, newest first.
pub(crate) async fn list(call: Call<ListMigrations>) -> Result<Page<MigrationView>, ApiError> {
    let limit = paging::limit(call.query.limit)?;
    let before = paging::cursor(call.query.cursor.as_deref())?;
    let mut store = call.app.store.read();
    let node = find::node_id(&mut store, call.query.node.as_deref()).await?;
    let found = migrations::list(&mut store, node, before, limit + 1).await?;
    let page = paging::page(found, limit, |kept| kept.migration.id.to_string());
    let found = page.items.into_iter().map(|kept| kept.migration).collect();
    Ok(Page { items: super::views(&mut store, found).await?, next: page.next })
}

/// One.
pub(crate) async fn get(call: Call<GetMigration>) -> Result<MigrationView, ApiError> {
    let mut store = call.app.store.read();
    let id = call.path.migration;
    let found = migrations::get(&mut store, id).await?;
    let found = found.ok_or_else(|| ApiError::missing("migration", id))?;
    super::view(&mut store, found.migration).await
}
