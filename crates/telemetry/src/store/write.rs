//! Taking samples in.

use std::sync::{PoisonError, atomic::Ordering::Relaxed};

use super::{
    Store, StoreError,
    counters::add,
    disk,
    head::Applied,
    options::AHEAD,
    wal::{self, Line},
};
use crate::{Labels, METRIC_NAME, Sample};

/// How long what is known of free room is believed, in milliseconds.
const ROOM: i64 = 1000;
/// The longest name or value of a label, in bytes, and how many labels a series may have.
const LONGEST: usize = 16 << 10;
const MOST_LABELS: usize = 128;

/// Samples of several series, as one sender brought them: acknowledged together.
pub type Batch = Vec<(Labels, Vec<Sample>)>;

/// What became of a batch that was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Samples that are new.
    pub stored: u64,
    /// Samples that were there already, with the same value.
    pub duplicates: u64,
    /// Samples that were refused. Sending them again is of no use.
    pub refused: Refused,
}

/// Samples that were refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// Another value is there for that time.
    pub conflicts: u64,
    /// They came too late.
    pub too_old: u64,
    /// Their time has not come yet.
    pub too_new: u64,
    /// There are too many series.
    pub over_series: u64,
    /// Their labels cannot be.
    pub bad_labels: u64,
    /// The first of them, in words.
    pub first: Option<String>,
}

impl Refused {
    /// How many.
    pub fn total(&self) -> u64 {
        self.conflicts + self.too_old + self.too_new + self.over_series + self.bad_labels
    }

    /// What to tell the sender; nothing when nothing was refused.
    pub fn message(&self) -> Option<String> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let reasons = [
            (self.conflicts, "for times that have another value already"),
            (self.too_old, "too old"),
            (self.too_new, "from the future"),
            (self.over_series, "of series beyond the most that may be active"),
            (self.bad_labels, "with labels that cannot be"),
        ];
        let said: Vec<_> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, reason)| format!("{n} {reason}")).collect();
        let first = self.first.as_ref().map(|first| format!("; the first: {first}")).unwrap_or_default();
        Some(format!("{total} samples were refused: {}{first}", said.join(", ")))
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.first.is_none() {
            self.first = Some(what());
        }
    }
}

impl Store {
    /// Stores a batch. When this returns, it is on disk and read by queries; sent again, it changes nothing. Samples that
    /// cannot be taken are refused and counted, the rest goes on.
    ///
    /// # Errors
    /// When nothing of it was acknowledged: the disk or memory is full, or the log cannot be written. Sending it again
    /// later is right.
    pub fn append(&self, batch: Batch) -> Result<Stored, StoreError> {
        let taken = self.room_for_more().and_then(|()| self.take(batch));
        if taken.is_err() {
            add(&self.counters.batches_refused, 1);
        }
        taken
    }

    fn take(&self, batch: Batch) -> Result<Stored, StoreError> {
        let mut refused = Refused::default();
        let batch = self.within_bounds(batch, &mut refused);
        let lines = self.number(batch, &mut refused);
        let applied = if lines.is_empty() { Ok(Applied::default()) } else { self.commit(lines) };
        let counters = &self.counters;
        add(&counters.too_old, refused.too_old);
        add(&counters.too_new, refused.too_new);
        add(&counters.over_series, refused.over_series);
        add(&counters.bad_labels, refused.bad_labels);
        let Applied { stored, duplicates, conflicts } = applied?;
        refused.conflicts = conflicts;
        add(&counters.conflicts, conflicts);
        add(&counters.stored, stored);
        add(&counters.duplicates, duplicates);
        add(&counters.batches, 1);
        Ok(Stored { stored, duplicates, refused })
    }

    /// Whether anything can be taken now.
    fn room_for_more(&self) -> Result<(), StoreError> {
        let (used, limit) = (self.head().bytes(), self.options.memory_bytes);
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

    fn within_bounds(&self, batch: Batch, refused: &mut Refused) -> Batch {
        let now = self.now();
        let late = i64::try_from(self.options.late.as_millis()).unwrap_or(i64::MAX);
        let (oldest, newest) = (now.saturating_sub(late), now.saturating_add(AHEAD));
        let mut kept = Batch::with_capacity(batch.len());
        for (labels, mut samples) in batch {
            if let Some(why) = wrong_labels(&labels) {
                refused.bad_labels += samples.len() as u64;
                refused.say(|| why);
                continue;
            }
            samples.retain(|sample| {
                if sample.at < oldest {
                    refused.too_old += 1;
                    refused.say(|| {
                        format!("{labels} at {} ms; the oldest that is taken is {oldest}", sample.at)
                    });
                } else if sample.at > newest {
                    refused.too_new += 1;
                    refused.say(|| {
                        format!("{labels} at {} ms; the newest that is taken is {newest}", sample.at)
                    });
                }
                (oldest..=newest).contains(&sample.at)
            });
            if !samples.is_empty() {
                kept.push((labels, samples));
            }
        }
        kept
    }

    /// Gives each series its number; new ones are made, as many as there may be.
    fn number(&self, batch: Batch, refused: &mut Refused) -> Vec<Line> {
        let mut lines = Vec::with_capacity(batch.len());
        let mut new = Vec::new();
        {
            let head = self.head();
            for (labels, samples) in batch {
                match head.number_of(&labels) {
                    Some(number) => {
                        head.expect(number, 1);
                        lines.push(Line { series: number, labels, samples });
                    }
                    None => new.push((labels, samples)),
                }
            }
        }
        if new.is_empty() {
            return lines;
        }
        let mut head = self.head_mut();
        for (labels, samples) in new {
            let full = head.len() >= self.options.max_series || head.bytes() >= self.options.memory_bytes;
            if full && head.number_of(&labels).is_none() {
                refused.over_series += samples.len() as u64;
                let most = self.options.max_series;
                refused.say(|| format!("{labels}; {most} series may be active"));
                continue;
            }
            let number = head.make(&labels);
            head.expect(number, 1);
            lines.push(Line { series: number, labels, samples });
        }
        lines
    }

    fn commit(&self, lines: Vec<Line>) -> Result<Applied, StoreError> {
        let numbers: Vec<u32> = lines.iter().map(|line| line.series).collect();
        let described: Vec<u64> = {
            let head = self.head();
            numbers.iter().map(|number| head.described(*number)).collect()
        };
        let committed = self.wal.commit(
            lines,
            |lines, file| {
                let here = |n| described.get(n).is_some_and(|described| *described == file);
                wal::frame_of(lines, here)
            },
            &|lines, file| self.apply(lines, file),
            &|bytes| self.synced(bytes),
        );
        let head = self.head();
        for number in numbers {
            head.expect(number, -1);
        }
        committed
    }

    /// Counts what a sync made durable.
    pub(super) fn synced(&self, bytes: u64) {
        add(&self.counters.log_bytes, bytes);
        add(&self.counters.log_syncs, 1);
    }

    /// Applies what is durable in a file of the log.
    pub(super) fn apply(&self, lines: &[Line], file: u64) -> Applied {
        let mut head = self.head_mut();
        for line in lines {
            head.describe(line.series, file);
        }
        head.apply(lines)
    }
}

/// Why labels cannot be: as Prometheus has it, a name is needed, and all of it within bounds.
fn wrong_labels(labels: &Labels) -> Option<String> {
    if labels.metric().is_none() {
        return Some(format!("{labels} has no {METRIC_NAME}"));
    }
    if labels.len() > MOST_LABELS {
        return Some(format!("a series has {} labels; {MOST_LABELS} are allowed", labels.len()));
    }
    let long = labels.iter().find(|(name, value)| name.len().max(value.len()) > LONGEST);
    long.map(|(name, _)| format!("label {} is longer than {LONGEST} bytes", name.get(..64).unwrap_or(name)))
}

/// Keeps the counter of expected batches where it is read and written.
impl super::head::Head {
    fn expect(&self, number: u32, more: i32) {
        if let Some(series) = self.series(number) {
            if more > 0 {
                series.expected.fetch_add(1, Relaxed);
            } else {
                series.expected.fetch_sub(1, Relaxed);
            }
        }
    }

    fn described(&self, number: u32) -> u64 {
        self.series(number).map_or(u64::MAX, |series| series.described.load(Relaxed))
    }

    fn describe(&self, number: u32, file: u64) {
        if let Some(series) = self.series(number) {
            series.described.store(file, Relaxed);
        }
    }
}
