//! `POST /api/v1/migrations/{migration}/abort`

use backstay_api::v1::{AbortMigration, MigrationView};
use backstay_store::migrations;

use super::start::typed;
use crate::http::{ApiError, Call, find};

/// Ends it.
pub(crate) async fn abort(call: Call<AbortMigration>) -> Result<MigrationView, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let mut store = app.store.read();
    let id = path.migration;
    let found = migrations::get(&mut store, id).await?.ok_or_else(|| ApiError::missing("migration", id))?;
    let to = find::node(&mut store, &found.migration.to.node.to_string()).await?;
    let to_gone = typed(&to, body.to_gone.as_deref(), "to_gone")?;
    let migration = app.engine.abort_migration(id, to_gone, &caller.by()).await?;
    super::view(&mut store, migration).await
}
