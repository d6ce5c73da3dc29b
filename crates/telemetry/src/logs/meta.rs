//! `part.json`: what a part is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Key;
use crate::store::block::FileMeta;

/// The name of its file.
pub(super) const FILE: &str = "part.json";
/// What this program writes and reads.
pub(super) const VERSION: u32 = 1;

/// Rows of a page: what is decoded at least for one line.
pub(super) const PAGE: usize = 4096;

/// What a part is: lines of one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartMeta {
    /// Of the format.
    pub(super) version: u32,
    /// Numbers go up: what was written later has the higher one.
    pub(super) id: u64,
    /// The first nanosecond of its day.
    pub(super) day: i64,
    /// Its groups of rows, in order.
    pub(super) groups: Vec<GroupMeta>,
    /// Parts that it was made from: those are not read any more.
    pub(super) sources: Vec<u64>,
    /// Up to which file of the log the day's lines are in here: they are not taken from the log again.
    pub(super) log: u64,
    /// Lines of each minute since 1970, by level.
    pub(super) minutes: BTreeMap<i64, [u32; 7]>,
    /// Its files.
    pub(super) files: BTreeMap<String, FileMeta>,
}

/// A group of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupMeta {
    /// How many.
    pub(super) rows: u64,
    /// The first.
    pub(super) first: Key,
    /// The last.
    pub(super) last: Key,
    /// The first of every [`PAGE`] rows: so that a time is found without reading all of them.
    pub(super) marks: Vec<Key>,
    /// From where to where its words are in their file.
    pub(super) words: (u64, u64),
}

impl PartMeta {
    /// Its lines.
    pub(super) fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Keys of its first and last line.
    pub(super) fn bounds(&self) -> Option<(Key, Key)> {
        Some((self.groups.first()?.first, self.groups.last()?.last))
    }
}
