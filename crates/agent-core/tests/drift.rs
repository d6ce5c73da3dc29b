//! Deep looks: when they come, what they put right, and when it is left to a person.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod support;

use std::time::Duration;

use backstay_agent_core::{Finding, Settings};
use backstay_api::agent::ReportBody;
use backstay_types::{DriftPart, DriftState, FailureKind, Step};
use support::{HOUR, ME, Node, id, run};

fn node() -> Node {
    let mut node = Node::with(Settings::new(id(ME)));
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    node.log.clear();
    node
}

fn finding(part: DriftPart, name: &str) -> Finding {
    Finding { part, name: name.into(), detail: "its content differs".into(), services: Vec::new() }
}

/// Passes an hour in steps of light looks, and lets everything go well.
fn hour(node: &mut Node) {
    for _ in 0..12 {
        node.pass(Duration::from_secs(300));
        node.settle();
    }
}

fn drifts(node: &Node) -> Vec<(bool, bool)> {
    let drift = |body: &ReportBody| match body {
        ReportBody::Drift { healed, escalated, .. } => Some((*healed, *escalated)),
        _ => None,
    };
    node.told.iter().filter_map(|report| drift(&report.body)).collect()
}

#[test]
fn a_deep_look_comes_about_once_an_hour_and_not_at_the_same_moment_everywhere() {
    let mut node = node();
    for _ in 0..24 {
        hour(&mut node);
    }
    let looks = node.log.matches("run compare").count();
    assert!((20..=28).contains(&looks), "{looks}");
    assert_eq!(drifts(&node), []);
}

#[test]
fn what_comes_back_is_put_right_three_times_and_then_needs_a_person() {
    let mut node = node();
    node.found = vec![finding(DriftPart::File, "config/app.toml")];
    for _ in 0..8 {
        hour(&mut node);
    }
    assert_eq!(node.log.matches("run mend").count(), 3, "{}", node.log);
    assert_eq!(drifts(&node), [(true, false), (true, false), (true, false), (false, true)]);
    let observed = node.core.observed();
    assert_eq!((observed[0].drift.len(), observed[0].drift[0].state), (1, DriftState::Escalated));
    assert_eq!(node.core.escalated().len(), 1);
    // It survives a restart, and a newer release ends it.
    node.restart(false);
    assert_eq!(node.core.escalated().len(), 1);
    node.state(vec![run("web", "b", 2)]);
    node.settle();
    assert_eq!(node.core.observed()[0].drift, []);
}

#[test]
fn what_cannot_be_put_right_is_said_once_and_given_up_once() {
    let mut node = node();
    node.found = vec![finding(DriftPart::File, "x")];
    for _ in 0..8 {
        for _ in 0..12 {
            node.pass(Duration::from_secs(300));
            node.until("mend");
            if node.running.is_some() {
                node.fail(Step::Fetch, FailureKind::Unavailable);
            }
            node.settle();
        }
    }
    assert_eq!(drifts(&node), [(false, false), (false, true)], "{}", node.log);
}

#[test]
fn a_statement_does_not_wait_for_a_deep_look() {
    let mut node = node();
    while !matches!(&node.running, Some((_, task)) if task.word() == "compare") {
        node.pass(Duration::from_secs(60));
        node.until("compare");
    }
    node.state(vec![run("web", "b", 2)]);
    assert!(node.log.contains("abort (a newer statement comes first)"), "{}", node.log);
    node.settle();
    let after = node.log.split("abort").nth(1).unwrap();
    let (deployed, looked) = (after.find("persist committed").unwrap(), after.find("run compare").unwrap());
    assert!(deployed < looked, "it is taken up again afterwards");
}

#[test]
fn what_is_killed_over_and_over_is_started_again_three_times_an_hour() {
    let mut node = node();
    let web = "web".parse().unwrap();
    let mut seen = node.seen(&web, &node.journal.stacks[&web].clone());
    seen.containers = Ok(Vec::new());
    let mut starts = 0;
    for _ in 0..24 {
        node.pass(Duration::from_secs(300));
        node.until("check");
        let (task, _) = node.running.take().unwrap();
        let result = Ok(backstay_agent_core::Done::Checked(vec![seen.clone()]));
        node.input(backstay_agent_core::Input::Finished(backstay_agent_core::Finished {
            id: task,
            records: Vec::new(),
            result,
        }));
        starts += u32::from(matches!(&node.running, Some((_, task)) if task.word() == "heal"));
        node.settle();
    }
    assert!((6..=7).contains(&starts), "{starts} starts in two hours:\n{}", node.log);
    assert!(drifts(&node).contains(&(false, true)));
    // Somebody mends it.
    node.pass(HOUR);
    node.settle();
    assert_eq!(node.core.escalated(), []);
}
