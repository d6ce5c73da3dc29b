//! The embedded store of metrics: one folder on one machine, no server beside it.
//!
//! A batch is written to the log ([`wal`]) and made durable before it is acknowledged; then it is in memory ([`head`]),
//! compressed. Every two hours what is complete goes to a block ([`block`]): Parquet files that any reader opens. Blocks
//! are merged into larger ones and dropped when they are too old or take too much ([`upkeep`]).
//!
//! Every file and folder comes into being under a temporary name, is synced, renamed, and its folder synced; a start
//! removes what is half done. All of it is synchronous: callers use a thread for it.

pub(crate) mod block;
mod chunk;
pub(crate) mod counters;
pub(crate) mod disk;
mod error;
mod head;
mod index;
mod metadata;
mod open;
mod options;
mod query;
mod status;
#[cfg(test)]
mod tests;
mod upkeep;
pub(crate) mod wal;
mod write;

use std::{
    fs::File,
    path::PathBuf,
    sync::{Mutex, RwLock},
};

use backstay_types::World;

use self::{block::Blocks, counters::Counters, head::Head, metadata::MetadataBook, upkeep::Rhythm, wal::Wal};
pub use self::{
    counters::Counts,
    error::StoreError,
    options::Options,
    status::{BlockStatus, DamagedBlock, Status},
    upkeep::Upkeep,
    write::{Batch, Refused, Stored},
};
pub(crate) use self::{counters::counters, open::hold};

/// Metrics in a folder. Shared by all threads; one process holds the folder at a time.
pub struct Store {
    options: Options,
    world: World,
    folder: PathBuf,
    /// Taken after `blocks`, by who takes both.
    head: RwLock<Head>,
    blocks: Blocks,
    wal: Wal<Vec<wal::Line>>,
    /// Flush, compaction and retention one after the other.
    upkeep: Mutex<Rhythm>,
    counters: Counters,
    metadata: MetadataBook,
    /// Free bytes of the disk, and when that was asked for (milliseconds).
    room: Mutex<(u64, i64)>,
    /// Held for as long as the store is open.
    _lock: File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}
