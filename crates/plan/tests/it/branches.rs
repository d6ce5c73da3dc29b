//! Nodes that follow another branch than the deployed one: what they get, what the others do not, and how they come back.

use std::collections::BTreeSet;

use backstay_manifest::Selector;
use backstay_plan::{
    Assignment, Branches, Followers, MaxUpdating, Origin, StackFacts, TryState, Within, progress, verdict,
};
use backstay_types::{Effect, NodeId, ReleaseId, RolloutKind, RolloutState, Scope};
use proptest::prelude::*;

use crate::simulated::{Fleet, SOAK, later, waved, well};

const BRANCH: &str = "try/it";

/// A fleet with a line for the branch beside its own. Nobody follows it yet.
fn with_branch(mut fleet: Fleet) -> Fleet {
    let base = fleet.snapshot.stacks[0].clone();
    let strategy = backstay_types::RolloutStrategy { waves: Vec::new(), ..base.strategy.clone() };
    fleet.snapshot.stacks.push(StackFacts {
        assignments: vec![Assignment { nodes: Selector::everything() }],
        within: Within::Branch(BRANCH.to_owned()),
        strategy,
        ..base
    });
    fleet
}

/// Reads anew who follows the branch, whose release may be held.
fn read(fleet: &mut Fleet, held: Option<&str>) {
    let key = (fleet.stack.clone(), BRANCH.to_owned());
    let branches: Branches = [(key, held.map(str::to_owned))].into();
    let followers = Followers::of(&fleet.snapshot.constraints, &branches, fleet.snapshot.now);
    for node in &mut fleet.snapshot.nodes {
        node.follows = followers.follows_of(node);
    }
}

fn follow(fleet: &mut Fleet, selector: &str) {
    let effect = Effect::Follow { stack: fleet.stack.clone(), branch: BRANCH.to_owned() };
    fleet.constrain(effect, Scope::Nodes { selector: selector.to_owned() }, "to try it".to_owned());
    read(fleet, None);
}

fn lift(fleet: &mut Fleet) {
    let now = fleet.snapshot.now;
    let mut all = fleet.snapshot.constraints.iter_mut();
    all.by_ref()
        .filter(|one| matches!(one.effect, Effect::Follow { .. }) && one.lifted_at.is_none())
        .for_each(|one| one.lifted_at = Some(now));
    read(fleet, None);
}

/// A release on the branch alone.
fn of_branch(fleet: &mut Fleet) -> ReleaseId {
    let main = fleet.snapshot.stacks[0].release.clone();
    let made = fleet.release();
    fleet.snapshot.stacks[0].release = main;
    fleet.snapshot.stacks[1].release = Ok(made);
    made
}

fn node(fleet: &Fleet, at: usize) -> NodeId {
    fleet.snapshot.nodes[at].id
}

/// Who was ever sent to a release.
fn sent(fleet: &Fleet, release: ReleaseId) -> BTreeSet<NodeId> {
    fleet.tries.values().filter(|(_, one)| one.release == release).map(|(node, _)| *node).collect()
}

#[derive(Debug, Clone)]
enum Happens {
    Main,
    Branch { fails: bool },
    Follow(Vec<bool>),
    Lift,
    Hold(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Main),
        3 => any::<bool>().prop_map(|fails| Happens::Branch { fails }),
        3 => prop::collection::vec(any::<bool>(), 6).prop_map(Happens::Follow),
        1 => Just(Happens::Lift),
        2 => any::<bool>().prop_map(Happens::Hold),
    ]
}

proptest! {
    #[test]
    fn each_gets_what_its_branch_has_and_nobody_else_does(script in prop::collection::vec(happens(), 1..14)) {
        let mut fleet = with_branch(Fleet::new(6, MaxUpdating::Nodes(2)));
        let mut main = fleet.release();
        let mut branch = of_branch(&mut fleet);
        fleet.settle(well);
        let mut failing: Option<ReleaseId> = None;
        let mut held = false;
        for one in script {
            let before: BTreeSet<_> = fleet.tries.keys().copied().collect();
            match &one {
                Happens::Main => {
                    let of_branch = fleet.snapshot.stacks[1].release.clone();
                    main = fleet.release();
                    fleet.snapshot.stacks[1].release = of_branch;
                }
                Happens::Branch { fails } => {
                    branch = of_branch(&mut fleet);
                    failing = fails.then_some(branch);
                    held = false;
                    read(&mut fleet, None);
                }
                Happens::Follow(who) => {
                    lift(&mut fleet);
                    let names: Vec<_> = (0..6).filter(|at| who[*at]).map(|at| format!("node-{at}")).collect();
                    if !names.is_empty() {
                        follow(&mut fleet, &format!("name in ({})", names.join(",")));
                    }
                }
                Happens::Lift => lift(&mut fleet),
                Happens::Hold(set) => held = *set,
            }
            read(&mut fleet, held.then_some("held: it contains abc"));
            let follows: Vec<_> =
                fleet.snapshot.nodes.iter().map(|node| node.follow(&fleet.stack).is_some_and(|one| !one.held)).collect();
            fleet.settle(|_, release| if failing == Some(release) { TryState::Failed } else { TryState::Succeeded });
            let mut tried = BTreeSet::new();
            for (id, (of, made)) in &fleet.tries {
                if before.contains(id) {
                    continue;
                }
                let at = fleet.snapshot.nodes.iter().position(|known| known.id == *of).unwrap();
                let wanted = if follows[at] { branch } else { main };
                prop_assert_eq!(made.release, wanted, "{:?}: node-{} was sent elsewhere", one, at);
                prop_assert!(failing != Some(made.release) || tried.insert(*of), "node-{} tried it twice", at);
            }
            for (at, follows) in follows.iter().enumerate() {
                let runs = fleet.runs(node(&fleet, at));
                match follows {
                    false => prop_assert_eq!(runs, Some(main)),
                    true if failing == Some(branch) => prop_assert_ne!(runs, Some(branch)),
                    true => prop_assert_eq!(runs, Some(branch)),
                }
            }
            prop_assert!(fleet.snapshot.rollouts.iter().all(|one| one.state != RolloutState::Running));
            for rollout in &fleet.snapshot.rollouts {
                let of = rollout.branch.as_deref() == Some(BRANCH);
                prop_assert!(of || failing != Some(rollout.release), "the fleet's own rollouts have no part in it");
            }
        }
    }
}

#[test]
fn what_was_tried_on_a_branch_goes_to_the_fleet_in_waves_when_it_is_merged() {
    let mut fleet = with_branch(waved(10, &["10%", "100%"]));
    fleet.release();
    fleet.settle(well);
    later(&mut fleet, SOAK + 1);
    fleet.settle(well);
    follow(&mut fleet, "name=node-3");
    let tried = of_branch(&mut fleet);
    fleet.settle(well);
    assert_eq!(sent(&fleet, tried), [node(&fleet, 3)].into());
    let of_branch = fleet.snapshot.rollouts.iter().find(|one| one.release == tried).unwrap();
    assert_eq!((of_branch.branch.as_deref(), of_branch.state), (Some(BRANCH), RolloutState::Succeeded));
    // Merged: the deployed branch asks for the very same release.
    fleet.snapshot.stacks[0].release = Ok(tried);
    fleet.settle(well);
    assert!(sent(&fleet, tried).len() <= 3, "only the first wave: {:?}", sent(&fleet, tried));
    later(&mut fleet, SOAK + 1);
    fleet.settle(well);
    assert_eq!(sent(&fleet, tried).len(), 10);
    // Nothing happens to who comes back to the fleet: it is there.
    let attempts = fleet.tries.len();
    lift(&mut fleet);
    fleet.settle(well);
    assert_eq!(fleet.tries.len(), attempts);
}

#[test]
fn it_goes_back_with_the_fleets_own_rollout_and_a_ban_of_the_branch_stops_nobody_else() {
    let mut fleet = with_branch(Fleet::new(5, MaxUpdating::All));
    let main = fleet.release();
    fleet.settle(well);
    follow(&mut fleet, "name in (node-0,node-1)");
    let bad = of_branch(&mut fleet);
    fleet.settle(|_, release| if release == bad { TryState::Failed } else { TryState::Succeeded });
    assert!(fleet.snapshot.stacks[1].release.is_err(), "it is banned");
    assert_eq!(fleet.runs(node(&fleet, 0)), Some(main), "it went back by itself");
    let next = fleet.release();
    fleet.settle(well);
    for at in 2..5 {
        assert_eq!(fleet.runs(node(&fleet, at)), Some(next));
    }
    assert_eq!(fleet.runs(node(&fleet, 0)), Some(main), "it follows another branch still");
    let rollouts = fleet.snapshot.rollouts.len();
    lift(&mut fleet);
    fleet.settle(well);
    assert_eq!(fleet.runs(node(&fleet, 0)), Some(next));
    assert_eq!(fleet.snapshot.rollouts.len(), rollouts, "as who joins late");
}

#[test]
fn freezes_stops_pins_and_rest_hold_for_followers_and_what_is_said_of_everyone_does_not_pin_them() {
    let start = || {
        let mut fleet = with_branch(Fleet::new(3, MaxUpdating::All));
        let main = fleet.release();
        fleet.settle(well);
        follow(&mut fleet, "name=node-0");
        (fleet, main)
    };
    let nodes = |text: &str| Scope::Nodes { selector: text.to_owned() };
    let stack = start().0.stack;
    for (effect, scope) in [
        (Effect::Freeze { stack: None }, Scope::Fleet),
        (Effect::UpdatesOff { stack: Some(stack.clone()) }, nodes("name=node-0")),
        (Effect::Maintenance, nodes("name=node-0")),
    ] {
        let (mut fleet, main) = start();
        fleet.constrain(effect.clone(), scope, "no".to_owned());
        of_branch(&mut fleet);
        fleet.settle(well);
        assert_eq!(fleet.runs(node(&fleet, 0)), Some(main), "{effect:?}");
    }
    let (mut fleet, main) = start();
    fleet.snapshot.stopped = Some("smoke".to_owned());
    of_branch(&mut fleet);
    fleet.settle(well);
    assert_eq!(fleet.runs(node(&fleet, 0)), Some(main));

    // A pin of everyone is for those that run what the fleet does; one that names the node goes before its branch.
    for (scope, pinned) in [(Scope::Fleet, false), (nodes("name=node-0"), true)] {
        let (mut fleet, main) = start();
        let origin = Origin { kind: RolloutKind::Update, ..fleet.snapshot.stacks[0].origin.clone() };
        for line in 0..2 {
            fleet.snapshot.stacks[line].pin_origins.insert(main, origin.clone());
        }
        fleet.constrain(Effect::Pin { stack: stack.clone(), release: main }, scope, "the fair".to_owned());
        let tried = of_branch(&mut fleet);
        fleet.settle(well);
        assert_eq!(fleet.runs(node(&fleet, 0)), Some(if pinned { main } else { tried }));
    }
}

#[test]
fn the_newest_of_several_counts_and_what_leaves_the_fleet_follows_nothing() {
    let mut fleet = with_branch(Fleet::new(2, MaxUpdating::All));
    fleet.release();
    let other = Effect::Follow { stack: fleet.stack.clone(), branch: "other".to_owned() };
    fleet.constrain(other, Scope::Nodes { selector: "name=node-0".to_owned() }, "once".to_owned());
    follow(&mut fleet, "name in (node-0,node-1)");
    let stack = fleet.stack.clone();
    let branch = |fleet: &Fleet, at: usize| {
        fleet.snapshot.nodes[at].follow(&stack).map(|one| (one.branch.clone(), one.held))
    };
    assert_eq!(branch(&fleet, 0), Some((BRANCH.to_owned(), false)));
    lift(&mut fleet);
    assert_eq!(branch(&fleet, 0), None);
    let unread = Effect::Follow { stack: stack.clone(), branch: "other".to_owned() };
    fleet.constrain(unread, Scope::Nodes { selector: "name=node-0".to_owned() }, "again".to_owned());
    read(&mut fleet, None);
    assert_eq!(branch(&fleet, 0), Some(("other".to_owned(), true)), "nothing is known of it: as the fleet");
    follow(&mut fleet, "name=node-1");
    let now = fleet.snapshot.now;
    fleet.snapshot.nodes[1].leaving = Some(backstay_plan::Leaving { since: now, reason: "sold".into() });
    read(&mut fleet, None);
    assert_eq!(branch(&fleet, 1), None);
}

#[test]
fn progress_and_the_fleets_health_count_each_where_it_belongs() {
    let mut fleet = with_branch(waved(4, &["50%", "100%"]));
    fleet.release();
    follow(&mut fleet, "name=node-0");
    of_branch(&mut fleet);
    fleet.settle(well);
    let of = |fleet: &Fleet, branch: bool| {
        let rollout = fleet.snapshot.rollouts.iter().find(|one| one.branch.is_some() == branch).unwrap();
        progress(&fleet.snapshot, rollout).waves.iter().map(|wave| wave.nodes).sum::<u64>()
    };
    assert_eq!(of(&fleet, false), 3, "the one that follows a branch is in no wave of the fleet's");
    // A node that is unwell is unwell, whatever it runs: the fleet's thresholds count it.
    for node in &mut fleet.snapshot.nodes {
        node.sick_since = Some(fleet.snapshot.now);
    }
    let seen = verdict(&fleet.snapshot);
    assert_eq!((seen.nodes, seen.unhealthy), (4, 4));
}
