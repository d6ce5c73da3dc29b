//! Rollouts in waves, on real agents.
#![allow(clippy::unwrap_used, reason = "tests")]

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Fleet,
    stacks::{conf, set_line, write_process_stack},
};
use backstay_testkit::{eventually, eventually_within};
use backstay_types::{DeploymentState, NodeState, RolloutState, Sureness, TreeDigest};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

fn newest(fleet: &Fleet) -> v1::RolloutView {
    let query = v1::RolloutsQuery { limit: Some(1), ..Default::default() };
    fleet.api.call::<v1::ListRollouts>(&Empty {}, &query, &Empty {}).items.remove(0)
}

/// Nodes that run this tree.
fn run(fleet: &Fleet, tree: TreeDigest) -> Vec<String> {
    let nodes = fleet.nodes.iter().filter(|node| fleet.running_tree(node) == tree);
    nodes.map(|node| node.name().to_owned()).collect()
}

fn waves(fleet: &Fleet, rest: &str) {
    let first = fleet.nodes[0].name();
    let text = format!("[rollout]\nwaves = [\"name={first}\", \"100%\"]\n{rest}");
    fleet.tree.write("fleet.toml", &text);
    fleet.deployed(&fleet.commit("Go out in waves", None));
}

#[test]
fn a_bad_release_ends_in_its_first_wave_and_the_next_waits_for_a_person_or_its_time() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    waves(&fleet, "soak = \"1h\"\n");
    let a = fleet.api.conversation("session-a");
    let before = fleet.running_tree(&fleet.nodes[0]);

    // Good: the first wave gets it, the rest waits.
    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set line 2", Some(a));
    fleet.serves(&fleet.nodes[0], &conf(&[(2, "A2")]));
    eventually("the first wave to be watched", || {
        let view = newest(&fleet);
        if view.gate.contains("watched for") { Ok(()) } else { Err(view.gate) }
    });
    let view = newest(&fleet);
    eventually("the first node to say so", || match run(&fleet, before) {
        others if others.len() == 2 => Ok(()),
        others => Err(format!("{others:?} run what was before")),
    });
    assert_eq!(view.waves.iter().map(|wave| (wave.nodes, wave.run)).collect::<Vec<_>>(), [(1, 1), (2, 0)]);
    let id = view.rollout.id.to_string();
    let text = fleet.cli.run(&["rollout", "explain", &id]);
    assert!(text.contains("watched for 3600 s") && text.contains("failed_ratio > 0.05"), "{text}");

    // Paused, even a person's word opens no wave for anyone; let go on, it does.
    fleet.cli.run(&["rollout", "pause", &id, "--reason", "lunch"]);
    assert!(newest(&fleet).gate.contains("paused by"), "{:?}", newest(&fleet).gate);
    fleet.cli.run(&["rollout", "resume", &id, "--reason", "back"]);
    fleet.cli.run(&["rollout", "promote", &id, "--reason", "it is good"]);
    fleet.settle();
    fleet.all_serve(&conf(&[(2, "A2")]));
    eventually("the rollout to end", || match newest(&fleet).rollout.state {
        RolloutState::Succeeded => Ok(()),
        state => Err(format!("{state:?}")),
    });

    // Bad: it ends where it began, and the conversation is known.
    let good = fleet.running_tree(&fleet.nodes[0]);
    fleet.tree.git(&["rm", "--quiet", "stacks/web/www/healthz"]);
    let b = fleet.api.conversation("session-b");
    fleet.commit("Break its health", Some(b));
    eventually("the rollout to stop", || match newest(&fleet) {
        view if view.rollout.state == RolloutState::Halted => Ok(()),
        view => Err(format!("{:?}", view.rollout)),
    });
    let view = newest(&fleet);
    assert_eq!(view.conversations, [b]);
    eventually("the failure to be looked at", || match newest(&fleet).pattern {
        Some(found) if found.open == 0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let found = newest(&fleet).pattern.unwrap();
    assert_eq!((found.failed, found.succeeded), (1, 0), "{found:#?}");
    let blamed: Vec<_> = found.blamed.iter().map(|blame| (blame.conversation, blame.sure)).collect();
    assert_eq!(blamed, [(b, Sureness::Only)]);
    // Every decision comes out the same when it is made again from what was kept.
    for id in [id.as_str(), &view.rollout.id.to_string()] {
        let text = fleet.cli.run(&["rollout", "explain", id, "--replay"]);
        assert!(text.contains("[the same again]") && !text.contains("[now:"), "{text}");
    }
    assert_eq!(view.deployments.values().sum::<u64>(), 1, "one node alone tried it: {:?}", view.deployments);
    fleet.settle();
    assert_eq!(run(&fleet, good).len(), 3);
}

#[test]
fn an_emergency_stop_holds_everything_but_the_way_back() {
    let Some(fleet) = Fleet::of_processes(2) else { return };
    let a = fleet.api.conversation("session-a");
    fleet.change(a, 2, "A2");
    fleet.cli.run(&["emergency-stop", "--reason", "smoke"]);
    assert!(fleet.cli.run(&["emergency-stop"]).contains("smoke"));
    set_line(&fleet.tree, 3, "A3");
    let commit = fleet.commit("Set line 3", Some(a));
    eventually("the hub to see it", || match fleet.api.sync("fleet").tip {
        Some(tip) if tip.to_string() == commit => Ok(()),
        tip => Err(format!("{tip:?}")),
    });
    std::thread::sleep(std::time::Duration::from_secs(2));
    fleet.all_serve(&conf(&[(2, "A2")]));
    // Back is always possible.
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[]));
    fleet.cli.run(&["emergency-stop", "--lift", "it was toast"]);
    fleet.change(a, 5, "A5");
    fleet.all_serve(&conf(&[(5, "A5")]));
}

/// The stack says of itself what its self-test found.
/// Ordered before the stop, and not begun since its node was away: that is taken back, and it does not begin when it returns.
#[test]
fn what_was_ordered_before_an_emergency_stop_does_not_begin_after_it() {
    let Some(mut fleet) = Fleet::of_processes(2) else { return };
    let a = fleet.api.conversation("session-a");
    let name = fleet.nodes[1].name().to_owned();
    let before = fleet.api.desired(&name, "web");
    fleet.nodes[1].kill_agent();
    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set line 2", Some(a));
    fleet.serves(&fleet.nodes[0], &conf(&[(2, "A2")]));
    assert_ne!(fleet.api.desired(&name, "web"), before, "it is ordered there too");
    fleet.cli.run(&["emergency-stop", "--reason", "smoke"]);
    eventually("the order to be taken back", || match fleet.api.desired(&name, "web") {
        tree if tree == before => Ok(()),
        tree => Err(format!("{tree:?}")),
    });
    fleet.nodes[1].start_agent();
    eventually("it to be back", || match fleet.api.node(&name).state {
        NodeState::Online => Ok(()),
        state => Err(format!("{state:?}")),
    });
    std::thread::sleep(std::time::Duration::from_secs(2));
    fleet.serves(&fleet.nodes[1], &conf(&[]));
    let tried = fleet.api.deployments(&name, "web");
    assert!(tried.iter().all(|one| !matches!(one.deployment.state, DeploymentState::Running { .. })));
    fleet.cli.run(&["emergency-stop", "--lift", "it was toast"]);
    fleet.all_serve(&conf(&[(2, "A2")]));
    fleet.settle();
}

fn self_test(fleet: &Fleet, found: u32) {
    let test = format!("#!/bin/sh\necho {found}\n");
    fleet.tree.write_executable("stacks/web/selftest", &test);
}

/// What a node says of its stack's self-test, by the node's API.
fn told(fleet: &Fleet, node: &str) -> Option<f64> {
    let observed = fleet.api.node(node).observed;
    observed.first()?.figures.iter().find(|(name, _)| *name == "selftest_failed").map(|(_, value)| value)
}

#[test]
fn a_figure_that_the_stack_tells_of_itself_stops_it_in_its_first_wave_and_takes_it_back() {
    let Some(fleet) = Fleet::of(3).start() else { return };
    write_process_stack(&fleet.tree);
    let manifest = fleet.tree.read("stacks/web/stack.toml")
        + "\n[[figure]]\nname = \"selftest_failed\"\ncommand = [\"./selftest\"]\n";
    fleet.tree.write("stacks/web/stack.toml", &manifest);
    self_test(&fleet, 0);
    let fleet = fleet.following("Add web");
    let rule = "max(selftest_failed) > 0";
    let stop = format!("soak = \"1h\"\non_stop = \"return\"\n[[rollout.stop]]\nwhen = \"{rule}\"\n");
    waves(&fleet, &stop);

    // Good: the figure is known, and shown with the rule that goes by it.
    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set line 2", None);
    let value = |view: &v1::RolloutView| {
        let rules = view.watch.iter().flat_map(|watch| &watch.rules);
        rules.clone().find(|shown| shown.rule == rule).and_then(|shown| shown.value)
    };
    let view = eventually("its figure to be known", || {
        let view = newest(&fleet);
        if value(&view) == Some(0.0) { Ok(view) } else { Err(format!("{:?}, {}", view.watch, view.gate)) }
    });
    assert_eq!(told(&fleet, "alpha"), Some(0.0));
    let shown = fleet.cli.run(&["rollout", "explain", &view.rollout.id.to_string()]);
    assert!(shown.contains(&format!("{rule}, and now it is 0\n")), "{shown}");
    let first = fleet.running_tree(&fleet.nodes[0]);
    let others = fleet.running_tree(&fleet.nodes[1]);

    // Bad, although its probes are content: it stops there, is taken back, and the others never have it.
    let careless = fleet.api.conversation("session-careless");
    self_test(&fleet, 3);
    fleet.commit("Break what only its self-test sees", Some(careless));
    // The way back of the one before may be newer.
    let all = v1::RolloutsQuery { limit: Some(10), ..Default::default() };
    let view = eventually_within(LIMIT, "the rollout to stop", || {
        let all = fleet.api.call::<v1::ListRollouts>(&Empty {}, &all, &Empty {}).items;
        let halted = |view: &&v1::RolloutView| {
            view.conversations == [careless] && view.rollout.state == RolloutState::Halted
        };
        all.iter().find(halted).cloned().ok_or_else(|| format!("{:?}", newest(&fleet).rollout))
    });
    assert!(view.rollout.reason.contains("selftest_failed"), "{}", view.rollout.reason);
    let bad = view.tree;
    let text = fleet.cli.run(&["rollout", "explain", &view.rollout.id.to_string(), "--replay"]);
    assert!(text.contains("selftest_failed") && text.contains("[the same again]"), "{text}");
    eventually_within(LIMIT, "the first node to go back", || {
        let (runs, told) = (fleet.running_tree(&fleet.nodes[0]), told(&fleet, "alpha"));
        if runs != bad && told == Some(0.0) { Ok(()) } else { Err(format!("{runs:?}, {told:?}")) }
    });
    assert!([first, others].contains(&fleet.running_tree(&fleet.nodes[0])));
    for node in &fleet.nodes[1..] {
        assert_eq!(fleet.running_tree(node), others);
        assert!(!node.data().join("stacks/web/releases").join(bad.to_string()).exists());
    }
}
