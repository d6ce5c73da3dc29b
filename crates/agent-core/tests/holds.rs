//! Saving data before a release, and leaving stacks alone while their data is saved or put back.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use backstay_agent_core::{Hold, Input, Phase, Settings};
use backstay_api::agent::ReportBody;
use backstay_types::{DeploymentState, FailureKind, Step};
use support::{Node, run, settings, tree};

/// A node that saves data first and runs `a`.
fn running_a() -> Node {
    let mut node = Node::with(Settings { snapshots: true, ..settings() });
    node.settle();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    assert!(!node.log.contains("run snapshot"), "nothing ran before it: there is no data");
    node.log.clear();
    node
}

fn hold(node: &mut Node, id: u64, stack: Option<&str>) {
    node.input(Input::Hold(Hold { id, stack: stack.map(|name| name.parse().unwrap()) }));
}

fn runs(node: &Node, name: &str) -> bool {
    let record = &node.core.journal().stacks[&"web".parse().unwrap()];
    record.committed.as_ref().map(|committed| committed.tree) == Some(tree(name))
}

#[test]
fn data_is_saved_before_what_runs_is_touched() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2)]);
    node.until("snapshot");
    assert!(matches!(node.core.journal().operation.as_ref().unwrap().phase, Phase::Saving(_)));
    assert!(!node.log.contains("links"), "{}", node.log);
    // Killed here it begins anew, and still touches nothing.
    node.restart(false);
    assert!(node.is_running("snapshot"), "{}", node.log);
    node.settle();
    assert!(runs(&node, "b"));
    let at = |text: &str| node.log.find(text).unwrap_or_else(|| panic!("{text} in {}", node.log));
    assert!(at("run snapshot") < at("run activate"));
}

#[test]
fn a_snapshot_that_must_be_and_cannot_fails_the_deployment_and_nothing_else() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2)]);
    node.until("snapshot");
    node.fail(Step::Snapshot, FailureKind::Other);
    node.settle();
    assert!(runs(&node, "a") && !node.log.contains("run activate"), "{}", node.log);
    let ended = node.told.iter().any(|report| {
        matches!(
            &report.body,
            ReportBody::DeploymentFinished {
                state: DeploymentState::Failed { step: Step::Snapshot, .. },
                ..
            }
        )
    });
    assert!(ended, "it is said where it failed");
}

#[test]
fn the_way_back_waits_for_no_snapshot() {
    let mut node = running_a();
    node.state(vec![run("web", "bad", 2)]);
    node.until("probe");
    node.log.clear();
    node.fail(Step::Probe, FailureKind::Unhealthy);
    node.settle();
    assert!(runs(&node, "a") && !node.log.contains("run snapshot"), "{}", node.log);
}

#[test]
fn something_newer_ends_a_snapshot_that_is_waited_for() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2)]);
    node.until("snapshot");
    node.state(vec![run("web", "c", 3)]);
    assert!(node.log.contains("abort"), "{}", node.log);
    node.settle();
    assert!(runs(&node, "c"));
}

#[test]
fn what_is_held_is_left_alone_and_the_rest_goes_on() {
    let mut node = running_a();
    hold(&mut node, 1, Some("web"));
    assert_eq!(node.core.granted(), Some(1), "nothing was under way");
    assert!(!node.is_awaited());
    node.state(vec![run("web", "b", 2), run("api", "c", 3)]);
    node.settle();
    assert!(runs(&node, "a"), "{}", node.log);
    let api = &node.core.journal().stacks[&"api".parse().unwrap()];
    assert!(api.committed.is_some(), "another stack is deployed");
    assert!(node.is_awaited(), "whoever holds it can see that it is waited for");
    // A look does not take a stack that stands still for one that has departed.
    node.log.clear();
    node.pass(Duration::from_secs(600));
    assert!(node.log.contains("run check") && !node.log.contains("web"), "{}", node.log);
    node.settle();
    // Of another hold it is not let go.
    node.input(Input::Release { id: 7 });
    assert_eq!(node.core.granted(), Some(1));
    node.input(Input::Release { id: 1 });
    node.settle();
    assert!(runs(&node, "b") && node.core.granted().is_none(), "{}", node.log);
}

#[test]
fn a_hold_waits_for_what_is_under_way_and_nothing_new_is_begun() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2), run("api", "c", 3)]);
    node.until("activate");
    hold(&mut node, 1, None);
    assert_eq!(node.core.granted(), None, "a deployment is under way");
    node.settle();
    assert!(runs(&node, "b"), "it is brought to its end");
    assert_eq!(node.core.granted(), Some(1));
    assert!(!node.core.journal().stacks.contains_key(&"api".parse().unwrap()), "nothing new");
    assert_eq!(node.core.deadline(), None, "there is nothing to wake up for");
    node.pass(Duration::from_secs(1200));
    assert!(!node.is_running("check"));
    node.input(Input::Release { id: 1 });
    node.settle();
    assert!(node.core.journal().stacks[&"api".parse().unwrap()].committed.is_some());
}

#[test]
fn what_was_cut_off_comes_before_what_is_asked_for_already() {
    let mut node = running_a();
    hold(&mut node, 1, None);
    node.state(vec![run("web", "b", 2)]);
    node.settle();
    assert!(runs(&node, "a"), "{}", node.log);
    // The agent ends in the middle of what it was alone for, and starts again.
    node.hold_from_the_start(0);
    node.restart(false);
    assert_eq!(node.core.granted(), Some(0));
    assert!(node.core.journal().operation.is_none(), "nothing is begun: {}", node.log);
    node.pass(Duration::from_secs(1200));
    assert!(node.core.journal().operation.is_none(), "{}", node.log);
    node.input(Input::Release { id: 0 });
    node.settle();
    assert!(runs(&node, "b"), "{}", node.log);
}
