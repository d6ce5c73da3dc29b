//! Once in a while: what has outlived its retention goes, and the database tidies up.

use std::{sync::Arc, time::Duration};

use backstay_store::{
    Result, deaths_are_planned, deliveries, reports, sessions, sign_in_links, sign_in_tries, tool_events,
};
use tokio::time::sleep;

use crate::{
    app::App,
    auth::{FORGOTTEN, IDLE},
};

/// How often; the first time soon after the start, so that a hub that is restarted daily gets to it too.
const EVERY: Duration = Duration::from_secs(6 * 3600);
const FIRST: Duration = Duration::from_secs(10 * 60);
/// The same under test.
const FIRST_TEST: Duration = Duration::from_millis(500);
/// Longer than an agent repeats a report.
const REPORTS: Duration = Duration::from_secs(90 * 86_400);

/// Keeps house until the hub stops.
pub(crate) async fn keep_house(app: Arc<App>) {
    // Who waits to kill it here does not wait that long.
    let mut wait = if deaths_are_planned() { FIRST_TEST } else { FIRST };
    loop {
        tokio::select! {
            () = sleep(wait) => {}
            () = app.stopping.cancelled() => return,
        }
        if let Err(error) = once(&app).await {
            tracing::warn!(%error, "housekeeping failed; trying again later");
        }
        wait = EVERY;
    }
}

async fn once(app: &App) -> Result<()> {
    let now = app.world.now();
    let before = |age: Duration| now.checked_sub(age).unwrap_or(backstay_types::Timestamp::MIN);
    let retention = &app.settings.retention;
    let mut tx = app.store.begin().await?;
    deliveries::prune(&mut tx, before(retention.deliveries)).await?;
    tool_events::prune(&mut tx, before(retention.tool_events)).await?;
    reports::prune(&mut tx, before(REPORTS)).await?;
    sessions::prune(&mut tx, now, before(IDLE)).await?;
    sign_in_links::prune(&mut tx, now).await?;
    sign_in_tries::prune(&mut tx, before(FORGOTTEN)).await?;
    tx.commit().await?;
    app.store.maintain().await
}
