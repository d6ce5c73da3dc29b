//! The log: what was acknowledged and is not in a block yet.
//!
//! Threads that write at the same time share one sync: one of them writes what all have brought, makes it durable,
//! applies it to what is in memory in that order, and tells the others. What could not be made durable is not applied.
//! Metrics and logs each have one of their own.

pub(crate) mod frame;
mod record;
mod segment;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

pub(super) use self::record::Line;
pub(crate) use self::segment::Magic;
use super::{
    StoreError, disk,
    head::Applied,
    options::{BLOCK, span_of},
};
use crate::Labels;

/// What files of the log of metrics begin with.
pub(super) const METRICS: Magic = *b"BSTWAL\x001";

/// What a log is kept of: batches that are acknowledged together.
pub(crate) trait Batch {
    /// What applying one comes to.
    type Applied;

    /// The spans of time that it has something in: what is in a span goes to a block, and out of the log, together.
    fn spans(&self) -> BTreeSet<i64>;
}

impl Batch for Vec<Line> {
    type Applied = Applied;

    fn spans(&self) -> BTreeSet<i64> {
        self.iter().flat_map(|line| &line.samples).map(|sample| span_of(sample.at, BLOCK)).collect()
    }
}

/// The log's folder, and who writes to it.
pub(crate) struct Wal<B: Batch> {
    magic: Magic,
    folder: PathBuf,
    segment_bytes: u64,
    queue: Mutex<Queue<B>>,
    /// Rung when a group has been written.
    done: Condvar,
    /// The file that is written; only whoever leads takes it.
    writer: Mutex<Writer>,
    /// For each file of the log, the spans of samples in it that are in no block yet.
    spans: Mutex<BTreeMap<u64, BTreeSet<i64>>>,
}

struct Queue<B: Batch> {
    /// The number of the file that new batches are written for.
    segment: u64,
    waiting: Vec<Arc<Waiting<B>>>,
    /// Whether someone writes.
    led: bool,
    closed: bool,
}

/// A batch on its way.
struct Waiting<B: Batch> {
    segment: u64,
    frame: Vec<u8>,
    batch: B,
    outcome: Mutex<Option<Result<B::Applied, String>>>,
}

#[derive(Default)]
struct Writer {
    file: Option<(u64, File)>,
    /// Where the next frame goes.
    end: u64,
    /// Nothing goes to files up to this number any more: what is in them is not certain.
    spoiled: u64,
}

/// What to do with a batch that is durable in a file of the log.
pub(crate) type Apply<'a, B> = &'a (dyn Fn(&B, u64) -> <B as Batch>::Applied + Sync);

/// Is told of each sync how many bytes it made durable.
pub(crate) type Synced<'a> = &'a (dyn Fn(u64) + Sync);

impl<B: Batch> Wal<B> {
    /// The log in a folder whose files were read by [`replay`].
    pub(crate) fn new(
        magic: Magic,
        folder: PathBuf,
        segment_bytes: u64,
        next: u64,
        spans: BTreeMap<u64, BTreeSet<i64>>,
    ) -> Self {
        let queue = Queue { segment: next, waiting: Vec::new(), led: false, closed: false };
        Self {
            magic,
            folder,
            segment_bytes,
            queue: Mutex::new(queue),
            done: Condvar::new(),
            writer: Mutex::default(),
            spans: Mutex::new(spans),
        }
    }

    /// Makes a batch durable and applies it. `encode` gives its frame for a file.
    pub(crate) fn commit(
        &self,
        batch: B,
        encode: impl Fn(&B, u64) -> Result<Vec<u8>, String>,
        apply: Apply<'_, B>,
        synced: Synced<'_>,
    ) -> Result<B::Applied, StoreError> {
        let mut batch = Some(batch);
        let (mine, mut queue) = loop {
            let segment = lock(&self.queue).segment;
            let Some(bytes) = &batch else { return Err(StoreError::Closed) };
            let frame = encode(bytes, segment).map_err(StoreError::Log)?;
            let mut queue = lock(&self.queue);
            if queue.closed {
                return Err(StoreError::Closed);
            }
            // Another file since: it may need another frame.
            if queue.segment == segment
                && let Some(batch) = batch.take()
            {
                let mine = Arc::new(Waiting { segment, frame, batch, outcome: Mutex::default() });
                queue.waiting.push(mine.clone());
                break (mine, queue);
            }
        };
        loop {
            if let Some(outcome) = lock(&mine.outcome).take() {
                return outcome.map_err(StoreError::Log);
            }
            if queue.led {
                queue = self.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.led = true;
            let group = std::mem::take(&mut queue.waiting);
            drop(queue);
            self.write(&group, apply, synced);
            queue = lock(&self.queue);
            queue.led = false;
            self.done.notify_all();
        }
    }

    /// Runs `then` when all that has come is applied and what comes next goes to another file. Gives the number of the
    /// last file before it.
    pub(crate) fn between<R>(
        &self,
        apply: Apply<'_, B>,
        synced: Synced<'_>,
        then: impl FnOnce(u64) -> R,
    ) -> R {
        let mut queue = lock(&self.queue);
        while queue.led {
            queue = self.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.led = true;
        while !queue.waiting.is_empty() {
            let group = std::mem::take(&mut queue.waiting);
            drop(queue);
            self.write(&group, apply, synced);
            queue = lock(&self.queue);
            self.done.notify_all();
        }
        let through = queue.segment;
        queue.segment += 1;
        drop(queue);
        let result = then(through);
        lock(&self.queue).led = false;
        self.done.notify_all();
        result
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
    }

    /// What is in the spans is in blocks now, as far as it came from files up to `through`. Files of which nothing is
    /// needed any more are removed.
    pub(crate) fn forget(&self, done: &[i64], through: u64) -> Result<(), StoreError> {
        let mut spans = lock(&self.spans);
        for (_, left) in spans.range_mut(..=through) {
            left.retain(|span| !done.contains(span));
        }
        let empty: Vec<u64> =
            spans.range(..=through).filter(|(_, left)| left.is_empty()).map(|(number, _)| *number).collect();
        for number in empty {
            let path = segment::path_of(&self.folder, number);
            disk::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            spans.remove(&number);
        }
        Ok(())
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers: Vec<u64> = lock(&self.spans).keys().copied().collect();
        let sizes = numbers.iter().map(|number| {
            std::fs::metadata(segment::path_of(&self.folder, *number)).map_or(0, |found| found.len())
        });
        sizes.sum()
    }

    /// Writes what some threads have brought, syncs once, applies, and tells them.
    fn write(&self, group: &[Arc<Waiting<B>>], apply: Apply<'_, B>, synced: Synced<'_>) {
        let mut writer = lock(&self.writer);
        // Batches for one file are together: numbers only go up.
        for part in group.chunk_by(|a, b| a.segment == b.segment) {
            let written = self.write_part(&mut writer, part, synced);
            for waiting in part {
                let outcome = match &written {
                    Ok(()) => {
                        self.note_spans(waiting);
                        Ok(apply(&waiting.batch, waiting.segment))
                    }
                    Err(error) => Err(error.clone()),
                };
                *lock(&waiting.outcome) = Some(outcome);
            }
        }
        if writer.end > self.segment_bytes {
            self.next_file(&writer);
        }
    }

    fn write_part(
        &self,
        writer: &mut Writer,
        part: &[Arc<Waiting<B>>],
        synced: Synced<'_>,
    ) -> Result<(), String> {
        let Some(number) = part.first().map(|waiting| waiting.segment) else { return Ok(()) };
        let path = segment::path_of(&self.folder, number);
        let said = |what: &str, error: &std::io::Error| format!("{what} {}: {error}", path.display());
        if number <= writer.spoiled {
            return Err(format!("{} was given up after a failed write", path.display()));
        }
        if writer.file.as_ref().is_none_or(|(open, _)| *open != number) {
            self.open(writer, number, &path).map_err(|error| {
                // A file of that name may be there now, or not.
                self.spoil(writer, number);
                said("create", &error)
            })?;
        }
        let Some((_, file)) = &writer.file else { return Err("no file of the log is open".to_owned()) };
        let frames: Vec<u8> = part.iter().flat_map(|waiting| waiting.frame.iter().copied()).collect();
        if let Err(error) = disk::write_log(file, &frames, writer.end) {
            // What came to the file is cut off again, or the file is not written to any more.
            if disk::cut(file, writer.end).is_err() {
                self.spoil(writer, number);
            }
            return Err(said("write", &error));
        }
        if let Err(error) = disk::sync(file) {
            // Nobody knows what of it is on disk now, and asking once more would not tell.
            self.spoil(writer, number);
            return Err(said("sync", &error));
        }
        writer.end += frames.len() as u64;
        synced(frames.len() as u64);
        Ok(())
    }

    fn open(&self, writer: &mut Writer, number: u64, path: &Path) -> std::io::Result<()> {
        writer.file = None;
        let file = disk::create_log(path)?;
        // From here on it is there, and has to be removed some day.
        lock(&self.spans).entry(number).or_default();
        disk::write_log(&file, &self.magic, 0)?;
        disk::sync(&file)?;
        disk::sync_folder(&self.folder)?;
        writer.end = self.magic.len() as u64;
        writer.file = Some((number, file));
        Ok(())
    }

    fn spoil(&self, writer: &mut Writer, number: u64) {
        writer.file = None;
        writer.end = 0;
        writer.spoiled = writer.spoiled.max(number);
        let mut queue = lock(&self.queue);
        queue.segment = queue.segment.max(number + 1);
    }

    fn next_file(&self, writer: &Writer) {
        let Some((number, _)) = writer.file else { return };
        let mut queue = lock(&self.queue);
        queue.segment = queue.segment.max(number + 1);
    }

    fn note_spans(&self, waiting: &Waiting<B>) {
        let mut spans = lock(&self.spans);
        spans.entry(waiting.segment).or_default().extend(waiting.batch.spans());
    }
}

/// What the files of the log came to.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// The first number that no file has.
    pub(crate) next: u64,
    /// As [`Wal`] keeps them.
    pub(crate) spans: BTreeMap<u64, BTreeSet<i64>>,
    /// Ends that were cut.
    pub(crate) torn: u64,
    /// Records that were not what was written.
    pub(crate) damaged: u64,
}

/// Reads all files of the log. `decode` reads a payload, and `take` what it holds: it notes the spans of which something
/// is in no block yet, and gives how much it could not make sense of. Files of which
/// nothing is needed are removed; those with damage stay, under another name, in the folder `damaged`.
pub(crate) fn replay<R>(
    magic: &Magic,
    folder: &Path,
    damaged: &Path,
    decode: impl Fn(&[u8]) -> Option<R>,
    mut take: impl FnMut(u64, R, &mut BTreeSet<i64>) -> u64,
) -> Result<Replayed, StoreError> {
    let mut replayed = Replayed::default();
    for number in segment::list(folder).map_err(StoreError::io("list", folder))? {
        let path = segment::path_of(folder, number);
        let mut left = BTreeSet::new();
        let mut unknown = 0;
        let through =
            segment::read(&path, magic, &decode, |record| unknown += take(number, record, &mut left));
        let through = through.map_err(StoreError::io("read", &path))?;
        replayed.torn += u64::from(through.torn);
        replayed.damaged += through.damaged + unknown;
        replayed.next = number + 1;
        if through.damaged + unknown > 0 {
            set_aside(&path, damaged)?;
        }
        if left.is_empty() {
            disk::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        } else {
            replayed.spans.insert(number, left);
        }
    }
    Ok(replayed)
}

/// Reads the log of metrics. `in_block` says whether a span of a file is in a block already; all else is given to `take`:
/// labels, and samples in the order in which they came.
pub(super) fn replay_metrics(
    folder: &Path,
    damaged: &Path,
    in_block: impl Fn(u64, i64) -> bool,
    mut take: impl FnMut(&Labels, &[crate::Sample]),
) -> Result<Replayed, StoreError> {
    // Each file describes its series itself.
    let mut names: (u64, HashMap<u32, Labels>) = Default::default();
    replay(&METRICS, folder, damaged, record::decode, |number, record: record::Record, left| {
        if names.0 != number {
            names = (number, HashMap::new());
        }
        names.1.extend(record.series);
        let mut unknown = 0;
        for (series, samples) in record.samples {
            let Some(labels) = names.1.get(&series) else {
                unknown += 1;
                continue;
            };
            for run in samples.chunk_by(|a, b| span_of(a.at, BLOCK) == span_of(b.at, BLOCK)) {
                let span = span_of(run[0].at, BLOCK);
                if !in_block(number, span) {
                    left.insert(span);
                    take(labels, run);
                }
            }
        }
        unknown
    })
}

/// A frame of lines for a file. `described` says whether the series of a line, by its place, is described there already.
pub(super) fn frame_of(lines: &[Line], described: impl Fn(usize) -> bool) -> Result<Vec<u8>, String> {
    record::encode(lines, |n| !described(n))
}

/// Keeps a damaged file for people to look at, beside the log's own use of it.
fn set_aside(path: &Path, damaged: &Path) -> Result<(), StoreError> {
    disk::make_folder(damaged).map_err(StoreError::io("make", damaged))?;
    let Some(name) = path.file_name() else { return Ok(()) };
    let kept = damaged.join(name);
    match std::fs::hard_link(path, &kept) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::Io { what: "set aside", path: kept, source: error })
        }
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
