//! Measures searches of logs over 90 days, made by a generator: cold (files closed, and out of the system's memory) and warm.
//! `--mb N` says how much text, over all days. The last line is one JSON object.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measuring program"
)]

mod lines;

use std::{path::Path, sync::Arc, time::Instant};

use backstay_telemetry::{
    Budget, Limits,
    logs::{Field, LogOptions, LogQuery, LogRecord, LogStore, Order},
};
use backstay_types::{FixedClock, SeededEntropy, Timestamp, World};
use serde_json::json;

const DAYS: i64 = 90;
const DAY: i64 = 86_400_000_000_000;
const HOUR: i64 = DAY / 24;
const START: i64 = 1_767_225_600_000_000_000;
/// A text that one line in all has.
const RARE: &str = "quarantined by the warden";

fn main() {
    let mb = argument("--mb").unwrap_or(2000);
    let folder = tempfile::tempdir_in(std::env::current_dir().expect("a folder")).expect("a folder");
    let (lines, raw) = fill(folder.path(), mb * 1_000_000);
    let now = START + DAYS * DAY;
    let week = LogQuery { from: now - 7 * DAY, to: now - 1, ..LogQuery::default() };
    let id = |day: i64, n: u64| LogQuery {
        fields: vec![(Field::Conversation, vec![lines::conversation(START / DAY + day, n)])],
        ..LogQuery::default()
    };
    let hour = |n: i64| LogQuery {
        from: now - 30 * DAY + n * 7 * HOUR,
        to: now - 30 * DAY + n * 7 * HOUR + HOUR,
        fields: vec![(Field::Service, vec!["gateway".into()])],
        text: Some("connection refused".into()),
        ..LogQuery::default()
    };
    let rare = LogQuery { text: Some(RARE.into()), ..week.clone() };
    let digits = LogQuery { text: Some("9999999999".into()), ..week.clone() };
    let histogram = |store: &LogStore| {
        let counted = store.histogram(&week, HOUR, &budget()).expect("counts");
        assert!(counted.len() >= 167);
    };
    let search = |store: &LogStore, query: &LogQuery| {
        store.search(query, Order::NewestFirst, None, 1000, &budget()).expect("a page").lines.len()
    };
    let mut figures = serde_json::Map::new();
    for (name, rounds) in [("cold", 8), ("warm", 40)] {
        let mut kept = Kept { store: None, folder: folder.path(), cold: name == "cold" };
        let few = rounds / 3;
        let lines_of_ids = std::cell::Cell::new(0);
        let measured = [
            (
                "ids_p99_ms",
                0.99,
                kept.times(rounds, |store, n| {
                    lines_of_ids.set(lines_of_ids.get() + search(store, &id(n * 2, n as u64 * 5)))
                }),
            ),
            (
                "hour_of_a_service_p90_ms",
                0.9,
                kept.times(rounds, |store, n| {
                    search(store, &hour(n));
                }),
            ),
            ("histogram_ms", 0.5, kept.times(few, |store, _| histogram(store))),
            ("rare_ms", 0.5, kept.times(few, |store, _| assert_eq!(search(store, &rare), 1))),
            (
                "only_digits_ms",
                0.5,
                kept.times(few, |store, _| {
                    search(store, &digits);
                }),
            ),
        ];
        // With little text a conversation may have no line at all.
        assert!(lines_of_ids.get() as i64 > rounds);
        for (what, part, mut found) in measured {
            found.sort_by(f64::total_cmp);
            let place = ((found.len() as f64 * part).ceil() as usize).clamp(1, found.len()) - 1;
            figures.insert(format!("{what}_{name}"), found[place].into());
        }
    }
    let status = open(folder.path()).status();
    figures.insert("raw_mb".into(), (raw as f64 / 1e6).into());
    figures.insert("lines".into(), lines.into());
    figures.insert("bytes_on_disk_per_byte".into(), (status.part_bytes as f64 / raw as f64).into());
    figures.insert("parts".into(), status.parts.into());
    let value = figures.get("ids_p99_ms_cold").cloned();
    println!("{}", json!({ "value": value, "baseline": null, "more": figures }));
}

/// A store that is asked: opened anew for each question when that is to be cold.
struct Kept<'a> {
    store: Option<LogStore>,
    folder: &'a Path,
    cold: bool,
}

impl Kept<'_> {
    /// Milliseconds of each question.
    fn times(&mut self, rounds: i64, ask: impl Fn(&LogStore, i64)) -> Vec<f64> {
        let time = |n| {
            if self.cold {
                drop(self.store.take());
                forget(self.folder);
            }
            let store = self.store.get_or_insert_with(|| open(self.folder));
            timed(|| ask(store, n))
        };
        (0..rounds).map(time).collect()
    }
}

fn world(now: i64) -> (Arc<FixedClock>, World) {
    let clock = Arc::new(FixedClock::new(Timestamp::from_nanosecond(now.into()).expect("a time")));
    (clock.clone(), World::new(clock, Arc::new(SeededEntropy::new(1))))
}

fn options(folder: &Path) -> LogOptions {
    let keep = std::time::Duration::from_secs(120 * 86_400);
    LogOptions { keep_free_bytes: 0, keep, ..LogOptions::in_folder(folder) }
}

fn open(folder: &Path) -> LogStore {
    LogStore::open(options(folder), world(START + DAYS * DAY).1).expect("a store")
}

/// Fills all days; gives the lines and their bytes, as JSON of OTLP would have them at the least.
fn fill(folder: &Path, bytes: u64) -> (u64, u64) {
    let (clock, world) = world(START);
    let store = LogStore::open(options(folder), world).expect("a store");
    let mut numbers = lines::Numbers::new(11);
    let (mut count, mut raw) = (0, 0);
    for day in 0..DAYS {
        let per_day = bytes / DAYS as u64;
        let (mut of_day, mut batch, mut n) = (0_u64, Vec::new(), 0_i64);
        // About as many lines as fit, spread over the day.
        let step = DAY / (per_day as i64 / 220 + 1);
        while of_day < per_day && n * step < DAY {
            let mut record = lines::line(&mut numbers, START + day * DAY + n * step);
            if day == DAYS - 4 && n == 1000 {
                record.body.push_str(": ");
                record.body.push_str(RARE);
            }
            of_day += size(&record);
            batch.push(record);
            n += 1;
            if batch.len() == 20_000 {
                clock.set(Timestamp::from_nanosecond((START + day * DAY + n * step).into()).expect("a time"));
                count += store.append(std::mem::take(&mut batch)).expect("stored").new.len() as u64;
                store.maintain().expect("upkeep");
            }
        }
        clock.set(Timestamp::from_nanosecond((START + (day + 1) * DAY).into()).expect("a time"));
        count += store.append(batch).expect("stored").new.len() as u64;
        store.flush().expect("parts");
        store.maintain().expect("upkeep");
        raw += of_day;
    }
    clock.set(Timestamp::from_nanosecond((START + (DAYS + 2) * DAY).into()).expect("a time"));
    store.maintain().expect("upkeep");
    (count, raw)
}

fn size(record: &LogRecord) -> u64 {
    let fields: usize = Field::ALL.iter().map(|field| record.field(*field).len()).sum();
    (record.body.len() + record.attributes.len() + fields + 24) as u64
}

/// Puts the files out of the system's memory, as far as it does what it is asked.
fn forget(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            forget(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

fn timed(what: impl FnOnce()) -> f64 {
    let began = Instant::now();
    what();
    began.elapsed().as_secs_f64() * 1000.0
}

fn budget() -> Budget {
    let time = std::time::Duration::from_secs(3600);
    Budget::new(Limits { series: u64::MAX, samples: u64::MAX, time })
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next()?.parse().ok()
}
