//! What is done from time to time: parts from memory, merges, dropping what is too old, looking for damage.

use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

use super::{
    LogStore,
    meta::PartMeta,
    parts::{self, Part, Scan},
    record::{DAY, Records},
};
use crate::store::{StoreError, counters::add};

/// When memory is this full, in hundredths, all of it goes to parts.
const PRESSURE: u64 = 85;
/// A day that still grows is merged when so many parts of like size are there; one that is over, with two.
const GROWING: usize = 8;
/// How long after its end a day is over, in nanoseconds.
const OVER: i64 = 3600 * 1_000_000_000;
/// Parts above this are merged no more, in bytes.
const LARGE: u64 = 4 << 30;

/// What upkeep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogUpkeep {
    /// Parts written from memory.
    pub flushed: u64,
    /// Merges.
    pub compacted: u64,
    /// Parts dropped.
    pub dropped: u64,
}

impl LogStore {
    /// Does what is due: to be called every few seconds. It takes long now and then, and nobody waits for it.
    ///
    /// # Errors
    /// The first thing that could not be done; all else was tried. It is taken up again by the next call.
    pub fn maintain(&self) -> Result<LogUpkeep, StoreError> {
        let mut next = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = LogUpkeep::default();
        // What makes room comes first: it is needed most when the rest fails.
        let dropped = self.retain(&mut done);
        let flushed = if self.is_due() { self.flush_all(&mut next, &mut done) } else { Ok(()) };
        let compacted = self.compact(&mut next, &mut done);
        let outcome = dropped.and(flushed).and(compacted);
        if outcome.is_err() {
            add(&self.counters.upkeep_failures, 1);
        }
        outcome.map(|()| done)
    }

    /// Writes all that is in memory to parts.
    ///
    /// # Errors
    /// When a part cannot be written. Nothing is lost: it stays in memory and in the log.
    pub fn flush(&self) -> Result<LogUpkeep, StoreError> {
        let mut next = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = LogUpkeep::default();
        self.flush_all(&mut next, &mut done)?;
        Ok(done)
    }

    fn is_due(&self) -> bool {
        let state = self.read();
        let full =
            state.head.bytes().saturating_mul(100) >= self.options.memory_bytes.saturating_mul(PRESSURE);
        let every = i64::try_from(self.options.flush_every.as_millis()).unwrap_or(i64::MAX);
        let waited = state.head.since().is_some_and(|since| self.now().saturating_sub(since) >= every);
        full && state.head.bytes() > 0 || waited
    }

    fn flush_all(&self, next: &mut u64, done: &mut LogUpkeep) -> Result<(), StoreError> {
        let apply = |records: &Records, _| self.apply(records);
        let (through, frozen) = self
            .wal
            .between(&apply, &|bytes| self.synced(bytes), |through| (through, self.write().head.freeze()));
        for (day, lines) in frozen {
            let meta = PartMeta { id: *next, day, log: through, ..PartMeta::default() };
            *next += 1;
            let made = parts::make(&self.folder.join("days"), meta, |writer| {
                lines.iter().try_for_each(|(key, record)| writer.push(*key, record))
            })?;
            // Both at once, so that nobody sees the lines twice or not at all.
            let mut state = self.write();
            state.head.drop_frozen(day);
            if let Some(part) = made {
                put(&mut state.parts, part);
                done.flushed += 1;
                add(&self.counters.flushed, 1);
            }
            drop(state);
            self.wal.forget(&[day], through)?;
        }
        Ok(())
    }

    fn compact(&self, next: &mut u64, done: &mut LogUpkeep) -> Result<(), StoreError> {
        while let Some(sources) = self.to_merge() {
            let needed: u64 = sources.iter().map(|part| part.meta.bytes()).sum();
            let room = self.free_bytes()?.saturating_sub(self.options.keep_free_bytes);
            if room < needed.saturating_add(needed / 4) {
                // Merging waits for room; all is read as it is.
                return Ok(());
            }
            match self.merge(next, &sources) {
                Ok(()) => {
                    done.compacted += 1;
                    add(&self.counters.compacted, 1);
                }
                Err(StoreError::Damaged { .. }) if self.verify_these(&sources)? > 0 => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Parts of one day to merge next, if any.
    fn to_merge(&self) -> Option<Vec<Arc<Part>>> {
        let now = self.now().saturating_mul(1_000_000);
        let state = self.read();
        let days = state.parts.chunk_by(|a, b| a.meta.day == b.meta.day);
        days.into_iter().find_map(|parts| {
            let over = parts[0].meta.day.saturating_add(DAY + OVER) < now;
            like_sized(parts, if over { 2 } else { GROWING })
        })
    }

    fn merge(&self, next: &mut u64, sources: &[Arc<Part>]) -> Result<(), StoreError> {
        let Some(first) = sources.first() else { return Ok(()) };
        let meta = PartMeta {
            id: *next,
            day: first.meta.day,
            log: sources.iter().map(|part| part.meta.log).max().unwrap_or(0),
            sources: sources.iter().map(|part| part.meta.id).collect(),
            ..PartMeta::default()
        };
        *next += 1;
        let mut scans = Vec::new();
        for part in sources {
            // What is damaged must not get a good checksum by being merged.
            part.verify()?;
            scans.push(Scan::new(part)?);
        }
        let made = parts::make(&self.folder.join("days"), meta, |writer| {
            parts::merge(&mut scans, |key, record| writer.push(key, record))
        })?;
        let Some(part) = made else { return Ok(()) };
        put(&mut self.write().parts, part);
        // Only after it: a part that is there twice is read once, since the new one says what it is made from.
        sources.iter().try_for_each(|part| parts::erase(part))
    }

    fn retain(&self, done: &mut LogUpkeep) -> Result<(), StoreError> {
        let keep = i64::try_from(self.options.keep.as_nanos()).unwrap_or(i64::MAX);
        let oldest = self.now().saturating_mul(1_000_000).saturating_sub(keep);
        loop {
            let gone = {
                let mut state = self.write();
                let bytes: u64 = state.parts.iter().map(|part| part.meta.bytes()).sum();
                let too_much = bytes.saturating_add(self.wal.bytes()) > self.options.max_bytes;
                let last = |part: &Arc<Part>| part.meta.bounds().map_or(i64::MIN, |(_, last)| last.time);
                let first = state.parts.iter().enumerate().min_by_key(|(_, part)| last(part));
                let first = first.filter(|(_, part)| too_much || last(part) < oldest).map(|(n, _)| n);
                first.map(|n| state.parts.remove(n))
            };
            let Some(part) = gone else { return Ok(()) };
            tracing::info!(part = part.name(), "a part of the logs is dropped, as the retention says");
            parts::erase(&part)?;
            done.dropped += 1;
            add(&self.counters.dropped, 1);
        }
    }

    /// Reads all parts through and sets aside those that are not what was written. Gives how many these were.
    ///
    /// # Errors
    /// When one cannot be read for another reason.
    pub fn verify(&self) -> Result<u64, StoreError> {
        let parts = self.read().parts.clone();
        self.verify_these(&parts)
    }

    fn verify_these(&self, parts: &[Arc<Part>]) -> Result<u64, StoreError> {
        let before = self.counters.set_aside.load(Relaxed);
        for part in parts {
            match part.verify().and_then(|()| part.opened().map(drop)) {
                Ok(()) => {}
                Err(StoreError::Damaged { file, what }) => self.report(part, &format!("{file}: {what}")),
                // Merged or dropped meanwhile.
                Err(_) if !self.read().parts.iter().any(|other| Arc::ptr_eq(other, part)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(self.counters.set_aside.load(Relaxed) - before)
    }

    /// A part turned out to be damaged: it is not read any more.
    pub(super) fn report(&self, part: &Arc<Part>, what: &str) {
        tracing::error!(part = part.name(), what, "a part of the logs is damaged; it is set aside");
        self.write().parts.retain(|other| !Arc::ptr_eq(other, part));
        if let Err(error) = self.set_aside(&part.path) {
            tracing::warn!(%error, "a damaged part could not be moved away; it is left out until the next start");
        }
        self.list_damaged();
    }
}

/// Puts a part among those that are read, in the place of the parts that it was made from.
fn put(parts: &mut Vec<Arc<Part>>, part: Arc<Part>) {
    parts.retain(|other| !part.meta.sources.contains(&other.meta.id));
    parts.push(part);
    parts.sort_by_key(|part| (part.meta.day, part.meta.id));
}

/// The smallest parts, as long as each is not much larger than all smaller ones together: what is merged often is small.
fn like_sized(parts: &[Arc<Part>], least: usize) -> Option<Vec<Arc<Part>>> {
    let mut sorted: Vec<_> = parts.iter().filter(|part| part.meta.bytes() < LARGE).cloned().collect();
    sorted.sort_by_key(|part| (part.meta.bytes(), part.meta.id));
    let mut bytes = 1 << 20;
    let fits = |part: &Arc<Part>| {
        let fits = part.meta.bytes() <= bytes * 2;
        bytes += part.meta.bytes();
        fits
    };
    let group: Vec<_> = sorted.into_iter().take_while(fits).collect();
    (group.len() >= least).then_some(group)
}
