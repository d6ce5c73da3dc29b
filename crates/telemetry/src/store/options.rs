//! What the store may use, and how long it keeps things.

use std::{path::PathBuf, time::Duration};

/// How the store is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made when it is not there.
    pub folder: PathBuf,
    /// Samples older than this are dropped, a block at a time.
    pub keep: Duration,
    /// Above so many bytes on disk (blocks and log) the oldest blocks are dropped.
    pub max_bytes: u64,
    /// What the part in memory may take, in bytes. Above it, samples are refused until some of it was written to a block.
    pub memory_bytes: u64,
    /// How many series may have samples in memory at once. Further ones are refused.
    pub max_series: u64,
    /// Samples that are older than this when they come are refused. Within it, any order will do.
    pub late: Duration,
    /// With fewer free bytes than this on its disk, the store takes nothing: others use the disk too.
    pub keep_free_bytes: u64,
    /// How large a file of the log becomes, in bytes.
    pub segment_bytes: u64,
}

impl Options {
    /// As the settings have them by default.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            keep: Duration::from_secs(90 * 86_400),
            max_bytes: 50 << 30,
            memory_bytes: 512 << 20,
            max_series: 1_000_000,
            late: Duration::from_secs(2 * 3600),
            keep_free_bytes: 512 << 20,
            segment_bytes: 128 << 20,
        }
    }
}

/// How long a block from memory is, in milliseconds, and a chunk at most.
pub(super) const BLOCK: i64 = 2 * 3_600_000;

/// The spans that blocks are merged to, shortest first: each a multiple of the one before.
pub(super) const LEVELS: [i64; 2] = [4 * BLOCK, 12 * BLOCK];

/// How far beyond the hub's clock a sample may lie, in milliseconds: as Prometheus allows.
pub(super) const AHEAD: i64 = 10 * 60_000;

/// The first millisecond of the span of length `span` that `at` lies in.
pub(super) const fn span_of(at: i64, span: i64) -> i64 {
    at - at.rem_euclid(span)
}
