//! Lines in memory: what is not in a part yet.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::record::{Key, LogRecord, Records, day_of};

/// Lines by key.
pub(super) type Lines = BTreeMap<Key, Arc<LogRecord>>;

/// Lines in memory.
#[derive(Debug, Default)]
pub(super) struct Head {
    live: Lines,
    /// By day, on their way to a part.
    frozen: BTreeMap<i64, Arc<Lines>>,
    /// What went to parts last: who had no answer sends it again soon.
    recent: HashSet<Key>,
    bytes: u64,
    /// When the first of `live` came, in milliseconds.
    since: Option<i64>,
}

impl Head {
    /// Adds records; gives those that are new.
    pub(super) fn apply(&mut self, records: &Records, now: i64) -> Vec<(Key, Arc<LogRecord>)> {
        let mut new = Vec::with_capacity(records.0.len());
        for (key, record) in &records.0 {
            let frozen = self.frozen.get(&day_of(key.time)).is_some_and(|lines| lines.contains_key(key));
            if frozen || self.recent.contains(key) || self.live.contains_key(key) {
                continue;
            }
            self.bytes += record.size();
            self.live.insert(*key, record.clone());
            new.push((*key, record.clone()));
        }
        if !new.is_empty() {
            self.since.get_or_insert(now);
        }
        new
    }

    /// What is to go to parts now, by day.
    pub(super) fn freeze(&mut self) -> Vec<(i64, Arc<Lines>)> {
        self.since = None;
        let mut by_day: BTreeMap<i64, Lines> = BTreeMap::new();
        for (key, record) in std::mem::take(&mut self.live) {
            by_day.entry(day_of(key.time)).or_default().insert(key, record);
        }
        for (day, mut lines) in by_day {
            // An earlier one that could not be written goes with it.
            if let Some(before) = self.frozen.remove(&day) {
                lines.extend(before.iter().map(|(key, record)| (*key, record.clone())));
            }
            self.frozen.insert(day, Arc::new(lines));
        }
        self.recent.clear();
        self.frozen.iter().map(|(day, lines)| (*day, lines.clone())).collect()
    }

    /// A day's lines are in a part.
    pub(super) fn drop_frozen(&mut self, day: i64) {
        if let Some(lines) = self.frozen.remove(&day) {
            self.bytes = self.bytes.saturating_sub(lines.values().map(|record| record.size()).sum());
            self.recent.extend(lines.keys());
        }
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its lines.
    pub(super) fn rows(&self) -> u64 {
        (self.live.len() + self.frozen.values().map(|lines| lines.len()).sum::<usize>()) as u64
    }

    /// Whether anything waits to go to a part, and since when it does (milliseconds).
    pub(super) fn since(&self) -> Option<i64> {
        if self.frozen.is_empty() { self.since } else { Some(self.since.unwrap_or(i64::MIN)) }
    }

    /// Lines that are added to, and those on their way.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lines> {
        self.frozen.values().map(|lines| &**lines).chain([&self.live])
    }

    /// Keys of the first and last line.
    pub(super) fn bounds(&self) -> Option<(Key, Key)> {
        let ends = |lines: &Lines| Some((*lines.first_key_value()?.0, *lines.last_key_value()?.0));
        self.all().filter_map(ends).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}
