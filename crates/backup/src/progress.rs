//! How far a job is, told once a second.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use backstay_types::backup::job::Line;
use rustic_core::{ProgressBars, ProgressType, RusticProgress};

const UNKNOWN: u64 = u64::MAX;

/// Counters of a job. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    files: AtomicU64,
    files_total: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            files: AtomicU64::new(0),
            files_total: AtomicU64::new(UNKNOWN),
            bytes: AtomicU64::new(0),
            bytes_total: AtomicU64::new(UNKNOWN),
        }
    }
}

impl Progress {
    pub(crate) fn files(&self, more: u64) {
        self.0.files.fetch_add(more, Relaxed);
    }

    pub(crate) fn bytes(&self, more: u64) {
        self.0.bytes.fetch_add(more, Relaxed);
    }

    /// Counts from the beginning.
    pub(crate) fn restart(&self) {
        self.0.files.store(0, Relaxed);
        self.0.bytes.store(0, Relaxed);
    }

    pub(crate) fn totals(&self, files: u64, bytes: u64) {
        self.0.files_total.store(files, Relaxed);
        self.0.bytes_total.store(bytes, Relaxed);
    }

    fn line(&self) -> Line {
        let known = |counter: &AtomicU64| Some(counter.load(Relaxed)).filter(|value| *value != UNKNOWN);
        Line::Progress {
            files: self.0.files.load(Relaxed),
            files_total: known(&self.0.files_total),
            bytes: self.0.bytes.load(Relaxed),
            bytes_total: known(&self.0.bytes_total),
        }
    }
}

/// Runs `work` and tells once a second how far it is.
pub(crate) fn telling<T>(
    progress: &Progress,
    tell: impl Fn(Line) + Send + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let ended = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = ended.0.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let waited = ended.1.wait_timeout(guard, Duration::from_secs(1));
                let (now, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if *now {
                    return;
                }
                guard = now;
                tell(progress.line());
            }
        });
        let result = work();
        *ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        ended.1.notify_all();
        result
    })
}

/// Counts what the library says of bytes; the rest of what it says is of no use to people.
#[derive(Debug)]
pub(crate) struct LibraryBytes(pub(crate) Progress);

impl ProgressBars for LibraryBytes {
    fn progress(&self, kind: ProgressType, _: &str) -> rustic_core::Progress {
        match kind {
            ProgressType::Bytes => rustic_core::Progress::new(Bar(self.0.clone())),
            ProgressType::Spinner | ProgressType::Counter => rustic_core::Progress::hidden(),
        }
    }
}

#[derive(Debug)]
struct Bar(Progress);

impl RusticProgress for Bar {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, bytes: u64) {
        let counter = &self.0.0.bytes_total;
        let before = counter.load(Relaxed);
        counter.store(if before == UNKNOWN { bytes } else { before.saturating_add(bytes) }, Relaxed);
    }
    fn set_title(&self, _: &str) {}
    fn inc(&self, bytes: u64) {
        self.0.bytes(bytes);
    }
    fn finish(&self) {}
}
