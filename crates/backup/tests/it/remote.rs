//! Repositories behind REST and in S3.

use std::fs;

use backstay_testkit::{BucketKind, Restic, S3Server, run, scratch_dir};
use backstay_types::{
    Secret,
    backup::job::{Copied, Done, FailedKind, Line, Repository, Target, Task},
};

use crate::{
    job::{Bench, PASSWORD, noise},
    rest_server::RestServer,
    tree::{all_kinds, assert_same, many_small},
};

/// All that a node does behind the hub: save, look, read back, restore.
fn save_and_restore(bench: &Bench) {
    let from = bench.path("from");
    all_kinds(&from);
    many_small(&from.join("many"), 300);
    let made = bench.save(&from);
    bench.verify(made.id);
    assert_eq!(bench.check(), []);
    assert_eq!(bench.list(), [made.id]);
    bench.restore(made.id, "data", &bench.path("into"));
    assert_same(&from, &bench.path("into"));
    fs::write(from.join("more"), noise(9, 300_000)).unwrap();
    let second = bench.save(&from);
    assert!(second.added_bytes < 500_000, "{second:?}");
    bench.verify(second.id);
}

#[test]
fn a_node_saves_and_restores_behind_a_server_that_only_takes_new_files() {
    let server = RestServer::start();
    let bench = server.bench();
    assert_eq!(bench.run(Task::List).failed().kind, FailedKind::NoRepository);
    bench.init();
    save_and_restore(&bench);
    let id = bench.list()[0];
    let failed = bench.run(Task::Forget { snapshots: vec![id] }).failed();
    assert_eq!(failed.kind, FailedKind::Refused, "{failed:?}");
    assert_eq!(bench.list().len(), 2);
    server.let_delete();
    assert_eq!(bench.run(Task::Forget { snapshots: vec![id] }).done(), Done::Forget { gone: 1 });
    bench.run(Task::Prune { dry_run: false }).done();
    assert_eq!(bench.check(), []);
}

#[test]
fn a_wrong_credential_is_refused_and_never_shown() {
    let server = RestServer::start();
    let mut bench = server.bench();
    bench.init();
    bench.repository.target = server.target("someone-elses-credential");
    let failed = bench.run(Task::List).failed();
    assert_eq!(failed.kind, FailedKind::Refused, "{failed:?}");
    assert!(!format!("{failed:?}").contains("someone-elses"), "{failed:?}");
}

#[test]
fn a_write_whose_answer_is_lost_is_not_a_failure() {
    let server = RestServer::start();
    let bench = server.bench();
    bench.init();
    server.be_flaky();
    let from = bench.path("from");
    many_small(&from, 400);
    fs::write(from.join("large"), noise(1, 20_000_000)).unwrap();
    let made = bench.save(&from);
    bench.verify(made.id);
}

#[test]
fn a_limit_is_kept_in_both_directions() {
    let server = RestServer::start();
    let mut bench = server.bench();
    bench.init();
    let from = bench.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("file"), noise(3, 3_000_000)).unwrap();
    bench.bytes_per_second = Some(1_000_000);
    let saved = bench.run(bench.save_task(&from));
    assert!(saved.took.as_secs_f64() > 2.5, "{:?}", saved.took);
    let Some(Line::Done(done)) = saved.lines.last() else { panic!("{saved:?}") };
    let Done::Snapshot(made) = &**done else { panic!() };
    let restored = bench.run(bench.restore_task(made.id, "data", &bench.path("into")));
    assert!(restored.took.as_secs_f64() > 2.5, "{:?}", restored.took);
    assert_same(&from, &bench.path("into"));
}

fn s3(server: &S3Server, prefix: &str) -> Target {
    Target::S3 {
        endpoint: server.url(),
        region: "us-east-1".to_owned(),
        bucket: S3Server::BUCKET.to_owned(),
        prefix: prefix.to_owned(),
        access_key: "key".to_owned(),
        secret_key: Secret::new("secret"),
    }
}

#[test]
fn a_bucket_takes_a_repository_and_restic_reads_it() {
    let Some(server) = S3Server::require() else { return };
    let bench = Bench::at(scratch_dir(), s3(&server, "nodes/one"));
    assert_eq!(bench.run(Task::List).failed().kind, FailedKind::NoRepository);
    bench.init();
    save_and_restore(&bench);
    let other = Bench::at(scratch_dir(), s3(&server, "nodes/two"));
    assert_eq!(other.run(Task::List).failed().kind, FailedKind::NoRepository, "prefixes are apart");
    if let Some(restic) = Restic::require() {
        let place = format!("s3:{}/{}/nodes/one", server.url(), S3Server::BUCKET);
        let mut check = restic.command(&place, PASSWORD);
        run(check
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .args(["check", "--read-data"]));
    }
    let ids = bench.list();
    bench.run(Task::Forget { snapshots: ids }).done();
    bench.run(Task::Prune { dry_run: false }).done();
    assert!(bench.list().is_empty());
}

/// As the second target should be: whoever holds its key takes nothing away.
#[test]
fn a_bucket_with_object_lock_takes_packs_and_keeps_them() {
    let Some(server) = S3Server::require() else { return };
    server.make_bucket("locked", BucketKind::Locked);
    let mut target = s3(&server, "nodes/one");
    if let Target::S3 { bucket, .. } = &mut target {
        "locked".clone_into(bucket);
    }
    let bench = Bench::at(scratch_dir(), target);
    bench.init();
    save_and_restore(&bench);
    // From another repository, as the hub copies.
    let from = Bench::made();
    let files = from.path("from");
    many_small(&files, 300);
    fs::write(files.join("large"), noise(1, 20_000_000)).unwrap();
    let made = from.save(&files);
    let to = bench.repository.clone();
    let Done::Copy { copies } = from.run(Task::Copy { to, snapshots: vec![made.id] }).done() else {
        panic!()
    };
    bench.verify(copies[0].to);
}

#[test]
fn a_bucket_that_is_not_there_is_said() {
    let Some(server) = S3Server::require() else { return };
    let mut target = s3(&server, "");
    if let Target::S3 { bucket, .. } = &mut target {
        *bucket = "nowhere".to_owned();
    }
    let bench = Bench::at(scratch_dir(), target);
    let failed = bench.run(Task::Init { passwords: Vec::new() }).failed();
    assert_eq!(failed.kind, FailedKind::Refused, "{failed:?}");
    assert!(failed.message.contains("NoSuchBucket"), "{failed:?}");
    assert!(!failed.message.contains("Signature"), "{failed:?}");
}

#[test]
fn a_server_that_is_killed_is_told_soon() {
    let Some(mut server) = S3Server::require() else { return };
    let bench = Bench::at(scratch_dir(), s3(&server, "x"));
    bench.init();
    server.kill();
    let outcome = bench.run(Task::List);
    assert!(outcome.took.as_secs() < 20, "{:?}", outcome.took);
    assert_eq!(outcome.failed().kind, FailedKind::Unreachable);
}

#[test]
fn snapshots_are_copied_to_another_repository_once() {
    let Some(server) = S3Server::require() else { return };
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 300);
    let first = bench.save(&from).id;
    fs::write(from.join("more"), noise(9, 3_000_000)).unwrap();
    let second = bench.save(&from).id;
    let mut other = Bench::at(scratch_dir(), s3(&server, "second"));
    other.repository.password = Secret::new("another password");
    other.init();
    let copy = |snapshots: &[_]| {
        let to: Repository = other.repository.clone();
        match bench.run(Task::Copy { to, snapshots: snapshots.to_vec() }).done() {
            Done::Copy { copies } => copies,
            done => panic!("{done:?}"),
        }
    };
    let [Copied { from: of, to }] = copy(&[first])[..] else { panic!() };
    assert_eq!(of, first);
    assert_ne!(to, first);
    let copies = copy(&[first, second]);
    assert_eq!(copies[0], Copied { from: first, to }, "what is there is left out");
    assert_eq!(other.list().len(), 2);
    let Done::List { snapshots } = other.run(Task::List).done() else { panic!() };
    assert!(snapshots.iter().any(|listed| listed.original == Some(second)));
    other.verify(copies[1].to);
    other.restore(copies[1].to, "data", &other.path("into"));
    assert_same(&from, &other.path("into"));
}

#[test]
fn a_damaged_snapshot_is_not_copied() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 100);
    let before = bench.files("data");
    let made = bench.save(&from);
    crate::broken::flip_a_bit(&crate::broken::new_data_pack(&bench, &before));
    let other = Bench::made();
    let task = Task::Copy { to: other.repository.clone(), snapshots: vec![made.id] };
    assert_eq!(bench.run(task).failed().kind, FailedKind::Damaged);
    assert!(other.list().is_empty());
}
