//! `GET /api/v1/telemetry/export`

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::body::Body;
use backstay_api::{
    Binary,
    v1::{ExportQuery, ExportTelemetry},
};
use backstay_telemetry::{
    Budget, Labels, Limits, METRIC_NAME, MatchOp, Matcher, Querier as _, ReadError, Sample, Selection,
    Window, store::Store,
};
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::sync::mpsc;

use crate::http::{ApiError, Call, Reply};

/// Lines of JSON.
const MEDIA: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// How long an export may take.
const LONGEST: Duration = Duration::from_secs(3600);
/// Samples of a line: a longer series has several.
const LINE: usize = 50_000;

/// Samples as they are stored.
pub(crate) async fn export(call: Call<ExportTelemetry>) -> Result<Reply<Binary>, ApiError> {
    let store = call.app.telemetry.store()?.clone();
    let selection = selection(&call.query)?;
    let (lines, read) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(&store, &selection, &lines) {
            tracing::warn!(%error, "an export of metrics ended early");
            // The body ends without its end, so that nobody takes it for the whole.
            let _ = lines.blocking_send(Err(std::io::Error::other(error.to_string())));
        }
    });
    let stream = futures_util::stream::unfold(read, |mut read| async { Some((read.recv().await?, read)) });
    Ok(Reply::raw(Body::from_stream(stream)).header(header::CONTENT_TYPE, MEDIA))
}

fn selection(query: &ExportQuery) -> Result<Selection, ApiError> {
    let mut matchers = Vec::new();
    match &query.metric {
        Some(metric) => matchers.push(Matcher::equal(METRIC_NAME, metric)),
        None => matchers.push(Matcher::new(METRIC_NAME, MatchOp::NotEqual, "").map_err(ApiError::internal)?),
    }
    for pair in query.labels.iter().flat_map(|labels| labels.split(',')).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| ApiError::invalid("labels", format!("`{pair}`: expected name=value")))?;
        matchers.push(Matcher::equal(name.trim(), value.trim()));
    }
    let window = Window {
        from: query.from.map_or(i64::MIN, |at| at.as_millisecond()),
        to: query.to.map_or(i64::MAX, |at| at.as_millisecond()),
    };
    Ok(Selection { matchers, window })
}

/// Writes line by line, until nobody reads any more.
fn write(
    store: &Arc<Store>,
    selection: &Selection,
    lines: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), ReadError> {
    let budget = Budget::new(Limits { series: u64::MAX, samples: u64::MAX, time: LONGEST });
    let mut samples = Vec::new();
    for series in store.select(selection, &budget)? {
        let mut series = series?;
        samples.clear();
        while series.samples.read(&mut samples)? {}
        for part in samples.chunks(LINE) {
            if lines.blocking_send(Ok(line(&series.labels, part).into())).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn line(labels: &Labels, samples: &[Sample]) -> String {
    let names: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut line = format!("{{\"labels\":{},\"samples\":[", serde_json::Value::Object(names));
    for (n, sample) in samples.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(line, "{comma}[{},\"{}\"]", sample.at, value(sample.value));
    }
    line.push_str("]}\n");
    line
}

/// As Prometheus writes it.
fn value(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}
