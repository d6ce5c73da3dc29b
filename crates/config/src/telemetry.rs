//! `[telemetry]`

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Complaint, check_range};

const SECTION: &str = "telemetry";

/// Metrics and logs that the hub keeps itself: where, how long, and what they may take. Without them everything else works.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Whether the hub keeps metrics and logs.
    pub enabled: bool,
    /// Where they are, absolute; `telemetry` in the hub's data folder when absent. A disk of its own keeps the rest of the
    /// hub out of harm's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "/srv/backstay-telemetry")]
    pub folder: Option<PathBuf>,
    /// Days after which samples are dropped, a block at a time.
    pub keep_days: u32,
    /// Above so many bytes on disk the oldest blocks are dropped.
    pub max_bytes: u64,
    /// With fewer free bytes than this on that disk nothing is taken: others use it too.
    pub keep_free_bytes: u64,
    /// How many bytes of memory samples may take before they are in a block. Above it senders are told to come again.
    pub memory_bytes: u64,
    /// How many series may have samples in memory at once. Samples of further ones are refused, the rest goes on.
    pub max_series: u64,
    /// How old a sample may be when it comes. Within it any order will do; older ones are refused.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub out_of_order_window: Duration,
    /// How often the hub writes its own metrics to the store; `0s`: never.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub own_every: Duration,
    /// Days after which lines of logs are dropped, a day at a time.
    pub logs_keep_days: u32,
    /// Above so many bytes of logs on disk the oldest are dropped.
    pub logs_max_bytes: u64,
    /// How many bytes of memory lines of logs may take before they are on disk as Parquet. Above it senders are told to come
    /// again.
    pub logs_memory_bytes: u64,
    /// How many bytes of logs one sender may bring a second, over ten seconds. Above it that sender is told to come again,
    /// the others go on.
    pub logs_bytes_per_second: u64,
    /// A file of secrets, one a line, absolute: they are hidden in logs wherever they stand. It is read when the hub starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "/etc/backstay/secrets-to-hide")]
    pub known_secrets: Option<PathBuf>,
    /// How long a query of metrics or logs may take.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub query_timeout: Duration,
    /// How many samples a query may hold in memory at once, 16 bytes each.
    pub query_max_samples: u64,
    /// How many series a query may touch.
    pub query_max_series: u64,
    /// How many queries run at the same time; further ones wait.
    pub queries_at_once: u32,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: None,
            keep_days: 90,
            max_bytes: 50 << 30,
            keep_free_bytes: 512 << 20,
            memory_bytes: 512 << 20,
            max_series: 1_000_000,
            out_of_order_window: Duration::from_secs(2 * 3600),
            own_every: Duration::from_secs(15),
            logs_keep_days: 90,
            logs_max_bytes: 50 << 30,
            logs_memory_bytes: 256 << 20,
            logs_bytes_per_second: 16 << 20,
            known_secrets: None,
            query_timeout: Duration::from_secs(120),
            query_max_samples: 50_000_000,
            query_max_series: 1_000_000,
            queries_at_once: 4,
        }
    }
}

impl TelemetrySettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        let wrong = |key, message: &str| Err(Complaint::new(SECTION, key, message));
        if self.folder.as_ref().is_some_and(|path| !path.is_absolute()) {
            return wrong("folder", "expected an absolute path");
        }
        if self.keep_days == 0 {
            return wrong("keep_days", "expected at least 1");
        }
        if self.memory_bytes < 16 << 20 {
            return wrong("memory_bytes", "expected at least 16777216 (16 MiB)");
        }
        if self.max_bytes < 64 << 20 {
            return wrong("max_bytes", "expected at least 67108864 (64 MiB)");
        }
        if self.known_secrets.as_ref().is_some_and(|path| !path.is_absolute()) {
            return wrong("known_secrets", "expected an absolute path");
        }
        if self.logs_keep_days == 0 {
            return wrong("logs_keep_days", "expected at least 1");
        }
        if self.logs_memory_bytes < 16 << 20 {
            return wrong("logs_memory_bytes", "expected at least 16777216 (16 MiB)");
        }
        if self.logs_max_bytes < 64 << 20 {
            return wrong("logs_max_bytes", "expected at least 67108864 (64 MiB)");
        }
        if self.logs_bytes_per_second < 1 << 10 {
            return wrong("logs_bytes_per_second", "expected at least 1024");
        }
        if self.max_series == 0 {
            return wrong("max_series", "expected at least 1");
        }
        if self.query_max_samples == 0 {
            return wrong("query_max_samples", "expected at least 1");
        }
        if self.query_max_series == 0 {
            return wrong("query_max_series", "expected at least 1");
        }
        if !(1..=1_000).contains(&self.queries_at_once) {
            return wrong("queries_at_once", "expected 1 to 1000");
        }
        check_range(SECTION, "query_timeout", self.query_timeout, 1_000..=3_600_000)?;
        check_range(SECTION, "out_of_order_window", self.out_of_order_window, 60_000..=7 * 86_400_000)?;
        if self.own_every.is_zero() {
            return Ok(());
        }
        check_range(SECTION, "own_every", self.own_every, 1_000..=3_600_000)
    }
}
