//! Taking lines in.

use std::sync::{Arc, PoisonError};

use super::{
    Hidden, Key, LogRecord, LogStore,
    options::{AHEAD, LONGEST},
    record::{self, Records},
};
use crate::store::{StoreError, counters::add, disk};

/// How long what is known of free room is believed, in milliseconds.
const ROOM: i64 = 1000;
const MILLION: i64 = 1_000_000;

/// What became of a batch that was acknowledged.
#[derive(Debug, Clone, Default)]
pub struct LogsStored {
    /// Lines that are new, as they are stored.
    pub new: Vec<(Key, Arc<LogRecord>)>,
    /// Lines that were there already.
    pub duplicates: u64,
    /// Lines refused because they are older than what is kept. Sending them again is of no use.
    pub too_old: u64,
    /// Lines refused because their time has not come yet.
    pub too_new: u64,
    /// Secrets that were hidden.
    pub hidden: Hidden,
}

impl LogsStored {
    /// What to tell the sender; nothing when nothing was refused.
    pub fn message(&self) -> Option<String> {
        let reasons =
            [(self.too_old, "older than the logs that are kept"), (self.too_new, "from the future")];
        let said: Vec<_> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, reason)| format!("{n} {reason}")).collect();
        (!said.is_empty()).then(|| format!("lines were refused: {}", said.join(", ")))
    }
}

impl LogStore {
    /// Stores lines. When this returns, they are on disk and found by searches; sent again, they change nothing. Secrets
    /// are hidden first. Lines that cannot be taken are refused and counted, the rest goes on.
    ///
    /// # Errors
    /// When nothing of it was acknowledged: the disk or memory is full, or the log cannot be written. Sending it again
    /// later is right.
    pub fn append(&self, batch: Vec<LogRecord>) -> Result<LogsStored, StoreError> {
        let taken = self.room_for_more().and_then(|()| self.take(batch));
        if taken.is_err() {
            add(&self.counters.batches_refused, 1);
        }
        taken
    }

    fn take(&self, batch: Vec<LogRecord>) -> Result<LogsStored, StoreError> {
        let now = self.now().saturating_mul(MILLION);
        let keep = i64::try_from(self.options.keep.as_nanos()).unwrap_or(i64::MAX);
        let (oldest, newest) = (now.saturating_sub(keep), now.saturating_add(AHEAD));
        let mut stored = LogsStored::default();
        let (mut cut, mut text) = (0, 0);
        let mut records = Vec::with_capacity(batch.len());
        for mut record in batch {
            if record.observed <= 0 {
                record.observed = now;
            }
            if record.time <= 0 {
                record.time = record.observed;
            }
            stored.too_old += u64::from(record.time < oldest);
            stored.too_new += u64::from(record.time > newest);
            if !(oldest..=newest).contains(&record.time) {
                continue;
            }
            cut += u64::from(shorten(&mut record));
            let hidden = self.redactor.record(&mut record);
            stored.hidden.known += hidden.known;
            stored.hidden.pattern += hidden.pattern;
            stored.hidden.entropy += hidden.entropy;
            text += (record.body.len() + record.attributes.len()) as u64;
            records.push((record.key(), Arc::new(record)));
        }
        let counters = &self.counters;
        add(&counters.too_old, stored.too_old);
        add(&counters.too_new, stored.too_new);
        if records.is_empty() {
            return Ok(stored);
        }
        let brought = records.len() as u64;
        stored.new = self.wal.commit(
            Records(records),
            |records, _| record::encode(records),
            &|records, _| self.apply(records),
            &|bytes| self.synced(bytes),
        )?;
        stored.duplicates = brought - stored.new.len() as u64;
        add(&counters.stored, stored.new.len() as u64);
        add(&counters.duplicates, stored.duplicates);
        add(&counters.cut, cut);
        add(&counters.text_bytes, text);
        add(&counters.hidden_known, stored.hidden.known);
        add(&counters.hidden_pattern, stored.hidden.pattern);
        add(&counters.hidden_entropy, stored.hidden.entropy);
        Ok(stored)
    }

    pub(super) fn apply(&self, records: &Records) -> Vec<(Key, Arc<LogRecord>)> {
        let now = self.now();
        self.write().head.apply(records, now)
    }

    pub(super) fn synced(&self, bytes: u64) {
        add(&self.counters.log_bytes, bytes);
        add(&self.counters.log_syncs, 1);
    }

    /// Whether anything can be taken now.
    fn room_for_more(&self) -> Result<(), StoreError> {
        let (used, limit) = (self.read().head.bytes(), self.options.memory_bytes);
        if used >= limit {
            return Err(StoreError::MemoryFull { used, limit });
        }
        let needed = self.options.keep_free_bytes;
        let free = self.free_bytes()?;
        if free < needed { Err(StoreError::NoRoom { free, needed }) } else { Ok(()) }
    }

    /// Free bytes of the disk, asked for once a second at most.
    pub(super) fn free_bytes(&self) -> Result<u64, StoreError> {
        let now = self.now();
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(room.1).unsigned_abs() >= ROOM.unsigned_abs() {
            let free = disk::free_bytes(&self.folder).map_err(StoreError::io("look at", &self.folder))?;
            *room = (free, now);
        }
        Ok(room.0)
    }
}

/// Cuts a text that is too long, and says so in it. Whether it was.
fn shorten(record: &mut LogRecord) -> bool {
    let long = record.body.len();
    if long > LONGEST {
        record.body.truncate(record.body.floor_char_boundary(LONGEST));
        record.body.push_str(&format!("… [cut: {long} bytes]"));
    }
    let wide = record.attributes.len() > LONGEST;
    if wide {
        record.attributes = format!("{{\"cut\":\"{} bytes of attributes\"}}", record.attributes.len());
    }
    long > LONGEST || wide
}
