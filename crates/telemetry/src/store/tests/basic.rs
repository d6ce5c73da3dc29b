use super::*;
use crate::STALE;

#[test]
fn what_was_stored_is_read_from_memory_from_the_log_and_from_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let up = labels(&[("__name__", "up"), ("job", "a")]);
    let down = labels(&[("__name__", "down"), ("job", "a \"quoted\" é")]);
    let samples =
        vec![sample(NOON, 1.0), sample(NOON + 15 * SECOND, f64::NAN), sample(NOON + 30 * SECOND, STALE)];
    let expected = BTreeMap::from([
        (up.to_string(), samples.iter().map(|s| (s.at, s.value.to_bits())).collect::<Vec<_>>()),
        (down.to_string(), vec![(NOON, (-0.0_f64).to_bits()), (NOON + 2 * HOUR, 0_f64.to_bits())]),
    ]);
    let kept = Kept::open(options(folder.path()), NOON + 2 * HOUR);
    let stored = kept.store.append(vec![(up, samples), (down.clone(), vec![sample(NOON, -0.0)])]).unwrap();
    assert_eq!((stored.stored, stored.duplicates, stored.refused.total()), (4, 0, 0));
    kept.store.append(vec![(down, vec![sample(NOON + 2 * HOUR, 0.0)])]).unwrap();
    assert_eq!(kept.all(), expected);
    drop(kept);

    let kept = Kept::open(options(folder.path()), NOON + 2 * HOUR);
    assert_eq!(kept.store.status().counts.replayed, 5);
    assert_eq!(kept.all(), expected, "from the log");
    assert_eq!(kept.store.flush().unwrap().flushed, 2, "a block for each span");
    assert_eq!(kept.all(), expected, "from blocks");
    assert_eq!(kept.store.status().active_series, 0);
    drop(kept);

    let kept = Kept::open(options(folder.path()), NOON + 2 * HOUR);
    assert_eq!(kept.store.status().counts.replayed, 0, "what is in a block is not taken from the log again");
    assert_eq!(kept.all(), expected);
    let window = kept.read(&[Matcher::equal("__name__", "up")], NOON + 1, NOON + 15 * SECOND);
    assert_eq!(window.len(), 1);
    assert_eq!(window[r#"{__name__="up", job="a"}"#].len(), 1);
}

#[test]
fn a_sample_that_comes_again_is_stored_once_and_another_value_for_its_time_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let up = labels(&[("__name__", "up")]);
    let run: Vec<_> = (0..300).map(|n| sample(NOON - 1000 + n, n as f64)).collect();
    assert_eq!(kept.store.append(vec![(up.clone(), run.clone())]).unwrap().stored, 300);
    let again = kept.store.append(vec![(up.clone(), run)]).unwrap();
    assert_eq!((again.stored, again.duplicates), (0, 300));
    for at in [NOON - 1000, NOON - 900, NOON - 701] {
        let other = kept.store.append(vec![(up.clone(), vec![sample(at, -7.0)])]).unwrap();
        assert_eq!((other.stored, other.refused.conflicts), (0, 1), "{at}");
        assert!(other.refused.message().unwrap().contains("another value"));
    }
    assert_eq!(kept.all().values().next().unwrap().len(), 300);
}

#[test]
fn any_order_within_the_window_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON + HOUR);
    let up = labels(&[("__name__", "up")]);
    let mut order: Vec<i64> = (0..500).collect();
    // Some fixed disorder.
    order.sort_by_key(|n| (n * 7919) % 500);
    for n in &order {
        let stored =
            kept.store.append(vec![(up.clone(), vec![sample(NOON + n * SECOND, *n as f64)])]).unwrap();
        assert_eq!(stored.stored, 1, "{n}");
    }
    let expected: Vec<_> = (0..500).map(|n| (NOON + n * SECOND, (n as f64).to_bits())).collect();
    assert_eq!(kept.all()[r#"{__name__="up"}"#], expected);
    kept.store.flush().unwrap();
    // Later ones for a span that is in a block already.
    kept.store.append(vec![(up, vec![sample(NOON + 1, 7.0)])]).unwrap();
    let after = kept.all();
    assert_eq!(after[r#"{__name__="up"}"#].len(), 501);
    kept.store.flush().unwrap();
    assert_eq!(kept.all(), after);
}

type Conditions = &'static [(&'static str, MatchOp, &'static str)];

#[test]
fn series_are_found_as_prometheus_finds_them() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let sets = [
        labels(&[("__name__", "m"), ("i", "a")]),
        labels(&[("__name__", "m"), ("i", "b")]),
        labels(&[("__name__", "m")]),
        labels(&[("__name__", "n"), ("i", "a"), ("j", "x")]),
    ];
    let fill = |from: i64| {
        let batch = sets.iter().map(|set| (set.clone(), vec![sample(from, 1.0)])).collect();
        kept.store.append(batch).unwrap();
    };
    fill(NOON - 1);
    let check = |where_from: &str| {
        let cases: [(Conditions, &[usize]); 9] = [
            (&[("__name__", MatchOp::Equal, "m")], &[0, 1, 2]),
            (&[("__name__", MatchOp::Equal, "m"), ("i", MatchOp::NotEqual, "a")], &[1, 2]),
            (&[("__name__", MatchOp::Equal, "m"), ("i", MatchOp::Equal, "")], &[2]),
            (&[("i", MatchOp::Regex, "a|b")], &[0, 1, 3]),
            (&[("i", MatchOp::Regex, "[ab]"), ("j", MatchOp::Equal, "")], &[0, 1]),
            (&[("__name__", MatchOp::Regex, ".+"), ("i", MatchOp::NotRegex, ".+")], &[2]),
            (&[("i", MatchOp::NotEqual, "")], &[0, 1, 3]),
            (&[("i", MatchOp::Equal, "c")], &[]),
            (&[("missing", MatchOp::Equal, "c")], &[]),
        ];
        for (matchers, expected) in cases {
            let matchers: Vec<_> =
                matchers.iter().map(|(name, op, value)| Matcher::new(name, *op, value).unwrap()).collect();
            let expected: Vec<_> = expected.iter().map(|n| sets[*n].to_string()).collect();
            let mut expected = expected;
            expected.sort();
            let found: Vec<_> = kept.read(&matchers, NOON - 1, NOON).into_keys().collect();
            assert_eq!(found, expected, "{matchers:?} from {where_from}");
            let any = [matchers];
            let window = Window { from: NOON - 1, to: NOON };
            let mut listed: Vec<_> =
                kept.store.series(&any, window, &budget()).unwrap().iter().map(Labels::to_string).collect();
            listed.sort();
            assert_eq!(listed, expected, "{any:?} from {where_from}");
        }
        let window = Window { from: i64::MIN, to: i64::MAX };
        let names = |any: &[Vec<Matcher>]| kept.store.label_names(any, window, &budget()).unwrap();
        assert_eq!(names(&[]), ["__name__", "i", "j"]);
        assert_eq!(names(&[vec![Matcher::equal("__name__", "m")]]), ["__name__", "i"]);
        let values =
            |name, any: &[Vec<Matcher>]| kept.store.label_values(name, any, window, &budget()).unwrap();
        assert_eq!(values("i", &[]), ["a", "b"]);
        assert_eq!(values("i", &[vec![Matcher::equal("__name__", "n")]]), ["a"]);
        assert_eq!(values("missing", &[]), Vec::<String>::new());
    };
    check("memory");
    kept.store.flush().unwrap();
    check("a block");
    fill(NOON);
    check("both");
}

#[test]
fn a_folder_is_held_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let world = World::new(Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH)), Arc::new(SeededEntropy::new(1)));
    let second = Store::open(options(folder.path()), world).unwrap_err();
    assert!(second.to_string().contains("another process"), "{second}");
    drop(kept);
}

#[test]
fn threads_that_write_at_once_share_syncs_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(Options { segment_bytes: 20_000, ..options(folder.path()) }, NOON + HOUR);
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let store = &kept.store;
            scope.spawn(move || {
                for n in 0..100 {
                    let set = labels(&[("__name__", "m"), ("writer", &writer.to_string())]);
                    let shared = labels(&[("__name__", "shared"), ("n", &n.to_string())]);
                    let batch = vec![
                        (set, vec![sample(NOON + n * SECOND, n as f64)]),
                        (shared, vec![sample(NOON + i64::from(writer), 1.0)]),
                    ];
                    assert_eq!(store.append(batch).unwrap().stored, 2);
                }
            });
        }
        // And what goes to blocks meanwhile is neither missing nor there twice.
        let kept = &kept;
        scope.spawn(move || {
            for _ in 0..20 {
                kept.store.flush().unwrap();
                kept.all();
            }
        });
    });
    let counts = kept.store.status().counts;
    assert_eq!((counts.stored, counts.batches), (3200, 1600));
    let all = kept.all();
    assert_eq!(all.values().map(Vec::len).sum::<usize>(), 3200);
    drop(kept);
    let kept = Kept::open(options(folder.path()), NOON + HOUR);
    assert_eq!(kept.all(), all);
}
