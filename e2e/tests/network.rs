//! Nodes whose network fails: each in a namespace of its own, behind a link that is cut, loses packets, or is slow.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{thread, time::Duration};

use backstay_e2e::{
    Fleet, Place,
    stacks::{conf, set_line},
};
use backstay_testkit::{Lose, Network, eventually_within};
use backstay_types::{DeploymentState, NodeState};

/// An agent waits this long for an answer that never comes: the hold of 5 s and 30 s more; then it tries again.
const NOTICED: Duration = Duration::from_secs(100);
const HUB: &str = "hub.test";

/// `alpha` in a namespace, `beta` too, both with the stack of processes. They know the hub by name.
fn fleet() -> Option<Fleet> {
    fleet_with("200ms", "10s")
}

/// With what agents wait between check-ins, and how long a hub may send nothing of a release.
fn fleet_with(interval: &str, fetch_timeout: &str) -> Option<Fleet> {
    let networks = [Network::require()?, Network::require()?];
    let start = Fleet::of(0).reachable().hub_setting("BACKSTAY_HUB_ALLOWED_HOSTS", HUB);
    let mut fleet = start.hub_setting("BACKSTAY_POLL_INTERVAL", interval).start()?;
    let url = format!("http://{HUB}:{}", fleet.hub.port());
    for (name, network) in ["alpha", "beta"].into_iter().zip(networks) {
        network.names(&[HUB]);
        let settings = vec![("BACKSTAY_AGENT_FETCH_TIMEOUT".to_owned(), fetch_timeout.to_owned())];
        let place = Place { network: Some(network), hurried: true, settings, ..Place::default() };
        fleet.join_at(name, &url, place);
    }
    Some(fleet.with_process_stack())
}

/// Changes a line, and waits until `beta` has it, whom nothing hinders.
fn change(fleet: &Fleet, line: usize, text: &str, all: &[(usize, &str)]) {
    let conversation = fleet.api.conversation("session-a");
    set_line(&fleet.tree, line, text);
    fleet.commit(&format!("Set line {line}"), Some(conversation));
    fleet.serves(&fleet.nodes[1], &conf(all));
}

fn comes_to_serve(fleet: &Fleet, node: usize, all: &[(usize, &str)]) {
    let node = &fleet.nodes[node];
    eventually_within(NOTICED, &format!("{} to take up what it missed", node.name()), || {
        let found = node.get("app.conf")?;
        if found == conf(all) { Ok(()) } else { Err(format!("{found}\n{}", node.log())) }
    });
}

fn each_once(fleet: &Fleet, releases: usize) {
    for node in &fleet.nodes {
        let found = fleet.api.deployments(node.name(), "web");
        let trees: std::collections::BTreeSet<_> = found.iter().map(|view| view.tree).collect();
        assert_eq!(trees.len(), found.len(), "none twice: {found:#?}");
        assert!(found.len() <= releases, "{found:#?}");
        assert_eq!(found[0].deployment.state, DeploymentState::Succeeded);
    }
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn a_node_that_is_cut_off_runs_on_is_missed_and_takes_up_what_it_missed() {
    let Some(mut fleet) = fleet() else { return };
    fleet.nodes[0].network().lose(Lose::Both);
    change(&fleet, 2, "A2", &[(2, "A2")]);
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    // An agent that starts alone takes care of what it has.
    fleet.nodes[0].kill_agent();
    fleet.nodes[0].start_agent();
    eventually_within(NOTICED, "the hub to miss the node", || {
        let state = fleet.api.node("alpha").state;
        if state == NodeState::Offline { Ok(()) } else { Err(format!("{state:?}")) }
    });
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    assert_eq!(fleet.api.node("beta").state, NodeState::Online);

    fleet.nodes[0].network().heal();
    comes_to_serve(&fleet, 0, &[(2, "A2")]);
    fleet.settle();
    assert_eq!(fleet.api.node("alpha").state, NodeState::Online);
    each_once(&fleet, 2);
}

#[test]
fn answers_that_never_arrive_and_requests_that_never_arrive_do_nothing_twice() {
    let Some(fleet) = fleet() else { return };
    // The hub hears the node, the node does not hear the hub.
    fleet.nodes[0].network().lose(Lose::Received);
    change(&fleet, 2, "A2", &[(2, "A2")]);
    thread::sleep(Duration::from_secs(8));
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    fleet.nodes[0].network().heal();
    comes_to_serve(&fleet, 0, &[(2, "A2")]);
    fleet.settle();
    // The other way round, and in the middle of a deployment.
    let conversation = fleet.api.conversation("session-a");
    set_line(&fleet.tree, 3, "A3");
    fleet.commit("Set line 3", Some(conversation));
    comes_to_serve(&fleet, 0, &[(2, "A2"), (3, "A3")]);
    fleet.nodes[0].network().lose(Lose::Sent);
    thread::sleep(Duration::from_secs(8));
    fleet.nodes[0].network().heal();
    eventually_within(NOTICED, "the hub to hear what became of it", || {
        let newest = fleet.api.deployments("alpha", "web").remove(0).deployment.state;
        if newest == DeploymentState::Succeeded { Ok(()) } else { Err(format!("{newest:?}")) }
    });
    fleet.settle();
    each_once(&fleet, 3);
}

#[test]
fn a_slow_link_that_loses_packets_is_enough() {
    // The hub misses a node after two intervals and the hold of 5 s; an answer may wait for seconds behind the pack.
    let Some(fleet) = fleet_with("5s", "1m") else { return };
    let network = fleet.nodes[0].network();
    network.slow(64);
    network.lose_share(Lose::Both, "0.1");
    // Two hundred kilobytes of digits, a hundred packed: a dozen seconds at least.
    let noise: String =
        (0_u64..12_500).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    fleet.tree.write("stacks/web/www/large", &noise);
    change(&fleet, 2, "A2", &[(2, "A2")]);
    comes_to_serve(&fleet, 0, &[(2, "A2")]);
    assert_eq!(fleet.api.node("alpha").state, NodeState::Online, "it was heard from all the time");
    let log = fleet.nodes[0].log();
    assert!(!log.contains("asking Git"), "the hub gave it, slowly: {log}");
    network.heal();
    fleet.settle();
    each_once(&fleet, 2);
}

#[test]
fn without_names_a_node_runs_on_and_starts_and_comes_back_with_them() {
    let Some(mut fleet) = fleet() else { return };
    fleet.nodes[0].network().names(&[]);
    // What is open stays open: only who starts anew needs the name.
    fleet.nodes[0].kill_agent();
    fleet.nodes[0].start_agent();
    change(&fleet, 2, "A2", &[(2, "A2")]);
    thread::sleep(Duration::from_secs(3));
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    fleet.nodes[0].network().names(&[HUB]);
    comes_to_serve(&fleet, 0, &[(2, "A2")]);
    fleet.settle();
    each_once(&fleet, 2);
}
