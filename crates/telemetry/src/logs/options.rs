//! What the store of logs may use, and how long it keeps things.

use std::{path::PathBuf, time::Duration};

/// How the store of logs is run.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Its folder; made when it is not there.
    pub folder: PathBuf,
    /// Lines older than this are dropped, a part at a time.
    pub keep: Duration,
    /// Above so many bytes on disk (parts and log) the oldest parts are dropped.
    pub max_bytes: u64,
    /// What the part in memory may take, in bytes. Above it, lines are refused until it was written to a part.
    pub memory_bytes: u64,
    /// With fewer free bytes than this on its disk, the store takes nothing: others use the disk too.
    pub keep_free_bytes: u64,
    /// How large a file of the write-ahead log becomes, in bytes.
    pub segment_bytes: u64,
    /// How long lines are in memory before they go to a part.
    pub flush_every: Duration,
    /// Secrets that the hub knows: they are hidden wherever they stand.
    pub known_secrets: Vec<backstay_types::Secret>,
}

impl LogOptions {
    /// As the settings have them by default.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            keep: Duration::from_secs(90 * 86_400),
            max_bytes: 50 << 30,
            memory_bytes: 256 << 20,
            keep_free_bytes: 512 << 20,
            segment_bytes: 64 << 20,
            flush_every: Duration::from_secs(600),
            known_secrets: Vec::new(),
        }
    }
}

/// How far beyond the hub's clock a line may lie, in nanoseconds.
pub(super) const AHEAD: i64 = 10 * 60 * 1_000_000_000;
/// The longest body that is kept whole, in bytes.
pub(super) const LONGEST: usize = 256 << 10;
