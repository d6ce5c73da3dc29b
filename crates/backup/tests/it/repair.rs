//! What was damaged is taken out, what can still be read is kept, and the next backup is right.

use std::{fs, path::PathBuf, time::Duration};

use backstay_testkit::{Restic, S3Server, run, scratch_dir};
use backstay_types::{
    Secret,
    backup::{
        SnapshotId,
        job::{Done, FailedKind, Problem, Target, Task},
    },
};

use rusty_s3::{Bucket, Credentials, S3Action as _};

use crate::{
    broken::{HARMS, Harm, flip_a_bit, new_data_pack},
    job::{Bench, PASSWORD, noise, text},
    tree::{assert_same, look, many_small},
};

fn repair(bench: &Bench) -> Vec<Problem> {
    match bench.run(Task::Repair).done() {
        Done::Repair { lost, .. } => lost,
        other => panic!("{other:?}"),
    }
}

/// What a check of everything but these finds.
fn check_but(bench: &Bench, except: &[SnapshotId]) -> Vec<Problem> {
    match bench.run(Task::Check { read: Some((0, 1)), except: except.to_vec() }).done() {
        Done::Check { problems, .. } => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_repair_the_next_backup_saves_anew_what_was_lost() {
    for (what, harm) in HARMS {
        let bench = Bench::made();
        let from = bench.path("from");
        many_small(&from.join("early"), 200);
        let first = bench.save(&from).id;
        let before = bench.files("data");
        many_small(&from.join("later"), 300);
        let second = bench.save(&from).id;
        harm(&new_data_pack(&bench, &before));
        // The defect that a repair is for: what is damaged is taken for saved.
        let blind = bench.save(&from).id;
        if what != "a pack that is missing" {
            assert_eq!(
                bench.run(Task::Verify { snapshot: blind }).failed().kind,
                FailedKind::Damaged,
                "{what}"
            );
        }
        let lost = repair(&bench);
        assert!(lost.iter().any(|one| one.at.starts_with("data/")), "{what}: {lost:?}");
        bench.verify(first);
        assert_eq!(bench.run(Task::Verify { snapshot: second }).failed().kind, FailedKind::Damaged, "{what}");
        assert_eq!(check_but(&bench, &[second, blind]), [], "{what}");
        assert_eq!(repair(&bench), [], "{what}: there is nothing left to repair");
        let next = bench.save(&from);
        assert!(next.added_bytes > 0, "{what}");
        bench.verify(next.id);
        // What was damaged is whole again: the same content was saved anew.
        bench.verify(second);
        assert_eq!(bench.check(), [], "{what}");
        bench.restore(second, "data", &bench.path("into"));
        assert_same(&from, &bench.path("into"));
        if let Some(restic) = Restic::require() {
            run(restic.command(&text(&bench.path("repository")), PASSWORD).args(["check", "--read-data"]));
        }
    }
}

#[test]
fn of_a_damaged_pack_only_what_was_hit_is_lost() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 300);
    let made = bench.save(&from).id;
    let largest: PathBuf = new_data_pack(&bench, &[]);
    flip_a_bit(&largest);
    let lost = repair(&bench);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(!largest.exists());
    fs::remove_dir_all(&from).unwrap();
    let restored = bench.restore(made, "data", &bench.path("into"));
    let there = look(&bench.path("into"));
    assert!(!restored.damaged.is_empty() && restored.damaged.len() < 20, "{:?}", restored.damaged);
    assert!(there.len() > 280, "{} of 300 are there", there.len());
    // What lost data goes by retention; then nothing of it is left, and a prune works.
    bench.run(Task::Forget { snapshots: vec![made] }).done();
    bench.run(Task::Prune { dry_run: false }).done();
    assert_eq!(bench.check(), []);
}

#[test]
fn an_index_that_is_gone_or_damaged_is_made_anew() {
    for harm in [flip_a_bit as Harm, |path| fs::remove_file(path).unwrap()] {
        let bench = Bench::made();
        let from = bench.path("from");
        many_small(&from, 100);
        let made = bench.save(&from).id;
        bench.files("index").iter().for_each(|path| harm(path));
        repair(&bench);
        bench.verify(made);
        assert_eq!(bench.check(), []);
        let next = bench.save(&from);
        assert!(next.added_bytes < 10_000, "nothing is sent again: {next:?}");
    }
}

#[test]
fn a_damaged_snapshot_file_hinders_no_other() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 50);
    let first = bench.save(&from).id;
    fs::write(from.join("more"), noise(9, 100_000)).unwrap();
    let second = bench.save(&from).id;
    flip_a_bit(&bench.path("repository/snapshots").join(second.to_string()));
    let check = Task::Check { read: None, except: Vec::new() };
    assert_eq!(bench.run(check).failed().kind, FailedKind::Damaged);
    let lost = repair(&bench);
    assert_eq!(lost[0].at, format!("snapshots/{second}"));
    assert_eq!(bench.list(), [first]);
    bench.verify(first);
    let next = bench.save(&from);
    bench.verify(next.id);
    assert_eq!(bench.check(), []);
}

#[test]
fn a_repository_in_a_bucket_is_repaired_too() {
    let Some(server) = S3Server::require() else { return };
    let target = Target::S3 {
        endpoint: server.url(),
        region: "us-east-1".to_owned(),
        bucket: S3Server::BUCKET.to_owned(),
        prefix: "nodes/one".to_owned(),
        access_key: "key".to_owned(),
        secret_key: Secret::new("secret"),
    };
    let bench = Bench::at(scratch_dir(), target);
    bench.init();
    let from = bench.path("from");
    many_small(&from, 100);
    let made = bench.save(&from).id;
    let list = format!("{}/{}?list-type=2&prefix=nodes/one/data/", server.url(), S3Server::BUCKET);
    let listed = backstay_testkit::http::get(&list).unwrap().body;
    let key = listed.split("<Key>").nth(1).unwrap().split("</Key>").next().unwrap();
    let style = rusty_s3::UrlStyle::Path;
    let bucket = Bucket::new(server.url().parse().unwrap(), style, S3Server::BUCKET, "us-east-1").unwrap();
    let credentials = Credentials::new("key", "secret");
    let url = bucket.delete_object(Some(&credentials), key).sign(Duration::from_secs(60));
    let deleted = backstay_testkit::http::send("DELETE", url.as_str(), &[], b"").unwrap();
    assert!(deleted.status < 300, "{deleted:?}");
    assert_eq!(bench.run(Task::Verify { snapshot: made }).failed().kind, FailedKind::Damaged);
    assert_eq!(repair(&bench).len(), 1);
    let next = bench.save(&from);
    bench.verify(next.id);
    bench.verify(made);
}

#[test]
fn a_repository_that_lost_its_config_keeps_its_data() {
    let bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 50);
    let made = bench.save(&from).id;
    fs::remove_file(bench.path("repository/config")).unwrap();
    assert_eq!(bench.run(Task::Verify { snapshot: made }).failed().kind, FailedKind::NoRepository);
    bench.init();
    bench.verify(made);
    let next = bench.save(&from);
    bench.verify(next.id);
    bench.restore(made, "data", &bench.path("into"));
    assert_same(&from, &bench.path("into"));
    // With another password it is left alone.
    fs::remove_file(bench.path("repository/config")).unwrap();
    let mut other = bench;
    other.repository.password = Secret::new("another password");
    let failed = other.run(Task::Init { passwords: Vec::new() }).failed();
    assert_eq!(failed.kind, FailedKind::WrongPassword, "{failed:?}");
    other.repository.password = Secret::new(PASSWORD);
    other.init();
    other.verify(made);
}
