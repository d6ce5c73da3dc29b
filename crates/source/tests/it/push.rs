//! Pushing undo commits.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use backstay_source::Pushed;
use backstay_types::CommitId;

use crate::support::{Fleet, UNDO, fetch, make};

fn undo_of(fleet: &Fleet, mirror: &backstay_source::Mirror, commit: &CommitId) -> (CommitId, CommitId) {
    let tip = mirror.tip().unwrap().unwrap();
    let plan = mirror.plan_revert(&tip, std::slice::from_ref(commit), &BTreeMap::new()).unwrap();
    assert_eq!(plan.conflicts, []);
    let undo = make(mirror, &tip, &plan);
    assert_eq!(
        fleet.git_in(mirror.dir(), &["rev-parse", &format!("refs/backstay/undo/{UNDO}")]),
        undo.as_str()
    );
    (tip, undo)
}

fn upstream_tip(fleet: &Fleet, branch: &str) -> CommitId {
    fleet.git_in(&fleet.upstream(), &["rev-parse", branch]).parse().unwrap()
}

fn hook(fleet: &Fleet, name: &str, script: &str) {
    let path = fleet.upstream().join("hooks").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_undo_commit_reaches_upstream_once() {
    let fleet = Fleet::new();
    let change = fleet.change("stacks/web/a", "1");
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    let (tip, undo) = undo_of(&fleet, &mirror, &change);
    assert_eq!(mirror.push(&undo, &tip, None).unwrap(), Pushed::Done);
    assert_eq!(upstream_tip(&fleet, "main"), undo);
    // After a crash nobody knows whether it went through; asking again is safe.
    assert_eq!(mirror.push(&undo, &tip, None).unwrap(), Pushed::Done);
    assert_eq!(fetch(&mirror), undo);
    let facts = mirror.facts(&undo).unwrap();
    assert_eq!((facts.reverts, facts.undo), (vec![change], vec![UNDO.parse().unwrap()]));
    fleet.git_in(&fleet.upstream(), &["fsck", "--strict"]);
}

#[test]
fn a_tip_that_moved_is_never_overwritten() {
    let fleet = Fleet::new();
    let change = fleet.change("stacks/web/a", "1");
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    let (tip, undo) = undo_of(&fleet, &mirror, &change);
    let later = fleet.change("stacks/web/b", "2");
    fleet.publish();
    assert_eq!(mirror.push(&undo, &tip, None).unwrap(), Pushed::Moved);
    assert_eq!(upstream_tip(&fleet, "main"), later);
    // Set back upstream: a plain fast-forward would bring the dropped commit back.
    fleet.git(&["reset", "-q", "--hard", "HEAD~2"]);
    fleet.publish();
    let dropped = fleet.head();
    assert_eq!(mirror.push(&undo, &tip, None).unwrap(), Pushed::Moved);
    assert_eq!(upstream_tip(&fleet, "main"), dropped);
    assert!(mirror.push(&undo, &later, None).is_err(), "not contained, so not a fast-forward");
}

#[test]
fn a_protected_branch_is_refused_with_its_words() {
    let fleet = Fleet::new();
    let change = fleet.change("stacks/web/a", "1");
    fleet.publish();
    hook(
        &fleet,
        "update",
        "[ \"$1\" = refs/heads/main ] && { echo 'main is protected' >&2; exit 1; }; exit 0",
    );
    let mirror = fleet.mirror();
    fetch(&mirror);
    let (tip, undo) = undo_of(&fleet, &mirror, &change);
    let Pushed::Refused { message } = mirror.push(&undo, &tip, None).unwrap() else { panic!() };
    assert!(message.contains("main is protected"), "{message}");
    let branch = format!("backstay/undo/{UNDO}");
    assert_eq!(mirror.push_branch(&branch, &undo, None, None).unwrap(), Pushed::Done);
    assert_eq!(upstream_tip(&fleet, &branch), undo);
    assert_eq!(mirror.push_branch(&branch, &undo, None, None).unwrap(), Pushed::Done);
    // Somebody else's branch of that name stays; ours can be replaced by a new computation.
    assert_eq!(mirror.push_branch(&branch, &tip, None, None).unwrap(), Pushed::Moved);
    assert_eq!(mirror.push_branch(&branch, &tip, Some(&undo), None).unwrap(), Pushed::Done);
    assert!(mirror.push_branch("main", &undo, None, None).is_err());
    assert!(mirror.push_branch("--force", &undo, None, None).is_err());
}

#[test]
fn an_upstream_that_is_away_is_told_apart() {
    let fleet = Fleet::new();
    let change = fleet.change("stacks/web/a", "1");
    fleet.publish();
    fetch(&fleet.mirror());
    let mirror = fleet.mirror_of(&["http://127.0.0.1:1/fleet.git"]);
    let (tip, undo) = undo_of(&fleet, &mirror, &change);
    assert!(matches!(mirror.push(&undo, &tip, None).unwrap(), Pushed::Unreachable { .. }));
    assert!(matches!(fleet.mirror_of(&[]).push(&undo, &tip, None).unwrap(), Pushed::Unreachable { .. }));
}

#[test]
fn hooks_of_the_mirror_never_run() {
    let fleet = Fleet::new();
    let change = fleet.change("stacks/web/a", "1");
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    let hooks = mirror.dir().join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    for name in ["pre-push", "reference-transaction", "post-update"] {
        fs::write(hooks.join(name), "#!/bin/sh\ntouch ran\n").unwrap();
        fs::set_permissions(hooks.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (tip, undo) = undo_of(&fleet, &mirror, &change);
    assert_eq!(mirror.push(&undo, &tip, None).unwrap(), Pushed::Done);
    fetch(&mirror);
    assert!(!mirror.dir().join("ran").exists());
}
