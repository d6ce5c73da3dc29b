//! Files that are not what was written.

use std::fs;

use super::*;

fn filled(folder: &Path) -> Kept {
    let kept = Kept::open(options(folder), NOON + 4 * HOUR);
    for span in [1, 2] {
        kept.at(NOON + span * 2 * HOUR);
        let at = NOON + span * 2 * HOUR;
        let batch = (0..200)
            .map(|n| {
                (labels(&[("__name__", "m"), ("n", &n.to_string())]), vec![sample(at, 0.1 * f64::from(n))])
            })
            .collect();
        kept.store.append(batch).unwrap();
        kept.store.flush().unwrap();
    }
    kept
}

#[test]
fn a_damaged_block_is_set_aside_and_the_rest_answers() {
    for file in ["samples.parquet", "series.parquet", "labels.parquet", "block.json"] {
        for how in ["flip", "cut", "gone"] {
            let folder = tempfile::tempdir().unwrap();
            let kept = filled(folder.path());
            let block = kept.store.status().blocks[0].name.clone();
            drop(kept);
            let path = folder.path().join("blocks").join(&block).join(file);
            let mut bytes = fs::read(&path).unwrap();
            match how {
                "flip" if file == "block.json" => bytes[0] ^= 0xff,
                "flip" => {
                    let middle = bytes.len() / 3;
                    bytes[middle] ^= 0x10;
                }
                "cut" => bytes.truncate(bytes.len() / 2),
                _ => {}
            }
            if how == "gone" {
                fs::remove_file(&path).unwrap()
            } else {
                fs::write(&path, &bytes).unwrap()
            }

            let kept = Kept::open(options(folder.path()), NOON + 4 * HOUR);
            kept.store.verify().unwrap();
            let status = kept.store.status();
            assert_eq!(status.damaged.len(), 1, "{file} {how}");
            assert_eq!(status.damaged[0].name, block, "{file} {how}");
            assert!(!status.damaged[0].what.is_empty());
            assert_eq!(
                kept.all().values().map(Vec::len).sum::<usize>(),
                200,
                "{file} {how}: the other block"
            );
            assert!(folder.path().join("damaged").join(&block).exists());
            drop(kept);
            let kept = Kept::open(options(folder.path()), NOON + 4 * HOUR);
            assert_eq!(kept.store.status().damaged.len(), 1, "{file} {how}: still said after a start");
        }
    }
}

#[test]
fn a_torn_end_of_the_log_is_cut_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let up = labels(&[("__name__", "up")]);
    for n in 0..10 {
        kept.store.append(vec![(up.clone(), vec![sample(NOON - 100 + n, n as f64)])]).unwrap();
    }
    let all = kept.all();
    drop(kept);
    let log = fs::read_dir(folder.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&log).unwrap();
    for tail in [&b"\x01"[..], &[0; 4096], &[7; 100], &whole[16..40]] {
        let mut torn = whole.clone();
        torn.extend_from_slice(tail);
        fs::write(&log, &torn).unwrap();
        let kept = Kept::open(options(folder.path()), NOON);
        assert_eq!(kept.all(), all);
        assert_eq!(kept.store.status().counts.torn, 1);
        drop(kept);
        let kept = Kept::open(options(folder.path()), NOON);
        assert_eq!((kept.store.status().counts.torn, kept.all()), (0, all.clone()));
    }
}

#[test]
fn damage_within_the_log_costs_one_record_and_the_file_is_kept_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let up = labels(&[("__name__", "up")]);
    for n in 0..10 {
        kept.store.append(vec![(up.clone(), vec![sample(NOON - 100 + n, n as f64)])]).unwrap();
    }
    drop(kept);
    let log = fs::read_dir(folder.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&log).unwrap();
    // In the last but one record.
    let place = bytes.len() - 30;
    bytes[place] ^= 0xff;
    fs::write(&log, &bytes).unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    assert_eq!(kept.all().values().map(Vec::len).sum::<usize>(), 9);
    assert_eq!(kept.store.status().counts.log_damaged, 1);
    assert!(folder.path().join("damaged").join(log.file_name().unwrap()).exists());
}
