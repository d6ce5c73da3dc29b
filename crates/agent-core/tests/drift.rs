//! Deep looks: when they come, what they put right, and when it is left to a person.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod support;

use std::time::Duration;

use backstay_agent_core::{Finding, Settings};
use backstay_api::{agent::ReportBody, statement::Statement};
use backstay_types::{DriftPart, DriftState, FailureKind, LeaveSafeMode, Step};
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

/// A node on which a file of `web` was put right three times, came back, and was left to a person.
fn given_up() -> Node {
    let mut node = Node::with(Settings::new(id(ME)));
    node.state(vec![run("web", "a", 1), run("api", "a", 2)]);
    node.settle();
    node.found = vec![finding(DriftPart::File, "config/app.toml")];
    for _ in 0..600 {
        if drifts(&node).contains(&(false, true)) {
            node.log.clear();
            return node;
        }
        node.pass(Duration::from_secs(60));
        node.until("ask");
    }
    panic!("it is never given up:\n{}", node.log);
}

/// The reasons of safe mode, by stack.
fn safe_mode(node: &Node) -> Vec<(String, String)> {
    let mode = node.safety().safe_mode.into_iter();
    mode.flat_map(|mode| mode.stacks).map(|one| (one.stack.to_string(), one.reason)).collect()
}

/// The next light look.
fn look(node: &mut Node) {
    node.pass(Duration::from_secs(300));
    node.settle();
}

fn renewed(node: &mut Node) {
    let held = node.journal.held.clone().unwrap();
    let statement = node.make(held.stacks, held.epoch, held.generation, HOUR);
    node.give(statement);
}

#[test]
fn what_was_given_up_changes_nothing_while_the_stack_is_well() {
    let mut node = given_up();
    for _ in 0..24 {
        look(&mut node);
    }
    assert!(node.log.matches("run ask web").count() >= 24, "{}", node.log);
    assert_eq!(safe_mode(&node), []);
    // Updates go on.
    renewed(&mut node);
    node.state(vec![run("web", "a", 1), run("api", "b", 3)]);
    node.settle();
    assert!(node.safety().waiting.is_empty() && node.log.contains("committed"), "{}", node.log);
}

#[test]
fn what_was_given_up_and_makes_the_stack_unwell_leads_to_safe_mode_with_its_reason() {
    let mut node = given_up();
    node.well = Err("GET /healthz: status 503".to_owned());
    // The look that gives it up only tells of it: a person may be at it.
    assert_eq!(safe_mode(&node), []);
    look(&mut node);
    let mode = safe_mode(&node);
    assert!(mode.iter().all(|(stack, _)| ["web", "api"].contains(&stack.as_str())), "{mode:?}");
    let (_, reason) = mode.iter().find(|(stack, _)| stack == "web").unwrap();
    for part in ["config/app.toml", "3 times", "its content differs", "status 503"] {
        assert!(reason.contains(part), "{reason}");
    }
    let told = |node: &Node| {
        let entered = |body: &ReportBody| matches!(body, ReportBody::SafeModeEntered { stack, .. } if stack.as_str() == "web");
        node.told.iter().filter(|report| entered(&report.body)).count()
    };
    assert_eq!(told(&node), 1);
    // It is told once, outlives a restart, and nothing of the stack is stopped, however long it lasts.
    node.restart(true);
    for _ in 0..24 {
        look(&mut node);
    }
    assert_eq!((told(&node), safe_mode(&node).is_empty()), (1, false));
    assert!(!node.log.contains("run stop"), "{}", node.log);
}

#[test]
fn only_what_runs_counts_and_only_what_is_still_there() {
    // A way back that is closed again and again, or a file of the release before, makes nothing unwell.
    for part in [DriftPart::PreviousFile, DriftPart::Stray] {
        let mut node = node();
        node.found = vec![finding(part, "x")];
        node.well = Err("status 503".to_owned());
        for _ in 0..8 {
            hour(&mut node);
        }
        assert!(!node.log.contains("run ask"), "{}", node.log);
        assert_eq!(safe_mode(&node), []);
    }
    // Somebody has put it right before the stack was asked.
    let mut node = given_up();
    node.found.clear();
    for _ in 0..15 {
        look(&mut node);
    }
    node.log.clear();
    node.well = Err("status 503".to_owned());
    look(&mut node);
    assert!(!node.log.contains("run ask") && safe_mode(&node).is_empty(), "{}", node.log);
}

#[test]
fn that_a_stack_cannot_be_asked_says_nothing_about_it() {
    let mut node = given_up();
    for _ in 0..6 {
        node.pass(Duration::from_secs(300));
        for _ in 0..2 {
            node.until("ask");
            if node.running.is_some() {
                node.fail(Step::Probe, FailureKind::Node);
            }
        }
        node.settle();
    }
    assert_eq!(safe_mode(&node), []);
}

#[test]
fn a_new_release_leads_out_of_it() {
    let mut node = given_up();
    node.well = Err("status 503".to_owned());
    look(&mut node);
    assert!(!safe_mode(&node).is_empty(), "{}", node.log);
    (node.well, node.found) = (Ok(()), Vec::new());
    renewed(&mut node);
    node.state(vec![run("web", "b", 3), run("api", "b", 4)]);
    node.settle();
    for _ in 0..15 {
        renewed(&mut node);
        look(&mut node);
    }
    assert_eq!(safe_mode(&node), [], "{}", node.log);
    assert_eq!(node.core.observed()[1].drift, []);
}

#[test]
fn an_operators_word_leads_out_of_it_and_it_is_put_right_anew() {
    let mut node = given_up();
    node.well = Err("status 503".to_owned());
    look(&mut node);
    let safe_mode_id = node.safety().safe_mode.unwrap().id;
    node.well = Ok(());
    let held = node.journal.held.clone().unwrap();
    let word = LeaveSafeMode { safe_mode: safe_mode_id, by: "op".into(), reason: "looked at it".into() };
    let statement = node.make(held.stacks, held.epoch, held.generation, HOUR);
    node.give(Statement { leave_safe_mode: Some(word), ..statement });
    node.settle();
    assert_eq!(safe_mode(&node), []);
    node.log.clear();
    for _ in 0..2 {
        hour(&mut node);
    }
    assert!(node.log.contains("run mend web"), "{}", node.log);
    assert_eq!(safe_mode(&node), []);
}

#[test]
fn what_does_not_run_however_often_it_is_started_leads_to_safe_mode_too() {
    let mut node = node();
    let web = "web".parse().unwrap();
    node.well = Err("`main` does not run".to_owned());
    let mut modes = Vec::new();
    for minute in 0..36 {
        node.pass(Duration::from_secs(300));
        node.until("check");
        let mut seen = node.seen(&web, &node.journal.stacks[&web].clone());
        seen.containers = Ok(Vec::new());
        let (task, _) = node.running.take().unwrap();
        let result = Ok(backstay_agent_core::Done::Checked(vec![seen]));
        node.input(backstay_agent_core::Input::Finished(backstay_agent_core::Finished {
            id: task,
            records: Vec::new(),
            result,
        }));
        node.settle();
        modes.extend((!safe_mode(&node).is_empty()).then_some(minute));
    }
    // Three starts, then it is given up, then the look after that.
    assert_eq!(modes.first(), Some(&4), "{}", node.log);
    // It is still tried again each hour, and never stopped.
    assert!(node.log.matches("run heal").count() > 3 && !node.log.contains("run stop"), "{}", node.log);
}
