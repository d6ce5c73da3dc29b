//! What is in memory: series with their samples since the last block, and an index of their labels.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use foldhash::{HashMap, HashMapExt as _};
use roaring::RoaringBitmap;

use super::{
    StoreError,
    chunk::{Chunk, Open},
    index::Index,
    options::{BLOCK, span_of},
    wal::Line,
};
use crate::{Labels, LabelsBuilder, Sample};

/// What a series takes in memory beside its samples and the text of its labels, roughly.
const SERIES: u64 = 320;
/// What a label of a series takes: two pointers with their lengths, and a place in the index.
const LABEL: u64 = 36;
/// So many samples that came out of order wait until they become chunks.
const LATE: usize = 120;

/// What applying lines came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Samples that are new.
    pub(super) stored: u64,
    /// Samples that were there with the same value.
    pub(super) duplicates: u64,
    /// Samples for whose time another value is there.
    pub(super) conflicts: u64,
}

impl Applied {
    fn count(&mut self, kept: Kept) {
        match kept {
            Kept::New => self.stored += 1,
            Kept::Same => self.duplicates += 1,
            Kept::Conflict => self.conflicts += 1,
        }
    }
}

enum Kept {
    New,
    Same,
    Conflict,
}

/// A series in memory.
pub(super) struct Series {
    labels: Labels,
    /// Batches that are on their way to it: until they are there it is not forgotten.
    pub(super) expected: AtomicU32,
    /// The file of the log that describes it last.
    pub(super) described: AtomicU64,
    newest: Option<Sample>,
    open: Option<Open>,
    closed: Vec<Arc<Chunk>>,
    /// What came out of order, by time.
    late: Vec<Sample>,
    /// What is being written to blocks. Still read until it is there.
    frozen: Vec<Arc<Chunk>>,
}

/// All series in memory.
pub(super) struct Head {
    series: HashMap<u32, Series>,
    by_labels: HashMap<Labels, u32>,
    index: HashMap<Arc<str>, HashMap<Arc<str>, RoaringBitmap>>,
    next: u32,
    bytes: u64,
}

/// A series as a query or a block takes it: chunks that may overlap.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) labels: Labels,
    pub(super) chunks: Vec<Arc<Chunk>>,
}

impl Held {
    /// Its samples by time, each time once.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let mut samples: Vec<Sample> = Vec::new();
        for chunk in &self.chunks {
            samples.extend(chunk.samples());
        }
        if !samples.is_sorted_by(|a, b| a.at < b.at) {
            // Within memory no time is there twice: that is looked at before a sample is taken.
            samples.sort_by_key(|sample| sample.at);
            samples.dedup_by_key(|sample| sample.at);
        }
        samples
    }
}

impl Head {
    pub(super) fn new() -> Self {
        Self { series: HashMap::new(), by_labels: HashMap::new(), index: HashMap::new(), next: 0, bytes: 0 }
    }

    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many series there are.
    pub(super) fn len(&self) -> u64 {
        self.series.len() as u64
    }

    pub(super) fn number_of(&self, labels: &Labels) -> Option<u32> {
        self.by_labels.get(labels).copied()
    }

    pub(super) fn series(&self, number: u32) -> Option<&Series> {
        self.series.get(&number)
    }

    /// The number of a series, which is made when it is not there.
    pub(super) fn make(&mut self, labels: &Labels) -> u32 {
        if let Some(number) = self.by_labels.get(labels) {
            return *number;
        }
        let number = self.next;
        // After four thousand million series since the start, numbers that are free again would be looked for; a
        // process does not live that long.
        self.next = self.next.wrapping_add(1);
        let mut own = LabelsBuilder::default();
        self.bytes += SERIES;
        for (name, value) in labels.pairs() {
            let (name, value, size) = self.enter(name, value, number);
            self.bytes += size + LABEL;
            own.set(name, value);
        }
        let labels = own.build();
        self.by_labels.insert(labels.clone(), number);
        let series = Series {
            labels,
            expected: AtomicU32::new(0),
            described: AtomicU64::new(u64::MAX),
            newest: None,
            open: None,
            closed: Vec::new(),
            late: Vec::new(),
            frozen: Vec::new(),
        };
        self.series.insert(number, series);
        number
    }

    /// Puts a pair into the index; gives the texts as all series share them, and the bytes that are new.
    fn enter(&mut self, name: &Arc<str>, value: &Arc<str>, number: u32) -> (Arc<str>, Arc<str>, u64) {
        let mut size = 0;
        let name = match self.index.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => {
                size += name.len() as u64 + 64;
                self.index.insert(name.clone(), HashMap::new());
                name.clone()
            }
        };
        let Some(values) = self.index.get_mut(&name) else { return (name, value.clone(), size) };
        let value = match values.get_key_value(value) {
            Some((value, _)) => value.clone(),
            None => {
                size += value.len() as u64 + 96;
                values.insert(value.clone(), RoaringBitmap::new());
                value.clone()
            }
        };
        if let Some(numbers) = values.get_mut(&value) {
            numbers.insert(number);
        }
        (name, value, size)
    }

    /// Adds samples of series that are there.
    pub(super) fn apply(&mut self, lines: &[Line]) -> Applied {
        let mut applied = Applied::default();
        for line in lines {
            let Some(series) = self.series.get_mut(&line.series) else { continue };
            let before = series.size();
            for sample in &line.samples {
                applied.count(series.add(*sample));
            }
            self.bytes = self.bytes.saturating_add(series.size()).saturating_sub(before);
        }
        applied
    }

    /// Adds samples of one series, which is made when it is not there: for the start.
    pub(super) fn restore(&mut self, labels: &Labels, samples: &[Sample]) -> Applied {
        let number = self.make(labels);
        self.apply(&[Line { series: number, labels: labels.clone(), samples: samples.to_vec() }])
    }

    /// Sets apart what lies before a time, to be written: by span, each by label order. It is still read until
    /// [`Head::drop_frozen`]; what was set apart before and not written is there again.
    pub(super) fn freeze(&mut self, before: i64) -> BTreeMap<i64, Vec<Held>> {
        let mut frozen: BTreeMap<i64, Vec<Held>> = BTreeMap::new();
        for series in self.series.values_mut() {
            let size = series.size();
            series.freeze(before);
            self.bytes = self.bytes.saturating_add(series.size()).saturating_sub(size);
            for chunk in &series.frozen {
                let held = frozen.entry(chunk.span()).or_default();
                match held.last_mut() {
                    Some(last) if last.labels == series.labels => last.chunks.push(chunk.clone()),
                    _ => held.push(Held { labels: series.labels.clone(), chunks: vec![chunk.clone()] }),
                }
            }
        }
        for held in frozen.values_mut() {
            held.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        frozen
    }

    /// What was set apart for a span is in a block now. Series of which nothing is left are forgotten.
    pub(super) fn drop_frozen(&mut self, span: i64) {
        let mut gone = Vec::new();
        for (number, series) in &mut self.series {
            let size = series.size();
            series.frozen.retain(|chunk| chunk.span() != span);
            self.bytes = self.bytes.saturating_add(series.size()).saturating_sub(size);
            if series.is_idle() {
                gone.push(*number);
            }
        }
        for number in gone {
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u32) {
        let Some(series) = self.series.remove(&number) else { return };
        self.by_labels.remove(&series.labels);
        self.bytes = self.bytes.saturating_sub(SERIES);
        for (name, value) in series.labels.iter() {
            self.bytes = self.bytes.saturating_sub(LABEL);
            let Some(values) = self.index.get_mut(name) else { continue };
            let Some(numbers) = values.get_mut(value) else { continue };
            numbers.remove(number);
            if numbers.is_empty() {
                values.remove(value);
                self.bytes = self.bytes.saturating_sub(value.len() as u64 + 96);
            }
            if values.is_empty() {
                self.index.remove(name);
                self.bytes = self.bytes.saturating_sub(name.len() as u64 + 64);
            }
        }
    }

    /// A series' chunks that reach into a window.
    pub(super) fn held(&self, number: u32, from: i64, to: i64) -> Option<Held> {
        let series = self.series.get(&number)?;
        let reaches = |chunk: &Chunk| chunk.first <= to && from <= chunk.last;
        let mut chunks: Vec<_> =
            series.frozen.iter().chain(&series.closed).filter(|chunk| reaches(chunk)).cloned().collect();
        let open = series.open.clone().map(Open::close).filter(|chunk| reaches(chunk));
        chunks.extend(open.map(Arc::new));
        let late: Vec<_> =
            series.late.iter().filter(|sample| (from..=to).contains(&sample.at)).copied().collect();
        chunks.extend(Chunk::of_sorted(&late).into_iter().map(Arc::new));
        (!chunks.is_empty()).then(|| Held { labels: series.labels.clone(), chunks })
    }

    /// Labels of a series that has samples in a window.
    pub(super) fn labels(&self, number: u32, from: i64, to: i64) -> Option<Labels> {
        let series = self.series.get(&number)?;
        series.reaches(from, to).then(|| series.labels.clone())
    }

    /// The oldest span that has samples, and the time of the newest sample.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        let all = self.series.values().filter_map(Series::bounds);
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The values of a label, with their series.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = (&str, &RoaringBitmap)> {
        self.index.get(name).into_iter().flatten().map(|(value, numbers)| (&**value, numbers))
    }

    /// The names of labels.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(|name| &**name)
    }
}

impl Index for Head {
    fn all(&self) -> RoaringBitmap {
        self.series.keys().copied().collect()
    }

    fn with(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        Ok(self.index.get(name).and_then(|values| values.get(value)).cloned().unwrap_or_default())
    }

    fn where_value(
        &self,
        name: &str,
        passes: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, StoreError> {
        let mut found = RoaringBitmap::new();
        for (value, numbers) in self.values(name) {
            if passes(value) {
                found |= numbers;
            }
        }
        Ok(found)
    }
}

impl Series {
    fn add(&mut self, sample: Sample) -> Kept {
        match self.newest {
            Some(newest) if sample.at < newest.at => return self.add_late(sample),
            Some(newest) if sample.at == newest.at => return same(newest, sample),
            _ => {}
        }
        self.newest = Some(sample);
        if self.open.as_ref().is_some_and(|open| !open.takes(sample.at)) {
            self.closed.extend(self.open.take().map(Open::close).map(Arc::new));
        }
        match &mut self.open {
            Some(open) => open.push(sample),
            None => self.open = Some(Open::new(sample)),
        }
        Kept::New
    }

    fn add_late(&mut self, sample: Sample) -> Kept {
        let place = self.late.binary_search_by_key(&sample.at, |late| late.at);
        let place = match place {
            Ok(found) => return same(self.late[found], sample),
            Err(place) => place,
        };
        let open = self.open.clone().map(Open::close);
        let chunks = self.frozen.iter().chain(&self.closed).map(|chunk| &**chunk).chain(&open);
        for chunk in chunks.filter(|chunk| chunk.first <= sample.at && sample.at <= chunk.last) {
            if let Some(there) = chunk.samples().find(|there| there.at == sample.at) {
                return same(there, sample);
            }
        }
        self.late.insert(place, sample);
        if self.late.len() >= LATE {
            let late = mem::take(&mut self.late);
            self.closed.extend(Chunk::of_sorted(&late).into_iter().map(Arc::new));
        }
        Kept::New
    }

    fn freeze(&mut self, before: i64) {
        if self.open.as_ref().is_some_and(|open| open.span() < before) {
            self.closed.extend(self.open.take().map(Open::close).map(Arc::new));
        }
        let (frozen, stays) =
            mem::take(&mut self.closed).into_iter().partition(|chunk| chunk.span() < before);
        self.closed = stays;
        self.frozen.extend::<Vec<_>>(frozen);
        let spans_end = self.late.partition_point(|sample| span_of(sample.at, BLOCK) < before);
        let late: Vec<_> = self.late.drain(..spans_end).collect();
        self.frozen.extend(Chunk::of_sorted(&late).into_iter().map(Arc::new));
        self.frozen.sort_by_key(|chunk| chunk.first);
    }

    fn is_idle(&self) -> bool {
        self.expected.load(Relaxed) == 0
            && self.open.is_none()
            && self.closed.is_empty()
            && self.late.is_empty()
            && self.frozen.is_empty()
    }

    fn size(&self) -> u64 {
        let chunks: u64 = self.closed.iter().chain(&self.frozen).map(|chunk| chunk.size()).sum();
        let late = self.late.capacity() * size_of::<Sample>();
        chunks + self.open.as_ref().map_or(0, Open::size) + late as u64
    }

    fn reaches(&self, from: i64, to: i64) -> bool {
        self.bounds().is_some_and(|(first, last)| first <= to && from <= last)
    }

    fn bounds(&self) -> Option<(i64, i64)> {
        let chunks = self.closed.iter().chain(&self.frozen).map(|chunk| (chunk.first, chunk.last));
        let open = self.open.as_ref().map(Open::bounds);
        let late = self.late.first().zip(self.late.last()).map(|(first, last)| (first.at, last.at));
        chunks.chain(open).chain(late).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

fn same(there: Sample, new: Sample) -> Kept {
    if there.value.to_bits() == new.value.to_bits() { Kept::Same } else { Kept::Conflict }
}
