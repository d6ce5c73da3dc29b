//! `GET /api/v1/logs/tail`: what was there last, and all that comes.

use std::{collections::HashSet, sync::Arc};

use backstay_api::{Empty, Events, v1::TailLogs};
use backstay_telemetry::logs::{Key, LogQuery, Order};
use futures_util::{StreamExt as _, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{query, read, view};
use crate::{
    auth::session,
    http::{
        ApiError, Call, Reply,
        events::{self, ServerEvent},
    },
    telemetry::Line,
};

const MOST: u32 = 1000;

/// Lines as they come.
pub(crate) async fn tail(call: Call<TailLogs>) -> Result<Reply<Events>, ApiError> {
    let Call { app, caller, query: asked, .. } = call;
    let before = asked.limit.unwrap_or(0);
    if before > MOST {
        return Err(ApiError::invalid("limit", format!("{before} is out of range: expected 0 to {MOST}")));
    }
    let query = Arc::new(query(&app, &asked).await?);
    app.telemetry.logs.store()?;
    // First the ear, then the look back: nothing falls between them.
    let live = app.telemetry.logs.subscribe();
    let mut shown = Vec::new();
    if before > 0 {
        let wanted = query.clone();
        let page = read(&app, move |store, budget| {
            store.search(&wanted, Order::NewestFirst, None, before as usize, budget)
        });
        shown = page.await?.lines;
        shown.reverse();
    }
    let known: HashSet<Key> = shown.iter().map(|(key, _)| *key).collect();
    let first = stream::iter(shown.into_iter().map(Piece::Line).collect::<Vec<_>>());
    let written = first.chain(pieces(live, query, known)).filter_map(async |piece| written(&piece).ok());
    let written = written.take_until(Box::pin(session::ended(app.clone(), caller)));
    Ok(events::reply(app.stopping.clone(), written))
}

enum Piece {
    Line(Line),
    Gap,
}

fn pieces(
    live: Receiver<Arc<Vec<Line>>>,
    query: Arc<LogQuery>,
    known: HashSet<Key>,
) -> impl futures_util::Stream<Item = Piece> {
    let batches = stream::unfold((live, query, known), |(mut live, query, known)| async {
        let pieces = match live.recv().await {
            Ok(lines) => {
                let fits = |(key, record): &&Line| query.fits(record) && !known.contains(key);
                lines.iter().filter(fits).cloned().map(Piece::Line).collect()
            }
            Err(RecvError::Lagged(_)) => vec![Piece::Gap],
            Err(RecvError::Closed) => return None,
        };
        Some((stream::iter(pieces), (live, query, known)))
    });
    batches.flatten()
}

fn written(piece: &Piece) -> Result<ServerEvent, ApiError> {
    match piece {
        Piece::Line((_, record)) => ServerEvent::json(&view(record)),
        Piece::Gap => Ok(ServerEvent::json(&Empty {})?.named("gap")),
    }
}
