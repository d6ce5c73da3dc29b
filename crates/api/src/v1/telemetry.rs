//! Metrics that the hub keeps.

use backstay_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LogStoreView;
use crate::{body::Binary, endpoint::endpoints};

endpoints! {
    /// How the store of metrics stands: series, bytes, blocks, what was taken and refused.
    GetTelemetry = Get "/api/v1/telemetry" Viewer () -> TelemetryView;
    /// Samples as they are stored: a line of JSON for each series, `{"labels": {…}, "samples": [[ms, "value"], …]}`, by label
    /// order. Values are text, as in Prometheus' API: JSON has no NaN.
    ExportTelemetry = Get "/api/v1/telemetry/export" Viewer (query: ExportQuery) -> Binary;
}

/// Which samples.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ExportQuery {
    /// Only of this metric.
    pub metric: Option<String>,
    /// Only of series with these labels: `job=shop,node=web-1`.
    pub labels: Option<String>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time.
    pub to: Option<Timestamp>,
}

/// How the store of metrics stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct TelemetryView {
    /// Why nothing is kept, when nothing is.
    pub problem: Option<String>,
    /// What the last upkeep (blocks, merges, retention) could not do, if anything.
    pub upkeep_problem: Option<String>,
    /// The folder.
    pub folder: String,
    /// Series with samples in memory.
    pub active_series: u64,
    /// How many there may be.
    pub max_series: u64,
    /// Bytes of memory that samples take.
    pub memory_bytes: u64,
    /// How many they may take.
    pub max_memory_bytes: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of all blocks.
    pub block_bytes: u64,
    /// Samples of all blocks.
    pub block_samples: u64,
    /// The time of the oldest sample.
    pub oldest: Option<Timestamp>,
    /// The time of the newest sample.
    pub newest: Option<Timestamp>,
    /// Blocks, oldest first.
    pub blocks: Vec<TelemetryBlock>,
    /// Blocks that were set aside because they were damaged.
    pub damaged: Vec<DamagedTelemetry>,
    /// Samples that were stored since the hub was started.
    pub stored: u64,
    /// Samples since then that were there already.
    pub duplicates: u64,
    /// Samples since then that were refused, by reason.
    pub refused: RefusedSamples,
    /// Batches since then of which nothing was acknowledged: senders come again.
    pub batches_refused: u64,
    /// How the store of logs stands.
    #[serde(default)]
    pub logs: LogStoreView,
}

/// Samples that were refused.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RefusedSamples {
    /// Another value is there for that time.
    pub conflicts: u64,
    /// They came too late.
    pub too_old: u64,
    /// Their time has not come yet.
    pub too_new: u64,
    /// There are too many series.
    pub over_series: u64,
    /// Their labels cannot be.
    pub bad_labels: u64,
    /// The hub does not keep such: native histograms, deltas.
    pub unsupported: u64,
}

/// A block of metrics.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TelemetryBlock {
    /// The name of its folder.
    pub name: String,
    /// Time of its first sample.
    pub first: Timestamp,
    /// Time of its last sample.
    pub last: Timestamp,
    /// Its samples.
    pub samples: u64,
    /// Its series.
    pub series: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A block that was set aside.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DamagedTelemetry {
    /// The name of its folder, below `damaged`.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
}
