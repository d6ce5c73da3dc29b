//! Data that goes into place together with a release, and away again with it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use backstay_agent_core::{Phase, Settings, Task};
use backstay_api::{agent::ReportBody, statement::DesiredStack};
use backstay_types::{DeploymentState, Digest, FailureKind, Step, backup::SnapshotId};
use support::{Node, remove, rollback, run, settings, tree};

/// A node that runs `a`, then `b`.
fn running_b() -> Node {
    let mut node = Node::with(Settings { snapshots: true, ..settings() });
    node.settle();
    for (name, deployment) in [("a", 1), ("b", 2)] {
        node.state(vec![run("web", name, deployment)]);
        node.settle();
    }
    node.log.clear();
    node
}

fn with_data(name: &str, deployment: u128) -> DesiredStack {
    let data = Some(SnapshotId::new(Digest::of(b"snapshot")));
    DesiredStack { data, ..rollback(run("web", name, deployment)) }
}

fn runs(node: &Node, name: &str) -> bool {
    let record = &node.core.journal().stacks[&"web".parse().unwrap()];
    record.committed.as_ref().map(|committed| committed.tree) == Some(tree(name))
}

fn phase(node: &Node) -> &Phase {
    &node.core.journal().operation.as_ref().unwrap().phase
}

fn end(node: &Node) -> DeploymentState {
    let mut ends = node.told.iter().filter_map(|report| match &report.body {
        ReportBody::DeploymentFinished { state, .. } => Some(state.clone()),
        _ => None,
    });
    ends.next_back().unwrap()
}

/// Whether the way back takes the data away first.
fn takes_data_away(node: &Node) -> bool {
    matches!(&node.running, Some((_, Task::Return { data: Some(_), .. })))
}

#[test]
fn data_is_in_place_before_the_release_starts_on_it() {
    let mut node = running_b();
    node.state(vec![with_data("a", 3)]);
    node.until("exchange");
    // Written down before it is done, and done again after a death.
    assert!(matches!(phase(&node), Phase::Exchanging(_)));
    assert!(!node.log.contains("links"), "{}", node.log);
    node.restart(true);
    assert!(node.is_running("exchange"), "{}", node.log);
    node.settle();
    assert!(runs(&node, "a") && end(&node) == DeploymentState::Succeeded);
    let at = |text: &str| node.log.find(text).unwrap_or_else(|| panic!("{text} in {}", node.log));
    assert!(at("run snapshot") < at("run exchange") && at("run exchange") < at("run activate"));
}

#[test]
fn whatever_fails_afterwards_takes_the_data_away_first() {
    for (task, step) in [("exchange", Step::Snapshot), ("activate", Step::Activate), ("probe", Step::Probe)] {
        let mut node = running_b();
        node.state(vec![with_data("a", 3)]);
        node.until(task);
        node.fail(step, FailureKind::Unhealthy);
        assert!(takes_data_away(&node), "{task}: {}", node.log);
        node.restart(false);
        assert!(takes_data_away(&node), "{task}: again after a death");
        node.settle();
        assert!(runs(&node, "b") && matches!(end(&node), DeploymentState::RolledBack { .. }), "{task}");
    }
}

#[test]
fn data_that_cannot_be_had_leaves_all_as_it_is() {
    let mut node = running_b();
    node.state(vec![with_data("a", 3)]);
    node.until("snapshot");
    node.fail(Step::Snapshot, FailureKind::Node);
    node.settle();
    assert!(runs(&node, "b") && !node.log.contains("run exchange"), "{}", node.log);
    assert!(matches!(end(&node), DeploymentState::Failed { step: Step::Snapshot, .. }));
}

#[test]
fn a_hub_that_is_away_for_a_moment_is_asked_again() {
    let mut node = running_b();
    node.state(vec![with_data("a", 3)]);
    node.until("snapshot");
    node.fail(Step::Snapshot, FailureKind::Unavailable);
    assert!(matches!(phase(&node), Phase::Saving(_)) && !node.is_running("snapshot"));
    node.pass(std::time::Duration::from_secs(2));
    assert!(node.is_running("snapshot"), "{}", node.log);
    node.settle();
    assert!(runs(&node, "a"));
}

#[test]
fn what_is_newer_starts_what_may_have_been_stopped() {
    let mut node = running_b();
    node.state(vec![with_data("a", 3)]);
    node.until("snapshot");
    node.state(vec![run("web", "c", 4)]);
    assert!(takes_data_away(&node), "{}", node.log);
    node.settle();
    assert!(runs(&node, "c"));
}

#[test]
fn it_is_not_enough_that_the_release_runs_already() {
    let mut node = running_b();
    node.state(vec![with_data("b", 3)]);
    node.until("exchange");
    assert!(node.is_running("exchange"), "{}", node.log);
    node.until("probe");
    node.fail(Step::Probe, FailureKind::Unhealthy);
    assert!(takes_data_away(&node), "{}", node.log);
    node.settle();
    assert!(runs(&node, "b") && matches!(end(&node), DeploymentState::RolledBack { .. }));
}

/// A node on which nothing ran.
fn nothing_runs() -> Node {
    let mut node = Node::with(Settings { snapshots: true, ..settings() });
    node.settle();
    node
}

#[test]
fn where_nothing_ran_the_stack_starts_once_and_with_its_data() {
    let mut node = nothing_runs();
    node.state(vec![with_data("a", 1)]);
    node.until("snapshot");
    assert!(!node.log.contains("run activate"), "{}", node.log);
    // However often the agent dies before it has the data: it asks again, and starts nothing.
    node.restart(true);
    node.until("snapshot");
    assert!(!node.log.contains("run activate"), "{}", node.log);
    node.settle();
    let at = |text: &str| node.log.find(text).unwrap_or_else(|| panic!("{text} in {}", node.log));
    assert!(at("run exchange") < at("run activate"));
    assert_eq!(node.log.matches("run activate").count(), 1, "{}", node.log);
    assert!(runs(&node, "a") && end(&node) == DeploymentState::Succeeded);
}

#[test]
fn where_nothing_ran_and_the_data_cannot_be_had_nothing_starts() {
    let mut node = nothing_runs();
    node.state(vec![with_data("a", 1)]);
    node.until("snapshot");
    node.fail(Step::Snapshot, FailureKind::Node);
    node.settle();
    assert!(!node.log.contains("run activate"), "{}", node.log);
    assert!(matches!(end(&node), DeploymentState::Failed { step: Step::Snapshot, .. }));
}

#[test]
fn what_moves_away_is_saved_once_more_before_it_is_taken_away() {
    let mut node = running_b();
    node.state(vec![leaves(3)]);
    node.until("save_last");
    node.restart(false);
    assert!(node.is_running("save_last"), "it is asked again: {}", node.log);
    node.settle();
    let at = |text: &str| node.log.find(text).unwrap_or_else(|| panic!("{text} in {}", node.log));
    assert!(at("run save_last") < at("run remove"));
    assert_eq!(end(&node), DeploymentState::Succeeded);
    assert!(node.core.journal().stacks.values().all(|record| record.committed.is_none()));
}

#[test]
fn what_cannot_be_saved_runs_again_and_stays() {
    let mut node = running_b();
    node.state(vec![leaves(3)]);
    for _ in 0..3 {
        node.until("save_last");
        node.fail(Step::Snapshot, FailureKind::Node);
        node.pass(std::time::Duration::from_secs(10));
    }
    node.settle();
    assert!(!node.log.contains("run remove"), "{}", node.log);
    assert!(runs(&node, "b") && matches!(end(&node), DeploymentState::RolledBack { .. }), "{:?}", end(&node));
}

#[test]
fn what_is_to_stay_after_all_is_started_again() {
    let mut node = running_b();
    node.state(vec![leaves(3)]);
    node.until("save_last");
    node.state(vec![run("web", "b", 4)]);
    assert!(node.is_running("return"), "{}", node.log);
    node.settle();
    assert!(runs(&node, "b") && !node.log.contains("run remove"), "{}", node.log);
}

fn leaves(deployment: u128) -> DesiredStack {
    DesiredStack { save: true, ..remove("web", deployment) }
}
