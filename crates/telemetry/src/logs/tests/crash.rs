//! A real child is killed at each step on the disk. What it had acknowledged is there then, once.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::Output,
};

use super::*;
use crate::steps;

const FOLDER: &str = "BACKSTAY_TEST_LOGS";
/// Batches of the story: one in three hours.
const BATCHES: i64 = 15;
const EVERY: i64 = 3 * HOUR;
const LINES: i64 = 12;

fn time_of(batch: i64) -> i64 {
    NOON + batch * EVERY
}

/// Lines of a while, and one from the day before.
fn batch(n: i64) -> Vec<LogRecord> {
    let at = |k: i64| if k == 0 { time_of(n) - DAY } else { time_of(n) - k * SECOND };
    (0..LINES).map(|k| line(at(k), format!("line {k} of batch {n}"))).collect()
}

fn story_options(folder: &Path) -> LogOptions {
    let (keep, flush_every) = (Duration::from_secs(30 * 3600), Duration::from_secs(6 * 3600));
    LogOptions { segment_bytes: 600, keep, flush_every, ..options(&folder.join("store")) }
}

/// What the child of the other tests does: writes, acknowledges, keeps order. Takes up where an earlier one was killed.
/// Nobody's child has nothing to do.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER).map(PathBuf::from) else { return };
    let first = acknowledged(&folder).map_or(0, |last| last + 1);
    let mut told = OpenOptions::new().create(true).append(true).open(folder.join("told")).unwrap();
    let kept = Kept::open(story_options(&folder), time_of(first));
    for n in first..BATCHES {
        kept.at(time_of(n));
        // A sender tries again until it is told that all is well.
        let mut tries = 0;
        while let Err(error) = kept.store.append(batch(n)) {
            tries += 1;
            assert!(tries < 500, "{error}");
        }
        writeln!(told, "{n}").unwrap();
        if let Err(error) = kept.store.maintain() {
            eprintln!("batch {n}: {error}");
        }
    }
    for _ in 0..500 {
        if kept.store.maintain().is_ok() {
            break;
        }
    }
    println!("steps: {}", steps::taken());
}

fn run(folder: &Path, plan: &str) -> Output {
    steps::run("logs::tests::crash::child", (FOLDER, folder), plan)
}

/// The last batch that was acknowledged to the sender.
fn acknowledged(folder: &Path) -> Option<i64> {
    let told = fs::read_to_string(folder.join("told")).ok()?;
    told.lines().last()?.parse().ok()
}

/// Opens what is left and looks at every sample.
fn check(folder: &Path, what: &str) {
    let last = acknowledged(folder).unwrap_or(-1);
    let now = time_of(last.max(0));
    let kept = Kept::open(story_options(folder), now);
    // `find` itself says when a line is there twice.
    let all = kept.find(&LogQuery::default());
    let there: std::collections::BTreeMap<Key, &LogRecord> =
        all.iter().map(|record| (record.key(), &**record)).collect();
    for n in 0..=last {
        for record in batch(n) {
            let found = there.get(&record.key()).map(|record| &*record.body);
            // Retention may have dropped it, later it must be there.
            let due = record.time >= (now - 30 * HOUR) * NANOS;
            let right = found.map_or(!due, |body| body == record.body);
            assert!(right, "{what}: batch {n} of {last}, {record:?}: {found:?}");
        }
    }
    let sent: std::collections::BTreeSet<Key> =
        (0..=last + 1).flat_map(batch).map(|record| record.key()).collect();
    assert!(there.keys().all(|key| sent.contains(key)), "{what}: nothing that nobody sent");
    for entry in fs::read_dir(folder.join("store/days")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".tmp"), "{what}: {name} is half done");
    }
    assert!(kept.store.status().damaged.is_empty(), "{what}: {:?}", kept.store.status().damaged);
}

#[test]
fn killed_at_any_step_what_was_acknowledged_is_there_once() {
    let whole = steps::scratch();
    let total = steps::said_by(&run(whole.path(), "count"));
    check(whole.path(), "without a death");
    let store = Kept::open(story_options(whole.path()), time_of(BATCHES - 1)).store;
    assert!(total > 200 && store.status().parts > 0, "{total} steps");
    steps::for_each(total, |step| {
        let folder = steps::scratch();
        let died = run(folder.path(), &format!("die {step}"));
        assert_eq!(died.status.signal(), Some(9), "step {step}");
        let copy = steps::scratch();
        if step % 15 == 0 {
            steps::copy_all(folder.path(), copy.path());
            // Also while it starts again, twice.
            for again in 1..4 {
                run(copy.path(), &format!("die {}", again * 2));
                run(copy.path(), &format!("die {again}"));
            }
            check(copy.path(), &format!("step {step}, and again while starting"));
        }
        check(folder.path(), &format!("step {step}"));
        if step % 10 != 0 {
            return;
        }
        let ended = run(folder.path(), "count");
        steps::said_by(&ended);
        assert_eq!(acknowledged(folder.path()), Some(BATCHES - 1), "step {step}");
        check(folder.path(), &format!("step {step}, then to the end"));
    });
}

#[test]
fn full_at_any_step_nothing_is_lost_and_it_goes_on_when_there_is_room() {
    let whole = steps::scratch();
    let total = steps::said_by(&run(whole.path(), "count"));
    steps::for_each(total / 4, |n| {
        let (step, length) = (n * 4 - n % 3, [1, 2, 5, 40][(n % 4) as usize]);
        let folder = steps::scratch();
        let ended = run(folder.path(), &format!("full {step} {length}"));
        // Without room there is no start: the next one goes on.
        if acknowledged(folder.path()) != Some(BATCHES - 1) {
            steps::said_by(&run(folder.path(), "count"));
        }
        let what = format!("step {step}, {length} long");
        assert_eq!(acknowledged(folder.path()), Some(BATCHES - 1), "{what}: {ended:?}");
        check(folder.path(), &what);
    });
}
