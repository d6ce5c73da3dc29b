//! Safe mode, pauses, outages and wrong clocks, with the real agent; and `kill -9` on each side of each of their writes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, time::Duration};

use backstay_api::{agent::ReportBody, statement::Statement};
use backstay_testkit::WrongClock;
use backstay_types::{DeploymentState, LeaveSafeMode, Timestamp};
use support::{FakeHub, Node, eventually, eventually_within, process_stack};

/// A node that runs `a`, and does not wait long after a failed update.
fn running() -> (FakeHub, Node) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "failure_pause = \"100ms\"\noutage_after = \"1s\"".to_owned();
    node.start("");
    let deployment = hub.deploy(&process_stack("a", "true"));
    assert_eq!(end(&hub, deployment), DeploymentState::Succeeded);
    (hub, node)
}

fn end(hub: &FakeHub, deployment: backstay_types::DeploymentId) -> DeploymentState {
    eventually_within(Duration::from_secs(60), "the deployment's end", || hub.ends(deployment).pop())
}

/// Two bad releases, one after the other.
fn two_failures(hub: &FakeHub) {
    for name in ["bad-1", "bad-2"] {
        let state = end(hub, hub.deploy(&process_stack(name, "false")));
        assert!(matches!(state, DeploymentState::RolledBack { .. }), "{state:?}");
    }
}

fn in_safe_mode() -> (FakeHub, Node) {
    let (hub, node) = running();
    two_failures(&hub);
    end(&hub, hub.deploy(&process_stack("bad-3", "false")));
    eventually("safe mode is told", || hub.safety().safe_mode);
    (hub, node)
}

fn word(hub: &FakeHub) -> LeaveSafeMode {
    let mode = eventually("safe mode is told", || hub.safety().safe_mode);
    LeaveSafeMode { safe_mode: mode.id, by: "op".into(), reason: "mended".into() }
}

fn entered(hub: &FakeHub) -> usize {
    hub.reports().iter().filter(|r| matches!(r.body, ReportBody::SafeModeEntered { .. })).count()
}

fn left(hub: &FakeHub) -> usize {
    hub.reports().iter().filter(|r| matches!(r.body, ReportBody::SafeModeLeft { .. })).count()
}

/// Whether the minimal stack's process runs.
fn notice_runs(node: &Node) -> bool {
    let folder = node.data().join("safe-mode");
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)))
}

#[test]
fn three_failed_updates_lead_to_safe_mode_and_an_operator_leads_out() {
    let (hub, node) = in_safe_mode();
    eventually("the minimal stack runs", || notice_runs(&node).then_some(()));
    let mode = eventually("and that is told", || hub.safety().safe_mode.filter(|mode| mode.minimal_stack));
    assert!(mode.reason().contains("web: 3 updates in a row failed"), "{}", mode.reason());
    assert_eq!(node.running(), ["a"], "what ran well keeps running");
    let notice = fs::read_to_string(node.data().join("safe-mode/state/reason")).unwrap();
    assert_eq!(notice.trim(), mode.reason());
    eventually("it is shown in the minimal stack's log", || {
        let log = fs::read_to_string(node.data().join("safe-mode/logs/notice.log")).ok()?;
        log.contains("This node is in safe mode: web: 3 updates").then_some(())
    });
    assert!(node.status()["safe_mode"]["stacks"]["web"].is_string());

    // What failed is not tried again under another name, however long one waits.
    let again = hub.deploy(&process_stack("bad-2", "false"));
    eventually("it waits, and says so", || {
        hub.safety().waiting.into_iter().find(|waiting| waiting.reason.contains("failed here"))
    });
    assert!(hub.ends(again).is_empty());
    hub.say(word(&hub));
    let end = end(&hub, again);
    assert!(matches!(end, DeploymentState::RolledBack { .. }), "led out, it is tried: {end:?}");
    eventually("the minimal stack is gone", || (!notice_runs(&node)).then_some(()));
    eventually("that is told", || hub.safety().safe_mode.is_none().then_some(()));
    assert_eq!((entered(&hub), left(&hub)), (1, 1));
    assert_eq!(node.running(), ["a"]);
}

#[test]
fn a_newer_release_that_proves_itself_leads_out() {
    let (hub, node) = in_safe_mode();
    assert_eq!(end(&hub, hub.deploy(&process_stack("good", "true"))), DeploymentState::Succeeded);
    eventually("it has left", || (left(&hub) == 1).then_some(()));
    assert_eq!(node.running(), ["good"]);
    eventually("the minimal stack is gone", || (!notice_runs(&node)).then_some(()));
}

#[test]
fn the_minimal_stack_is_always_there_and_mended() {
    let (hub, mut node) = in_safe_mode();
    eventually("the minimal stack runs", || notice_runs(&node).then_some(()));
    let releases = node.data().join("safe-mode/releases");
    let release = fs::read_dir(&releases).unwrap().next().unwrap().unwrap().path();
    node.kill();
    fs::write(release.join("notice"), "#!/bin/sh\nexit 1\n").unwrap();
    // Killed while it is being mended: the next start mends it.
    node.start("minimal.filled=return");
    node.wait_killed();
    node.start("");
    eventually("it is whole again", || {
        let text = fs::read_to_string(release.join("notice")).ok()?;
        text.contains("Says on the machine itself").then_some(())
    });
    eventually("and runs", || hub.safety().safe_mode.filter(|mode| mode.minimal_stack));
    assert!(notice_runs(&node));
}

#[test]
fn an_outage_is_told_when_it_is_over() {
    let (hub, mut node) = running();
    hub.deaf(true);
    eventually("it is noticed", || node.log().contains("\"message\":\"outage\"").then_some(()));
    node.kill();
    node.start("");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(node.running(), ["a"]);
    hub.deaf(false);
    let (from, to, detail) = eventually_within(Duration::from_secs(60), "it is told", || {
        hub.reports().into_iter().find_map(|report| match report.body {
            ReportBody::Outage { from, to, detail } => Some((from, to, detail)),
            _ => None,
        })
    });
    let length = to.duration_since(from);
    assert!((1..60).contains(&length.as_secs()), "{length:?}");
    assert_eq!(detail, "1 start of the agent");
    assert_eq!(end(&hub, hub.deploy(&process_stack("b", "true"))), DeploymentState::Succeeded);
}

/// An agent that hangs ends itself, and what runs keeps running; the next one goes on.
#[test]
fn a_wedged_agent_is_ended() {
    let (hub, mut node) = running();
    node.terminate();
    node.settings = "watchdog = \"1s\"".to_owned();
    // Without a wedge it lives on, whether or not anything happens.
    node.start("");
    std::thread::sleep(Duration::from_secs(4));
    node.terminate();
    node.start("driver.wedge=5*off->return");
    let status = node.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{status}");
    assert!(node.log().contains("the agent is wedged"));
    assert_eq!(node.running(), ["a"]);
    node.start("");
    assert_eq!(end(&hub, hub.deploy(&process_stack("b", "true"))), DeploymentState::Succeeded);
}

/// The real agent with a clock that is wrong by up to 50 years: it deploys, goes back and reports as with a right one.
#[test]
fn a_wrong_clock_changes_nothing() {
    let Some(clock) = WrongClock::require() else { return };
    for offset in ["-50y", "-1y", "-1d", "+1d", "+1y"] {
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.settings = "failure_pause = \"100ms\"".to_owned();
        node.prefix = clock.prefix(offset);
        let began = backstay_agent::system().now();
        node.start("");
        assert_eq!(
            end(&hub, hub.deploy(&process_stack("a", "true"))),
            DeploymentState::Succeeded,
            "{offset}"
        );
        let bad = end(&hub, hub.deploy(&process_stack("bad", "false")));
        assert!(matches!(bad, DeploymentState::RolledBack { .. }), "{offset}: {bad:?}");
        // Killed and started again with that clock, it goes on.
        node.kill();
        node.start("");
        assert_eq!(
            end(&hub, hub.deploy(&process_stack("b", "true"))),
            DeploymentState::Succeeded,
            "{offset}"
        );
        assert_eq!(node.running(), ["b"], "{offset}");
        // Reports are dated by the hub's time.
        let now = backstay_agent::system().now();
        for report in hub.reports() {
            let off = report.at < began - Duration::from_secs(5) || report.at > now + Duration::from_secs(5);
            assert!(!off, "{offset}: {report:?}");
        }
        // The clock was really wrong.
        let log = node.log();
        let logged = log.split("\"timestamp\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let off = logged.parse::<Timestamp>().unwrap().duration_since(began);
        assert!(off.as_hours().abs() >= 23, "{offset}: {logged}");
        // An expired statement begins nothing, whatever the clock says.
        let late = hub.offer(&process_stack("late", "true"));
        let deployment = late.deployment;
        let statement = hub.statement(vec![late], 1, 99);
        hub.give(Statement { expires_at: now - Duration::from_secs(1), ..statement });
        std::thread::sleep(Duration::from_millis(700));
        assert!(hub.ends(deployment).is_empty() && node.running() == ["b"], "{offset}");
    }
}

/// A row for each: what is asked for, and the points of the runs that die.
macro_rules! rows {
    ($($name:ident: $way:ident [$($points:literal),+];)*) => {$(
        #[test]
        fn $name() {
            $way(&[$($points),+]);
        }
    )*};
}

rows! {
    // The third failure, which leads into safe mode.
    entering_before: entering ["returned.before=return"];
    entering_open: entering ["returned.open=return"];
    entering_after: entering ["returned.after=return"];
    entering_again_and_again: entering ["returned.before=return", "returned.open=return", "returned.after=return"];
    // An operator's word.
    leaving_before: leaving ["left.before=return"];
    leaving_open: leaving ["left.open=return"];
    leaving_after: leaving ["left.after=return"];
    // A newer release that proves itself.
    proving_before: proving ["committed.before=return"];
    proving_open: proving ["committed.open=return"];
    proving_after: proving ["committed.after=return"];
    // A time without a hub.
    outage_before: outage ["outage.before=return"];
    outage_open: outage ["outage.open=return"];
    outage_after: outage ["outage.after=return"];
    back_before: coming_back ["back.before=return"];
    back_open: coming_back ["back.open=return"];
    back_after: coming_back ["back.after=return"];
}

fn die(node: &mut Node, points: &[&str]) {
    for point in points {
        node.start(point);
        node.wait_killed();
        assert!(node.link("current").is_some(), "neither the old nor the new after {point}");
    }
    node.start("");
}

fn entering(points: &[&str]) {
    let (hub, mut node) = running();
    two_failures(&hub);
    node.kill();
    let third = hub.deploy(&process_stack("bad-3", "false"));
    die(&mut node, points);
    end(&hub, third);
    eventually("safe mode is told", || hub.safety().safe_mode);
    assert_eq!((entered(&hub), hub.ends(third).len()), (1, 1));
    assert_eq!(node.status()["stacks"]["web"]["failures"], 3);
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
}

fn leaving(points: &[&str]) {
    let (hub, mut node) = in_safe_mode();
    let word = word(&hub);
    node.kill();
    hub.say(word);
    die(&mut node, points);
    eventually("it has left", || (left(&hub) == 1).then_some(()));
    eventually("that is told", || hub.safety().safe_mode.is_none().then_some(()));
    assert_eq!(node.status()["stacks"]["web"]["failures"], 0);
}

fn proving(points: &[&str]) {
    let (hub, mut node) = in_safe_mode();
    node.kill();
    let good = hub.deploy(&process_stack("good", "true"));
    die(&mut node, points);
    assert_eq!(end(&hub, good), DeploymentState::Succeeded);
    eventually("it has left", || (left(&hub) == 1).then_some(()));
    eventually("good runs", || (node.running() == ["good"]).then_some(()));
    assert_eq!(node.status()["stacks"]["web"]["failures"], 0);
}

fn outage(points: &[&str]) {
    let (hub, mut node) = running();
    node.kill();
    hub.deaf(true);
    die(&mut node, points);
    eventually_within(Duration::from_secs(30), "it is noted", || {
        node.status()["outage"].as_object().map(drop)
    });
    hub.deaf(false);
    eventually_within(Duration::from_secs(60), "it is told", || (outages(&hub) == 1).then_some(()));
    assert_eq!(node.running(), ["a"]);
}

fn coming_back(points: &[&str]) {
    let (hub, mut node) = running();
    hub.deaf(true);
    // What the log says comes before it is durable.
    eventually("it is noticed", || node.status()["outage"].is_object().then_some(()));
    node.kill();
    hub.deaf(false);
    die(&mut node, points);
    eventually("it is told", || (outages(&hub) == 1).then_some(()));
    eventually("all is told", || (node.status()["unsent_reports"] == 0).then_some(()));
    assert_eq!(outages(&hub), 1);
}

fn outages(hub: &FakeHub) -> usize {
    hub.reports().iter().filter(|r| matches!(r.body, ReportBody::Outage { .. })).count()
}
