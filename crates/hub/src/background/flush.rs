//! Soft state goes to the database in batches, never inside a check-in.

use std::{sync::Arc, time::Duration};

use backstay_store::{Result, nodes};
use backstay_types::NodeId;
use tokio::time::sleep;

use crate::{app::App, live::Seen};

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// Flushes until the hub stops, and once more then.
pub(crate) async fn flush(app: Arc<App>) {
    loop {
        tokio::select! {
            () = sleep(EVERY) => once(&app).await,
            () = app.stopping.cancelled() => return once(&app).await,
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

async fn write(app: &App, dirty: &[(NodeId, Seen)]) -> Result<()> {
    let states: Vec<_> = dirty.iter().filter_map(|(node, seen)| seen.to_store(*node)).collect();
    let mut tx = app.store.begin().await?;
    nodes::flush_soft(&mut tx, &states).await?;
    tx.commit().await
}
