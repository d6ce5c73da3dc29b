//! The embedded store of logs: one folder on one machine, no server beside it.
//!
//! What a sender brings is freed of secrets ([`redact`]), written to a log and made durable before it is acknowledged; then
//! it is in memory. Every few minutes it goes to parts ([`parts`]): Parquet files of one day each, sorted by time, that any
//! reader opens. Parts are merged into larger ones, and dropped when they are too old or take too much ([`upkeep`]).
//!
//! The order of writes is that of the metrics' store, and so are the log's frames and the steps at which tests die. All of
//! it is synchronous: callers use a thread for it. Loki's API can stand on [`LogStore::search`] and [`LogStore::histogram`].

mod columns;
mod counters;
mod head;
pub mod ingest;
mod level;
mod meta;
mod open;
mod options;
mod parts;
mod query;
mod record;
mod redact;
#[cfg(test)]
mod tests;
mod upkeep;
mod words;
mod write;

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use backstay_types::World;

use self::{counters::Counters, head::Head, parts::Part, record::Records};
pub use self::{
    counters::LogCounts,
    level::Level,
    open::LogStatus,
    options::LogOptions,
    query::{Bucket, LogQuery, Order, Page},
    record::{Field, Key, LogRecord},
    redact::{Hidden, Redactor},
    upkeep::LogUpkeep,
    write::LogsStored,
};
use crate::store::wal::Wal;

/// Logs in a folder. Shared by all threads; one process holds the folder at a time.
pub struct LogStore {
    options: LogOptions,
    world: World,
    folder: PathBuf,
    redactor: Redactor,
    state: RwLock<State>,
    wal: Wal<Records>,
    /// Flush, compaction and retention one after the other; the number of the next part.
    upkeep: Mutex<u64>,
    counters: Counters,
    /// Free bytes of the disk, and when that was asked for (milliseconds).
    room: Mutex<(u64, i64)>,
    /// Held for as long as the store is open.
    _lock: File,
}

/// What is there: a line is in memory or in a part, never in both nor in none.
#[derive(Debug, Default)]
struct State {
    head: Head,
    /// By day and number.
    parts: Vec<Arc<Part>>,
    /// Names of parts that were set aside.
    damaged: Vec<String>,
}

impl LogStore {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}
