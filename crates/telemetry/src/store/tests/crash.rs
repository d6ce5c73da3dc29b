//! A real child is killed at each step on the disk. What it had acknowledged is there then, once.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::Output,
};

use super::*;

const FOLDER: &str = "BACKSTAY_TEST_FOLDER";
/// Batches of the story: one an hour.
const BATCHES: i64 = 44;
const EVERY: i64 = HOUR;
const SERIES: usize = 3;

fn time_of(batch: i64) -> i64 {
    NOON + batch * EVERY
}

fn batch(n: i64) -> crate::store::Batch {
    (0..SERIES)
        .map(|series| {
            let set = labels(&[("__name__", "m"), ("series", &series.to_string())]);
            (set, (0..4).map(|k| sample(time_of(n) - k * SECOND, (n * 100 + k) as f64)).rev().collect())
        })
        .collect()
}

fn story_options(folder: &Path) -> Options {
    let keep = Duration::from_secs(30 * 3600);
    Options { segment_bytes: 600, keep, ..options(&folder.join("store")) }
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
    steps::run("store::tests::crash::child", (FOLDER, folder), plan)
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
    // `all` itself says when a time is there twice.
    let all = kept.all();
    let keep = 30 * HOUR;
    for n in 0..=last {
        for (set, samples) in batch(n) {
            let there = all.get(&set.to_string());
            for sample in samples {
                let found = there.and_then(|there| {
                    there.binary_search_by_key(&sample.at, |(at, _)| *at).ok().map(|place| there[place].1)
                });
                // Retention may have dropped it, later it must be there.
                let due = sample.at >= now - keep;
                let right = found.map_or(!due, |value| value == sample.value.to_bits());
                assert!(right, "{what}: batch {n} of {last}, {set} at {}: {found:?}", sample.at);
            }
        }
    }
    let known = |at: &i64| (0..=last + 1).any(|n| (time_of(n) - 3 * SECOND..=time_of(n)).contains(at));
    assert!(all.values().flatten().all(|(at, _)| known(at)), "{what}: nothing that nobody sent");
    for entry in fs::read_dir(folder.join("store/blocks")).unwrap() {
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
    assert!(total > 300 && !store.status().blocks.is_empty(), "{total} steps");
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
