//! `block.json`: what a block is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The name of its file.
pub(super) const FILE: &str = "block.json";
/// What this program writes and reads.
pub(super) const VERSION: u32 = 1;

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Of the format.
    pub(crate) version: u32,
    /// Numbers go up: what was written later has the higher one.
    pub(crate) id: u64,
    /// The first millisecond of its span.
    pub(crate) from: i64,
    /// How long its span is, in milliseconds.
    pub(crate) span: i64,
    /// Time of its first sample.
    pub(crate) first: i64,
    /// Time of its last sample.
    pub(crate) last: i64,
    /// Its samples.
    pub(crate) samples: u64,
    /// Its series.
    pub(crate) series: u64,
    /// Blocks that it was made from: those are not read any more.
    pub(crate) sources: Vec<u64>,
    /// For each span, up to which file of the log its samples are in here: they are not taken from the log again.
    pub(crate) log: BTreeMap<i64, u64>,
    /// Its files.
    pub(crate) files: BTreeMap<String, FileMeta>,
    /// When it was made.
    pub(crate) made_at: Timestamp,
}

/// A file as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMeta {
    /// Its size.
    pub(crate) bytes: u64,
    /// CRC-32 of all of it.
    pub(crate) crc32: u32,
}

impl Meta {
    /// Blocks are read in this order; for the same time the last one counts.
    pub(crate) fn order(&self) -> (i64, u64) {
        (self.from, self.id)
    }

    /// Where its span ends.
    pub(crate) fn until(&self) -> i64 {
        self.from.saturating_add(self.span)
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }
}

/// The name of its folder, such as `2026-11-22T10-00_2h_000017`.
pub(super) fn name_of(from: i64, span: i64, id: u64) -> String {
    let start = Timestamp::from_millisecond(from).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{}_{}h_{id:06}", start.strftime("%Y-%m-%dT%H-%M"), span / 3_600_000)
}
