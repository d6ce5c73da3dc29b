//! What the agent decides, as scripts: what happens on lines with dashes, what it does about it on the others.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use backstay_agent_core::Input;
use backstay_types::{FailureKind, Step};
use support::{HOUR, Node, id, prepared, remove, rollback, run, tree};

/// A node that runs `a`, with an empty log.
fn running_a() -> Node {
    let mut node = Node::new();
    node.settle();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    node.log.clear();
    node.history.clear();
    node
}

#[test]
fn a_deployment() {
    let mut node = running_a();
    node.bake = Duration::from_secs(60);
    node.state(vec![run("web", "b", 2)]);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn the_first_release_fails() {
    let mut node = Node::new();
    node.settle();
    node.log.clear();
    node.state(vec![run("web", "bad", 1)]);
    node.until("probe");
    node.fail(Step::Probe, FailureKind::Unhealthy);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn a_bad_release_is_taken_back_and_not_tried_again() {
    let mut node = running_a();
    node.state(vec![run("web", "bad", 2)]);
    node.until("probe");
    node.fail(Step::Probe, FailureKind::Unhealthy);
    node.settle();
    // Another stack's change brings a new generation with the same deployment of this one.
    node.state(vec![run("web", "bad", 2), run("api", "c", 3)]);
    node.settle();
    // A new attempt is a new deployment; it is not made at once.
    node.pass(Duration::from_secs(5));
    node.state(vec![run("web", "bad", 4), run("api", "c", 3)]);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn a_way_back_that_fails_is_tried_three_times_and_then_said() {
    let mut node = running_a();
    node.state(vec![run("web", "bad", 2)]);
    node.until("activate");
    node.fail(Step::Activate, FailureKind::Start);
    for wait in [1, 2, 4] {
        node.fail(Step::Return, FailureKind::Start);
        node.pass(Duration::from_secs(wait));
    }
    insta::assert_snapshot!(node.log);
}

#[test]
fn a_release_that_cannot_be_had_is_waited_for_and_a_newer_one_is_not_kept_waiting() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2)]);
    for wait in [1, 2, 4] {
        node.fail(Step::Fetch, FailureKind::Unavailable);
        node.pass(Duration::from_secs(wait));
    }
    node.state(vec![run("web", "c", 3)]);
    node.until("prepare");
    node.state(vec![run("web", "d", 4)]);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn an_image_that_cannot_be_had_is_waited_for_and_one_that_is_not_there_is_not() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2)]);
    node.until("prepare");
    for wait in [1, 2, 4] {
        node.fail(Step::Validate, FailureKind::Unavailable);
        assert!(node.journal.operation.is_some());
        node.pass(Duration::from_secs(wait));
        assert_eq!(node.running.as_ref().map(|(_, task)| task.word()), Some("prepare"));
    }
    node.settle();
    node.state(vec![run("web", "c", 3)]);
    node.until("prepare");
    node.fail(Step::Validate, FailureKind::Invalid);
    let ended = node.journal.stacks[&"web".parse().unwrap()].ended.clone().unwrap();
    assert_eq!((ended.deployment, node.journal.operation.is_none()), (id(3), true));
}

#[test]
fn patience_ends() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2)]);
    for _ in 0..40 {
        if node.running.as_ref().is_some_and(|(_, task)| task.word() == "fetch") {
            node.fail(Step::Fetch, FailureKind::Unavailable);
        }
        node.pass(Duration::from_secs(60));
    }
    let ended = node.journal.stacks[&"web".parse().unwrap()].ended.clone().unwrap();
    assert_eq!(ended.deployment, id(2));
    assert!(node.journal.operation.is_none());
}

#[test]
fn what_ran_before_is_asked_for_while_the_new_one_is_watched() {
    let mut node = running_a();
    node.bake = HOUR;
    node.state(vec![run("web", "b", 2)]);
    node.until("bake");
    node.state(vec![rollback(run("web", "a", 3))]);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn the_way_back_goes_before_updates() {
    let mut node = running_a();
    node.state(vec![run("api", "b", 2), run("cache", "b", 3), rollback(run("web", "b", 4))]);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn the_same_tree_is_not_started_again_unless_it_does_not_run_well() {
    let mut node = running_a();
    node.state(vec![run("web", "a", 2)]);
    node.settle();
    // After a start nobody knows yet; it looks first.
    node.restart(false);
    node.state(vec![run("web", "a", 3)]);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn a_stack_goes_when_it_is_said_in_so_many_words() {
    let mut node = running_a();
    node.state(Vec::new());
    node.settle();
    node.state(vec![remove("web", 2), remove("never", 3)]);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn an_expired_statement_changes_nothing_and_stops_nothing() {
    let mut node = running_a();
    let old = node.make(vec![run("web", "b", 2)], 1, 2, Duration::ZERO);
    node.give(old);
    node.settle();
    let renewed = node.make(vec![run("web", "b", 2)], 1, 2, HOUR);
    node.pass(Duration::from_secs(1));
    node.give(backstay_api::statement::Statement { issued_at: node.now(), ..renewed });
    node.until("prepare");
    // It expires in the middle: what was not activated waits, even over a restart.
    node.pass(2 * HOUR);
    node.succeed();
    node.restart(true);
    // Renewed, it goes on; it expires again while the release is probed: the way back is open all the same.
    let renewed = node.make(vec![run("web", "b", 2)], 1, 2, HOUR);
    node.give(renewed);
    node.until("probe");
    node.pass(2 * HOUR);
    node.fail(Step::Probe, FailureKind::Unhealthy);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn statements_that_are_not_taken() {
    let mut node = running_a();
    let held = node.make(vec![run("web", "a", 1)], 2, 1, HOUR);
    node.give(held.clone());
    for bad in [
        node.make(vec![run("web", "b", 2)], 1, 9, HOUR),
        node.make(vec![run("web", "b", 2)], 2, 1, HOUR),
        backstay_api::statement::Statement { node: id(8), ..node.make(vec![run("web", "b", 2)], 3, 1, HOUR) },
        held.clone(),
    ] {
        node.give(bad.clone());
        // Said once, however often it comes.
        node.give(bad);
    }
    node.input(Input::Unreadable { reason: "not signed".to_owned() });
    assert_eq!(node.journal.held, Some(held));
    insta::assert_snapshot!(node.log);
}

#[test]
fn drift_is_put_right_and_said_once() {
    let mut node = running_a();
    let web = "web".parse().unwrap();
    let record = node.journal.stacks[&web].clone();
    node.pass(Duration::from_secs(300));
    let mut seen = node.seen(&web, &record);
    seen.containers = Ok(Vec::new());
    seen.links.current = Some(tree("d"));
    let check = |node: &mut Node, seen: &backstay_agent_core::Seen| {
        let (id, task) = node.running.take().unwrap();
        assert_eq!(task.word(), "check");
        let result = Ok(backstay_agent_core::Done::Checked(vec![seen.clone()]));
        node.input(Input::Finished(backstay_agent_core::Finished { id, records: Vec::new(), result }));
    };
    check(&mut node, &seen);
    node.settle();
    // It cannot be told what runs: that is not the same as nothing, and nothing is done.
    let mut seen = node.seen(&web, &record);
    seen.containers = Err("the engine does not answer".to_owned());
    for _ in 0..3 {
        node.pass(Duration::from_secs(300));
        check(&mut node, &seen);
    }
    // It cannot be put right: said once.
    let mut seen = node.seen(&web, &record);
    seen.containers = Ok(Vec::new());
    for _ in 0..3 {
        node.pass(Duration::from_secs(300));
        check(&mut node, &seen);
        node.fail(Step::Return, FailureKind::Start);
    }
    insta::assert_snapshot!(node.log);
}

#[test]
fn another_image_than_was_prepared_is_never_success() {
    let mut node = running_a();
    node.state(vec![run("web", "b", 2)]);
    node.until("probe");
    let (task, _) = node.running.take().unwrap();
    let mut other = support::containers(&prepared(&run("web", "b", 2), Duration::ZERO));
    other[0].image = backstay_types::ImageId("another".into());
    let result = Ok(backstay_agent_core::Done::Healthy(other));
    node.input(Input::Finished(backstay_agent_core::Finished { id: task, records: Vec::new(), result }));
    node.settle();
    insta::assert_snapshot!(node.log);
}

/// The journal after every transaction of a deployment and of a way back, found again after a restart and after a
/// reboot: what is done first, and where it ends.
#[test]
fn recovery_from_every_persisted_state() {
    let mut node = running_a();
    node.bake = Duration::from_secs(60);
    node.state(vec![run("web", "b", 2)]);
    node.settle();
    node.state(vec![run("web", "bad", 3)]);
    node.until("bake");
    node.fail(Step::Bake, FailureKind::Unhealthy);
    node.settle();
    node.state(vec![remove("web", 4)]);
    node.settle();
    let mut text = String::new();
    for (name, journal) in &node.history {
        for reboot in [false, true] {
            let mut again = Node::found(journal.clone(), reboot);
            again.bake = Duration::from_secs(60);
            again.settle();
            let end = again.journal.stacks.get(&"web".parse().unwrap()).and_then(|r| r.committed.as_ref());
            let steps: Vec<_> = again.log.lines().filter(|line| line.starts_with("run ")).collect();
            let end =
                end.map_or("nothing", |c| ["a", "b", "bad"].into_iter().find(|n| tree(n) == c.tree).unwrap());
            text.push_str(&format!(
                "after {name}, {}: {} => {end}\n",
                if reboot { "reboot" } else { "restart" },
                steps
                    .iter()
                    .map(|s| s.trim_start_matches("run ").split(" (").next().unwrap())
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
            assert!(again.journal.operation.is_none(), "{name}: {}", again.log);
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_machine_that_goes_down_with_the_release_goes_back() {
    let mut node = running_a();
    node.state(vec![run("web", "bad", 2)]);
    node.until("probe");
    node.restart(true);
    node.until("probe");
    node.restart(true);
    node.settle();
    insta::assert_snapshot!(node.log);
}

#[test]
fn an_earlier_deployment_is_not_made_again() {
    let mut node = Node::new();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    node.state(vec![run("web", "b", 2)]);
    node.settle();
    let told = node.told.len();
    // The hub was away, and takes back what it does not know to be done.
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    let runs = |node: &Node| node.journal.stacks[&"web".parse().unwrap()].committed.as_ref().unwrap().tree;
    assert_eq!((runs(&node), node.told.len()), (tree("b"), told), "{}", node.log);
    let waiting = node.safety().waiting;
    assert!(waiting.iter().any(|waits| waits.reason.contains("earlier deployment")), "{waiting:?}");
    node.restart(true);
    node.settle();
    assert_eq!(runs(&node), tree("b"), "{}", node.log);
    // A new one to the same release is made.
    node.state(vec![run("web", "a", 3)]);
    node.settle();
    assert_eq!(runs(&node), tree("a"), "{}", node.log);
    // A hub that was restored knows nothing of what came after, and says so by its epoch.
    let restored = node.make(vec![run("web", "b", 2)], 2, 1, HOUR);
    node.give(restored);
    node.settle();
    assert_eq!(runs(&node), tree("b"), "{}", node.log);
}

#[test]
fn what_was_found_without_a_journal_is_taken_for_what_the_hub_knows_after_something_newer_failed() {
    let mut node = Node::new();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    node.lose_journal();
    node.state(vec![run("web", "b", 2)]);
    node.until("prepare");
    node.fail(Step::Validate, FailureKind::Invalid);
    node.settle();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    let record = &node.journal.stacks[&"web".parse().unwrap()];
    assert!(record.is_settled(id(1)), "{}", node.log);
}

#[test]
fn what_was_removed_is_not_brought_back_by_an_earlier_deployment() {
    let mut node = Node::new();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    node.state(vec![remove("web", 2)]);
    node.settle();
    node.state(vec![run("web", "a", 1)]);
    node.settle();
    assert!(node.journal.stacks[&"web".parse().unwrap()].committed.is_none(), "{}", node.log);
    node.state(vec![run("web", "a", 3)]);
    node.settle();
    assert!(node.journal.stacks[&"web".parse().unwrap()].committed.is_some(), "{}", node.log);
}
