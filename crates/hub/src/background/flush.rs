//! Soft state goes to the database in batches, never inside a check-in. Where several hubs may share the
//! database, what nodes told the others comes in by the same way.

use std::{sync::Arc, time::Duration};

use backstay_store::{
    Backend, Result,
    nodes::{self, SoftState},
};
use backstay_types::{ErrorCode, Timestamp};
use tokio::time::sleep;

use crate::app::App;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// Flushes until the hub stops, and once more then.
pub(crate) async fn flush(app: Arc<App>) {
    let mut heard_until = app.started_at;
    loop {
        tokio::select! {
            () = sleep(EVERY) => once(&app).await,
            () = app.stopping.cancelled() => return once(&app).await,
        }
        if app.store.backend() == Backend::Postgres {
            heard_until = hear_others(&app, heard_until).await;
        }
    }
}

/// Takes in what nodes told other hubs; gives the time up to which that was done.
async fn hear_others(app: &App, since: Timestamp) -> Timestamp {
    // Others flush as often as this hub does, and their clocks may differ a little.
    let until = app.world.now().checked_sub(EVERY * 4).unwrap_or(since).max(since);
    match nodes::soft_since(&mut app.store.read(), since).await {
        Ok(states) => {
            app.database_answers();
            app.live.merge(states);
            until
        }
        Err(error) => {
            tracing::warn!(%error, "what nodes told other hubs could not be read");
            if error.code() == ErrorCode::BS7002 {
                app.database_is_away();
            }
            since
        }
    }
}

async fn once(app: &App) {
    let dirty = app.live.take_dirty();
    if dirty.is_empty() {
        return;
    }
    if let Err(error) = write(app, &dirty).await {
        tracing::warn!(%error, "what nodes said last could not be written; it will be, later");
        app.metrics.flush_failed();
        app.live.put_back(dirty);
    }
}

async fn write(app: &App, dirty: &[SoftState]) -> Result<()> {
    let mut tx = app.store.begin().await?;
    nodes::flush_soft(&mut tx, dirty).await?;
    tx.commit().await
}
