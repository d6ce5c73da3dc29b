//! The store as a whole: what goes in comes out, whatever happens in between.

mod basic;
mod crash;
mod damage;
mod full;
mod limits;
mod outside;
mod upkeep;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use backstay_types::{FixedClock, SeededEntropy, Timestamp, World};

use super::{Options, Store, StoreError};
use crate::steps;
use crate::{Budget, Labels, Limits, MatchOp, Matcher, Querier, Sample, Selection, Window};

/// Noon of a day, at the start of a span of two hours.
pub(super) const NOON: i64 = 1_767_268_800_000;
pub(super) const SECOND: i64 = 1000;
pub(super) const HOUR: i64 = 3_600_000;

/// A store with its clock.
pub(super) struct Kept {
    pub(super) store: Store,
    clock: Arc<FixedClock>,
}

pub(super) fn options(folder: &Path) -> Options {
    Options { keep_free_bytes: 0, ..Options::in_folder(folder) }
}

impl Kept {
    pub(super) fn open(options: Options, now: i64) -> Self {
        let clock = Arc::new(FixedClock::new(Timestamp::from_millisecond(now).unwrap()));
        let world = World::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let mut tries = 0;
        let store = loop {
            match Store::open(options.clone(), world.clone()) {
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

    /// All samples by series, bit by bit.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<(i64, u64)>> {
        self.read(&[Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()], i64::MIN, i64::MAX)
    }

    pub(super) fn read(&self, matchers: &[Matcher], from: i64, to: i64) -> BTreeMap<String, Vec<(i64, u64)>> {
        let budget = budget();
        let selection = Selection { matchers: matchers.to_vec(), window: Window { from, to } };
        let mut found = BTreeMap::new();
        let mut before: Option<Labels> = None;
        for series in self.store.select(&selection, &budget).unwrap() {
            let mut series = series.unwrap();
            assert!(
                before.as_ref().is_none_or(|before| *before < series.labels),
                "by label order, each once"
            );
            before = Some(series.labels.clone());
            let mut samples = Vec::new();
            while series.samples.read(&mut samples).unwrap() {}
            assert!(samples.is_sorted_by(|a, b| a.at < b.at), "by time, each once");
            let samples = samples.iter().map(|s| (s.at, s.value.to_bits())).collect();
            found.insert(series.labels.to_string(), samples);
        }
        found
    }
}

pub(super) fn budget() -> Budget {
    Budget::new(Limits { series: u64::MAX, samples: u64::MAX, time: Duration::from_secs(3600) })
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

pub(super) fn sample(at: i64, value: f64) -> Sample {
    Sample { at, value }
}
