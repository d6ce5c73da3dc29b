//! Logs that the hub keeps: searching, counting, reading along, taking them out.

pub(crate) mod count;
pub(crate) mod export;
pub(crate) mod search;
pub(crate) mod tail;

use std::sync::Arc;

use backstay_api::v1::{LogLevel, LogSearch, StoredLine};
use backstay_telemetry::{
    Budget, Limits, ReadError,
    logs::{Field, Key, Level, LogQuery, LogRecord},
};
use backstay_types::{ErrorCode, Timestamp};

use super::{ApiError, find};
use crate::app::App;

/// A time in nanoseconds.
pub(crate) fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(if time > Timestamp::UNIX_EPOCH {
        i64::MAX
    } else {
        i64::MIN
    })
}

/// What is searched for. A conversation is found by all of the ids under which tools know it.
async fn query(app: &App, search: &LogSearch) -> Result<LogQuery, ApiError> {
    let mut fields = Vec::new();
    let plain = [
        (Field::Node, &search.node),
        (Field::Stack, &search.stack),
        (Field::Service, &search.service),
        (Field::Release, &search.release),
        (Field::Deployment, &search.deployment),
    ];
    for (field, value) in plain {
        fields.extend(value.iter().map(|value| (field, vec![value.clone()])));
    }
    fields.extend(search.trace.iter().map(|trace| (Field::Trace, vec![trace.to_ascii_lowercase()])));
    if let Some(text) = &search.conversation {
        let mut names = vec![text.clone()];
        // One that only its sender knows is searched for as it is.
        if let Ok(known) = find::conversation(&mut app.store.read(), text).await {
            names.push(known.id.to_string());
            names.extend(known.foreign_ids.into_iter().map(|foreign| foreign.value));
        }
        fields.push((Field::Conversation, names));
    }
    let text = search.text.clone().filter(|text| !text.is_empty());
    Ok(LogQuery {
        from: search.from.map_or(i64::MIN, nanos),
        to: search.to.map_or(i64::MAX, nanos),
        fields,
        level: search.level.map(level),
        text,
    })
}

const fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Unknown => Level::Unknown,
        LogLevel::Trace => Level::Trace,
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
        LogLevel::Fatal => Level::Fatal,
    }
}

const fn level_view(level: Level) -> LogLevel {
    match level {
        Level::Unknown => LogLevel::Unknown,
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
        Level::Fatal => LogLevel::Fatal,
    }
}

/// A line as the API gives it.
fn view(record: &LogRecord) -> StoredLine {
    let field = |field| Some(record.field(field)).filter(|text| !text.is_empty()).map(str::to_owned);
    StoredLine {
        time: time(record.time),
        observed: time(record.observed),
        level: level_view(Level::of(record.severity)),
        severity: record.severity,
        node: field(Field::Node),
        stack: field(Field::Stack),
        service: field(Field::Service),
        release: field(Field::Release),
        deployment: field(Field::Deployment),
        conversation: field(Field::Conversation),
        trace: field(Field::Trace),
        span: field(Field::Span),
        text: record.body.clone(),
        attributes: serde_json::from_str(&record.attributes).unwrap_or_default(),
    }
}

/// Where a page ends: `<time>.<id>`, as the next one's cursor.
fn cursor_of(key: Key) -> String {
    format!("{}.{}", key.time, key.id)
}

fn cursor(text: &str) -> Result<Key, ApiError> {
    let parts = text.split_once('.').and_then(|(time, id)| Some((time.parse().ok()?, id.parse().ok()?)));
    let (time, id) = parts.ok_or_else(|| ApiError::invalid("cursor", "expected that of a page before"))?;
    Ok(Key { time, id })
}

/// How long one search may take.
fn budget(app: &App) -> Budget {
    let time = app.settings.telemetry.query_timeout;
    Budget::new(Limits { series: u64::MAX, samples: u64::MAX, time })
}

/// Reads from the store, away from what serves others. As many at once as there may be queries.
async fn read<T: Send + 'static>(
    app: &Arc<App>,
    read: impl FnOnce(&backstay_telemetry::logs::LogStore, &Budget) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = app.telemetry.logs.store()?.clone();
    let budget = budget(app);
    let _room = app.telemetry.logs.readers.acquire().await.map_err(ApiError::internal)?;
    let found = tokio::task::spawn_blocking(move || read(&store, &budget));
    found.await.map_err(ApiError::internal)?.map_err(|error| match error {
        ReadError::Deadline { .. } => ApiError::new(ErrorCode::BS0037, error.to_string()),
        other => ApiError::internal(other),
    })
}
