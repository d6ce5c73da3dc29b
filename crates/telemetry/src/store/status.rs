//! How the store stands.

use super::{Counts, Store};

/// How the store stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Series with samples in memory.
    pub active_series: u64,
    /// How many there may be.
    pub max_series: u64,
    /// What the part in memory takes, in bytes.
    pub memory_bytes: u64,
    /// What it may take.
    pub max_memory_bytes: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Blocks, oldest first.
    pub blocks: Vec<BlockStatus>,
    /// Blocks that were set aside.
    pub damaged: Vec<DamagedBlock>,
    /// Times of the oldest and the newest sample, in milliseconds.
    pub bounds: Option<(i64, i64)>,
    /// Counts since the store was opened.
    pub counts: Counts,
}

impl Status {
    /// Bytes of all blocks.
    pub fn block_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes).sum()
    }

    /// Samples of all blocks.
    pub fn block_samples(&self) -> u64 {
        self.blocks.iter().map(|block| block.samples).sum()
    }
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStatus {
    /// The name of its folder.
    pub name: String,
    /// Times of its first and last sample, in milliseconds.
    pub bounds: (i64, i64),
    /// Its samples.
    pub samples: u64,
    /// Its series.
    pub series: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A block that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedBlock {
    /// The name of its folder, below `damaged`.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
}

impl Store {
    /// How it stands.
    pub fn status(&self) -> Status {
        let blocks: Vec<_> = self
            .blocks
            .read()
            .iter()
            .map(|block| BlockStatus {
                name: block.name(),
                bounds: (block.meta.first, block.meta.last),
                samples: block.meta.samples,
                series: block.meta.series,
                bytes: block.meta.bytes(),
            })
            .collect();
        let head = self.head();
        let all = blocks.iter().map(|block| block.bounds).chain(head.bounds());
        Status {
            active_series: head.len(),
            max_series: self.options.max_series,
            memory_bytes: head.bytes(),
            max_memory_bytes: self.options.memory_bytes,
            log_bytes: self.wal.bytes(),
            bounds: all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
            damaged: self.blocks.damaged(),
            counts: self.counters.read(),
            blocks,
        }
    }
}
