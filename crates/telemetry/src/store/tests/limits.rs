use super::*;
use crate::store::StoreError;

#[test]
fn too_many_series_are_refused_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(Options { max_series: 10, ..options(folder.path()) }, NOON);
    let set = |n: i32| labels(&[("__name__", "m"), ("n", &n.to_string())]);
    let batch = |at| (0..100).map(|n| (set(n), vec![sample(at, 1.0)])).collect::<Vec<_>>();
    let stored = kept.store.append(batch(NOON)).unwrap();
    assert_eq!((stored.stored, stored.refused.over_series), (10, 90));
    let message = stored.refused.message().unwrap();
    assert!(
        message.contains("90 samples were refused") && message.contains("10 series may be active"),
        "{message}"
    );
    let stored = kept.store.append(batch(NOON + 1)).unwrap();
    assert_eq!((stored.stored, stored.refused.over_series), (10, 90), "those that are there go on");
    assert_eq!(kept.store.status().counts.over_series, 180);
    kept.store.flush().unwrap();
    let stored = kept.store.append(vec![(set(50), vec![sample(NOON + 2, 1.0)])]).unwrap();
    assert_eq!(stored.stored, 1, "there is room again");
}

#[test]
fn memory_has_a_ceiling_and_going_to_blocks_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 200_000;
    let kept = Kept::open(Options { memory_bytes: limit, ..options(folder.path()) }, NOON);
    let mut at = NOON - HOUR;
    let refused = loop {
        let batch = (0..20)
            .map(|n| (labels(&[("__name__", "m"), ("n", &n.to_string())]), vec![sample(at, at as f64 / 7.3)]))
            .collect();
        at += 10;
        match kept.store.append(batch) {
            Ok(stored) => assert_eq!(stored.stored, 20),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::MemoryFull { .. }), "{refused}");
    assert_eq!(kept.store.status().counts.batches_refused, 1);
    assert!(kept.store.status().memory_bytes < limit * 11 / 10);
    let before = kept.all();
    assert_eq!(kept.store.maintain().unwrap().flushed, 1, "before its time");
    assert!(kept.store.status().memory_bytes < limit / 10);
    assert_eq!(kept.all(), before);
    let more = kept.store.append(vec![(labels(&[("__name__", "m")]), vec![sample(at, 1.0)])]);
    assert_eq!(more.unwrap().stored, 1);
}

#[test]
fn what_is_too_old_too_new_or_has_labels_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let up = labels(&[("__name__", "up")]);
    let times = [NOON - 2 * HOUR - 1, NOON - 2 * HOUR, NOON + 600 * SECOND, NOON + 600 * SECOND + 1];
    let stored = kept.store.append(vec![(up, times.iter().map(|at| sample(*at, 1.0)).collect())]).unwrap();
    assert_eq!((stored.stored, stored.refused.too_old, stored.refused.too_new), (2, 1, 1));
    let long = "x".repeat(20_000);
    let wrong = [labels(&[("job", "a")]), labels(&[("__name__", "m"), ("x", &long)]), Labels::empty()];
    let batch = wrong.into_iter().map(|set| (set, vec![sample(NOON, 1.0)])).collect();
    let stored = kept.store.append(batch).unwrap();
    assert_eq!((stored.stored, stored.refused.bad_labels), (0, 3));
}
