//! Measures how fast samples are taken in and what they take on disk, against a real Prometheus that gets the same
//! remote-write bodies in the same run. Prometheus gets them over HTTP; the store gets them as the hub does behind its HTTP:
//! unpacked, read, written to the log and synced. The last line is one JSON object.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measuring program"
)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use backstay_telemetry::{
    ingest::remote_write,
    store::{Options, Store},
};
use backstay_testkit::{Prometheus, http};
use backstay_types::{Clock, SeededEntropy, Timestamp, World};
use prost::Message;
use serde_json::json;

/// Series, and samples of each: half an hour at 15 s.
const SERIES: usize = 20_000;
const STEPS: i64 = 120;
const EVERY: i64 = 15_000;
/// Samples of a request, as Prometheus sends them by default.
const BATCH: usize = 2_000;
/// Senders at once, each with series of its own.
const SENDERS: usize = 4;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    at: i64,
}

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn main() {
    let start = Timestamp::now().as_millisecond() - STEPS * EVERY;
    let bodies: Vec<Vec<Vec<u8>>> = (0..SENDERS).map(|sender| bodies(sender, start)).collect();
    let samples = (SERIES as i64 * STEPS) as f64;
    let prometheus = Prometheus::require().expect("a Prometheus");
    let url = format!("{}/api/v1/write", prometheus.url());
    let theirs = timed(&bodies, |body| {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
        let done = http::send("POST", &url, &headers, body).expect("an answer");
        assert!((200..300).contains(&done.status), "{}: {}", done.status, done.body);
    });
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { keep_free_bytes: 0, ..Options::in_folder(folder.path()) };
    let world = World::new(Arc::new(Now), Arc::new(SeededEntropy::new(1)));
    let store = Store::open(options, world).expect("a store");
    let ours = timed(&bodies, |body| {
        let incoming = remote_write::read(body, 32 << 20).expect("a request");
        let stored = store.append(incoming.batch).expect("an acknowledgement");
        assert_eq!(stored.refused.total(), 0);
    });
    let counts = store.status().counts;
    assert_eq!(counts.stored as f64, samples);
    let memory = store.status().memory_bytes as f64 / samples;
    let log = store.status().log_bytes as f64 / samples;
    let began = Instant::now();
    store.flush().expect("a block");
    let flush = began.elapsed().as_secs_f64();
    let block = store.status().block_bytes() as f64 / samples;
    let theirs_block = size_of(&prometheus.snapshot()) as f64 / samples;
    let figures = json!({
        "value": ours.as_secs_f64() * 1e6 / samples,
        "baseline": theirs.as_secs_f64() * 1e6 / samples,
        "more": {
            "samples_per_second": samples / ours.as_secs_f64(),
            "prometheus_samples_per_second": samples / theirs.as_secs_f64(),
            "bytes_per_sample": block,
            "prometheus_bytes_per_sample": theirs_block,
            "bytes_ratio": block / theirs_block,
            "log_bytes_per_sample": log,
            "memory_bytes_per_sample": memory,
            "flush_seconds": flush,
            "syncs": counts.log_syncs,
            "batches": counts.batches,
        },
    });
    println!("{figures}");
}

/// Requests of a sender, by time.
fn bodies(sender: usize, start: i64) -> Vec<Vec<u8>> {
    let own: Vec<usize> = (0..SERIES).filter(|n| n % SENDERS == sender).collect();
    let mut bodies = Vec::new();
    for step in 0..STEPS {
        for part in own.chunks(BATCH) {
            let series = part.iter().map(|n| series(*n, step, start)).collect();
            let bytes = WriteRequest { series }.encode_to_vec();
            bodies.push(snap::raw::Encoder::new().compress_vec(&bytes).expect("snappy"));
        }
    }
    bodies
}

/// As exporters have them: counters, gauges that wander, and values that hardly ever change. Scrapes are some
/// milliseconds late.
fn series(n: usize, step: i64, start: i64) -> Series {
    let late = (n as i64 * 31 + step * 17) % 23;
    let noise = ((n as i64 * 7919 + step * 104_729) % 1000) as f64 / 1000.0;
    let value = match n % 4 {
        0 => (step * (10 + n as i64 % 90)) as f64 + (noise * 10.0).floor(),
        1 => 40.0 + (step as f64 / 10.0).sin() * 5.0 + (noise * 100.0).round() / 100.0,
        2 => ((n % 7) as f64 * 1e9) + (noise * 4096.0).floor() * 4096.0,
        _ => (n % 3) as f64,
    };
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let labels = vec![
        label("__name__", format!("metric_{}", n % 200)),
        label("instance", format!("web-{}:9100", n / 2000)),
        label("job", "node".to_owned()),
        label("part", format!("part-{}", n / 200)),
    ];
    Series { labels, samples: vec![Sample { value, at: start + step * EVERY + late }] }
}

/// All senders at once, each in its order.
fn timed(bodies: &[Vec<Vec<u8>>], send: impl Fn(&[u8]) + Sync) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for own in bodies {
            scope.spawn(|| own.iter().for_each(|body| send(body)));
        }
    });
    began.elapsed()
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let sizes = entries.map(|entry| match entry.file_type().expect("a type").is_dir() {
        true => size_of(&entry.path()),
        false => entry.metadata().expect("a size").len(),
    });
    sizes.sum()
}
