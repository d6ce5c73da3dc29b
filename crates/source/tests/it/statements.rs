//! Statements on refs: written in batches, pushed to a real Git server, and small however many there were.

use std::{collections::BTreeMap, time::Duration};

use backstay_source::{Endpoint, Pushed, Statements};
use backstay_testkit::GitServer;
use backstay_types::{Id as _, NodeId, Timestamp};

fn node(n: u128) -> NodeId {
    NodeId::from_uuid(uuid::Uuid::from_u128(n))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn all(count: u128, text: &str) -> BTreeMap<NodeId, Option<String>> {
    (0..count).map(|n| (node(n), Some(format!("{{\"{text}\":{n}}}")))).collect()
}

#[test]
fn what_is_written_is_pushed_as_it_changes_and_nothing_old_stays() {
    let Some(server) = GitServer::require() else { return };
    let upstream = server.repository("fleet.git");
    let endpoint = Endpoint::parse(&server.url("fleet.git")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let statements = Statements::open_or_init(dir.path().join("statements.git")).unwrap();
    let push = || statements.push(&endpoint, None, None, Duration::from_secs(60)).unwrap();
    let read = |n: u128| {
        let id = node(n).to_string();
        upstream.file(&format!("refs/backstay/desired/{}", &id[34..]), &format!("{id}.json"))
    };

    assert_eq!(statements.write(&all(600, "a"), true, at(1)).unwrap(), 256);
    assert_eq!(push(), Pushed::Done);
    assert_eq!(read(0).unwrap().trim(), "{\"a\":0}");
    assert_eq!(read(599).unwrap().trim(), "{\"a\":599}");
    // Two nodes change, one of them goes: one ref each.
    let change = BTreeMap::from([(node(3), Some("new".to_owned())), (node(4), None)]);
    assert_eq!(statements.write(&change, false, at(2)).unwrap(), 2);
    assert_eq!(statements.write(&change, false, at(3)).unwrap(), 0, "the same again is no news");
    assert_eq!(push(), Pushed::Done);
    assert_eq!(read(3).unwrap().trim(), "new");
    assert_eq!(read(4), None);
    assert_eq!(read(3 + 256).unwrap().trim(), "{\"a\":259}", "its neighbours stay");
    assert_eq!(upstream.git(&["rev-list", "--count", "refs/backstay/desired/03"]).trim(), "1");

    // Written anew as a whole: who is not named is gone, here and there, and so is what lay about.
    assert_eq!(statements.write(&all(1, "b"), true, at(4)).unwrap(), 256);
    assert_eq!(push(), Pushed::Done);
    assert_eq!(upstream.git(&["for-each-ref", "refs/backstay"]).lines().count(), 1);
    let opened = BareRepositoryAt(statements.dir());
    assert!(opened.objects() <= 6, "{} objects", opened.objects());
}

struct BareRepositoryAt<'a>(&'a std::path::Path);

impl BareRepositoryAt<'_> {
    fn objects(&self) -> usize {
        let output = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(self.0)
            .args(["cat-file", "--batch-all-objects", "--batch-check"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    }
}

#[test]
fn a_server_that_is_away_or_refuses_is_told_apart() {
    let Some(mut server) = GitServer::require() else { return };
    let upstream = server.repository("fleet.git");
    let endpoint = Endpoint::parse(&server.url("fleet.git")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let statements = Statements::open_or_init(dir.path().join("statements.git")).unwrap();
    statements.write(&all(1, "a"), true, at(1)).unwrap();
    let push = || statements.push(&endpoint, None, None, Duration::from_secs(60)).unwrap();
    upstream.git(&["config", "receive.denyDeletes", "true"]);
    upstream.git(&["config", "transfer.hideRefs", "refs/backstay"]);
    assert!(matches!(push(), Pushed::Refused { .. }), "hidden refs cannot be pushed to");
    server.stop();
    assert!(matches!(push(), Pushed::Unreachable { .. }));
}
