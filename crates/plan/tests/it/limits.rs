//! What freezes and nodes left alone do to planning, and what they never do.

use std::collections::BTreeSet;

use backstay_plan::{MaxUpdating, NodeFacts, TryState, progress};
use backstay_types::{
    Effect, Labels, NodeId, Overridden, Paused, ReleaseId, RolloutKind, RolloutState, RolloutStrategy, Scope,
};
use proptest::prelude::*;

use crate::simulated::{Fleet, well};

fn nodes(selector: &str) -> Scope {
    Scope::Nodes { selector: selector.to_owned() }
}

fn freeze(fleet: &mut Fleet, scope: Scope) {
    fleet.constrain(Effect::Freeze { stack: None }, scope, "the fair".to_owned());
}

fn at(fleet: &Fleet, release: ReleaseId) -> BTreeSet<NodeId> {
    fleet
        .snapshot
        .nodes
        .iter()
        .map(|node| node.id)
        .filter(|node| fleet.runs(*node) == Some(release))
        .collect()
}

/// Nodes begin what they were told.
fn begin(fleet: &mut Fleet) {
    for (_, attempt) in fleet.open() {
        fleet.end(attempt.deployment, TryState::Running);
    }
}

fn let_go_on(fleet: &mut Fleet) {
    let at = fleet.snapshot.now;
    let overridden = Overridden { by: "ada".into(), reason: "the shop is down".into(), at };
    fleet.snapshot.rollouts.last_mut().unwrap().overridden = Some(overridden);
}

proptest! {
    /// Forward waits whole, whatever is open; what was under way ends; back goes at once, past waves and limits.
    #[test]
    fn frozen_nothing_forward_begins_and_everything_back_does(
        count in 2..30_usize, begun in 0..30_usize, limit in 1..5_u32,
    ) {
        let mut fleet = Fleet::new(count, MaxUpdating::Nodes(limit));
        let good = fleet.release();
        fleet.settle(well);
        let bad = fleet.release();
        for _ in 0..begun {
            fleet.step();
            if let Some((_, next)) = fleet.open().first().copied() {
                fleet.end(next.deployment, TryState::Succeeded);
            }
        }
        let under_way = fleet.open().len() + at(&fleet, bad).len();
        begin(&mut fleet);
        freeze(&mut fleet, Scope::Fleet);
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, bad).len(), under_way, "what was under way ended, and nothing began");
        let newer = fleet.release();
        fleet.settle(well);
        prop_assert!(at(&fleet, newer).is_empty());
        prop_assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Running, "it waits");
        fleet.snapshot.stacks[0].release = Ok(good);
        fleet.snapshot.stacks[0].origin.kind = RolloutKind::Rollback;
        fleet.snapshot.stacks[0].strategy.waves = vec!["5%".into(), "100%".into()];
        fleet.step();
        let back = fleet.open().len();
        prop_assert_eq!(back, count - at(&fleet, good).len(), "all at once");
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, good).len(), count);
    }

    /// A freeze of some keeps exactly these back.
    #[test]
    fn a_freeze_of_some_nodes_keeps_these_back(count in 2..20_usize, frozen in any::<prop::sample::Index>()) {
        let mut fleet = Fleet::new(count, MaxUpdating::All);
        let frozen = frozen.index(count);
        freeze(&mut fleet, nodes(&format!("name=node-{frozen}")));
        let release = fleet.release();
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, release).len(), count - 1);
        prop_assert_eq!(fleet.runs(fleet.snapshot.nodes[frozen].id), None);
        let rollout = fleet.snapshot.rollouts[0].clone();
        prop_assert_eq!(rollout.state, RolloutState::Running);
        let seen = progress(&fleet.snapshot, &rollout);
        prop_assert_eq!(seen.waiting, 1);
        prop_assert!(seen.gate.contains("1 may not begin: frozen by test: the fair"), "{}", seen.gate);
        let_go_on(&mut fleet);
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, release).len(), count);
        prop_assert_eq!(fleet.snapshot.rollouts[0].state, RolloutState::Succeeded);
    }

    /// Whatever is asked, back too: they keep what they run. Everyone else comes to run the release.
    #[test]
    fn nodes_left_alone_are_left_alone(count in 2..20_usize, maintenance: bool, back: bool) {
        let mut fleet = Fleet::new(count, MaxUpdating::All);
        let first = fleet.release();
        fleet.settle(well);
        let effect = if maintenance { Effect::Maintenance } else { Effect::UpdatesOff { stack: None } };
        fleet.constrain(effect, nodes("name=node-0"), "its disk".to_owned());
        let pin = Effect::Pin { stack: fleet.stack.clone(), release: first };
        let second = fleet.release();
        fleet.constrain(pin, nodes("name=node-1"), "a trial".to_owned());
        if back {
            fleet.snapshot.stacks[0].origin.kind = RolloutKind::Rollback;
        }
        fleet.settle(well);
        prop_assert_eq!(fleet.runs(fleet.snapshot.nodes[0].id), Some(first));
        prop_assert_eq!(at(&fleet, second).len(), count - 2);
        prop_assert!(fleet.snapshot.rollouts.iter().all(|r| r.state != RolloutState::Running), "it waits for none");
        fleet.snapshot.constraints.clear();
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, second).len(), count);
    }
}

#[test]
fn neither_pinned_nodes_nor_those_left_alone_hold_a_wave_up() {
    let mut fleet = Fleet::new(4, MaxUpdating::All);
    let waves = vec!["name in (node-0,node-1,node-2)".to_owned(), "100%".to_owned()];
    fleet.snapshot.stacks[0].strategy = RolloutStrategy { waves, ..RolloutStrategy::default() };
    let first = fleet.release();
    fleet.settle(well);
    fleet.constrain(Effect::Maintenance, nodes("name=node-0"), "its disk".to_owned());
    let pin = Effect::Pin { stack: fleet.stack.clone(), release: first };
    fleet.constrain(pin, nodes("name=node-1"), "a trial".to_owned());
    let second = fleet.release();
    fleet.settle(well);
    assert_eq!(at(&fleet, second).len(), 2);
    let third = fleet.release();
    fleet.settle(|_, release| if release == third { TryState::Failed } else { TryState::Succeeded });
    assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Halted);
}

#[test]
fn a_node_that_runs_the_release_already_holds_no_wave_up() {
    let mut fleet = Fleet::new(4, MaxUpdating::All);
    let first = fleet.release();
    fleet.settle(well);
    let waves = vec!["50%".to_owned(), "100%".to_owned()];
    fleet.snapshot.stacks[0].strategy = RolloutStrategy { waves, ..RolloutStrategy::default() };
    let second = fleet.release();
    fleet.step();
    let (_, one) = fleet.open()[0];
    fleet.end(one.deployment, TryState::Succeeded);
    // The branch goes back to what half of them still run.
    fleet.snapshot.stacks[0].release = Ok(first);
    fleet.settle(well);
    assert_eq!(at(&fleet, first).len(), 4);
    assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Succeeded);
    let _ = second;
}

#[test]
fn a_pin_of_everyone_is_for_those_that_run_the_stack() {
    let mut fleet = Fleet::new(3, MaxUpdating::All);
    fleet.assign("name in (node-0,node-1)");
    let first = fleet.release();
    fleet.settle(well);
    let second = fleet.release();
    let pin = Effect::Pin { stack: fleet.stack.clone(), release: first };
    fleet.constrain(pin, Scope::Fleet, "until the fair is over".to_owned());
    fleet.settle(well);
    assert_eq!((at(&fleet, first).len(), at(&fleet, second).len()), (2, 0));
}

#[test]
fn an_attempt_that_a_silent_node_never_heard_of_is_taken_back_by_a_freeze() {
    let mut fleet = Fleet::new(2, MaxUpdating::All);
    let first = fleet.release();
    fleet.settle(well);
    let second = fleet.release();
    fleet.step();
    let away = fleet.snapshot.nodes[0].id;
    (fleet.snapshot.nodes[0].online, fleet.snapshot.nodes[0].silent) = (false, true);
    let (_, other) = fleet.open().into_iter().find(|(node, _)| *node != away).unwrap();
    fleet.end(other.deployment, TryState::Running);
    freeze(&mut fleet, Scope::Fleet);
    fleet.step();
    let open = fleet.open();
    assert_eq!(open.len(), 1, "what a node is at ends");
    assert_eq!(open[0].1.deployment, other.deployment);
    let said = fleet.tries[&fleet.desired[&away]].1;
    assert_eq!(said.release, first, "it would have begun in the freeze, whenever it came back");
    assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Running);
    fleet.end(other.deployment, TryState::Succeeded);
    fleet.snapshot.constraints.clear();
    (fleet.snapshot.nodes[0].online, fleet.snapshot.nodes[0].silent) = (true, false);
    fleet.settle(well);
    assert_eq!(at(&fleet, second).len(), 2);
}

/// Windows of the one stack: `0 H * * *` for an hour, in UTC, for some nodes.
fn window(fleet: &mut Fleet, nodes: &str, hour: u8) {
    let text = format!("[[window]]\nnodes = \"{nodes}\"\nopens = \"0 {hour} * * *\"\nfor = \"1h\"\n");
    let manifest = backstay_manifest::FleetManifest::parse("fleet.toml", text.as_bytes()).unwrap();
    fleet.snapshot.stacks[0].windows.extend(manifest.windows);
}

fn clock(fleet: &mut Fleet, hour: i64, minute: i64) {
    fleet.snapshot.now = backstay_types::Timestamp::from_second(hour * 3600 + minute * 60).unwrap();
}

proptest! {
    /// Outside its windows a node begins nothing forward, inside one of them it does, and what is under way ends.
    #[test]
    fn windows_let_nodes_begin_while_they_are_open(count in 1..20_usize, split in 0..20_usize, back: bool) {
        let mut fleet = Fleet::new(count, MaxUpdating::All);
        let (early, late): (Vec<_>, Vec<_>) = (0..count).partition(|n| *n < split);
        let named = |nodes: &[usize]| {
            let names: Vec<_> = nodes.iter().map(|n| format!("node-{n}")).collect();
            format!("name in ({})", if names.is_empty() { "nobody".to_owned() } else { names.join(",") })
        };
        window(&mut fleet, &named(&early), 2);
        window(&mut fleet, &named(&early), 8);
        window(&mut fleet, &named(&late), 4);
        clock(&mut fleet, 0, 0);
        let release = fleet.release();
        if back {
            fleet.snapshot.stacks[0].origin.kind = RolloutKind::Rollback;
            fleet.settle(well);
            prop_assert_eq!(at(&fleet, release).len(), count, "back at any time");
            return Ok(());
        }
        fleet.settle(well);
        prop_assert!(at(&fleet, release).is_empty());
        clock(&mut fleet, 2, 0);
        fleet.step();
        prop_assert_eq!(fleet.open().len(), early.len());
        // The window closes on what is under way.
        begin(&mut fleet);
        clock(&mut fleet, 3, 0);
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, release).len(), early.len());
        clock(&mut fleet, 4, 30);
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, release).len(), count);
        prop_assert_eq!(fleet.snapshot.rollouts.len(), 1);
        prop_assert_eq!(fleet.snapshot.rollouts[0].state, RolloutState::Succeeded);
    }
}

#[test]
fn planning_says_when_a_window_opens_or_a_freeze_ends() {
    let mut fleet = Fleet::new(1, MaxUpdating::All);
    window(&mut fleet, "", 5);
    clock(&mut fleet, 1, 0);
    let look_at = |fleet: &Fleet| backstay_plan::plan(&fleet.snapshot).look_at.unwrap().as_second() / 3600;
    assert_eq!(look_at(&fleet), 5);
    freeze(&mut fleet, Scope::Fleet);
    fleet.snapshot.constraints[0].until = backstay_types::Timestamp::from_second(3 * 3600).ok();
    assert_eq!(look_at(&fleet), 3);
    clock(&mut fleet, 5, 0);
    assert_eq!(look_at(&fleet), 6);
}

/// What keeps nodes from beginning.
fn keep_back(fleet: &mut Fleet, how: u8) {
    match how {
        0 => fleet.snapshot.stopped = Some("smoke".into()),
        1 => {
            let at = fleet.snapshot.now;
            let paused = Paused { by: "ada".into(), reason: "lunch".into(), at };
            fleet.snapshot.rollouts.last_mut().unwrap().paused = Some(paused);
        }
        2 => freeze(fleet, Scope::Fleet),
        _ => {
            window(fleet, "", 2);
            clock(fleet, 3, 0);
        }
    }
}

/// And when that is over.
fn let_go(fleet: &mut Fleet) {
    fleet.snapshot.stopped = None;
    fleet.snapshot.rollouts.iter_mut().for_each(|rollout| rollout.paused = None);
    fleet.snapshot.constraints.clear();
    fleet.snapshot.stacks[0].windows.clear();
}

fn rest(fleet: &mut Fleet) {
    assert!((0..10).any(|_| !fleet.step()), "it comes to rest");
}

proptest! {
    /// An emergency stop, a pause, a freeze and a window that closes hold what was told as well: no statement stands that
    /// takes a node forward which has not begun, whether it is heard from or not. What has begun ends. Then the same wave
    /// goes on where it was.
    #[test]
    fn what_nodes_have_not_begun_is_taken_back(
        count in 2..12_usize, begun in prop::collection::vec(any::<bool>(), 12), away in prop::collection::vec(any::<bool>(), 12),
        how in 0..4_u8, first in any::<bool>(),
    ) {
        let mut fleet = Fleet::new(count, MaxUpdating::All);
        let old = fleet.release();
        if !first {
            fleet.settle(well);
        }
        let new = fleet.release();
        fleet.snapshot.stacks[0].strategy.waves = vec!["50%".into(), "100%".into()];
        fleet.step();
        let told = fleet.open();
        prop_assert!(!told.is_empty() && told.iter().all(|(_, attempt)| attempt.release == new));
        let index = |fleet: &Fleet, id| fleet.snapshot.nodes.iter().position(|node| node.id == id).unwrap();
        for (node, attempt) in &told {
            let at = index(&fleet, *node);
            if begun[at] {
                fleet.end(attempt.deployment, TryState::Running);
            }
            // Those that began and fell silent would stop it.
            let away = away[at] && !begun[at];
            (fleet.snapshot.nodes[at].online, fleet.snapshot.nodes[at].silent) = (!away, away);
        }
        keep_back(&mut fleet, how);
        rest(&mut fleet);
        for (node, attempt) in &told {
            let said = fleet.desired.get(node).map(|deployment| fleet.tries[deployment].1);
            if begun[index(&fleet, *node)] {
                prop_assert_eq!(said.map(|said| said.deployment), Some(attempt.deployment), "it ends");
            } else {
                prop_assert_eq!(said.map(|said| said.release), (!first).then_some(old));
            }
        }
        let rollout = fleet.snapshot.rollouts.last().unwrap().clone();
        prop_assert_eq!((rollout.release, rollout.state), (new, RolloutState::Running));
        let not_begun = told.iter().filter(|(node, _)| !begun[index(&fleet, *node)]).count();
        prop_assert_eq!(progress(&fleet.snapshot, &rollout).waiting, (count - told.len() + not_begun) as u64);
        // It goes on where it was: those of the first wave come first.
        let_go(&mut fleet);
        fleet.snapshot.nodes.iter_mut().for_each(|node| (node.online, node.silent) = (true, false));
        fleet.step();
        prop_assert_eq!(fleet.snapshot.rollouts.last().unwrap().wave, 0);
        let open: BTreeSet<_> = fleet.open().iter().map(|(node, _)| *node).collect();
        prop_assert_eq!(open, told.iter().map(|(node, _)| *node).collect::<BTreeSet<_>>());
        fleet.settle(well);
        prop_assert_eq!(at(&fleet, new).len(), count);
    }

    /// A way back is not taken back, whatever stands still.
    #[test]
    fn a_way_back_that_was_told_stands(count in 1..12_usize, how in 0..4_u8) {
        let mut fleet = Fleet::new(count, MaxUpdating::All);
        let good = fleet.release();
        fleet.settle(well);
        fleet.release();
        fleet.settle(well);
        fleet.snapshot.stacks[0].release = Ok(good);
        fleet.snapshot.stacks[0].origin.kind = RolloutKind::Rollback;
        fleet.step();
        let told = fleet.open().len();
        fleet.snapshot.nodes.iter_mut().for_each(|node| (node.online, node.silent) = (false, true));
        keep_back(&mut fleet, how);
        rest(&mut fleet);
        prop_assert_eq!((told, fleet.open().len()), (count, count));
    }
}

#[test]
fn who_joins_late_is_taken_back_too() {
    for how in [0, 2, 3] {
        let mut fleet = Fleet::new(2, MaxUpdating::All);
        let release = fleet.release();
        fleet.settle(well);
        let late = NodeFacts::new(fleet.world.mint(), "late".parse().unwrap(), Labels::default());
        fleet.snapshot.nodes.push(late.clone());
        fleet.step();
        assert_eq!(fleet.open().len(), 1);
        keep_back(&mut fleet, how);
        rest(&mut fleet);
        assert_eq!(fleet.open(), [], "the rollout that takes it along has ended: {how}");
        let_go(&mut fleet);
        fleet.settle(well);
        assert_eq!((fleet.runs(late.id), fleet.snapshot.rollouts.len()), (Some(release), 1));
    }
}
