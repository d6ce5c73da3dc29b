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
pub(in crate::store) struct Meta {
    /// Of the format.
    pub(in crate::store) version: u32,
    /// Numbers go up: what was written later has the higher one.
    pub(in crate::store) id: u64,
    /// The first millisecond of its span.
    pub(in crate::store) from: i64,
    /// How long its span is, in milliseconds.
    pub(in crate::store) span: i64,
    /// Time of its first sample.
    pub(in crate::store) first: i64,
    /// Time of its last sample.
    pub(in crate::store) last: i64,
    /// Its samples.
    pub(in crate::store) samples: u64,
    /// Its series.
    pub(in crate::store) series: u64,
    /// Blocks that it was made from: those are not read any more.
    pub(in crate::store) sources: Vec<u64>,
    /// For each span, up to which file of the log its samples are in here: they are not taken from the log again.
    pub(in crate::store) log: BTreeMap<i64, u64>,
    /// Its files.
    pub(in crate::store) files: BTreeMap<String, FileMeta>,
    /// When it was made.
    pub(in crate::store) made_at: Timestamp,
}

/// A file as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct FileMeta {
    /// Its size.
    pub(in crate::store) bytes: u64,
    /// CRC-32 of all of it.
    pub(in crate::store) crc32: u32,
}

impl Meta {
    /// Blocks are read in this order; for the same time the last one counts.
    pub(in crate::store) fn order(&self) -> (i64, u64) {
        (self.from, self.id)
    }

    /// Where its span ends.
    pub(in crate::store) fn until(&self) -> i64 {
        self.from.saturating_add(self.span)
    }

    /// Bytes of its files.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }
}

/// The name of its folder, such as `2026-11-22T10-00_2h_000017`.
pub(super) fn name_of(from: i64, span: i64, id: u64) -> String {
    let start = Timestamp::from_millisecond(from).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{}_{}h_{id:06}", start.strftime("%Y-%m-%dT%H-%M"), span / 3_600_000)
}
