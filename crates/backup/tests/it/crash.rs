//! Killed at any moment, the next run is right.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_testkit::{
    find_tool,
    left_out::{self, Part},
};
use backstay_types::backup::job::{Place, RestoreTask, Task};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    job::{Bench, noise, restored, text},
    tree::{assert_same, many_small},
};

/// All files below a folder.
fn names(at: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![at.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path)
            } else {
                found.insert(path);
            };
        }
    }
    found
}

/// Kills a task as soon as so many files came or went below a folder, and says whether it was still running. It runs
/// slowly enough to see files come.
fn kill_at(bench: &mut Bench, task: Task, at: &Path, changes: usize) -> bool {
    bench.bytes_per_second = Some(6_000_000);
    let before = names(at);
    let mut child = bench.start(task);
    let mut killed = true;
    while killed && names(at).symmetric_difference(&before).count() < changes {
        killed = child.try_wait().unwrap().is_none();
    }
    // With what it was started through.
    let group = Pid::from_child(&child);
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().unwrap();
    bench.bytes_per_second = None;
    killed
}

fn fill(bench: &Bench) -> std::path::PathBuf {
    let from = bench.path("from");
    many_small(&from, 500);
    for number in 0..3 {
        fs::write(from.join(format!("large{number}")), noise(number, 9_000_000)).unwrap();
    }
    from
}

#[test]
fn killed_while_saving() {
    let usual = Bench::made();
    let from = fill(&usual);
    // Among the data, before the index, before the snapshot.
    for changes in [1, 3, 5, 6] {
        let mut bench = Bench::made();
        let (task, repository) = (bench.save_task(&from), bench.path("repository"));
        assert!(kill_at(&mut bench, task, &repository, changes), "{changes}");
        // A snapshot is there whole, or not at all.
        for id in bench.list() {
            bench.verify(id);
        }
        let made = bench.save(&from);
        bench.verify(made.id);
        assert_eq!(bench.check(), []);
        bench.restore(made.id, "data", &bench.path("into"));
        assert_same(&from, &bench.path("into"));
    }
}

/// Each file that comes or goes below the repository, until there are no more of them. They follow each other at once, and
/// are held up so that each is seen.
#[test]
fn killed_while_pruning() {
    let strace = find_tool("strace").ok_or_else(|| "not installed".to_owned());
    let Some(strace) = left_out::require(Part::Strace, strace) else { return };
    let mut bench = Bench::made();
    let from = fill(&bench);
    let first = bench.save(&from).id;
    for number in (0..500).step_by(3) {
        fs::remove_file(from.join(format!("{}/f{number}", number / 100))).unwrap();
    }
    fs::remove_file(from.join("large1")).unwrap();
    let second = bench.save(&from).id;
    bench.run(Task::Forget { snapshots: vec![first] }).done();
    let (repository, ready) = (bench.path("repository"), bench.path("ready"));
    copy(&repository, &ready);
    let slowly = [&text(&strace), "-f", "-qq", "-o", "/dev/null", "-e", CHANGES, "-e", HELD_UP];
    for changes in 1.. {
        bench.prefix = slowly.map(str::to_owned).to_vec();
        let killed = kill_at(&mut bench, Task::Prune { dry_run: false }, &repository, changes);
        bench.prefix.clear();
        bench.verify(second);
        bench.run(Task::Prune { dry_run: false }).done();
        bench.verify(second);
        assert_eq!(bench.check(), []);
        if !killed {
            // New packs, the new index, the old ones that it takes the place of.
            assert!(changes >= 4, "only {changes} files came or went");
            break;
        }
        let into = bench.path(&format!("into{changes}"));
        bench.restore(second, "data", &into);
        assert_same(&from, &into);
        fs::remove_dir_all(&repository).unwrap();
        copy(&ready, &repository);
    }
}

const CHANGES: &str = "trace=rename,renameat,renameat2,unlink,unlinkat";
const HELD_UP: &str = "inject=rename,renameat,renameat2,unlink,unlinkat:delay_enter=1000000";

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn killed_while_restoring() {
    let mut bench = Bench::made();
    let from = fill(&bench);
    let made = bench.save(&from);
    for changes in [1, 100, 400] {
        let into = bench.path(&format!("into{changes}"));
        let task = bench.restore_task(made.id, "data", &into);
        assert!(kill_at(&mut bench, task, &into, changes), "{changes}");
        // What is there under its own name is whole.
        for (path, like) in crate::tree::look(&into) {
            if let Some(content) = like.content {
                assert_eq!(content, fs::read(from.join(&path)).unwrap(), "{path:?}");
            }
        }
        let places = vec![Place { path: "data".to_owned(), into: text(&into) }];
        let task = Task::Restore(RestoreTask {
            snapshot: made.id,
            places,
            delete_others: true,
            reuse: false,
            keep_free: 0,
        });
        assert_eq!(restored(bench.run(task)).damaged, []);
        assert_same(&from, &into);
    }
}

#[test]
fn killed_while_copying() {
    let mut bench = Bench::made();
    let from = fill(&bench);
    let made = bench.save(&from);
    let task = |to: &Bench| Task::Copy { to: to.repository.clone(), snapshots: vec![made.id] };
    for changes in [1, 4, 6] {
        let other = Bench::made();
        assert!(kill_at(&mut bench, task(&other), &other.path("repository"), changes), "{changes}");
        for id in other.list() {
            other.verify(id);
        }
        bench.run(task(&other)).done();
        let copies = other.list();
        assert_eq!(copies.len(), 1);
        other.verify(copies[0]);
    }
}
