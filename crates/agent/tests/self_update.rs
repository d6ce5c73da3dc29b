//! The agent's own update, by the real loader and real agents: what works is kept, what does not is gone back from, and
//! what runs keeps running all the while.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, time::Duration};

use backstay_loader::Slot;
use backstay_types::{AgentOutcome, Digest};
use support::{FakeHub, Node, eventually, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

/// A node whose agent was started by the loader and runs `a`.
fn running(points: &str) -> (FakeHub, Node, Vec<String>) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "update_confirm_within = \"20s\"".to_owned();
    node.start_loaded(points);
    hub.deploy(&process_stack("a", "true"));
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
    eventually("it is settled", || node.status()["operation"].is_null().then_some(()));
    let pids = node.pids();
    (hub, node, pids)
}

/// The agent of these tests, made another program by what is appended.
fn another(end: &str) -> Vec<u8> {
    let mut program = fs::read(env!("CARGO_BIN_EXE_backstay-agent")).unwrap();
    program.extend_from_slice(end.as_bytes());
    program
}

fn updated(hub: &FakeHub, times: usize) {
    eventually_within(LIMIT, "it is told", || {
        let told =
            hub.agent_outcomes().into_iter().filter(|outcome| *outcome == AgentOutcome::Updated).count();
        (told >= times).then_some(())
    });
}

fn in_slot(node: &Node, slot: Slot) -> Option<Digest> {
    fs::read(node.slots().join(slot.word())).ok().map(|program| Digest::of(&program))
}

#[test]
fn a_new_agent_is_tried_and_kept_and_the_one_before_stays() {
    let (hub, node, pids) = running("");
    let first = hub.ask_agent(&another("one"), false);
    updated(&hub, 1);
    assert_eq!((node.loader_state().good, node.loader_state().trial), (Slot::A, None));
    assert_eq!(in_slot(&node, Slot::A), Some(first));
    let second = hub.ask_agent(&another("two"), false);
    updated(&hub, 2);
    assert_eq!(node.loader_state().good, Slot::B);
    assert_eq!((in_slot(&node, Slot::A), in_slot(&node, Slot::B)), (Some(first), Some(second)));
    assert_eq!(node.pids(), pids, "what runs kept running");
    assert_eq!(hub.agent_outcomes().len(), 2, "each is told once");
    // It still does its work.
    hub.deploy(&process_stack("b", "true"));
    eventually("b runs", || (node.running() == ["b"]).then_some(()));
}

#[test]
fn one_that_does_not_work_is_tried_three_times_and_never_again() {
    let (hub, mut node, pids) = running("");
    let count = node.slots().join("count");
    let bad = format!("#!/bin/sh\necho x >> {}\nexit 1\n", count.display());
    let sha256 = hub.ask_agent(bad.as_bytes(), false);
    let reason = eventually_within(LIMIT, "that it failed is told", || {
        hub.agent_outcomes().into_iter().find_map(|outcome| match outcome {
            AgentOutcome::Failed { reason } => Some(reason),
            _ => None,
        })
    });
    assert!(reason.contains("3 times"), "{reason}");
    assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), 3);
    assert_eq!(node.loader_state().good, Slot::Installed);
    assert_eq!(node.loader_state().why_failed(&sha256.to_string()), Some(reason.as_str()));
    assert_eq!(node.pids(), pids, "what runs kept running");
    // Neither a restart nor the hub's asking brings it back.
    node.stop_loaded();
    node.start_loaded("");
    eventually("the agent is back", || (hub.agent_outcomes().len() >= 2).then_some(()));
    assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), 3);
    // A better one is tried.
    hub.ask_agent(&another("better"), false);
    updated(&hub, 1);
    assert_eq!(node.pids(), pids);
}

#[test]
fn one_that_never_reaches_the_hub_is_gone_back_from() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "update_confirm_within = \"1s\"".to_owned();
    node.start_loaded("");
    hub.deploy(&process_stack("a", "true"));
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
    eventually("it is settled", || node.status()["operation"].is_null().then_some(()));
    let sha256 = hub.ask_agent(&another("deaf"), false);
    eventually("it is in its slot", || node.loader_state().trial.map(drop));
    hub.deaf(true);
    eventually_within(LIMIT, "it is given up", || {
        node.loader_state().why_failed(&sha256.to_string()).map(str::to_owned)
    });
    hub.deaf(false);
    eventually("the one before says so", || {
        hub.agent_outcomes().into_iter().find(|outcome| matches!(outcome, AgentOutcome::Failed { .. }))
    });
}

#[test]
fn what_is_not_what_was_signed_never_comes_near_a_slot() {
    let (hub, node, pids) = running("");
    hub.ask_agent(&another("damaged"), true);
    eventually("it is seen", || node.log().contains("what came has SHA-256").then_some(()));
    assert_eq!((in_slot(&node, Slot::A), in_slot(&node, Slot::B)), (None, None));
    assert_eq!(node.loader_state(), backstay_loader::State::default());
    assert_eq!(node.pids(), pids);
}

#[test]
fn without_room_nothing_is_downloaded() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.start_loaded("");
    hub.deploy(&process_stack("a", "true"));
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
    node.stop_loaded();
    node.margin = u64::MAX / 4;
    node.start_loaded("");
    hub.ask_agent(&another("large"), false);
    eventually("it is seen", || node.log().contains("bytes are free").then_some(()));
    assert!(!node.slots().join(".new").exists());
}

#[test]
fn an_agent_that_was_started_without_a_loader_says_that_it_cannot() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.start("");
    hub.deploy(&process_stack("a", "true"));
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
    hub.ask_agent(&another("new"), false);
    eventually("it is told", || {
        hub.agent_outcomes()
            .into_iter()
            .find(|o| matches!(o, AgentOutcome::Left { reason } if reason.contains("loader")))
    });
    // What was started by this program itself is no news.
    hub.ask_agent(&another(""), false);
    updated(&hub, 1);
}

/// A row for each point at which the agent dies while it updates itself: it ends updated each time.
macro_rules! rows {
    ($($name:ident: $point:literal;)*) => {$(
        #[test]
        fn $name() {
            let (hub, node, pids) = running($point);
            let sha256 = hub.ask_agent(&another("new"), false);
            updated(&hub, 1);
            assert_eq!((node.loader_state().good, node.loader_state().trial), (Slot::A, None));
            assert_eq!(in_slot(&node, Slot::A), Some(sha256));
            assert_eq!(node.pids(), pids);
        }
    )*};
}

rows! {
    killed_after_the_download: "update.downloaded=return";
    killed_after_it_was_placed: "update.placed=return";
    killed_after_it_was_put_on_trial: "update.trial=return";
    killed_before_it_confirmed: "update.confirm.before=return";
    killed_after_it_confirmed: "update.confirm.after=return";
}
