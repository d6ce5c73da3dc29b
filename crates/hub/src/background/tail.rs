//! The one tail of the sealed ledger: it wakes held check-ins and everyone who follows the timeline.

use std::{sync::Arc, time::Duration};

use backstay_store::ledger;
use backstay_types::{Event, LedgerEntry};
use tokio::time::sleep;

use crate::{
    app::App,
    http::{ApiError, events, names},
};

/// What kinds of entries begin with that say something of backups.
const OF_BACKUPS: [&str; 5] = ["backup", "restore", "drill", "snapshot", "recovery_key"];
/// How many entries are read at once.
const BATCH: u32 = 500;
/// How long to wait after an error.
const RETRY: Duration = Duration::from_millis(500);

/// Follows the ledger until the hub stops.
pub(crate) async fn follow(app: Arc<App>) {
    let mut head = app.store.tail();
    let mut seen = *app.sealed.borrow();
    loop {
        match catch_up(&app, seen).await {
            Ok(position) => seen = position,
            Err(error) => {
                tracing::warn!(%error, "the ledger cannot be followed; trying again");
                // Whatever was missed, a waiter that looks again finds it.
                app.waiters.wake_all();
                tokio::select! {
                    () = sleep(RETRY) => continue,
                    () = app.stopping.cancelled() => return,
                }
            }
        }
        tokio::select! {
            changed = head.wait_for(|head| *head > seen) => if changed.is_err() { return },
            () = app.stopping.cancelled() => return,
        }
    }
}

/// Passes on what was sealed after `seen`; gives the new position.
async fn catch_up(app: &App, mut seen: u64) -> Result<u64, ApiError> {
    loop {
        let entries = ledger::after(&mut app.store.read(), seen, BATCH).await?;
        entries.iter().for_each(|entry| pass_on(app, entry));
        let whole = entries.len() < BATCH as usize;
        if let Some(last) = entries.last() {
            seen = last.seq;
            app.sealed.send_replace(seen);
            tell(app, entries).await?;
        }
        if whole {
            return Ok(seen);
        }
    }
}

/// To those who follow events. Whoever begins to at this moment reads for itself what is sealed already.
async fn tell(app: &App, entries: Vec<LedgerEntry>) -> Result<(), ApiError> {
    if app.feed.is_followed() {
        for entry in names::of_entries(&mut app.store.read(), entries).await? {
            app.feed.tell(Some(entry.entry.seq), events::entry(&entry)?);
        }
    }
    Ok(())
}

fn pass_on(app: &App, entry: &LedgerEntry) {
    if let Some(event) = &entry.event {
        app.roster.heard(event);
    }
    // Another hub on the same database may have changed it.
    if matches!(entry.event, Some(Event::TokenChanged { .. } | Event::UserChanged { .. })) {
        app.kept.forget();
    }
    if OF_BACKUPS.iter().any(|word| entry.kind.starts_with(word)) {
        app.backups.last_look.forget();
    }
    let concerns_node = matches!(entry.event, Some(Event::DesiredChanged { .. } | Event::NodeRevoked { .. }));
    if let Some(node) = entry.refs.node.filter(|_| concerns_node) {
        app.waiters.wake(node);
    }
}
