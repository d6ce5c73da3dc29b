//! `GET /api/v1/logs/histogram`

use backstay_api::v1::{CountLogs, LogBucket, LogHistogram};
use backstay_telemetry::logs::Level;

use super::{level_view, nanos, query, read, time};
use crate::http::{ApiError, Call};

const SECOND: i64 = 1_000_000_000;
/// How far back it goes when nobody says.
const HOUR: i64 = 3600 * SECOND;
/// Steps at most: an answer of some megabytes.
const MOST: i64 = 10_000;

/// How many lines there are over time, by level.
pub(crate) async fn count(call: Call<CountLogs>) -> Result<LogHistogram, ApiError> {
    let seconds = call.query.step.unwrap_or(60);
    if seconds == 0 {
        return Err(ApiError::invalid("step", "expected at least 1 second"));
    }
    let step = i64::from(seconds) * SECOND;
    let to = call.query.to.map_or_else(|| nanos(call.app.world.now()), nanos);
    let from = call.query.from.map_or_else(|| to.saturating_sub(HOUR), nanos);
    // Whole steps at both ends.
    let from = from.saturating_sub(from.rem_euclid(step));
    let end = to.saturating_add(1).saturating_add((step - to.saturating_add(1).rem_euclid(step)) % step);
    let steps = end.saturating_sub(from) / step;
    if from >= end || steps > MOST {
        let found = format!("{steps} steps of {seconds} s between `from` and `to`: expected 1 to {MOST}");
        return Err(ApiError::invalid("step", found));
    }
    let mut query = query(&call.app, &call.query.search()).await?;
    (query.from, query.to) = (from, end - 1);
    let counted = read(&call.app, move |store, budget| store.histogram(&query, step, budget)).await?;
    let bucket = |bucket: backstay_telemetry::logs::Bucket| LogBucket {
        from: time(bucket.from),
        counts: Level::ALL
            .into_iter()
            .map(|level| (level_view(level), bucket.counts[level as usize]))
            .filter(|(_, count)| *count > 0)
            .collect(),
    };
    Ok(LogHistogram { step: seconds, buckets: counted.into_iter().map(bucket).collect() })
}
