//! A real disk that is full.

use backstay_testkit::SmallDisk;

use super::*;

fn batch(n: i64) -> Vec<LogRecord> {
    (0..50_u64)
        .map(|k| {
            // Texts that do not compress well, and are no secrets.
            let odd = (n as u64 * 50 + k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            line(
                NOON + n,
                format!("{odd:016x} {:016x} {:016x}", odd.rotate_left(13) ^ k, odd.wrapping_mul(odd)),
            )
        })
        .collect()
}

#[test]
fn a_full_disk_is_said_and_what_was_acknowledged_stays() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "2m") else { return };
    let kept = Kept::open(LogOptions { segment_bytes: 300_000, ..options(folder.path()) }, NOON + HOUR);
    let mut taken = 0;
    let error = loop {
        match kept.store.append(batch(taken)) {
            Ok(stored) => assert_eq!(stored.new.len(), 50),
            Err(error) => break error,
        }
        taken += 1;
    };
    assert!(error.to_string().contains("No space left"), "{error}");
    let before = kept.all();
    assert_eq!(before.len() as i64, taken * 50);
    // No room for a part either: all stays in memory and in the log.
    let flushed = kept.store.flush().unwrap_err();
    assert!(flushed.is_full(), "{flushed}");
    assert_eq!(kept.all(), before);
    drop(kept);
    let kept = Kept::open(options(folder.path()), NOON + HOUR);
    assert_eq!(kept.all(), before, "after a start on the full disk");
    disk.resize("32m");
    assert!(kept.store.append(batch(taken)).is_ok());
    kept.store.flush().unwrap();
    assert_eq!(kept.all().len() as i64, (taken + 1) * 50);
    assert_eq!(kept.store.status().log_bytes, 0, "the log is in the part");
    drop(kept);
    drop(disk);
}

#[test]
fn room_is_left_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "2m") else { return };
    let kept = Kept::open(LogOptions { keep_free_bytes: 4 << 20, ..options(folder.path()) }, NOON + HOUR);
    let error = kept.store.append(batch(0)).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    disk.resize("32m");
    kept.at(NOON + HOUR + 2 * SECOND);
    assert_eq!(kept.store.append(batch(0)).unwrap().new.len(), 50);
}
