//! Failed updates, pauses, safe mode, outages and clocks, as scripts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use backstay_agent_core::{InSafeMode, Input, Settings};
use backstay_api::{agent::ReportBody, statement::Statement};
use backstay_types::{Container, FailureKind, LeaveSafeMode, StackHealth, Step};
use support::{HOUR, Node, id, remove, rollback, run, tree};

const MINUTE: Duration = Duration::from_secs(60);

/// A node that runs `a` of `web` and of `api`.
fn running_a() -> Node {
    let mut node = Node::new();
    node.settle();
    node.state(vec![run("web", "a", 1), run("api", "a", 2)]);
    node.settle();
    node.log.clear();
    node
}

/// The hub asks for a tree of `web`, which starts and is not healthy.
fn fails(node: &mut Node, name: &str, deployment: u128) {
    node.state(vec![run("web", name, deployment), run("api", "a", 2)]);
    node.pass(HOUR);
    renew(node);
    node.until("probe");
    assert!(node.is_running("probe"), "{}", node.log);
    node.fail(Step::Probe, FailureKind::Unhealthy);
    node.settle();
}

fn renew(node: &mut Node) {
    let held = node.journal.held.clone().unwrap();
    let renewed = node.make(held.stacks, held.epoch, held.generation, HOUR);
    node.give(renewed);
}

fn in_safe_mode() -> Node {
    let mut node = running_a();
    for (name, deployment) in [("b", 3), ("c", 4), ("bad", 5)] {
        fails(&mut node, name, deployment);
    }
    assert!(mode(&node).is_some(), "{}", node.log);
    node.log.clear();
    node
}

fn mode(node: &Node) -> Option<&InSafeMode> {
    node.journal.safety.safe_mode.as_ref()
}

fn runs(node: &Node, stack: &str) -> &'static str {
    let committed = node.journal.stacks[&stack.parse().unwrap()].committed.as_ref().map(|c| c.tree);
    ["a", "b", "c", "d", "bad"].into_iter().find(|name| committed == Some(tree(name))).unwrap_or("nothing")
}

fn word(node: &Node) -> LeaveSafeMode {
    LeaveSafeMode { safe_mode: mode(node).unwrap().id, by: "op".into(), reason: "mended".into() }
}

/// The hub renews its statement, with an operator's word in it.
fn say(node: &mut Node, word: LeaveSafeMode) {
    node.pass(Duration::from_secs(1));
    let held = node.journal.held.clone().unwrap();
    let renewed = node.make(held.stacks, held.epoch, held.generation, HOUR);
    node.give(Statement { leave_safe_mode: Some(word), ..renewed });
}

#[test]
fn after_a_failed_update_the_next_one_waits_and_longer_each_time() {
    let mut node = running_a();
    fails(&mut node, "b", 3);
    for (pause, name, deployment) in [(5, "c", 4), (30, "d", 5)] {
        node.state(vec![run("web", name, deployment), run("api", "a", 2)]);
        assert!(node.running.is_none() && node.journal.operation.is_none(), "{}", node.log);
        let waiting = node.safety().waiting;
        assert!(
            waiting[0].stack.as_str() == "web" && waiting[0].reason.contains(&format!("{pause} s")),
            "{waiting:?}"
        );
        node.pass(Duration::from_secs(pause) - Duration::from_millis(1));
        assert!(node.running.is_none(), "{}", node.log);
        // Nobody has to send anything: the core itself says when to look again.
        assert_eq!(node.core.deadline(), Some(node.mono() + Duration::from_millis(1)));
        node.pass(Duration::from_millis(1));
        node.until("probe");
        node.fail(Step::Probe, FailureKind::Unhealthy);
        node.settle();
    }
}

#[test]
fn the_way_back_and_other_stacks_never_wait() {
    let mut node = running_a();
    fails(&mut node, "b", 3);
    node.state(vec![run("web", "c", 4), run("api", "b", 5)]);
    node.settle();
    assert_eq!((runs(&node, "api"), runs(&node, "web")), ("b", "a"));
    node.state(vec![rollback(run("web", "d", 6)), run("api", "b", 5)]);
    node.settle();
    assert_eq!(runs(&node, "web"), "d");
}

#[test]
fn a_pause_outlives_a_restart_and_begins_again() {
    let mut node = running_a();
    fails(&mut node, "b", 3);
    node.restart(true);
    node.settle();
    node.state(vec![run("web", "c", 4), run("api", "a", 2)]);
    assert!(node.journal.operation.is_none());
    node.pass(Duration::from_secs(5));
    assert!(node.journal.operation.is_some());
}

#[test]
fn one_that_proves_itself_ends_the_count() {
    let mut node = running_a();
    fails(&mut node, "b", 3);
    fails(&mut node, "c", 4);
    node.pass(MINUTE);
    node.state(vec![run("web", "d", 5), run("api", "a", 2)]);
    node.settle();
    assert_eq!(runs(&node, "web"), "d");
    assert!(node.journal.stacks[&"web".parse().unwrap()].trouble.is_none());
    fails(&mut node, "b", 6);
    fails(&mut node, "c", 7);
    assert!(mode(&node).is_none());
}

#[test]
fn three_failed_updates_in_a_row_lead_to_safe_mode() {
    let mut node = running_a();
    fails(&mut node, "b", 3);
    fails(&mut node, "c", 4);
    node.log.clear();
    fails(&mut node, "bad", 5);
    insta::assert_snapshot!(node.log);
}

#[test]
fn in_safe_mode_nothing_forward_is_tried_but_a_newer_release_of_what_failed() {
    let mut node = in_safe_mode();
    // Another stack, and what failed before under another deployment: they wait, however long.
    node.state(vec![run("web", "c", 6), run("api", "b", 7)]);
    node.pass(HOUR * 2);
    renew(&mut node);
    node.settle();
    assert_eq!((runs(&node, "web"), runs(&node, "api")), ("a", "a"), "{}", node.log);
    let said: Vec<_> =
        node.safety().waiting.into_iter().map(|w| format!("{}: {}", w.stack, w.reason)).collect();
    assert_eq!(
        said,
        ["web: the node is in safe mode, and this release failed here", "api: the node is in safe mode"]
    );
    // The way back of another stack is always open.
    node.state(vec![run("web", "c", 6), rollback(run("api", "c", 8))]);
    node.settle();
    assert_eq!(runs(&node, "api"), "c");
    // A newer one is tried. Another failure leaves all as it is; success ends it.
    node.state(vec![run("web", "d", 9), run("api", "b", 10)]);
    node.until("probe");
    assert!(node.is_running("probe"), "{}", node.log);
    node.succeed();
    node.settle();
    assert!(mode(&node).is_none());
    assert_eq!((runs(&node, "web"), runs(&node, "api")), ("d", "b"), "{}", node.log);
    let left = node.told.iter().filter(|r| matches!(r.body, ReportBody::SafeModeLeft { .. })).count();
    assert_eq!(left, 1);
}

#[test]
fn an_operators_word_ends_the_safe_mode_that_it_means_and_no_other() {
    let mut node = in_safe_mode();
    let other = LeaveSafeMode { safe_mode: id(99), ..word(&node) };
    say(&mut node, other);
    assert!(mode(&node).is_some());
    let first = word(&node);
    say(&mut node, first.clone());
    node.settle();
    assert!(mode(&node).is_none());
    assert!(node.journal.stacks[&"web".parse().unwrap()].trouble.is_none());
    node.state(vec![run("web", "a", 1), run("api", "b", 7)]);
    node.settle();
    assert_eq!(runs(&node, "api"), "b");
    // The same word again, in another time of safe mode: it was not meant.
    for (name, deployment) in [("b", 11), ("c", 12), ("bad", 13)] {
        node.state(vec![run("web", name, deployment), run("api", "b", 7)]);
        node.pass(HOUR);
        renew(&mut node);
        node.until("probe");
        node.fail(Step::Probe, FailureKind::Unhealthy);
        node.settle();
    }
    assert!(mode(&node).is_some());
    say(&mut node, first);
    assert!(mode(&node).is_some(), "{}", node.log);
}

#[test]
fn safe_mode_outlives_restarts() {
    let mut node = in_safe_mode();
    let before = mode(&node).cloned();
    for reboot in [false, true] {
        node.restart(reboot);
        node.settle();
        assert_eq!(mode(&node), before.as_ref());
    }
    assert_eq!(node.safety().safe_mode.unwrap().stacks[0].stack.as_str(), "web");
}

#[test]
fn a_removal_ends_it_too() {
    let mut node = in_safe_mode();
    node.state(vec![remove("web", 6), run("api", "a", 2)]);
    node.settle();
    assert!(mode(&node).is_none());
}

/// The way back fails: safe mode at once. The last good release is tried on, then the stack is stopped.
#[test]
fn what_does_not_even_run_as_it_ran_before_is_stopped() {
    let mut node = running_a();
    node.state(vec![run("web", "bad", 3), run("api", "a", 2)]);
    node.until("activate");
    node.fail(Step::Activate, FailureKind::Start);
    for wait in [1, 2, 4] {
        node.fail(Step::Return, FailureKind::Start);
        node.pass(Duration::from_secs(wait));
    }
    assert!(mode(&node).unwrap().stacks.values().all(|why| why.contains("so did the way back")));
    node.pass(Duration::from_secs(15));
    node.until("check");
    let sick = |node: &mut Node| {
        let web = "web".parse().unwrap();
        let record = node.journal.stacks[&web].clone();
        let mut seen = node.seen(&web, &record);
        seen.containers = Ok(Vec::<Container>::new());
        let (task, _) = node.running.take().unwrap();
        let result = Ok(backstay_agent_core::Done::Checked(vec![seen]));
        node.input(Input::Finished(backstay_agent_core::Finished { id: task, records: Vec::new(), result }));
    };
    // A machine that cannot is no reason to give up.
    for kind in [FailureKind::Node, FailureKind::DiskFull, FailureKind::Node, FailureKind::Node] {
        sick(&mut node);
        assert!(node.is_running("heal"), "{}", node.log);
        node.fail(Step::Return, kind);
        node.pass(MINUTE * 5);
    }
    for n in 1..=3 {
        sick(&mut node);
        assert!(node.is_running("heal"), "{n}: {}", node.log);
        node.fail(Step::Return, FailureKind::Start);
        if n < 3 {
            node.pass(MINUTE * 5);
        }
    }
    assert!(node.is_running("stop"), "{}", node.log);
    node.succeed();
    assert!(node.journal.stacks[&"web".parse().unwrap()].trouble.stopped);
    // Nothing is started behind the operator's back, not even after a reboot.
    node.restart(true);
    for _ in 0..3 {
        node.until("check");
        sick(&mut node);
        assert!(node.running.is_none(), "{}", node.log);
        node.pass(MINUTE * 5);
    }
    let observed = node.core.observed().into_iter().find(|one| one.stack.as_str() == "web").unwrap();
    assert_eq!(observed.health, StackHealth::Down);
    // Led out, its last good release is tried again.
    node.settle();
    let word = word(&node);
    say(&mut node, word);
    assert!(node.is_running("check"), "{}", node.log);
    sick(&mut node);
    assert!(node.is_running("heal"), "{}", node.log);
}

/// Reboots in an update count, others do not.
#[test]
fn boots_count_inside_an_update_only() {
    let mut node = running_a();
    for _ in 0..20 {
        node.restart(true);
        node.settle();
    }
    assert!(node.journal.stacks.values().all(|record| record.trouble.is_none()));
    for (name, deployment) in [("b", 3), ("c", 4), ("bad", 5)] {
        node.state(vec![run("web", name, deployment), run("api", "a", 2)]);
        node.pass(HOUR);
        renew(&mut node);
        for _ in 0..2 {
            node.until("probe");
            assert!(node.is_running("probe"), "{}", node.log);
            node.restart(true);
        }
        assert!(node.is_running("return"), "{}", node.log);
        node.settle();
        // And between updates as many as there like.
        for _ in 0..5 {
            node.restart(true);
            node.settle();
        }
    }
    let mode = mode(&node).unwrap();
    assert!(mode.stacks[&"web".parse().unwrap()].contains("3 updates in a row failed"), "{mode:?}");
    assert_eq!((runs(&node, "web"), runs(&node, "api")), ("a", "a"));
}

/// What has to be started after each boot is started after each boot, however many there are.
#[test]
fn reboots_do_not_make_it_give_up() {
    let mut node = running_a();
    let web = "web".parse().unwrap();
    for boot in 1..=12 {
        node.restart(true);
        node.until("check");
        assert!(node.is_running("check"), "boot {boot}: {}", node.log);
        let record = node.journal.stacks[&web].clone();
        let mut seen = node.seen(&web, &record);
        seen.containers = Ok(Vec::<Container>::new());
        let (task, _) = node.running.take().unwrap();
        let result = Ok(backstay_agent_core::Done::Checked(vec![seen]));
        node.input(Input::Finished(backstay_agent_core::Finished { id: task, records: Vec::new(), result }));
        assert!(node.is_running("heal"), "boot {boot}: {}", node.log);
        node.settle();
    }
}

/// An engine that does not answer is started again after four looks, then after eight, and so on; never unless asked.
#[test]
fn an_engine_that_is_silent_is_started_again_less_and_less_often() {
    let web = "web".parse().unwrap();
    for (restart_engine, expected) in [(Some(4), vec![4, 12, 28]), (None, Vec::new())] {
        let mut node = Node::with(Settings { restart_engine, ..support::settings() });
        node.runtime = "compose";
        node.settle();
        node.state(vec![run("web", "a", 1)]);
        node.settle();
        let mut restarted = Vec::new();
        for look in 1..=40 {
            node.pass(MINUTE * 5);
            assert!(node.is_running("check"), "{}", node.log);
            let record = node.journal.stacks[&web].clone();
            let mut seen = node.seen(&web, &record);
            seen.containers = Err("nobody answers".to_owned());
            let (task, _) = node.running.take().unwrap();
            let result = Ok(backstay_agent_core::Done::Checked(vec![seen]));
            node.input(Input::Finished(backstay_agent_core::Finished {
                id: task,
                records: Vec::new(),
                result,
            }));
            if node.is_running("engine") {
                restarted.push(look);
                node.succeed();
            }
        }
        assert_eq!(restarted, expected);
        assert!(mode(&node).is_none());
    }
}

/// An agent that dies again and again while it starts a release: the same, without a single reboot.
#[test]
fn deaths_count_inside_an_update_only() {
    let mut node = running_a();
    for (name, deployment) in [("b", 3), ("c", 4), ("bad", 5)] {
        node.state(vec![run("web", name, deployment), run("api", "a", 2)]);
        node.pass(HOUR);
        renew(&mut node);
        for _ in 0..2 {
            node.until("activate");
            node.restart(false);
        }
        assert!(node.is_running("return"), "{}", node.log);
        // The way back is gone on with, however often it is interrupted.
        for n in 0..10 {
            node.restart(n % 2 == 0);
            assert!(node.is_running("return"), "{}", node.log);
        }
        node.settle();
    }
    assert!(mode(&node).is_some());
    assert_eq!(runs(&node, "web"), "a");
}

#[test]
fn an_outage_is_told_when_it_is_over_with_what_happened_in_it() {
    let mut node = running_a();
    node.heard(true);
    node.log.clear();
    let began = node.now();
    for minute in 1..=4 {
        node.pass(MINUTE);
        node.input(Input::Silence { silent: MINUTE * minute });
    }
    assert!(node.journal.safety.outage.is_none(), "not yet");
    node.pass(MINUTE);
    node.input(Input::Silence { silent: MINUTE * 5 });
    assert_eq!(node.journal.safety.outage.as_ref().unwrap().from, began);
    node.restart(false);
    node.settle();
    node.restart(true);
    node.settle();
    node.pass(HOUR);
    node.input(Input::Silence { silent: HOUR });
    node.settle();
    node.log.clear();
    node.heard(true);
    node.settle();
    insta::assert_snapshot!(node.log);
    let outage = node.told.iter().rev().find_map(|report| match &report.body {
        ReportBody::Outage { from, to, detail } => Some((*from, *to, detail.clone())),
        _ => None,
    });
    assert_eq!(outage, Some((began, node.now(), "2 starts of the agent, 1 reboot".to_owned())));
    // Said once.
    node.heard(true);
    assert_eq!(node.told.iter().filter(|r| matches!(r.body, ReportBody::Outage { .. })).count(), 1);
}

/// However wrong the clock: what is signed and valid is done, what is not is not, what runs keeps running, and the
/// counters count the same.
#[test]
fn a_wrong_clock_changes_nothing() {
    let year = HOUR * 24 * 365;
    let clocks = [
        (false, year * 50),
        (false, year * 10),
        (false, year),
        (false, HOUR * 24),
        (false, MINUTE * 5),
        (true, Duration::ZERO),
        (true, MINUTE * 5),
        (true, HOUR * 24),
        (true, year / 2),
        (true, year),
    ];
    for (ahead, by) in clocks {
        let mut node = Node::new();
        node.clock_off(ahead, by);
        node.restart(true);
        node.heard(true);
        node.settle();
        node.state(vec![run("web", "a", 1), run("api", "a", 2)]);
        node.settle();
        assert_eq!(runs(&node, "web"), "a", "{ahead} {by:?}: {}", node.log);
        fails(&mut node, "b", 3);
        fails(&mut node, "c", 4);
        assert!(mode(&node).is_none());
        fails(&mut node, "bad", 5);
        assert!(mode(&node).is_some(), "{ahead} {by:?}");
        // What expired by the hub's time begins nothing, whatever the clock here says.
        let word = word(&node);
        say(&mut node, word);
        node.settle();
        node.state(vec![run("web", "d", 6), run("api", "a", 2)]);
        node.until("prepare");
        node.pass(HOUR * 2);
        node.succeed();
        assert!(node.running.is_none(), "{ahead} {by:?}: {}", node.log);
        // The clock is set right, or wrong the other way: nothing is begun or stopped by it.
        node.clock_off(!ahead, by);
        node.pass(MINUTE);
        assert!(node.running.is_none(), "{ahead} {by:?}: {}", node.log);
        renew(&mut node);
        node.settle();
        assert_eq!(runs(&node, "web"), "d", "{ahead} {by:?}: {}", node.log);
        // Reports carry the hub's time.
        let now = node.now();
        for report in &node.told {
            assert!(now.duration_since(report.at).as_secs().abs() < 24 * 3600, "{ahead} {by:?}: {report:?}");
        }
    }
}
