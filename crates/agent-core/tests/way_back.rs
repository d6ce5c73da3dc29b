//! Updates whose way back failed too: what they left running is put right, as scripts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use backstay_agent_core::{Done, Finished, Input, Task};
use backstay_api::{agent::ReportBody, statement::Statement};
use backstay_types::{FailureKind, LeaveSafeMode, ObservedStack, StackHealth, StackName, Step};
use support::{HOUR, Node, containers, prepared, remove, run, tree};

const LOOK: Duration = Duration::from_secs(300);

fn web() -> StackName {
    "web".parse().unwrap()
}

fn is_astray(node: &Node) -> bool {
    node.journal.stacks[&web()].trouble.astray
}

fn observed(node: &Node) -> ObservedStack {
    node.core.observed().into_iter().find(|one| one.stack == web()).unwrap()
}

/// The hub renews its statement, with an operator's word in it.
fn say(node: &mut Node, word: LeaveSafeMode) {
    node.pass(Duration::from_secs(1));
    let held = node.journal.held.clone().unwrap();
    let renewed = node.make(held.stacks, held.epoch, held.generation, HOUR);
    node.give(Statement { leave_safe_mode: Some(word), ..renewed });
}

/// The way back fails too: what is left running is not what should, also where a look cannot tell the two apart (the
/// same images set up otherwise, or a release that was found without a journal).
fn gone_astray() -> Node {
    let mut node = Node::new();
    node.settle();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    node.log.clear();
    node.state(vec![run("web", "bad", 3)]);
    node.until("probe");
    node.fail(Step::Probe, FailureKind::Unhealthy);
    for wait in [1, 2, 4] {
        node.fail(Step::Return, FailureKind::Node);
        node.pass(Duration::from_secs(wait));
    }
    let why = &node.journal.safety.safe_mode.as_ref().unwrap().stacks[&web()];
    assert!(why.contains("so did the way back"), "{why}");
    node.state(vec![run("web", "a", 1)]);
    node
}

/// A look at `web`; `answers` says whether the container engine does. All looks well.
fn look(node: &mut Node, answers: bool) {
    node.pass(LOOK);
    node.until("check");
    assert!(node.is_running("check"), "{}", node.log);
    let mut seen = node.seen(&web(), &node.journal.stacks[&web()]);
    if !answers {
        seen.containers = Err("nobody answers".to_owned());
    }
    let (task, _) = node.running.take().unwrap();
    let result = Ok(Done::Checked(vec![seen]));
    node.input(Input::Finished(Finished { id: task, records: Vec::new(), result }));
}

#[test]
fn what_a_failed_way_back_left_is_put_right_however_it_looks() {
    for restarts in [false, true] {
        let mut node = gone_astray();
        for _ in 0..3 {
            look(&mut node, false);
            assert!(node.running.is_none(), "while nobody can tell what runs, nothing is done: {}", node.log);
        }
        if restarts {
            node.restart(true);
        } else {
            let safe_mode = node.journal.safety.safe_mode.as_ref().unwrap().id;
            say(&mut node, LeaveSafeMode { safe_mode, by: "op".into(), reason: "mended".into() });
            assert!(node.journal.safety.safe_mode.is_none());
        }
        for _ in 0..2 {
            look(&mut node, true);
            assert!(node.is_running("heal"), "{}", node.log);
            node.fail(Step::Return, FailureKind::Node);
        }
        look(&mut node, true);
        assert!(node.is_running("heal"), "{}", node.log);
        node.succeed();
        assert!(!is_astray(&node));
        node.settle();
        look(&mut node, true);
        assert!(node.running.is_none(), "once is enough: {}", node.log);
        let observed = observed(&node);
        assert_eq!((observed.health, observed.detail.as_str()), (StackHealth::Healthy, ""));
    }
}

#[test]
fn what_a_failed_way_back_left_is_over_when_another_release_or_the_same_proves_itself() {
    for (name, deployment) in [("a", 4), ("d", 5)] {
        let mut node = gone_astray();
        look(&mut node, true);
        assert!(node.is_running("heal"), "{}", node.log);
        node.fail(Step::Return, FailureKind::Node);
        let observed = observed(&node);
        assert_eq!(observed.health, StackHealth::Degraded, "{}", observed.detail);
        node.state(vec![run("web", name, deployment)]);
        node.until("activate");
        assert!(node.is_running("activate"), "{name} is started, not taken for what runs: {}", node.log);
        node.settle();
        let committed = node.journal.stacks[&web()].committed.as_ref().unwrap();
        assert_eq!(committed.tree, tree(name));
        assert!(!is_astray(&node));
    }
}

#[test]
fn a_later_way_back_that_succeeds_puts_right_what_an_earlier_one_left() {
    let mut node = gone_astray();
    assert!(is_astray(&node));
    node.state(vec![run("web", "c", 4)]);
    node.pass(Duration::from_secs(5));
    node.until("probe");
    assert!(node.is_running("probe") && is_astray(&node), "{}", node.log);
    node.fail(Step::Probe, FailureKind::Unhealthy);
    assert!(node.is_running("return"), "{}", node.log);
    node.succeed();
    assert!(!is_astray(&node), "{}", node.log);
    node.settle();
    assert!(!is_astray(&node));
    look(&mut node, true);
    assert!(node.running.is_none(), "{}", node.log);
}

/// A look at `web`, of which the release called `name` runs.
fn look_at(node: &mut Node, name: &str) {
    node.pass(LOOK);
    node.until("check");
    let mut seen = node.seen(&web(), &node.journal.stacks[&web()]);
    seen.containers = Ok(containers(&prepared(&run("web", name, 1), Duration::ZERO)));
    let (task, _) = node.running.take().unwrap();
    let result = Ok(Done::Checked(vec![seen]));
    node.input(Input::Finished(Finished { id: task, records: Vec::new(), result }));
}

#[test]
fn without_its_journal_a_node_starts_what_should_run_whatever_it_finds() {
    let mut node = gone_astray();
    assert_eq!(node.links[&web()].current, Some(tree("a")));
    node.lose_journal();
    // What the failed way back left runs, and nobody knows any more that it is not what should.
    look_at(&mut node, "bad");
    assert!(node.is_running("heal"), "{}", node.log);
    assert_eq!(observed(&node).health, StackHealth::Degraded);
    node.fail(Step::Return, FailureKind::Node);
    look_at(&mut node, "bad");
    assert!(node.is_running("heal"), "as long as it takes: {}", node.log);
    node.succeed();
    node.settle();
    look_at(&mut node, "a");
    assert!(node.running.is_none(), "once is enough: {}", node.log);
    assert_eq!(observed(&node).health, StackHealth::Healthy, "{}", observed(&node).detail);
}

#[test]
fn what_was_being_tried_when_the_journal_was_lost_has_yet_to_prove_itself() {
    for proves in [true, false] {
        let mut node = Node::new();
        node.state(vec![run("web", "a", 1)]);
        node.settle();
        node.state(vec![run("web", "b", 2)]);
        node.until("probe");
        assert_eq!(node.links[&web()].current, Some(tree("b")));
        node.lose_journal();
        look_at(&mut node, "b");
        node.until("");
        let told = node.told.len();
        node.state(vec![run("web", "b", 2)]);
        node.until("probe");
        assert!(node.is_running("probe"), "it is not taken for good because it runs: {}", node.log);
        if proves {
            node.settle();
            assert_eq!(node.journal.stacks[&web()].committed.as_ref().unwrap().tree, tree("b"));
            continue;
        }
        node.fail(Step::Probe, FailureKind::Unhealthy);
        assert!(node.is_running("return"), "{}", node.log);
        node.settle();
        let record = &node.journal.stacks[&web()];
        assert_eq!(record.committed.as_ref().unwrap().tree, tree("a"), "{}", node.log);
        assert_eq!(node.links[&web()].current, Some(tree("a")));
        let ends = node.told[told..].iter().filter_map(|report| match &report.body {
            ReportBody::DeploymentFinished { state, .. } => Some(state.word()),
            _ => None,
        });
        assert_eq!(ends.collect::<Vec<_>>(), ["rolled_back"]);
    }
}

/// The first release ever fails, and so does stopping it.
fn left_running() -> Node {
    let mut node = Node::new();
    node.state(vec![run("web", "bad", 1)]);
    node.until("probe");
    node.fail(Step::Probe, FailureKind::Unhealthy);
    for wait in [1, 2, 4] {
        assert!(node.is_running("return"), "{}", node.log);
        node.fail(Step::Return, FailureKind::Node);
        node.pass(Duration::from_secs(wait));
    }
    assert!(node.journal.operation.is_none(), "{}", node.log);
    node
}

#[test]
fn a_first_release_that_could_not_be_stopped_is_stopped_later() {
    for restarts in [false, true] {
        let mut node = left_running();
        for _ in 0..3 {
            node.pass(Duration::from_secs(15));
            node.until("return");
            let Some((_, Task::Return { failed, failed_tree, to, .. })) = &node.running else {
                panic!("it is tried again: {}", node.log)
            };
            assert_eq!((*failed_tree, to), (tree("bad"), &None));
            assert_eq!(failed.runtime, "process");
            if restarts {
                node.restart(true);
                continue;
            }
            node.fail(Step::Return, FailureKind::Node);
        }
        node.pass(Duration::from_secs(15));
        node.until("return");
        node.succeed();
        assert!(!is_astray(&node) && node.journal.stacks[&web()].trouble.left.is_none());
        node.settle();
        node.pass(LOOK);
        node.until("return");
        assert!(node.running.is_none(), "once is enough: {}", node.log);
        let told = node.told.iter().filter(|report| matches!(report.body, ReportBody::Drift { .. })).count();
        assert!(told <= 2, "it is said once that it failed, and once that it is over: {}", node.log);
    }
}

#[test]
fn what_could_not_be_stopped_is_taken_away_when_the_hub_says_so_and_replaced_by_what_comes() {
    let mut node = left_running();
    node.state(vec![remove("web", 2)]);
    node.until("remove");
    let Some((_, Task::Remove { running: Some(running), .. })) = &node.running else {
        panic!("it is there to be removed: {}", node.log)
    };
    assert_eq!(running.tree, tree("bad"));
    node.settle();
    assert!(node.journal.stacks[&web()].trouble.is_none());

    let mut node = left_running();
    node.state(vec![run("web", "a", 2)]);
    node.pass(Duration::from_secs(5));
    node.settle();
    let record = &node.journal.stacks[&web()];
    assert_eq!(record.committed.as_ref().map(|c| c.tree), Some(tree("a")), "{}", node.log);
    assert!(record.trouble.is_none());
}
