//! `GET /api/v1/events`: from where the reader was, then as it happens.

use std::{collections::VecDeque, sync::Arc};

use backstay_api::{
    Events,
    v1::{EventsHello, FollowEvents},
};
use backstay_store::ledger;
use futures_util::{Stream, stream};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    app::App,
    auth::session,
    http::{
        ApiError, Call, Reply,
        events::{self, ServerEvent},
        names,
    },
    live::News,
};

/// How many entries are read at once.
const BATCH: u32 = 500;
/// Who is further behind reads anew what it shows, instead of every entry.
const FAR: u64 = 10_000;

/// What happens.
pub(crate) async fn follow_events(call: Call<FollowEvents>) -> Result<Reply<Events>, ApiError> {
    let Call { app, caller, query, headers, .. } = call;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let from = match last.filter(|id| !id.is_empty()) {
        Some(id) => Some(id.parse().map_err(|e| ApiError::invalid("Last-Event-ID", e))?),
        None => query.after,
    };
    let news = app.feed.follow();
    let newest = *app.sealed.borrow();
    let mut reader = Reader { app: app.clone(), news, seq: from.unwrap_or(newest), ready: VecDeque::new() };
    reader.say("hello", newest)?;
    reader.catch_up().await?;
    let ended = Box::pin(session::ended(app.clone(), caller));
    Ok(events::reply(app.stopping.clone(), futures_util::StreamExt::take_until(stream_of(reader), ended)))
}

/// Who follows, and where it is.
struct Reader {
    app: Arc<App>,
    news: broadcast::Receiver<News>,
    seq: u64,
    ready: VecDeque<Arc<ServerEvent>>,
}

fn stream_of(reader: Reader) -> impl Stream<Item = ServerEvent> {
    stream::unfold(Some(reader), async |reader| {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(event)) => Some((ServerEvent::clone(&event), Some(reader))),
            Ok(None) => None,
            // The reader comes again, from where it was.
            Err(error) => {
                tracing::debug!(%error, "following events ends");
                None
            }
        }
    })
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Arc<ServerEvent>>, ApiError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.news.recv().await {
                Ok(News { seq: None, event }) => return Ok(Some(event)),
                Ok(News { seq: Some(seq), .. }) if seq <= self.seq => {}
                Ok(News { seq: Some(seq), event }) if seq == self.seq + 1 => {
                    self.seq = seq;
                    return Ok(Some(event));
                }
                Ok(_) => self.catch_up().await?,
                Err(RecvError::Lagged(_)) => {
                    // What is lost besides entries, nobody can say any more.
                    let newest = *self.app.sealed.borrow();
                    self.say("reset", newest)?;
                    self.catch_up().await?;
                }
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// Puts what was sealed after the reader's position in front of it. One batch: whoever takes it comes again.
    async fn catch_up(&mut self) -> Result<(), ApiError> {
        let newest = *self.app.sealed.borrow();
        if newest.saturating_sub(self.seq) > FAR || self.seq > newest {
            self.seq = newest;
            return self.say("reset", newest);
        }
        while self.seq < newest {
            let mut store = self.app.store.read();
            let entries = ledger::after(&mut store, self.seq, BATCH).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in names::of_entries(&mut store, entries).await? {
                self.seq = entry.entry.seq;
                self.ready.push_back(Arc::new(events::entry(&entry)?));
            }
        }
        Ok(())
    }

    fn say(&mut self, name: &'static str, seq: u64) -> Result<(), ApiError> {
        let hello = EventsHello {
            seq,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.app.started_at,
        };
        // With a position, so that a reader that comes again before anything happened goes on from here.
        let at = if name == "hello" { self.seq } else { seq };
        self.ready.push_back(Arc::new(ServerEvent::json(&hello)?.named(name).at(at)));
        Ok(())
    }
}
