//! How series are read, whoever keeps them.
//!
//! Reading is synchronous and may take long: callers do it on a thread of their own and hand in a [`Budget`], which the
//! store asks again and again whether to go on.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Labels, Matcher, Sample};

/// A time range, both ends in it, in milliseconds since 1970. `i64::MIN` and `i64::MAX` stand for "open".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first millisecond.
    pub from: i64,
    /// The last millisecond.
    pub to: i64,
}

impl Window {
    /// Whether a time lies in it.
    pub const fn contains(self, at: i64) -> bool {
        self.from <= at && at <= self.to
    }
}

/// Which series, and which part of them.
#[derive(Debug, Clone)]
pub struct Selection {
    /// All of them have to fit. At least one does not fit the empty value, or the reader may refuse.
    pub matchers: Vec<Matcher>,
    /// The samples that are wanted.
    pub window: Window,
}

/// A series with the samples that were asked for.
pub struct Series<'a> {
    /// Its labels, `__name__` among them.
    pub labels: Labels,
    /// Its samples.
    pub samples: Box<dyn Samples + 'a>,
}

impl fmt::Debug for Series<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// The samples of one series, by time, each time once, in runs as the store has them.
pub trait Samples: Send {
    /// Appends the next run to `into`. Whether there was one; false is the end, and a run may be empty.
    ///
    /// A store that keeps a time twice (a block and the log may overlap) gives the one that was written last.
    ///
    /// # Errors
    /// When the store cannot be read, or the budget is used up.
    fn read(&mut self, into: &mut Vec<Sample>) -> Result<bool, ReadError>;
}

/// Series one after the other, by label order, each label set once.
pub type SeriesSet<'a> = Box<dyn Iterator<Item = Result<Series<'a>, ReadError>> + Send + 'a>;

/// Whoever keeps series. What a call sees is one state of the store: a block that is compacted or dropped while its
/// answer is read is neither missing nor there twice.
pub trait Querier: Send + Sync {
    /// The series that fit and have at least one sample in the window. A store may give a series that has none there
    /// when it would have to read the samples to know.
    ///
    /// # Errors
    /// When the store cannot be read, or the budget is used up.
    fn select<'a>(&'a self, selection: &Selection, budget: &'a Budget) -> Result<SeriesSet<'a>, ReadError>;

    /// The label sets that fit any of `any_of` in the window, by label order, each once. The store may take the window
    /// as coarsely as its blocks.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn series(
        &self,
        any_of: &[Vec<Matcher>],
        window: Window,
        budget: &Budget,
    ) -> Result<Vec<Labels>, ReadError>;

    /// The names of labels of series that fit any of `any_of` (of all series when it is empty), sorted, each once.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn label_names(
        &self,
        any_of: &[Vec<Matcher>],
        window: Window,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError>;

    /// The values of one label in series that fit any of `any_of` (in all series when it is empty), sorted, each once.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn label_values(
        &self,
        name: &str,
        any_of: &[Vec<Matcher>],
        window: Window,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError>;

    /// What is known of metrics (of one when `metric` names it), by the metric's name.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn metadata(
        &self,
        metric: Option<&str>,
        budget: &Budget,
    ) -> Result<BTreeMap<String, Vec<Metadata>>, ReadError>;

    /// The exemplars of series that fit any of `any_of`, by label order, each series once, its exemplars by time.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn exemplars(
        &self,
        any_of: &[Vec<Matcher>],
        window: Window,
        budget: &Budget,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError>;
}

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Only goes up, or starts again at 0.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Classic buckets (`_bucket`, `_sum`, `_count`).
    Histogram,
    /// A histogram of what is now, not of what came.
    GaugeHistogram,
    /// Quantiles, with `_sum` and `_count`.
    Summary,
    /// A constant 1 whose labels are the message.
    Info,
    /// One of several states is 1.
    StateSet,
    /// Not said.
    Unknown,
}

/// What the sender said about a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Metadata {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// What it measures, for people.
    pub help: String,
    /// The unit, such as `seconds`; empty when not said.
    pub unit: String,
}

/// One event behind a value, most often with the id of its trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// The exemplar's own labels, such as `trace_id`.
    pub labels: Labels,
    /// The value of the event.
    pub value: f64,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// What one query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series that one query may touch, over all its selections.
    pub series: u64,
    /// Samples that one query may hold in memory at once.
    pub samples: u64,
    /// How long it may take.
    pub time: Duration,
}

/// A query's limits, and how much of them is used. Shared by all threads that work on the query.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    deadline: Option<Instant>,
    series: AtomicU64,
    samples: AtomicU64,
    cancelled: Arc<AtomicBool>,
}

impl Budget {
    /// The time runs from now.
    pub fn new(limits: Limits) -> Self {
        // A time that is beyond what the clock can count is no limit.
        let deadline = Instant::now().checked_add(limits.time);
        Self {
            limits,
            deadline,
            series: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            cancelled: Arc::default(),
        }
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Ends the query from elsewhere, when set: nobody waits for the answer any more.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// Whether the query may go on. To be asked at least once for each block, row group or few thousand series.
    ///
    /// # Errors
    /// When its time is over or nobody waits for it.
    pub fn check(&self) -> Result<(), ReadError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(ReadError::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => {
                Err(ReadError::Deadline { after: self.limits.time })
            }
            _ => Ok(()),
        }
    }

    /// Counts series that a selection found. The store calls it as soon as it knows the number, before it reads samples.
    ///
    /// # Errors
    /// When these are too many.
    pub fn count_series(&self, more: u64) -> Result<(), ReadError> {
        let before = self.series.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.limits.series {
            return Err(ReadError::TooManySeries { limit: self.limits.series });
        }
        Ok(())
    }

    /// Counts samples that are held in memory from now on. Who reads them counts, not the store.
    ///
    /// # Errors
    /// When these are too many at once.
    pub fn hold_samples(&self, more: u64) -> Result<(), ReadError> {
        let before = self.samples.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.limits.samples {
            return Err(ReadError::TooManySamples { limit: self.limits.samples });
        }
        Ok(())
    }

    /// Counts samples that are no longer held.
    pub fn free_samples(&self, fewer: u64) {
        self.samples.fetch_sub(fewer, Ordering::Relaxed);
    }
}

/// Why series could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The query touches more series than it may.
    #[error("the query touches more than {limit} series: name the metric, or add matchers")]
    TooManySeries {
        /// How many it may.
        limit: u64,
    },
    /// The query holds more samples than it may.
    #[error(
        "the query needs more than {limit} samples in memory at once: shorten its ranges or take longer steps"
    )]
    TooManySamples {
        /// How many it may.
        limit: u64,
    },
    /// Its time is over.
    #[error("the query was not done after {after:?}")]
    Deadline {
        /// How long it was given.
        after: Duration,
    },
    /// Nobody waits for the answer.
    #[error("the query was cancelled")]
    Cancelled,
    /// A file of the store is not what was written.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// Which file, relative to the store's folder.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The store could not be read.
    #[error("{file} could not be read: {what}")]
    Io {
        /// Which file or folder.
        file: String,
        /// The system's answer.
        what: String,
    },
}
