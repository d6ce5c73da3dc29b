//! Answers compared with those of a real Prometheus that holds the same samples.
//!
//! Tests compare the whole answer: the values of every series, warnings and infos, the kind of error. Values may differ by
//! rounding: the two sum series in different orders, and do not have the same `exp` and `pow`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failure here is a failed test")]

mod api;
mod compare;
mod data;
mod errors;
mod generated;
mod table;

use backstay_telemetry::{
    Labels, Querier, Sample,
    memory::Memory,
    store::{Options, Store},
};
use backstay_testkit::{Prometheus, TestWorld, WrittenSeries, scratch_dir};

/// A Prometheus, a memory, and a store that has part of it in blocks, with the same samples.
struct Both {
    theirs: Prometheus,
    memory: Memory,
    store: Store,
    _dir: tempfile::TempDir,
}

impl Both {
    /// Who of ours answers.
    fn ours(&self) -> [(&'static str, &dyn Querier); 2] {
        [("memory", &self.memory), ("store", &self.store)]
    }
}

fn both() -> Option<Both> {
    let theirs = Prometheus::require()?;
    let (series, memory, dir) = (data::series(), Memory::new(), scratch_dir());
    theirs.write(&series);
    let now = TestWorld::new("2023-11-15T00:13:20Z", 1);
    let day = std::time::Duration::from_secs(86_400);
    let options = Options { keep_free_bytes: 0, late: day, ..Options::in_folder(dir.path().join("metrics")) };
    let store = Store::open(options, now.world()).unwrap();
    let middle = data::START + data::LENGTH / 2;
    let batch = |wanted: &dyn Fn(i64) -> bool| -> Vec<_> {
        let samples = |series: &WrittenSeries| -> Vec<_> {
            let samples = series.1.iter().filter(|(at, _)| wanted(*at));
            samples.map(|(at, value)| Sample { at: *at, value: *value }).collect()
        };
        series.iter().map(|series| (labels(series), samples(series))).filter(|(_, s)| !s.is_empty()).collect()
    };
    for part in [batch(&|at| at < middle), batch(&|at| at >= middle)] {
        for (labels, samples) in &part {
            memory.append(labels, samples.iter().copied());
        }
        let stored = store.append(part).unwrap();
        assert_eq!(stored.refused.message(), None);
        if stored.stored > 0 && store.status().blocks.is_empty() {
            store.flush().unwrap();
        }
    }
    Some(Both { theirs, memory, store, _dir: dir })
}

fn labels(series: &WrittenSeries) -> Labels {
    Labels::from_pairs(series.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
