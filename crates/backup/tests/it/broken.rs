//! Damage, and disks that are full or gone.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use backstay_testkit::SmallDisk;
use backstay_types::backup::job::{FailedKind, RestoreTask, Target, Task};

use crate::{
    job::{Bench, noise, restored},
    tree::{look, many_small},
};

/// The largest pack that is there now and not before.
pub(crate) fn new_data_pack(bench: &Bench, before: &[PathBuf]) -> PathBuf {
    let new = bench.files("data").into_iter().filter(|path| !before.contains(path));
    new.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

pub(crate) fn flip_a_bit(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, middle).unwrap();
}

pub(crate) type Harm = fn(&Path);

pub(crate) const HARMS: [(&str, Harm); 3] = [
    ("a flipped bit", flip_a_bit),
    ("a pack that is cut off", |path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
    ("a pack that is missing", |path| fs::remove_file(path).unwrap()),
];

#[test]
fn damage_costs_the_files_that_it_is_in_and_no_others() {
    for (what, harm) in HARMS {
        let bench = Bench::made();
        let from = bench.path("from");
        many_small(&from.join("early"), 200);
        let first = bench.save(&from).id;
        let before = bench.files("data");
        many_small(&from.join("later"), 300);
        let second = bench.save(&from).id;
        harm(&new_data_pack(&bench, &before));
        // Only what needs the pack is damaged.
        bench.verify(first);
        let failed = bench.run(Task::Verify { snapshot: second }).failed();
        assert_eq!(failed.kind, FailedKind::Damaged, "{what}: {failed:?}");
        assert!(!failed.problems.is_empty(), "{what}");
        assert!(!bench.check().is_empty(), "{what}");
        let into = bench.path("into");
        let restored = bench.restore(second, "data", &into);
        assert!(!restored.damaged.is_empty(), "{what}");
        let (saved, there) = (look(&from), look(&into));
        for (path, like) in &saved {
            match there.get(path) {
                Some(other) => assert_eq!(like.content, other.content, "{what}: {path:?}"),
                None => {
                    let at = format!("data/{}", path.display());
                    assert!(path.starts_with("later"), "{what}: {at} was lost");
                    let is_told = restored.damaged.iter().any(|problem| problem.at == at);
                    assert!(is_told || restored.damaged.len() == 100, "{what}: {at} is lost and not told");
                }
            }
        }
        assert!(there.len() < saved.len(), "{what}: something must be lost");
    }
}

#[test]
fn a_missing_index_is_damage_and_not_an_empty_snapshot() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 50);
    let made = bench.save(&from).id;
    for index in bench.files("index") {
        fs::remove_file(index).unwrap();
    }
    let failed = bench.run(Task::Verify { snapshot: made }).failed();
    assert_eq!(failed.kind, FailedKind::Damaged, "{failed:?}");
    let failed = bench.run(bench.restore_task(made, "data", &bench.path("into"))).failed();
    assert_eq!(failed.kind, FailedKind::Damaged, "{failed:?}");
    // And a backup after it saves everything anew.
    let again = bench.save(&from);
    bench.verify(again.id);
}

#[test]
fn a_full_target_is_said_to_be_full_and_keeps_what_it_has() {
    let bench = Bench::new();
    fs::create_dir(bench.path("repository")).unwrap();
    let Some(_disk) = SmallDisk::mount(&bench.path("repository"), "24m") else { return };
    bench.init();
    let from = bench.path("from");
    many_small(&from, 300);
    let made = bench.save(&from);
    fs::write(from.join("too large"), noise(4, 60_000_000)).unwrap();
    let failed = bench.run(bench.save_task(&from)).failed();
    assert_eq!(failed.kind, FailedKind::Full, "{failed:?}");
    assert_eq!(bench.list(), [made.id]);
    bench.verify(made.id);
    assert_eq!(bench.check(), []);
}

#[test]
fn a_full_disk_ends_a_restore_and_is_said_to_be_full() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 100);
    // Often the same: of how much of it takes room there is no knowing before.
    fs::write(from.join("large"), noise(1, 2_000_000).repeat(16)).unwrap();
    let made = bench.save(&from);
    let into = bench.path("into");
    fs::create_dir(&into).unwrap();
    let Some(_disk) = SmallDisk::mount(&into, "10m") else { return };
    let failed = bench.run(bench.restore_task(made.id, "data", &into)).failed();
    assert_eq!(failed.kind, FailedKind::Full, "{failed:?}");
    assert!(failed.message.contains("the disk is full"), "{failed:?}");
}

#[test]
fn a_restore_for_which_there_is_no_room_writes_nothing() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 10);
    // A hole takes no room.
    fs::File::create(from.join("holes")).unwrap().set_len(1 << 27).unwrap();
    let small = bench.save(&from);
    fs::write(from.join("large"), noise(1, 12_000_000)).unwrap();
    let large = bench.save(&from);
    let disk = bench.path("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_disk) = SmallDisk::mount(&disk, "24m") else { return };
    let keep_free = |id, into: &Path, keep_free| {
        let Task::Restore(task) = bench.restore_task(id, "data", into) else { unreachable!() };
        Task::Restore(RestoreTask { keep_free, ..task })
    };
    let failed = bench.run(keep_free(large.id, &disk.join("new/place"), 14_000_000)).failed();
    assert_eq!(failed.kind, FailedKind::Full, "{failed:?}");
    assert!(failed.message.contains("14000000 to stay free"), "{failed:?}");
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
    restored(bench.run(keep_free(small.id, &disk.join("small"), 14_000_000)));
    restored(bench.run(keep_free(large.id, &disk.join("large"), 0)));
}

#[test]
fn a_target_that_vanishes_half_way_is_told_and_the_next_run_is_right() {
    let mut bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("large"), noise(5, 40_000_000)).unwrap();
    bench.bytes_per_second = Some(10_000_000);
    let child = bench.start(bench.save_task(&from));
    thread::sleep(Duration::from_millis(2_500));
    fs::rename(bench.path("repository"), bench.path("elsewhere")).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.lines().last().unwrap().contains(r#""kind":"unreachable""#), "{said}");
    fs::rename(bench.path("elsewhere"), bench.path("repository")).unwrap();
    bench.bytes_per_second = None;
    assert!(bench.list().is_empty());
    let made = bench.save(&from);
    bench.verify(made.id);
}

#[test]
fn a_target_that_may_not_be_written_to_is_said_to_refuse() {
    let bench = Bench::new();
    fs::create_dir(bench.path("repository")).unwrap();
    let Some(_disk) = SmallDisk::mount(&bench.path("repository"), "24m") else { return };
    bench.init();
    let from = bench.path("from");
    many_small(&from, 10);
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(bench.path("repository")).status();
    assert!(remount.unwrap().success());
    assert_eq!(bench.run(bench.save_task(&from)).failed().kind, FailedKind::Refused);
}

#[test]
fn a_wrong_place_for_a_repository_is_a_bad_job() {
    let mut bench = Bench::new();
    bench.repository.target = Target::Folder { path: "relative/path".to_owned() };
    assert_eq!(bench.run(Task::List).failed().kind, FailedKind::BadJob);
}
