//! The loader itself, with shell scripts for agents.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use backstay_loader::{Slot, State, Trial};

fn agent(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\necho {text} $BACKSTAY_SLOT $*\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn load(dir: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_backstay-loader"))
        .arg(dir)
        .arg(dir.join("installed"))
        .args(["run", "--data-dir", "x"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn slots() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    agent(&dir.path().join("installed"), "old");
    dir
}

fn try_b(dir: &Path) {
    let trial = Trial { slot: Slot::B, starts: 0, sha256: "beef".into() };
    State { trial: Some(trial), ..State::default() }.write(dir).unwrap();
}

#[test]
fn the_installed_agent_is_started_where_there_is_no_other() {
    let dir = slots();
    assert_eq!(load(dir.path()), "old installed run --data-dir x");
}

#[test]
fn a_new_one_is_started_three_times_and_then_the_old_one_for_good() {
    let dir = slots();
    agent(&dir.path().join("b"), "new");
    try_b(dir.path());
    let started: Vec<_> = (0..5).map(|_| load(dir.path()).split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(started, ["new", "new", "new", "old", "old"]);
    assert!(State::read(dir.path()).unwrap().unwrap().why_failed("beef").is_some());
}

#[test]
fn one_that_cannot_be_started_is_given_up_at_once() {
    let dir = slots();
    try_b(dir.path());
    assert!(load(dir.path()).starts_with("old"));
    assert!(
        State::read(dir.path()).unwrap().unwrap().why_failed("beef").unwrap().contains("cannot be started")
    );
}

#[test]
fn a_good_one_that_is_gone_is_replaced_by_whatever_there_is() {
    let dir = slots();
    State { good: Slot::A, ..State::default() }.write(dir.path()).unwrap();
    assert!(load(dir.path()).starts_with("old installed"));
    agent(&dir.path().join("b"), "other");
    assert!(load(dir.path()).starts_with("other b"));
}

#[test]
fn a_start_that_cannot_be_counted_is_not_made() {
    let dir = slots();
    agent(&dir.path().join("b"), "new");
    try_b(dir.path());
    // Something else is where the new state would grow; nobody is kept out by permissions when tests run as root.
    fs::create_dir(dir.path().join(".state.tmp")).unwrap();
    assert!(load(dir.path()).starts_with("old"));
    fs::remove_dir(dir.path().join(".state.tmp")).unwrap();
    assert!(load(dir.path()).starts_with("new"));
}
