//! `GET /api/v1/logs/export`: page by page from the store, a line of JSON for each line.

use std::time::Duration;

use axum::body::Body;
use backstay_api::{Binary, v1::ExportLogs};
use backstay_telemetry::{
    Budget, Limits, ReadError,
    logs::{LogQuery, LogStore, Order},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::sync::mpsc;

use super::{query, view};
use crate::http::{ApiError, Call, Reply};

const MEDIA: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// How long an export may take.
const LONGEST: Duration = Duration::from_secs(3600);
/// Lines that are read at once.
const PAGE: usize = 5000;

/// All lines that fit.
pub(crate) async fn export(call: Call<ExportLogs>) -> Result<Reply<Binary>, ApiError> {
    let store = call.app.telemetry.logs.store()?.clone();
    let query = query(&call.app, &call.query).await?;
    let (lines, read) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(&store, &query, &lines) {
            tracing::warn!(%error, "an export of logs ended early");
            // The body ends without its end, so that nobody takes it for the whole.
            let _ = lines.blocking_send(Err(std::io::Error::other(error.to_string())));
        }
    });
    let stream = futures_util::stream::unfold(read, |mut read| async { Some((read.recv().await?, read)) });
    Ok(Reply::raw(Body::from_stream(stream)).header(header::CONTENT_TYPE, MEDIA))
}

/// Writes until nobody reads any more.
fn write(
    store: &LogStore,
    query: &LogQuery,
    lines: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), ReadError> {
    let budget = Budget::new(Limits { series: u64::MAX, samples: u64::MAX, time: LONGEST });
    let mut after = None;
    loop {
        let page = store.search(query, Order::OldestFirst, after, PAGE, &budget)?;
        let mut text = Vec::new();
        for (_, record) in &page.lines {
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut text, &view(record));
            text.push(b'\n');
        }
        after = page.lines.last().map(|(key, _)| *key);
        if !text.is_empty() && lines.blocking_send(Ok(text.into())).is_err() || !page.more {
            return Ok(());
        }
    }
}
