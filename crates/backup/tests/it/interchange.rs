//! restic itself reads what is written here, and what it writes is read here.

use std::fs;

use backstay_testkit::{Restic, run};
use backstay_types::backup::job::{Done, Task};

use crate::{
    job::{Bench, PASSWORD, noise, text},
    tree::{all_kinds, assert_same, many_small},
};

#[test]
fn restic_checks_and_restores_what_is_written_here() {
    let Some(restic) = Restic::require() else { return };
    let bench = Bench::made();
    let from = bench.path("from");
    all_kinds(&from);
    many_small(&from.join("many"), 500);
    let first = bench.save(&from);
    fs::write(from.join("more"), noise(9, 3_000_000)).unwrap();
    let second = bench.save(&from);
    bench.run(Task::Forget { snapshots: vec![first.id] }).done();
    bench.run(Task::Prune { dry_run: false }).done();
    let repository = text(&bench.path("repository"));
    run(restic.command(&repository, PASSWORD).args(["check", "--read-data"]));
    let listed = run(restic.command(&repository, PASSWORD).args(["snapshots", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["id"], second.id.to_string());
    assert_eq!(listed[0]["hostname"], "node-1");
    assert_eq!(listed[0]["tags"][0], "backstay:stack=shop");
    assert_eq!(listed[0]["paths"][0], "/data");
    let into = bench.path("into");
    run(restic
        .command(&repository, PASSWORD)
        .args(["restore", &second.id.to_string(), "--target"])
        .arg(&into));
    assert_same(&from, &into.join("data"));
}

#[test]
fn what_a_program_printed_is_whole_for_restic_too() {
    let Some(restic) = Restic::require() else { return };
    let bench = Bench::made();
    let root = backstay_types::backup::job::Root {
        name: "dump".to_owned(),
        from: backstay_types::backup::job::Source::Command {
            argv: ["seq", "1", "500000"].map(str::to_owned).to_vec(),
            file: "dump.sql".to_owned(),
        },
    };
    let Task::Snapshot(mut task) = bench.save_task(bench.dir.path()) else { panic!() };
    task.roots = vec![root];
    let Done::Snapshot(made) = bench.run(Task::Snapshot(task)).done() else { panic!() };
    let into = bench.path("into");
    let repository = text(&bench.path("repository"));
    let mut command = restic.command(&repository, PASSWORD);
    run(command.args(["restore", &made.id.to_string(), "--target"]).arg(&into));
    let there = fs::read(into.join("dump/dump.sql")).unwrap();
    assert_eq!(there, std::process::Command::new("seq").args(["1", "500000"]).output().unwrap().stdout);
}

#[test]
fn what_restic_writes_is_checked_listed_and_restored_here() {
    let Some(restic) = Restic::require() else { return };
    let bench = Bench::new();
    let from = bench.path("from");
    all_kinds(&from);
    many_small(&from.join("many"), 500);
    let repository = text(&bench.path("repository"));
    run(restic.command(&repository, PASSWORD).arg("init"));
    run(restic.command(&repository, PASSWORD).current_dir(bench.dir.path()).args(["backup", "from"]));
    let id = bench.list()[0];
    assert_eq!(bench.check(), []);
    bench.verify(id);
    let into = bench.path("into");
    bench.restore(id, "from", &into);
    assert_same(&from, &into);
    // And both write to it in turn.
    let made = bench.save(&from);
    bench.verify(made.id);
    assert!(made.added_bytes < 1_000_000, "the same data is not saved twice: {made:?}");
    run(restic.command(&repository, PASSWORD).args(["check", "--read-data"]));
}
