//! The agent's life: joining, one at a time, ending without ending what runs, telling the hub everything once.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use backstay_api::agent::{Answer, Question, ReportBody};
use backstay_types::{DeploymentId, DeploymentState, FailureKind, Step};
use support::{FakeHub, Node, Stack, eventually, process_stack};

fn end(hub: &FakeHub, deployment: DeploymentId) -> DeploymentState {
    eventually("the deployment's end", || hub.ends(deployment).pop())
}

fn running(stack: &Stack) -> (FakeHub, Node) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.start("");
    let deployment = hub.deploy(stack);
    assert_eq!(end(&hub, deployment), DeploymentState::Succeeded);
    (hub, node)
}

#[test]
fn joining_pins_the_hub_and_happens_once() {
    let hub = FakeHub::start();
    let node = Node::new();
    for token in ["nonsense", "bsj.id.secret", &format!("bsj.id.secret.{}", "0".repeat(64))] {
        let output = node.try_join(&hub, token);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains("BS3014"), "{text}");
        assert!(!text.contains("secret.0"), "the token is not repeated: {text}");
        assert!(!node.data().join("identity.json").exists());
    }
    assert!(node.try_join(&hub, &hub.token()).status.success());
    let mode = fs::metadata(node.data().join("identity.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = node.try_join(&hub, &hub.token());
    assert!(String::from_utf8(again.stderr).unwrap().contains("BS3013"));
}

#[test]
fn who_was_revoked_joins_again_in_its_folder_and_keeps_what_runs() {
    let (hub, mut node) = running(&process_stack("a", "true"));
    let pids = eventually("a runs", || Some(node.pids()).filter(|_| node.running() == ["a"]));
    let said = |output: std::process::Output| String::from_utf8(output.stderr).unwrap();
    let plain = said(node.try_join(&hub, &hub.token()));
    assert!(plain.contains("BS3013") && plain.contains("--replace"), "{plain}");
    let busy = said(node.try_replace(&hub, &hub.token(), "node-1"));
    assert!(busy.contains("BS3010"), "its agent runs: {busy}");
    assert!(node.terminate().success());
    let other = said(node.try_replace(&hub, &hub.token(), "node-2"));
    assert!(other.contains("BS3013") && other.contains("is that of node-1"), "{other}");
    let stranger = said(node.try_replace(&hub, &FakeHub::start().token(), "node-1"));
    assert!(stranger.contains("BS3013") && stranger.contains("the token is another's"), "{stranger}");
    let identity = || fs::read_to_string(node.data().join("identity.json")).unwrap();
    fs::write(
        node.data().join("identity.json"),
        identity().replace("\"credential\": \"", "\"credential\": \"old-"),
    )
    .unwrap();
    let joined = node.try_replace(&hub, &hub.token(), "node-1");
    assert!(joined.status.success(), "{}", said(joined));
    assert!(!identity().contains("old-"), "it has the new credential");
    node.start("");
    assert_eq!(node.pids(), pids, "what ran runs on");
    assert_eq!(end(&hub, hub.deploy(&process_stack("b", "true"))), DeploymentState::Succeeded);
    // A new machine has no folder; it is the same to it.
    assert!(Node::new().try_replace(&hub, &hub.token(), "node-1").status.success());
}

#[test]
fn a_second_agent_in_the_same_folder_is_refused() {
    let (hub, mut node) = running(&process_stack("a", "true"));
    let mut other = Node::new().with_data(node.data());
    other.start("");
    assert!(!other.wait().success());
    assert!(other.log().contains("BS3010"), "{}", other.log());
    assert_eq!(end(&hub, hub.deploy(&process_stack("b", "true"))), DeploymentState::Succeeded);
    node.kill();
}

#[test]
fn ending_the_agent_ends_nothing_else_and_a_new_one_takes_over() {
    let (hub, mut node) = running(&process_stack("a", "true"));
    let pids = eventually("a runs", || Some(node.pids()).filter(|_| node.running() == ["a"]));
    assert!(node.terminate().success());
    assert_eq!(node.pids(), pids);
    node.start("");
    let observed = eventually("a is seen again", || {
        let check_in = hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed)?;
        check_in.into_iter().next().filter(|stack| stack.health == backstay_types::StackHealth::Healthy)
    });
    assert_eq!(node.pids(), pids);
    assert!(pids.iter().any(|pid| observed.containers[0].id.starts_with(&format!("{pid}-"))));
    assert_eq!(end(&hub, hub.deploy(&process_stack("b", "true"))), DeploymentState::Succeeded);
    eventually("b alone runs", || (node.running() == ["b"]).then_some(()));
}

#[test]
fn reports_wait_for_the_hub_and_each_counts_once() {
    let (hub, node) = running(&process_stack("a", "true"));
    hub.forgetful(true);
    let b = hub.deploy(&process_stack("b", "true"));
    assert_eq!(end(&hub, b), DeploymentState::Succeeded);
    assert!(node.status()["unsent_reports"].as_u64().unwrap() > 0);
    hub.deaf(true);
    std::thread::sleep(Duration::from_millis(300));
    hub.forgetful(false);
    hub.deaf(false);
    eventually("all is told", || (node.status()["unsent_reports"] == 0).then_some(()));
    assert_eq!(hub.ends(b).len(), 1);
    let steps: Vec<_> = hub
        .reports()
        .into_iter()
        .filter_map(|report| match report.body {
            ReportBody::StepFinished { deployment, record } if deployment == b => Some(record.step),
            _ => None,
        })
        .collect();
    let expected = [
        Step::Fetch,
        Step::Verify,
        Step::Stage,
        Step::Validate,
        // There was no data, and it says so.
        Step::Snapshot,
        Step::Activate,
        Step::Probe,
        Step::Commit,
    ];
    assert_eq!(steps, expected);
}

/// Shows what it was given in its log.
fn with_values() -> Stack {
    process_stack("a", "true")
        .file(".env.template", "TOKEN=\nGREETING=hello ${NAME}\n")
        .program("serve", "echo \"token $TOKEN, $GREETING, state $BACKSTAY_STATE_DIR\"\nexec sleep 20000")
}

#[test]
fn values_come_from_the_node_and_missing_ones_are_named() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.start("");
    let refused = |deployment| match end(&hub, deployment) {
        DeploymentState::Failed { step: Step::Validate, failure: FailureKind::Invalid, reason } => reason,
        other => panic!("{other:?}"),
    };
    let reason = refused(hub.deploy(&with_values()));
    assert!(reason.contains("no value for NAME, TOKEN") && reason.contains("BS3004"), "{reason}");
    let values = node.env_dir().join("web.env");
    fs::write(&values, "TOKEN='s3cr3t $x'\nNAME=you\n").unwrap();
    fs::set_permissions(&values, fs::Permissions::from_mode(0o644)).unwrap();
    let reason = refused(hub.deploy(&with_values()));
    assert!(reason.contains("has mode 644: expected 600"), "{reason}");
    fs::set_permissions(&values, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(end(&hub, hub.deploy(&with_values())), DeploymentState::Succeeded);
    hub.ask_logs(&"web".parse().unwrap(), 5);
    let Answer::Logs { lines } = eventually("logs", || hub.answers().pop()) else { panic!() };
    let state = node.stack().join("state");
    assert_eq!(lines[0].text, format!("token s3cr3t $x, hello you, state {}", state.display()));
    assert!(!node.log().contains("s3cr3t"), "a value is in the agent's log");
    // What a newer hub asks is answered too, and what comes with it is taken.
    hub.ask(Question::Unknown);
    let Answer::Failed { reason } = eventually("an answer", || hub.answers().into_iter().nth(1)) else {
        panic!()
    };
    assert_eq!(reason, "this agent is older than the question");
    let release = node.stack().join("current");
    assert!(!fs::read_dir(release).unwrap().flatten().any(|e| e.file_name() == ".env"));
}

#[test]
fn a_check_of_its_own_that_hangs_is_ended() {
    let (hub, mut node) = running(&process_stack("a", "true"));
    node.kill();
    node.settings = "validate_timeout = \"1s\"".to_owned();
    node.start("");
    let hangs = process_stack("b", "true").program("validate", "sleep 600 & wait");
    match end(&hub, hub.deploy(&hangs)) {
        DeploymentState::Failed { step: Step::Validate, reason, .. } => {
            assert!(reason.contains("did not end within 1s") && reason.contains("BS3005"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(node.running(), ["a"]);
}

#[test]
fn a_process_in_a_loop_is_not_healthy() {
    let (hub, node) = running(&process_stack("a", "true"));
    let loops = process_stack("b", "false")
        .program("serve", "exit 3")
        .file("stack.toml", "runtime = \"process\"\n[[process]]\nname = \"web\"\ncommand = [\"./serve\"]\n[[probe]]\ncommand = [\"./check\"]\nevery = \"50ms\"\nwithin = \"20s\"\n");
    let started = std::time::Instant::now();
    match end(&hub, hub.deploy(&loops)) {
        DeploymentState::RolledBack { step: Step::Probe, reason, .. } => {
            assert!(reason.contains("started again 3 times"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < Duration::from_secs(15), "it did not wait for the probe's end");
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
}

#[test]
fn old_releases_go_and_the_way_back_stays() {
    let (hub, node) = running(&process_stack("0", "true"));
    let stacks: Vec<_> = (1..=7).map(|n| process_stack(&n.to_string(), "true")).collect();
    for stack in &stacks {
        assert_eq!(end(&hub, hub.deploy(stack)), DeploymentState::Succeeded);
    }
    // The running, the previous and three more.
    let expected: Vec<_> = {
        let mut trees: Vec<_> = stacks[2..].iter().map(|stack| stack.tree().to_string()).collect();
        trees.sort();
        trees
    };
    eventually("old releases are gone", || {
        let entries = fs::read_dir(node.stack().join("releases")).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        (names == expected).then_some(())
    });
    assert_eq!(node.link("previous"), Some(stacks[5].tree()));

    // Back to a cached release with no pack to be had.
    hub.packs(support::PackMode::Gone);
    assert_eq!(end(&hub, hub.deploy(&stacks[2])), DeploymentState::Succeeded);
    eventually("3 runs", || (node.running() == ["3"]).then_some(()));
}

#[test]
fn a_stack_that_is_not_mentioned_is_left_alone_and_one_that_is_removed_keeps_its_data() {
    let stack = process_stack("a", "true");
    let (hub, node) = running(&stack);
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
    let pids = node.pids();
    hub.state(Vec::new());
    eventually("the statement is held", || (node.status()["generation"] == 2).then_some(()));
    assert_eq!(node.pids(), pids);
    let data = node.stack().join("state/kept");
    fs::write(&data, "x").unwrap();
    let removal = hub.remove(&stack);
    assert_eq!(end(&hub, removal), DeploymentState::Succeeded);
    let removed = |report: &backstay_api::agent::Report| matches!(report.body, ReportBody::StackRemoved { deployment, .. } if deployment == removal);
    assert_eq!(hub.reports().iter().filter(|report| removed(report)).count(), 1);
    assert!(node.running().is_empty() && node.link("current").is_none());
    assert!(data.exists());
}
