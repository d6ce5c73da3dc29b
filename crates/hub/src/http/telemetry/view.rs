//! `GET /api/v1/telemetry`

use std::sync::atomic::Ordering::Relaxed;

use backstay_api::v1::{
    DamagedTelemetry, GetTelemetry, HiddenSecrets, LogStoreView, RefusedSamples, TelemetryBlock,
    TelemetryView,
};
use backstay_telemetry::{
    logs::LogStatus,
    store::{BlockStatus, Status},
};
use backstay_types::Timestamp;

use crate::{
    http::{ApiError, Call, logs},
    telemetry::Logs,
};

/// How the stores of metrics and logs stand.
pub(crate) async fn get(call: Call<GetTelemetry>) -> Result<TelemetryView, ApiError> {
    let telemetry = &call.app.telemetry;
    let mut view = match telemetry.store() {
        Ok(store) => {
            let store = store.clone();
            tokio::task::spawn_blocking(move || of_status(store.status()))
                .await
                .map_err(ApiError::internal)?
        }
        Err(_) => TelemetryView::default(),
    };
    view.problem = telemetry.problem().map(str::to_owned);
    view.upkeep_problem = telemetry.upkeep_problem();
    view.folder = telemetry.folder().display().to_string();
    view.refused.unsupported = telemetry.unsupported.load(Relaxed);
    view.logs = of_logs(&telemetry.logs).await?;
    Ok(view)
}

fn of_status(status: Status) -> TelemetryView {
    let counts = status.counts;
    TelemetryView {
        active_series: status.active_series,
        max_series: status.max_series,
        memory_bytes: status.memory_bytes,
        max_memory_bytes: status.max_memory_bytes,
        log_bytes: status.log_bytes,
        block_bytes: status.block_bytes(),
        block_samples: status.block_samples(),
        oldest: status.bounds.map(|(first, _)| time(first)),
        newest: status.bounds.map(|(_, last)| time(last)),
        blocks: status.blocks.into_iter().map(block).collect(),
        damaged: status
            .damaged
            .into_iter()
            .map(|damaged| DamagedTelemetry { name: damaged.name, what: damaged.what })
            .collect(),
        stored: counts.stored,
        duplicates: counts.duplicates,
        refused: RefusedSamples {
            conflicts: counts.conflicts,
            too_old: counts.too_old,
            too_new: counts.too_new,
            over_series: counts.over_series,
            bad_labels: counts.bad_labels,
            unsupported: 0,
        },
        batches_refused: counts.batches_refused,
        ..TelemetryView::default()
    }
}

async fn of_logs(logs: &Logs) -> Result<LogStoreView, ApiError> {
    let mut view = match logs.store() {
        Ok(store) => {
            let store = store.clone();
            let status =
                tokio::task::spawn_blocking(move || store.status()).await.map_err(ApiError::internal)?;
            of_log_status(status)
        }
        Err(_) => LogStoreView::default(),
    };
    view.problem = logs.problem().map(str::to_owned);
    view.upkeep_problem = logs.upkeep_problem();
    view.held_off = logs.held_off.load(Relaxed);
    Ok(view)
}

fn of_log_status(status: LogStatus) -> LogStoreView {
    let counts = status.counts;
    LogStoreView {
        memory_lines: status.memory_rows,
        memory_bytes: status.memory_bytes,
        max_memory_bytes: status.max_memory_bytes,
        log_bytes: status.log_bytes,
        parts: status.parts,
        part_lines: status.part_rows,
        part_bytes: status.part_bytes,
        damaged: status.damaged,
        oldest: status.bounds.map(|(first, _)| logs::time(first)),
        newest: status.bounds.map(|(_, last)| logs::time(last)),
        stored: counts.stored,
        text_bytes: counts.text_bytes,
        duplicates: counts.duplicates,
        refused: counts.too_old + counts.too_new,
        batches_refused: counts.batches_refused,
        hidden: HiddenSecrets {
            known: counts.hidden_known,
            pattern: counts.hidden_pattern,
            entropy: counts.hidden_entropy,
        },
        ..LogStoreView::default()
    }
}

fn block(block: BlockStatus) -> TelemetryBlock {
    let BlockStatus { name, bounds: (first, last), samples, series, bytes } = block;
    TelemetryBlock { name, first: time(first), last: time(last), samples, series, bytes }
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}
