use super::*;

/// Samples every minute of some series, over a time, with upkeep every half hour.
fn run(kept: &Kept, from: i64, to: i64, series: usize) {
    let mut at = from;
    while at < to {
        kept.at(at);
        let batch = (0..series)
            .map(|n| {
                (
                    labels(&[("__name__", "m"), ("n", &n.to_string())]),
                    vec![sample(at, (at / 60_000 + n as i64) as f64)],
                )
            })
            .collect();
        assert_eq!(kept.store.append(batch).unwrap().stored, series as u64);
        if at % (HOUR / 2) == 0 {
            kept.store.maintain().unwrap();
        }
        at += 60 * SECOND;
    }
}

#[test]
fn blocks_become_larger_ones_and_nothing_changes_for_who_reads() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let midnight = NOON + 12 * HOUR;
    run(&kept, midnight, midnight + 54 * HOUR, 7);
    let status = kept.store.status();
    let spans: Vec<_> =
        status.blocks.iter().map(|block| block.name.split('_').nth(1).unwrap().to_owned()).collect();
    // Days that are complete, then eight hours, then two.
    assert_eq!(&spans[..2], ["24h", "24h"], "{spans:?}");
    assert!(spans[2..].iter().all(|span| span == "2h" || span == "8h"), "{spans:?}");
    assert!(status.blocks.len() <= 5, "{spans:?}");
    assert_eq!(status.counts.compacted, 8, "{spans:?}");
    let all = kept.all();
    assert_eq!(all.len(), 7);
    for (n, samples) in all.values().enumerate() {
        let expected: Vec<_> = (0..54 * 60)
            .map(|minute| midnight + minute * 60_000)
            .map(|at| (at, ((at / 60_000 + n as i64) as f64).to_bits()))
            .collect();
        assert_eq!(*samples, expected);
    }
    drop(kept);
    let kept = Kept::open(options(folder.path()), midnight + 54 * HOUR);
    assert_eq!(kept.all(), all);
}

#[test]
fn late_samples_for_a_block_that_is_there_are_merged_into_it_and_the_later_value_counts() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON + HOUR);
    let up = labels(&[("__name__", "up")]);
    kept.store.append(vec![(up.clone(), vec![sample(NOON, 1.0), sample(NOON + 60 * SECOND, 1.0)])]).unwrap();
    kept.store.flush().unwrap();
    kept.store.append(vec![(up, vec![sample(NOON, 2.0), sample(NOON + 1, 3.0)])]).unwrap();
    kept.store.flush().unwrap();
    assert_eq!(kept.store.status().blocks.len(), 2);
    let expected = [(NOON, 2.0), (NOON + 1, 3.0), (NOON + 60 * SECOND, 1.0)]
        .map(|(at, value)| (at, f64::to_bits(value)));
    assert_eq!(kept.all()[r#"{__name__="up"}"#], expected);
    kept.at(NOON + 24 * HOUR);
    assert_eq!(kept.store.maintain().unwrap().compacted, 1);
    assert_eq!(kept.store.status().blocks.len(), 1);
    assert_eq!(kept.all()[r#"{__name__="up"}"#], expected);
}

#[test]
fn what_is_too_old_or_too_much_is_dropped_a_block_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Duration::from_secs(24 * 3600);
    let kept = Kept::open(Options { keep, ..options(folder.path()) }, NOON);
    let midnight = NOON + 12 * HOUR;
    run(&kept, midnight, midnight + 60 * HOUR, 3);
    let now = midnight + 60 * HOUR;
    let oldest = kept.store.status().bounds.unwrap().0;
    // A day and what a block may be too old for.
    assert!(now - oldest <= 2 * 24 * HOUR && now - oldest >= 24 * HOUR, "{}", (now - oldest) / HOUR);
    assert!(kept.store.status().counts.dropped > 0);
    drop(kept);

    let kept = Kept::open(Options { max_bytes: 1, ..options(folder.path()) }, now);
    let before = kept.store.status().blocks.len();
    assert_eq!(kept.store.maintain().unwrap().dropped, before as u64);
    assert_eq!(kept.store.status().blocks.len(), 0);
    // What is not in a block yet stays.
    assert!(kept.store.status().active_series == 3);
    let names: Vec<_> = std::fs::read_dir(folder.path().join("blocks")).unwrap().collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn who_reads_a_block_that_is_merged_meanwhile_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let midnight = NOON + 12 * HOUR;
    run(&kept, midnight, midnight + 10 * HOUR, 3);
    kept.store.flush().unwrap();
    let budget = budget();
    let matchers = vec![Matcher::equal("__name__", "m")];
    let selection = Selection { matchers, window: Window { from: i64::MIN, to: i64::MAX } };
    let reading = kept.store.select(&selection, &budget).unwrap();
    kept.at(midnight + 48 * HOUR);
    assert!(kept.store.maintain().unwrap().compacted > 0);
    let mut samples = 0;
    for series in reading {
        let mut run = Vec::new();
        let mut series = series.unwrap();
        while series.samples.read(&mut run).unwrap() {}
        samples += run.len();
    }
    assert_eq!(samples, 3 * 600);
}
