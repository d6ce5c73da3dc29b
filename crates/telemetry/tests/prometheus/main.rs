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

use backstay_telemetry::memory::Memory;
use backstay_testkit::Prometheus;

/// A Prometheus and a memory with the same samples.
struct Both {
    theirs: Prometheus,
    ours: Memory,
}

fn both() -> Option<Both> {
    let theirs = Prometheus::require()?;
    let (series, ours) = (data::series(), Memory::new());
    theirs.write(&series);
    for (labels, samples) in &series {
        data::append(&ours, labels, samples);
    }
    Some(Both { theirs, ours })
}
