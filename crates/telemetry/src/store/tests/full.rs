//! A real disk that is full.

use backstay_testkit::SmallDisk;

use super::*;
use crate::store::StoreError;

fn batch(n: i64) -> crate::store::Batch {
    (0..50)
        .map(|series| {
            let set = labels(&[("__name__", "m"), ("series", &series.to_string())]);
            // Values that do not compress.
            let value = f64::from_bits((n as u64 * 50 + series).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
            (set, vec![sample(NOON + n * 100, value)])
        })
        .collect()
}

#[test]
fn a_full_disk_is_said_and_what_was_acknowledged_stays() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "2m") else { return };
    let kept = Kept::open(Options { segment_bytes: 300_000, ..options(folder.path()) }, NOON + HOUR);
    let mut taken = 0;
    let error = loop {
        match kept.store.append(batch(taken)) {
            Ok(stored) => assert_eq!(stored.stored, 50),
            Err(error) => break error,
        }
        taken += 1;
    };
    assert!(matches!(error, StoreError::Log(_)), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    let before = kept.all();
    assert_eq!(before.values().map(Vec::len).sum::<usize>() as i64, taken * 50);
    // No room for a block either: all stays in memory and in the log.
    let flushed = kept.store.flush().unwrap_err();
    assert!(flushed.is_full(), "{flushed}");
    assert_eq!(kept.all(), before);
    drop(kept);
    let kept = Kept::open(options(folder.path()), NOON + HOUR);
    assert_eq!(kept.all(), before, "after a start on the full disk");
    disk.resize("32m");
    assert!(kept.store.append(batch(taken)).is_ok());
    kept.store.flush().unwrap();
    assert_eq!(kept.all().values().map(Vec::len).sum::<usize>() as i64, (taken + 1) * 50);
    assert_eq!(kept.store.status().log_bytes, 0, "the log is in the block");
    drop(kept);
    drop(disk);
}

#[test]
fn room_is_left_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "2m") else { return };
    let kept = Kept::open(Options { keep_free_bytes: 4 << 20, ..options(folder.path()) }, NOON + HOUR);
    let error = kept.store.append(batch(0)).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    disk.resize("32m");
    kept.at(NOON + HOUR + 2 * SECOND);
    assert_eq!(kept.store.append(batch(0)).unwrap().stored, 50);
}
