//! A bundle instead of the network: with and without an agent that runs, and every one that must not be taken.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use backstay_api::statement::Statement;
use backstay_types::DeploymentState;
use support::{FakeHub, Node, eventually, process_stack};

/// A node that ran `a` by the hub, which is gone now.
fn airgapped() -> (FakeHub, Node, Statement) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.start("");
    let held = hub.state(vec![hub.offer(&process_stack("a", "true"))]);
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
    eventually("it is settled", || node.status()["operation"].is_null().then_some(()));
    hub.deaf(true);
    (hub, node, held)
}

#[test]
fn a_bundle_is_taken_up_by_the_agent_that_runs_and_by_itself_where_none_does() {
    let (hub, mut node, held) = airgapped();
    let stacks = ["b", "c"].map(|version| process_stack(version, "true"));
    let mut generation = held.generation;
    for (stack, version) in stacks.iter().zip(["b", "c"]) {
        generation += 1;
        let desired = stack.desired();
        let statement = hub.statement(vec![desired.clone()], held.epoch, generation);
        let (well, said) = node.apply(&hub.bundle(&statement, &[stack]));
        assert!(well, "{said}");
        assert!(said.contains("web: runs "), "{said}");
        eventually("it runs", || (node.running() == [version]).then_some(()));
        assert_eq!(node.status()["generation"], generation);
        // The second one finds no agent.
        if version == "b" {
            node.terminate();
        }
    }
    assert!(!node.data().join("inbox.json").exists());
    // The hub is told when it is back.
    hub.deaf(false);
    node.start("");
    for stack in &stacks {
        let _ = stack;
        eventually("the ends are told", || {
            let ends = hub.reports().into_iter().filter_map(|report| match report.body {
                backstay_api::agent::ReportBody::DeploymentFinished { state, .. } => Some(state),
                _ => None,
            });
            (ends.filter(|state| *state == DeploymentState::Succeeded).count() == 3).then_some(())
        });
    }
    eventually("packs that came by hand are gone", || {
        std::fs::read_dir(node.data().join("bundled")).unwrap().next().is_none().then_some(())
    });
}

#[test]
fn a_bundle_whose_release_fails_says_so_and_the_node_goes_back() {
    let (hub, node, held) = airgapped();
    let bad = process_stack("bad", "false");
    let statement = hub.statement(vec![bad.desired()], held.epoch, held.generation + 1);
    let (well, said) = node.apply(&hub.bundle(&statement, &[&bad]));
    assert!(!well && said.contains("what ran before runs again"), "{said}");
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
}

#[test]
fn what_is_not_a_whole_newer_bundle_of_this_hub_for_this_node_is_refused_by_code() {
    let (hub, node, held) = airgapped();
    let b = process_stack("b", "true");
    let statement = hub.statement(vec![b.desired()], held.epoch, held.generation + 1);
    let good = hub.bundle(&statement, &[&b]);
    let pids = node.pids();
    let refused = |bundle: &[u8], code: &str, says: &str| {
        let (well, said) = node.apply(bundle);
        assert!(!well && said.contains(code) && said.contains(says), "{code} {says}: {said}");
        assert_eq!(node.pids(), pids, "{says}");
        assert!(!node.data().join("inbox.json").exists() && !node.data().join("bundled").exists(), "{says}");
    };
    refused(b"something else entirely, and of some length", "BS3016", "is no bundle");
    refused(&good[..good.len() - 1], "BS3016", "cut short");
    refused(&good[..200], "BS3016", "cut short");
    refused(&[good.clone(), vec![0]].concat(), "BS3016", "more in it");
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    refused(&changed, "BS3016", "another SHA-256");
    let mut changed = good.clone();
    changed[300] = if changed[300] == b'A' { b'B' } else { b'A' };
    refused(&changed, "BS3017", "not signed by the hub");
    let other = FakeHub::start();
    refused(&other.bundle(&statement, &[&b]), "BS3017", "not signed by the hub");
    let elsewhere = Statement { node: backstay_agent::system().mint(), ..statement.clone() };
    refused(&hub.bundle(&elsewhere, &[&b]), "BS3017", "the bundle is for node");
    let older = hub.statement(vec![b.desired()], held.epoch, held.generation - 1);
    refused(&hub.bundle(&older, &[&b]), "BS3018", "is older than");
    let late = Statement { expires_at: backstay_types::Timestamp::UNIX_EPOCH, ..statement.clone() };
    refused(&hub.bundle(&late, &[&b]), "BS3018", "could be taken up until");
    let (well, said) = node.apply(&good);
    assert!(well, "the good one is still good: {said}");
}
