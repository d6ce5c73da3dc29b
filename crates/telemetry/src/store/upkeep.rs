//! What is done from time to time: blocks from memory, merges, dropping what is too old, looking for damage.

use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

use super::{
    Store, StoreError,
    block::{Block, BlockWriter, Blocks, MakeBlock, Meta, Scan},
    counters::add,
    head::Held,
    options::{BLOCK, LEVELS, span_of},
};
use crate::{Labels, Sample};

/// How long after its end a span goes to a block, in milliseconds: what comes a little late still goes with the rest.
const GRACE: i64 = 30 * 60_000;
/// When memory is this full, in hundredths, all of it goes to blocks.
const PRESSURE: u64 = 85;

/// What upkeep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Blocks written from memory.
    pub flushed: u64,
    /// Merges.
    pub compacted: u64,
    /// Blocks dropped.
    pub dropped: u64,
}

/// When memory was written to blocks last.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// Up to which time.
    before: i64,
    /// When, in milliseconds.
    at: i64,
}

impl Store {
    /// Does what is due: to be called every few seconds. It takes long now and then, and nobody waits for it.
    ///
    /// # Errors
    /// The first thing that could not be done; all else was tried. It is taken up again by the next call.
    pub fn maintain(&self) -> Result<Upkeep, StoreError> {
        let mut rhythm = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Upkeep::default();
        // What makes room comes first: it is needed most when the rest fails.
        let dropped = self.retain(&mut done);
        let flushed = self.flush_due(&mut rhythm, &mut done);
        let compacted = self.compact(&mut done);
        self.save_metadata();
        let outcome = dropped.and(flushed).and(compacted);
        if outcome.is_err() {
            add(&self.counters.upkeep_failures, 1);
        }
        outcome.map(|()| done)
    }

    /// Writes all that is in memory to blocks.
    ///
    /// # Errors
    /// When a block cannot be written. Nothing is lost: it stays in memory and in the log.
    pub fn flush(&self) -> Result<Upkeep, StoreError> {
        let _one = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Upkeep::default();
        self.flush_before(i64::MAX, &mut done)?;
        Ok(done)
    }

    fn flush_due(&self, rhythm: &mut Rhythm, done: &mut Upkeep) -> Result<(), StoreError> {
        let (bounds, bytes) = {
            let head = self.head();
            (head.bounds(), head.bytes())
        };
        let Some((oldest, _)) = bounds else { return Ok(()) };
        let before = span_of(self.now().saturating_sub(GRACE), BLOCK);
        if bytes.saturating_mul(100) >= self.options.memory_bytes.saturating_mul(PRESSURE) {
            tracing::info!(bytes, "memory for metrics is nearly full: all of it goes to blocks now");
            return self.flush_before(i64::MAX, done);
        }
        // What still comes for earlier times is gathered for a while: else it would become many small blocks.
        let due = rhythm.before < before || self.now().saturating_sub(rhythm.at) >= GRACE;
        if oldest >= before || !due {
            return Ok(());
        }
        self.flush_before(before, done)?;
        *rhythm = Rhythm { before, at: self.now() };
        Ok(())
    }

    fn flush_before(&self, before: i64, done: &mut Upkeep) -> Result<(), StoreError> {
        let apply = |lines: &Vec<super::wal::Line>, file| self.apply(lines, file);
        let (through, frozen) = self.wal.between(&apply, &|bytes| self.synced(bytes), |through| {
            (through, self.head_mut().freeze(before))
        });
        for (span, held) in frozen {
            let plan = MakeBlock {
                from: span,
                span: BLOCK,
                log: [(span, through)].into(),
                now: self.now(),
                ..MakeBlock::default()
            };
            let made = self.blocks.make(&plan, |writer| write_all(writer, &held))?;
            // Both at once, so that nobody sees the samples twice or not at all.
            let mut live = self.blocks.write();
            let mut head = self.head_mut();
            head.drop_frozen(span);
            if let Some(block) = made {
                Blocks::put(&mut live, block);
                done.flushed += 1;
                add(&self.counters.flushed, 1);
            }
            drop(head);
            drop(live);
            self.wal.forget(&[span], through)?;
        }
        Ok(())
    }

    fn compact(&self, done: &mut Upkeep) -> Result<(), StoreError> {
        while let Some((from, span, blocks)) = self.to_merge() {
            let needed: u64 = blocks.iter().map(|block| block.meta.bytes()).sum();
            let room = self.free_bytes()?.saturating_sub(self.options.keep_free_bytes);
            if room < needed.saturating_add(needed / 4) {
                // Merging waits for room; all is read as it is.
                return Ok(());
            }
            match self.merge(from, span, &blocks) {
                Ok(()) => {
                    done.compacted += 1;
                    add(&self.counters.compacted, 1);
                }
                Err(StoreError::Damaged { .. }) if self.set_damaged_aside(&blocks) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Looks which of some blocks is damaged. Whether one was.
    fn set_damaged_aside(&self, blocks: &[Arc<Block>]) -> bool {
        let mut found = false;
        for block in blocks {
            if let Err(StoreError::Damaged { file, what }) =
                block.verify().and_then(|()| self.blocks.opened(block).map(drop))
            {
                self.blocks.report(block.meta.id, &format!("{file}: {what}"), &self.counters);
                found = true;
            }
        }
        found
    }

    /// Blocks to merge next, if any, and into which span.
    fn to_merge(&self) -> Option<(i64, i64, Vec<Arc<Block>>)> {
        let late = i64::try_from(self.options.late.as_millis()).unwrap_or(i64::MAX);
        // What comes later is not taken any more, and all before it has gone to blocks.
        let complete = self.now().saturating_sub(late.max(GRACE)).saturating_sub(BLOCK);
        let live = self.blocks.read();
        let metas: Vec<&Meta> = live.iter().map(|block| &block.meta).collect();
        let (from, span) = plan_merge(&metas, complete)?;
        let within = |meta: &Meta| meta.span <= span && span_of(meta.from, span) == from;
        Some((from, span, live.iter().filter(|block| within(&block.meta)).cloned().collect()))
    }

    fn merge(&self, from: i64, span: i64, blocks: &[Arc<Block>]) -> Result<(), StoreError> {
        let mut log = std::collections::BTreeMap::new();
        for (span, file) in blocks.iter().flat_map(|block| &block.meta.log) {
            let known = log.entry(*span).or_insert(*file);
            *known = (*known).max(*file);
        }
        let sources = blocks.iter().map(|block| block.meta.id).collect();
        let plan = MakeBlock { from, span, sources, log, now: self.now() };
        let mut scans = Vec::new();
        for block in blocks {
            // What is damaged must not get a good checksum by being merged.
            block.verify()?;
            scans.push(Scan::new(self.blocks.opened(block)?));
        }
        let made = self
            .blocks
            .make(&plan, |writer| merge_all(&mut scans, |labels, samples| writer.push(labels, samples)))?;
        let Some(block) = made else { return Ok(()) };
        Blocks::put(&mut self.blocks.write(), block);
        // Only after it: a block that is there twice is read once, since the new one says what it is made from.
        blocks.iter().try_for_each(|block| self.blocks.erase(block))
    }

    fn retain(&self, done: &mut Upkeep) -> Result<(), StoreError> {
        let keep = i64::try_from(self.options.keep.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.now().saturating_sub(keep);
        loop {
            let gone = {
                let mut live = self.blocks.write();
                let bytes: u64 = live.iter().map(|block| block.meta.bytes()).sum();
                let too_much = bytes.saturating_add(self.wal.bytes()) > self.options.max_bytes;
                let first = live.iter().enumerate().min_by_key(|(_, block)| block.meta.last);
                let first = first.filter(|(_, block)| too_much || block.meta.last < oldest).map(|(n, _)| n);
                first.map(|n| live.remove(n))
            };
            let Some(block) = gone else { return Ok(()) };
            tracing::info!(block = block.name(), "a block of metrics is dropped, as the retention says");
            self.blocks.erase(&block)?;
            done.dropped += 1;
            add(&self.counters.dropped, 1);
        }
    }

    /// Reads all blocks through and sets aside those that are not what was written. Gives how many these were.
    ///
    /// # Errors
    /// When one cannot be read for another reason.
    pub fn verify(&self) -> Result<u64, StoreError> {
        let blocks: Vec<_> = self.blocks.read().clone();
        let before = self.counters.set_aside.load(Relaxed);
        for block in blocks {
            match block.verify() {
                Ok(()) => {}
                Err(StoreError::Damaged { file, what }) => {
                    self.blocks.report(block.meta.id, &format!("{file}: {what}"), &self.counters);
                }
                // Merged or dropped meanwhile.
                Err(_) if !self.blocks.read().iter().any(|other| other.meta.id == block.meta.id) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(self.counters.set_aside.load(Relaxed) - before)
    }
}

fn write_all(writer: &mut BlockWriter, held: &[Held]) -> Result<(), StoreError> {
    held.iter().try_for_each(|series| writer.push(&series.labels, &series.samples()))
}

/// The first span in which there is more than one block, or blocks of shorter spans only that are two or more; of spans
/// that are complete.
fn plan_merge(metas: &[&Meta], complete: i64) -> Option<(i64, i64)> {
    for span in LEVELS {
        let starts: std::collections::BTreeSet<i64> =
            metas.iter().filter(|meta| meta.span <= span).map(|meta| span_of(meta.from, span)).collect();
        for from in starts {
            let within =
                metas.iter().filter(|meta| meta.span <= span && span_of(meta.from, span) == from).count();
            // A longer block over the same time, with shorter ones beside it, is merged at its own length.
            let covered =
                metas.iter().any(|meta| meta.span > span && meta.from <= from && from < meta.until());
            if within >= 2 && !covered && from.saturating_add(span) <= complete {
                return Some((from, span));
            }
        }
    }
    None
}

/// Merges series by label order. For the same time the later source counts.
pub(super) fn merge_all(
    scans: &mut [Scan],
    mut push: impl FnMut(&Labels, &[Sample]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    loop {
        let mut next: Option<Labels> = None;
        for scan in scans.iter_mut() {
            if let Some(labels) = scan.peek()?
                && next.as_ref().is_none_or(|next| labels < next)
            {
                next = Some(labels.clone());
            }
        }
        let Some(labels) = next else { return Ok(()) };
        let mut samples: Vec<Sample> = Vec::new();
        for scan in scans.iter_mut() {
            if scan.peek()? == Some(&labels) {
                samples = join(samples, scan.take());
            }
        }
        push(&labels, &samples)?;
    }
}

/// Two runs by time as one; for the same time the later run counts.
pub(super) fn join(mut before: Vec<Sample>, later: Vec<Sample>) -> Vec<Sample> {
    let (Some(last), Some(first)) = (before.last(), later.first()) else {
        return if before.is_empty() { later } else { before };
    };
    if last.at < first.at {
        before.extend(later);
        return before;
    }
    let mut joined = Vec::with_capacity(before.len() + later.len());
    let mut before = before.into_iter().peekable();
    for sample in later {
        while let Some(earlier) = before.next_if(|earlier| earlier.at < sample.at) {
            joined.push(earlier);
        }
        before.next_if(|earlier| earlier.at == sample.at);
        joined.push(sample);
    }
    joined.extend(before);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(samples: &[(i64, f64)]) -> Vec<Sample> {
        samples.iter().map(|(at, value)| Sample { at: *at, value: *value }).collect()
    }

    #[test]
    fn runs_are_joined_and_the_later_one_counts() {
        assert_eq!(join(run(&[(1, 1.0), (2, 2.0)]), run(&[(3, 3.0)])), run(&[(1, 1.0), (2, 2.0), (3, 3.0)]));
        let joined = join(run(&[(1, 1.0), (3, 1.0), (5, 1.0)]), run(&[(2, 2.0), (3, 2.0), (4, 2.0)]));
        assert_eq!(joined, run(&[(1, 1.0), (2, 2.0), (3, 2.0), (4, 2.0), (5, 1.0)]));
        assert_eq!(join(run(&[]), run(&[(1, 1.0)])), run(&[(1, 1.0)]));
        assert_eq!(join(run(&[(1, 1.0)]), run(&[])), run(&[(1, 1.0)]));
    }
}
