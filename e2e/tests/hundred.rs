//! A bad release, then a good one, on a hundred real agents.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; how long it took is worth seeing")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Fleet, Node,
    stacks::{conf, set_line, write_process_stack},
};
use backstay_testkit::eventually_within;
use backstay_types::{DeploymentState, Effect, FailureKind, RolloutState, Sureness, TreeDigest};

const NODES: usize = 100;
/// How many of them five percent are.
const FIRST_WAVE: u64 = 5;
/// How long a hundred nodes may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A fleet of a hundred nodes that run the stack, and whose next releases go out in three waves.
fn hundred() -> Option<Fleet> {
    // A look at a process is cheap; a hundred each second are not what this is about.
    let fleet = Fleet::of(NODES)
        .agent_setting("BACKSTAY_AGENT_CHECK_EVERY", "30s")
        .hub_setting("BACKSTAY_POLL_HOLD", "30s")
        .hub_setting("BACKSTAY_POLL_INTERVAL", "1s")
        .start()?;
    write_process_stack(&fleet.tree);
    fleet.commit("Add web", None);
    fleet.follow();
    ended(&fleet, RolloutState::Succeeded);
    let waves = "[rollout]\nwaves = [\"5%\", \"25%\", \"100%\"]\nsoak = \"1s\"\n[[rollout.stop]]\nwhen = \"failed_ratio > 0.05\"\n";
    fleet.tree.write("fleet.toml", waves);
    fleet.commit("Go out in waves", None);
    Some(fleet)
}

fn newest(fleet: &Fleet) -> Option<v1::RolloutView> {
    let query = v1::RolloutsQuery { limit: Some(1), ..Default::default() };
    fleet.api.call::<v1::ListRollouts>(&Empty {}, &query, &Empty {}).items.pop()
}

/// The newest rollout once it has ended so.
fn ended(fleet: &Fleet, state: RolloutState) -> v1::RolloutView {
    eventually_within(LIMIT, "the rollout to end", || match newest(fleet) {
        Some(view) if view.rollout.state == state => Ok(view),
        Some(view) => Err(format!("{:?}, {:?}: {}", view.rollout.state, view.deployments, view.gate)),
        None => Err("there is none".to_owned()),
    })
}

/// What became of a rollout's deployments, with the names of their nodes.
fn attempts(fleet: &Fleet, rollout: &v1::RolloutView) -> Vec<(String, DeploymentState)> {
    let query = v1::DeploymentsQuery {
        rollout: Some(rollout.rollout.id),
        limit: Some(1000),
        ..v1::DeploymentsQuery::default()
    };
    let all = fleet.api.call::<v1::ListDeployments>(&Empty {}, &query, &Empty {}).items;
    all.into_iter().map(|view| (view.node_name.to_string(), view.deployment.state)).collect()
}

/// Whether a release was ever put onto a node's disk.
fn has_had(node: &Node, tree: TreeDigest) -> bool {
    node.data().join("stacks/web/releases").join(tree.to_string()).exists()
}

#[test]
fn a_bad_release_ends_within_its_first_wave_and_a_good_one_reaches_all() {
    let begin = Instant::now();
    let Some(fleet) = hundred() else { return };
    eprintln!("{NODES} nodes run the stack after {:?}", begin.elapsed());
    let good = fleet.running_tree(&fleet.nodes[0]);

    let careless = fleet.api.conversation("session-careless");
    fleet.tree.git(&["rm", "--quiet", "stacks/web/www/healthz"]);
    fleet.commit("Break its health", Some(careless));
    let view = ended(&fleet, RolloutState::Halted);
    let bad = view.tree;
    let view = eventually_within(LIMIT, "those that have it to go back", || {
        let view = newest(&fleet).ok_or("there is none")?;
        let open = view.pattern.as_ref().is_none_or(|found| found.open > 0);
        if open { Err(format!("{:?}", view.deployments)) } else { Ok(view) }
    });
    eprintln!("the bad one has ended after {:?}", begin.elapsed());

    // Those of its first wave alone had it, and they have gone back by themselves.
    let tried = attempts(&fleet, &view);
    let names: BTreeSet<_> = tried.iter().map(|(name, _)| name.clone()).collect();
    assert!((1..=FIRST_WAVE).contains(&(names.len() as u64)), "{tried:?}");
    let back = |state: &DeploymentState| {
        matches!(state, DeploymentState::RolledBack { failure: FailureKind::Unhealthy, .. })
    };
    assert!(tried.iter().any(|(_, state)| back(state)), "{tried:?}");
    assert!(tried.iter().all(|(_, state)| back(state) || *state == DeploymentState::Superseded), "{tried:?}");
    let had: BTreeSet<_> =
        fleet.nodes.iter().filter(|node| has_had(node, bad)).map(|node| node.name().to_owned()).collect();
    assert!(had.is_subset(&names), "{had:?} had it, and {names:?} were asked to");
    for node in &fleet.nodes {
        assert_eq!(node.get("healthz").as_deref(), Ok("ok\n"), "{}", node.name());
        assert_eq!(fleet.running_tree(node), good, "{}", node.name());
    }

    // The conversation is named, and the release is banned.
    assert_eq!(view.conversations, [careless]);
    let pattern = view.pattern.unwrap();
    let blamed: Vec<_> = pattern.blamed.iter().map(|blame| (blame.conversation, blame.sure)).collect();
    assert_eq!((pattern.succeeded, blamed), (0, vec![(careless, Sureness::Only)]));
    let all = fleet.api.call::<v1::ListConstraints>(&Empty {}, &v1::ConstraintsQuery::default(), &Empty {});
    let bans = |effect: &Effect| matches!(effect, Effect::Ban { tree, .. } if *tree == bad);
    assert!(all.items.iter().any(|constraint| bans(&constraint.effect)), "{:?}", all.items);

    // A good one goes through all waves to everyone.
    let careful = fleet.api.conversation("session-careful");
    fleet.tree.write("stacks/web/www/healthz", "ok\n");
    set_line(&fleet.tree, 2, "B2");
    fleet.commit("Mend its health", Some(careful));
    eventually_within(LIMIT, "the next rollout", || match newest(&fleet) {
        Some(next) if next.rollout.id != view.rollout.id => Ok(()),
        other => Err(format!("{:?}", other.map(|view| view.rollout.state))),
    });
    let next = ended(&fleet, RolloutState::Succeeded);
    assert_eq!(next.conversations, [careful]);
    let done = attempts(&fleet, &next);
    let nodes: BTreeSet<_> = done.iter().map(|(name, _)| name).collect();
    assert_eq!(nodes.len(), NODES);
    assert!(done.iter().all(|(_, state)| *state == DeploymentState::Succeeded), "{done:?}");
    for node in &fleet.nodes {
        fleet.serves(node, &conf(&[(2, "B2")]));
    }
    eprintln!("the good one is everywhere after {:?}", begin.elapsed());
}
