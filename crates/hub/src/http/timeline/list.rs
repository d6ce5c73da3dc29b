//! `GET /api/v1/timeline`

use std::time::Duration;

use backstay_api::v1::{ListTimeline, Page, TimelineEntry, TimelineQuery};
use backstay_store::ledger::{self, Filter, Window};
use backstay_types::LedgerEntry;
use tokio::time::{Instant, timeout_at};

use crate::{
    app::App,
    http::{ApiError, Call, find, names, paging},
};

/// The longest that a follower waits.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// What happened, in ledger order; a follower waits for what comes next.
pub(crate) async fn list(call: Call<ListTimeline>) -> Result<Page<TimelineEntry>, ApiError> {
    let Call { app, query, .. } = call;
    let limit = paging::limit(query.limit)?;
    let window = window(&query)?;
    let wait = Duration::from_millis(query.wait_ms.unwrap_or_default());
    if wait > LONGEST {
        return Err(ApiError::invalid("wait_ms", format!("expected at most {}", LONGEST.as_millis())));
    }
    if !wait.is_zero() && query.after.is_none() {
        return Err(ApiError::invalid("wait_ms", "it goes with `after`"));
    }
    let filter = Filter {
        conversation: query.conversation,
        node: find::node_id(&mut app.store.read(), query.node.as_deref()).await?,
        stack: query.stack,
        undo: query.undo,
        rollout: query.rollout,
        kind: query.kind,
        since: query.since,
        until: query.until,
        ..Filter::default()
    };
    let found = read(&app, &filter, window, limit + 1, wait).await?;
    let page = paging::page(found, limit, |entry| entry.seq.to_string());
    let items = names::of_entries(&mut app.store.read(), page.items).await?;
    Ok(Page { items, next: page.next })
}

fn window(query: &TimelineQuery) -> Result<Window, ApiError> {
    let cursor = paging::cursor::<u64>(query.cursor.as_deref())?;
    Ok(match (query.after, cursor) {
        (Some(after), cursor) => Window::After(cursor.unwrap_or(after)),
        (None, Some(before)) => Window::Before(before),
        (None, None) => Window::Newest,
    })
}

/// Entries, once there are any or the wait is over. Positions go by what this process has seen sealed,
/// so that an entry which appears is one that a follower has been told of.
async fn read(
    app: &App,
    filter: &Filter,
    window: Window,
    limit: u32,
    wait: Duration,
) -> Result<Vec<LedgerEntry>, ApiError> {
    let deadline = Instant::now() + wait;
    let mut sealed = app.sealed.subscribe();
    loop {
        sealed.mark_unchanged();
        let found = ledger::timeline(&mut app.store.read(), filter, window, limit).await?;
        if !found.is_empty() || Instant::now() >= deadline || app.stopping.is_cancelled() {
            return Ok(found);
        }
        tokio::select! {
            changed = timeout_at(deadline, sealed.changed()) => drop(changed),
            () = app.stopping.cancelled() => {}
        }
    }
}
