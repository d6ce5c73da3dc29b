//! The store of logs as a whole: what goes in comes out, whatever happens in between.

mod basic;
mod crash;
mod full;
mod model;
mod outside;

use std::{path::Path, sync::Arc, time::Duration};

use backstay_types::{FixedClock, SeededEntropy, Timestamp, World};

use super::*;
use crate::{Budget, Limits, store::StoreError};

/// Noon of a day, in milliseconds.
pub(super) const NOON: i64 = 1_767_268_800_000;
pub(super) const SECOND: i64 = 1000;
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;
/// Nanoseconds of a millisecond.
pub(super) const NANOS: i64 = 1_000_000;

/// A store with its clock.
pub(super) struct Kept {
    pub(super) store: LogStore,
    clock: Arc<FixedClock>,
}

pub(super) fn options(folder: &Path) -> LogOptions {
    LogOptions { keep_free_bytes: 0, ..LogOptions::in_folder(folder) }
}

impl Kept {
    pub(super) fn open(options: LogOptions, now: i64) -> Self {
        let clock = Arc::new(FixedClock::new(Timestamp::from_millisecond(now).unwrap()));
        let world = World::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let mut tries = 0;
        let store = loop {
            match LogStore::open(options.clone(), world.clone()) {
                // A child that another thread starts has the lock of this process until it is a program of its own.
                Err(StoreError::Held(_)) if tries < 500 => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => break other.unwrap(),
            }
        };
        Self { store, clock }
    }

    pub(super) fn at(&self, now: i64) {
        self.clock.set(Timestamp::from_millisecond(now).unwrap());
    }

    /// All lines that fit, oldest first, read in pages of a few.
    pub(super) fn find(&self, query: &LogQuery) -> Vec<Arc<LogRecord>> {
        let (mut found, mut after): (Vec<(Key, Arc<LogRecord>)>, _) = (Vec::new(), None);
        loop {
            let page = self.store.search(query, Order::OldestFirst, after, 97, &budget()).unwrap();
            assert!(page.lines.len() == 97 || !page.more);
            found.extend(page.lines);
            after = found.last().map(|(key, _)| *key);
            if !page.more {
                break;
            }
        }
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "by key, each once");
        found.into_iter().map(|(_, record)| record).collect()
    }

    pub(super) fn bodies(&self, query: &LogQuery) -> Vec<String> {
        self.find(query).iter().map(|record| record.body.clone()).collect()
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.bodies(&LogQuery::default())
    }
}

pub(super) fn budget() -> Budget {
    Budget::new(Limits { series: u64::MAX, samples: u64::MAX, time: Duration::from_secs(3600) })
}

/// A line at a time in milliseconds.
pub(super) fn line(at: i64, body: impl Into<String>) -> LogRecord {
    LogRecord {
        time: at * NANOS,
        observed: at * NANOS,
        severity: 9,
        body: body.into(),
        ..LogRecord::default()
    }
}

pub(super) fn with(mut record: LogRecord, pairs: &[(Field, &str)]) -> LogRecord {
    pairs.iter().for_each(|(field, value)| record.set(*field, &Arc::from(*value)));
    record
}
