//! What is saved comes back as it was.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::Command,
};

use backstay_types::{
    Secret,
    backup::{
        Proof,
        job::{Done, FailedKind, FileKind, Place, RestoreTask, Root, SnapshotTask, Source, Task},
    },
};

use crate::{
    job::{Bench, PASSWORD, noise, restored, root, text},
    tree::{all_kinds, assert_same, look, many_small},
};

fn command(name: &str, script: &str) -> Root {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Root { name: name.to_owned(), from: Source::Command { argv, file: "out".to_owned() } }
}

fn snapshot(roots: Vec<Root>) -> Task {
    let at = "2026-11-22T03:00:00Z".parse().unwrap();
    Task::Snapshot(SnapshotTask { roots, host: "node-1".to_owned(), tags: Vec::new(), at })
}

#[test]
fn all_kinds_of_files_come_back_as_they_were() {
    let bench = Bench::made();
    let from = bench.path("from");
    all_kinds(&from);
    let made = bench.save(&from);
    assert_eq!(made.proof, Proof::Matched);
    assert_eq!(made.files, look(&from).len() as u64);
    bench.verify(made.id);
    let into = bench.path("into");
    let restored = bench.restore(made.id, "data", &into);
    assert_eq!(restored.damaged, []);
    assert_eq!(restored.files, made.files);
    assert_same(&from, &into);
    let blocks = fs::metadata(into.join("sparse")).unwrap().blocks();
    assert!(blocks * 512 < 8 << 20, "64 MiB of holes take {blocks} blocks");
    // Over it again, and the digest is of what was written, not of when.
    let again = bench.restore(made.id, "data", &into);
    assert_eq!(again.digest, restored.digest);
    assert_same(&from, &into);
}

#[test]
fn many_small_files_come_back() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 3_000);
    let made = bench.save(&from);
    bench.restore(made.id, "data", &bench.path("into"));
    assert_same(&from, &bench.path("into"));
    // A second time nothing is added but what says so.
    let second = bench.save(&from);
    assert!(second.added_bytes < 2_000, "{second:?}");
    assert_eq!(second.manifest, made.manifest);
    assert_ne!(second.id, made.id);
}

#[test]
fn roots_are_folders_at_the_top_and_each_can_be_a_file_a_folder_or_a_program() {
    let bench = Bench::made();
    let (from, file) = (bench.path("from"), bench.path("one.conf"));
    fs::create_dir_all(from.join("keep/cache")).unwrap();
    for name in ["a.log", "b.txt", "keep/a.log", "keep/cache/x"] {
        fs::write(from.join(name), name).unwrap();
    }
    fs::write(&file, "alone").unwrap();
    let exclude = ["*.log", "/keep/cache/"].map(str::to_owned).to_vec();
    let roots = vec![
        root("settings", &file),
        Root { name: "data".to_owned(), from: Source::Path { path: text(&from), exclude } },
        command("dump", "seq 1 1000000"),
    ];
    let Done::Snapshot(made) = bench.run(snapshot(roots)).done() else { panic!() };
    assert_eq!(
        made.roots.iter().map(|root| root.name.as_str()).collect::<Vec<_>>(),
        ["settings", "data", "dump"]
    );
    assert_eq!(made.roots.iter().map(|root| root.files).collect::<Vec<_>>(), [2, 3, 2]);
    assert_eq!(made.roots.iter().map(|root| root.bytes).sum::<u64>(), made.bytes);
    let files = Task::Files { snapshot: made.id, path: String::new(), recursive: true };
    let Done::Files { files } = bench.run(files).done() else { panic!() };
    let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        ["data", "data/b.txt", "data/keep", "dump", "dump/out", "settings", "settings/one.conf"]
    );
    assert_eq!(files[4].bytes, 6_888_896, "what a program printed has its size");
    assert_eq!((files[0].kind, files[1].kind), (FileKind::Folder, FileKind::File));
    let below = Task::Files { snapshot: made.id, path: "data".to_owned(), recursive: false };
    let Done::Files { files } = bench.run(below).done() else { panic!() };
    assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["data/b.txt", "data/keep"]);
    // A file becomes the file that is named.
    let into = bench.path("out.txt");
    bench.restore(made.id, "dump/out", &into);
    assert_eq!(fs::read(&into).unwrap(), Command::new("seq").args(["1", "1000000"]).output().unwrap().stdout);
}

#[test]
fn a_job_that_makes_no_sense_is_refused() {
    let bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir(&from).unwrap();
    for roots in
        [vec![], vec![root("a/b", &from)], vec![root("..", &from)], vec![root("a", &from), root("a", &from)]]
    {
        assert_eq!(bench.run(snapshot(roots)).failed().kind, FailedKind::BadJob);
    }
    let made = bench.save(&from);
    let nowhere = bench.restore_task(made.id, "no/such", &bench.path("into"));
    assert_eq!(bench.run(nowhere).failed().kind, FailedKind::BadJob);
    let output = Command::new(env!("CARGO_BIN_EXE_backstay-backup")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"kind\":\"bad_job\""));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn passwords_are_added_and_wrong_ones_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(Task::List).failed().kind, FailedKind::NoRepository);
    let made = bench.run(Task::Init { passwords: vec![Secret::new("second")] }).done();
    let again = bench.run(Task::Init { passwords: vec![Secret::new("second")] }).done();
    let (Done::Init { made: true, id }, Done::Init { made: false, id: same }) = (made, again) else {
        panic!()
    };
    assert_eq!(id, same);
    assert_eq!(bench.files("keys").len(), 2, "one that is there is not added again");
    bench.run(Task::AddPassword { password: Secret::new("third") }).done();
    bench.run(Task::AddPassword { password: Secret::new("third") }).done();
    assert_eq!(bench.files("keys").len(), 3);
    for good in [PASSWORD, "second", "third"] {
        bench.repository.password = Secret::new(good);
        assert!(bench.list().is_empty());
    }
    bench.repository.password = Secret::new("fourth");
    assert_eq!(bench.run(Task::List).failed().kind, FailedKind::WrongPassword);
}

#[test]
fn a_repository_whose_making_was_cut_off_is_made_by_the_next_run() {
    let bench = Bench::made();
    // What is left when it is killed after the key and before the config.
    fs::remove_file(bench.path("repository/config")).unwrap();
    bench.init();
    assert_eq!(bench.files("keys").len(), 1);
    assert!(bench.list().is_empty());
}

#[test]
fn nothing_is_written_outside_the_place() {
    let bench = Bench::made();
    let (from, into, outside) = (bench.path("from"), bench.path("into"), bench.path("outside"));
    fs::create_dir_all(from.join("folder")).unwrap();
    fs::write(from.join("folder/file"), "saved").unwrap();
    fs::write(from.join("other"), "saved").unwrap();
    let made = bench.save(&from);
    fs::create_dir(&into).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "not ours").unwrap();
    fs::write(outside.join("victim"), "not ours").unwrap();
    // Where a folder goes there is a link to one outside, and where a file goes, to a file outside.
    symlink(&outside, into.join("folder")).unwrap();
    symlink(outside.join("victim"), into.join("other")).unwrap();
    bench.restore(made.id, "data", &into);
    assert_same(&from, &into);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "not ours");
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "not ours");
}

#[test]
fn others_are_taken_away_when_that_is_asked_for_and_only_there() {
    let bench = Bench::made();
    let (from, into, outside) = (bench.path("from"), bench.path("into"), bench.path("outside"));
    fs::create_dir_all(from.join("folder")).unwrap();
    fs::write(from.join("folder/file"), "saved").unwrap();
    let made = bench.save(&from);
    let others = || {
        fs::create_dir_all(into.join("folder/old/deep")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("file"), "stays").unwrap();
        fs::write(into.join("folder/old/deep/er"), "goes").unwrap();
        let _ = symlink(&outside, into.join("way-out"));
    };
    others();
    bench.restore(made.id, "data", &into);
    assert!(into.join("folder/old/deep/er").exists(), "nothing goes unasked");
    let places = vec![Place { path: "data".to_owned(), into: text(&into) }];
    let task = Task::Restore(RestoreTask {
        snapshot: made.id,
        places,
        delete_others: true,
        reuse: false,
        keep_free: 0,
    });
    restored(bench.run(task));
    assert_eq!(look(&into).keys().collect::<Vec<_>>(), look(&from).keys().collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "stays");
}

#[test]
fn a_file_system_that_is_mounted_below_is_left_out_and_its_folder_kept() {
    let bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir_all(from.join("mounted")).unwrap();
    fs::write(from.join("file"), "x").unwrap();
    let Some(_disk) = backstay_testkit::SmallDisk::mount(&from.join("mounted"), "1m") else { return };
    fs::write(from.join("mounted/inside"), "y").unwrap();
    let made = bench.save(&from);
    let into = bench.path("into");
    bench.restore(made.id, "data", &into);
    assert!(into.join("mounted").is_dir());
    assert!(!into.join("mounted/inside").exists());
}

#[test]
fn a_limit_is_kept() {
    let mut bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("file"), noise(3, 3_000_000)).unwrap();
    bench.bytes_per_second = Some(1_000_000);
    let outcome = bench.run(bench.save_task(&from));
    let took = outcome.took;
    let told = outcome.lines.len() - 1;
    assert!(took.as_secs_f64() > 2.5 && took.as_secs_f64() < 12.0, "{took:?}");
    assert!(told >= 2, "{told} lines of progress in {took:?}");
    outcome.done();
}

#[test]
fn files_that_cannot_be_read_are_named_and_there_is_no_snapshot_of_the_others() {
    // As somebody who may not read one of the files, with the repository and the cache their own. Root may read all.
    let bench = Bench::made();
    let from = bench.path("from");
    fs::create_dir_all(from.join("closed")).unwrap();
    for name in ["readable", "secret", "closed/inside"] {
        fs::write(from.join(name), name).unwrap();
    }
    for name in ["secret", "closed"] {
        fs::set_permissions(from.join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let task = bench.save_task(&from);
    let (bench, outcome) = if rustix::process::geteuid().is_root() {
        as_nobody(bench, task)
    } else {
        let outcome = bench.run(task);
        (bench, outcome)
    };
    let failed = outcome.failed();
    assert_eq!(failed.kind, FailedKind::Source);
    let at: Vec<_> = failed.problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(at, ["data/closed", "data/secret"]);
    assert!(bench.list().is_empty(), "there is no snapshot of a part");
}

/// Runs a task as a user who owns the repository and nothing else.
fn as_nobody(mut bench: Bench, task: Task) -> (Bench, crate::job::Outcome) {
    fs::create_dir_all(bench.path("cache")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_backstay-backup"), bench.path("program")).unwrap();
    fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut owned = Command::new("chown");
    owned.args(["-R", "65534:65534"]).args([bench.path("repository"), bench.path("cache")]);
    assert!(owned.status().unwrap().success());
    bench.program = bench.path("program");
    bench.prefix =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned).to_vec();
    let outcome = bench.run(task);
    bench.prefix.clear();
    (bench, outcome)
}
