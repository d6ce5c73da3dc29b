//! What was found to go wrong with the library, with restic and with servers, each as a test of what is done about it.

use std::{fs, thread, time::Duration};

use backstay_testkit::WrongClock;
use backstay_types::backup::job::{Done, FailedKind, Root, SnapshotTask, Source, Task};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    broken::{flip_a_bit, new_data_pack},
    job::{Bench, Outcome, noise},
    rest_server::RestServer,
    tree::{assert_same, many_small},
};

fn of_command(script: &str, at: &str) -> Task {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let root = Root { name: "dump".to_owned(), from: Source::Command { argv, file: "dump.sql".to_owned() } };
    let at = at.parse().unwrap();
    Task::Snapshot(SnapshotTask { roots: vec![root], host: "node-1".to_owned(), tags: Vec::new(), at })
}

/// 1: the library's restore panics on damage.
#[test]
fn a_restore_outlives_a_flipped_bit() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 100);
    let before = bench.files("data");
    let made = bench.save(&from);
    flip_a_bit(&new_data_pack(&bench, &before));
    let restored = bench.restore(made.id, "data", &bench.path("into"));
    assert!(!restored.damaged.is_empty() && restored.damaged.len() < 100, "{restored:?}");
}

/// 2: a file that cannot be read is a warning only. Here it vanishes between being seen and being read.
#[test]
fn a_file_that_vanishes_while_it_is_saved_fails_the_job_and_is_named() {
    let mut bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a-large-one"), noise(1, 60_000_000)).unwrap();
    for number in 0..400 {
        fs::write(from.join(format!("m{number:03}")), noise(number, 200_000)).unwrap();
    }
    fs::write(from.join("z-last"), "here").unwrap();
    bench.bytes_per_second = Some(20_000_000);
    let child = bench.start(bench.save_task(&from));
    thread::sleep(Duration::from_millis(1_500));
    fs::remove_file(from.join("z-last")).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let last = said.lines().last().unwrap();
    assert!(last.contains(r#""kind":"source""#) && last.contains("data/z-last"), "{last}");
    bench.bytes_per_second = None;
    assert!(bench.list().is_empty());
}

/// 2, too: what shrinks while it is read is not what anybody wrote.
#[test]
fn a_file_that_shrinks_while_it_is_saved_fails_the_job_and_is_named() {
    let mut bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir(&from).unwrap();
    // Much more than is read ahead of what is sent.
    fs::write(from.join("log"), noise(1, 300_000_000)).unwrap();
    bench.bytes_per_second = Some(40_000_000);
    let child = bench.start(bench.save_task(&from));
    thread::sleep(Duration::from_millis(1_500));
    fs::OpenOptions::new().write(true).open(from.join("log")).unwrap().set_len(1_000).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let last = said.lines().last().unwrap();
    assert!(last.contains(r#""kind":"source""#) && last.contains("shorter"), "{last}");
    bench.bytes_per_second = None;
    assert!(bench.list().is_empty());
}

/// 3: a program that fails leaves a snapshot of what it printed before.
#[test]
fn a_program_that_fails_leaves_no_snapshot() {
    let bench = Bench::made();
    let good = bench.run(of_command("echo whole", "2026-11-22T03:00:00Z")).done();
    let Done::Snapshot(good) = good else { panic!() };
    let failed =
        bench.run(of_command("seq 1 500000; echo broken pipe >&2; exit 3", "2026-11-22T04:00:00Z")).failed();
    assert_eq!(failed.kind, FailedKind::Source);
    assert!(failed.message.contains("broken pipe") && failed.message.contains('3'), "{failed:?}");
    let failed = bench.run(of_command("kill -9 $$", "2026-11-22T04:00:00Z")).failed();
    assert_eq!(failed.kind, FailedKind::Source);
    assert_eq!(bench.list(), [good.id]);
    assert_eq!(bench.files("snapshots").len(), 1);
}

/// 4: a snapshot that is dated in the future makes relative retention take all others.
#[test]
fn a_snapshot_of_the_future_changes_nothing_for_the_others() {
    let bench = Bench::made();
    let Done::Snapshot(now) = bench.run(of_command("echo now", "2026-11-22T03:00:00Z")).done() else {
        panic!()
    };
    let Done::Snapshot(far) = bench.run(of_command("echo far", "2099-01-01T00:00:00Z")).done() else {
        panic!()
    };
    let Done::Snapshot(next) = bench.run(of_command("echo next", "2026-11-22T04:00:00Z")).done() else {
        panic!()
    };
    let gone = bench.run(Task::Forget { snapshots: vec![far.id, far.id] }).done();
    assert_eq!(gone, Done::Forget { gone: 1 });
    bench.run(Task::Prune { dry_run: false }).done();
    assert_eq!(bench.list(), [now.id, next.id]);
    bench.verify(now.id);
    bench.verify(next.id);
}

/// 4, too: the clock of this machine goes back an hour between two runs, and ahead a year.
#[test]
fn a_clock_that_is_set_decides_nothing() {
    let Some(clock) = WrongClock::require() else { return };
    let mut bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 60);
    let first = bench.save(&from).id;
    fs::write(from.join("more"), noise(7, 100_000)).unwrap();
    bench.prefix = clock.prefix("-1h");
    let second = bench.save(&from).id;
    bench.run(Task::Forget { snapshots: vec![first] }).done();
    bench.run(Task::Prune { dry_run: false }).done();
    bench.verify(second);
    bench.prefix = clock.prefix("+365d");
    bench.run(Task::Prune { dry_run: false }).done();
    bench.prefix.clear();
    bench.run(Task::Prune { dry_run: false }).done();
    bench.verify(second);
    bench.restore(second, "data", &bench.path("into"));
    assert_same(&from, &bench.path("into"));
}

// 5, a server that never answers, is in `silent`.

/// 6: without what was read before, a restore asks for every blob and every tree.
#[test]
fn a_restore_asks_seldom_and_with_a_cache_more_seldom() {
    let server = RestServer::start();
    let bench = server.bench();
    bench.init();
    let from = bench.path("from");
    many_small(&from, 2_000);
    let made = bench.save(&from);
    let packs = server.packs();
    let before = server.requests();
    bench.restore(made.id, "data", &bench.path("one"));
    let with_cache = server.requests() - before;
    assert_same(&from, &bench.path("one"));
    fs::remove_dir_all(bench.path("cache")).unwrap();
    let before = server.requests();
    bench.restore(made.id, "data", &bench.path("two"));
    let without = server.requests() - before;
    // Blocks of 2 MiB of about nine million bytes, and a few for keys, index and trees.
    assert!(with_cache < 25 && with_cache < without, "{with_cache} with, {without} without, {packs} packs");
    assert!(without < 40, "{without}");
}

/// 7: there are no locks. What a backup needs that runs beside a prune stays.
#[test]
fn two_writers_and_a_prune_at_once_lose_nothing() {
    let mut bench = Bench::made();
    let (one, two) = (bench.path("one"), bench.path("two"));
    many_small(&one, 700);
    many_small(&two, 700);
    // What both have was saved before, and nothing needs it any more when they begin.
    let before = bench.save(&one).id;
    bench.run(Task::Forget { snapshots: vec![before] }).done();
    fs::write(one.join("own"), noise(50, 40_000_000)).unwrap();
    fs::write(two.join("own"), noise(51, 40_000_000)).unwrap();
    // Slowly enough to see packs come. Each stops when some of its data is there and no snapshot is.
    bench.bytes_per_second = Some(6_000_000);
    let writers = [&one, &two].map(|from| {
        let packs = bench.files("data").len();
        let mut child = bench.start(bench.save_task(from));
        while bench.files("data").len() == packs {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was stopped");
        }
        let group = Pid::from_child(&child);
        kill_process_group(group, Signal::STOP).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was stopped");
        (child, group)
    });
    bench.bytes_per_second = None;
    assert_eq!(bench.list(), [], "both are still at it");
    for _ in 0..2 {
        bench.run(Task::Prune { dry_run: false }).done();
    }
    writers.iter().for_each(|(_, group)| kill_process_group(*group, Signal::CONT).unwrap());
    bench.run(Task::Prune { dry_run: false }).done();
    let ids = writers.map(|(child, _)| match Outcome::of(child).done() {
        Done::Snapshot(made) => made.id,
        other => panic!("{other:?}"),
    });
    bench.run(Task::Prune { dry_run: false }).done();
    for (id, from) in ids.into_iter().zip([one, two]) {
        bench.verify(id);
        let into = bench.path(&id.to_string());
        bench.restore(id, "data", &into);
        assert_same(&from, &into);
    }
}

/// 7, too: what nothing needs is marked, and goes a day later.
#[test]
fn a_prune_marks_and_only_a_later_one_deletes() {
    let Some(clock) = WrongClock::require() else { return };
    let mut bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("large"), noise(1, 20_000_000)).unwrap();
    let first = bench.save(&from).id;
    bench.run(Task::Forget { snapshots: vec![first] }).done();
    let pruned = |outcome: crate::job::Outcome| match outcome.done() {
        Done::Prune(pruned) => pruned,
        other => panic!("{other:?}"),
    };
    let packs = bench.files("data").len();
    let dry = pruned(bench.run(Task::Prune { dry_run: true }));
    assert!(
        dry.unused_bytes > 19_000_000 && dry.marked_bytes > 19_000_000 && dry.deleted_bytes == 0,
        "{dry:?}"
    );
    assert_eq!(bench.files("index").len(), 1);
    for _ in 0..2 {
        let marked = pruned(bench.run(Task::Prune { dry_run: false }));
        assert_eq!(marked.deleted_bytes, 0);
        assert_eq!(bench.files("data").len(), packs);
    }
    // The data is wanted again before it goes: the next prune takes the mark away.
    let again = bench.save(&from);
    bench.verify(again.id);
    bench.prefix = clock.prefix("+22h");
    pruned(bench.run(Task::Prune { dry_run: false }));
    bench.prefix = clock.prefix("+25h");
    pruned(bench.run(Task::Prune { dry_run: false }));
    bench.verify(again.id);
    bench.run(Task::Forget { snapshots: vec![again.id] }).done();
    pruned(bench.run(Task::Prune { dry_run: false }));
    bench.prefix = clock.prefix("+50h");
    let deleted = pruned(bench.run(Task::Prune { dry_run: false }));
    assert!(deleted.deleted_bytes > 19_000_000, "{deleted:?}");
    assert_eq!(bench.files("data").len(), 0, "nothing is left that nothing needs");
}

/// 8: a plain check does not see a flipped bit; reading back does, and past the cache.
#[test]
fn reading_back_sees_what_a_plain_check_does_not_and_passes_the_cache() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 100);
    let before = bench.files("data");
    let made = bench.save(&from);
    let read = bench.verify(made.id);
    assert!(read > made.bytes, "{read} of {}", made.bytes);
    flip_a_bit(&new_data_pack(&bench, &before));
    let Done::Check { problems, .. } = bench.run(Task::Check { read: None, except: Vec::new() }).done()
    else {
        panic!()
    };
    assert_eq!(problems, [], "were this seen, the test would prove nothing");
    assert!(!bench.check().is_empty());
    assert_eq!(bench.run(Task::Verify { snapshot: made.id }).failed().kind, FailedKind::Damaged);
    // The trees are in the cache, and damaged at the target only.
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 5_000);
    let made = bench.save(&from);
    for pack in bench.files("data") {
        flip_a_bit(&pack);
    }
    let failed = bench.run(Task::Verify { snapshot: made.id }).failed();
    assert_eq!(failed.kind, FailedKind::Damaged, "{failed:?}");
    // A part of the packs at a time sees each in the end.
    let found: usize = (0..4)
        .map(|part| {
            let Done::Check { problems, .. } =
                bench.run(Task::Check { read: Some((part, 4)), except: Vec::new() }).done()
            else {
                panic!()
            };
            problems.len()
        })
        .sum();
    assert!(found > 0);
}
