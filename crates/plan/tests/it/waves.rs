//! Waves and gates: who moves when, what stops a rollout, and what becomes of those who moved.

use std::collections::BTreeSet;

use backstay_plan::{Gate, GateFigures, GoBack, NodeFacts, TryState, gate, progress};
use backstay_types::{Labels, NodeId, OnStop, Paused, RolloutKind, RolloutState, RolloutStrategy, Timestamp};
use proptest::prelude::*;

use crate::simulated::{Fleet, SOAK, later, waved, well};

/// Lets everything happen that can without time going by.
fn rest(fleet: &mut Fleet) {
    fleet.settle(well);
}

fn at(fleet: &Fleet, release: backstay_types::ReleaseId) -> BTreeSet<NodeId> {
    let nodes = fleet.snapshot.nodes.iter().map(|node| node.id);
    nodes.filter(|node| fleet.runs(*node) == Some(release)).collect()
}

proptest! {
    #[test]
    fn a_wave_waits_for_the_one_before_and_for_its_soak(nodes in 1..60_usize) {
        let mut fleet = waved(nodes, &["5%", "25%", "100%"]);
        let release = fleet.release();
        let mut before = BTreeSet::new();
        // In a small fleet two waves may be the same nodes: the second is passed, there is nobody new to watch.
        let sizes: BTreeSet<_> = [5, 25, 100].map(|share| (nodes * share).div_ceil(100).max(1)).into();
        for size in sizes {
            rest(&mut fleet);
            let now = at(&fleet, release);
            prop_assert_eq!(now.len(), size);
            prop_assert!(before.is_subset(&now), "a wave takes in those before it");
            before = now;
            later(&mut fleet, SOAK - 1);
            prop_assert!(!fleet.step(), "it is watched for the whole of its soak");
            later(&mut fleet, 1);
        }
        rest(&mut fleet);
        let rollouts = &fleet.snapshot.rollouts;
        prop_assert_eq!((rollouts.len(), rollouts[0].state), (1, RolloutState::Succeeded));
    }

    #[test]
    fn a_failure_in_a_small_wave_ends_there(nodes in 10..60_usize) {
        let mut fleet = waved(nodes, &["10%", "100%"]);
        let good = fleet.release();
        for _ in 0..3 {
            rest(&mut fleet);
            later(&mut fleet, SOAK);
        }
        let bad = fleet.release();
        let mut touched = BTreeSet::new();
        fleet.settle(|node, release| {
            if release == bad {
                touched.insert(node);
                TryState::Failed
            } else {
                TryState::Succeeded
            }
        });
        prop_assert!(touched.len() <= (nodes * 10).div_ceil(100).max(1));
        prop_assert_eq!(at(&fleet, good).len(), nodes, "each is back, or was never moved");
        prop_assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Halted);
        later(&mut fleet, 10 * SOAK);
        prop_assert!(!fleet.step(), "it stays stopped");
    }

    #[test]
    fn nobody_changes_waves_while_it_runs(nodes in 4..40_usize, joining in 1..10_usize) {
        let mut fleet = waved(nodes, &["25%", "100%"]);
        let release = fleet.release();
        fleet.step();
        let first: BTreeSet<_> = fleet.open().iter().map(|(node, _)| *node).collect();
        for number in 0..joining {
            let name = format!("late-{number}").parse().unwrap();
            let late = NodeFacts::new(fleet.world.mint(), name, Labels::default());
            fleet.snapshot.nodes.push(late);
        }
        rest(&mut fleet);
        let now = at(&fleet, release);
        let old: BTreeSet<_> = fleet.snapshot.nodes[..nodes].iter().map(|node| node.id).collect();
        prop_assert_eq!(now.intersection(&old).copied().collect::<BTreeSet<_>>(), first);
        later(&mut fleet, SOAK);
        rest(&mut fleet);
        prop_assert_eq!(at(&fleet, release).len(), nodes + joining);
    }
}

#[test]
fn a_wave_by_labels_goes_first_and_an_empty_one_is_passed() {
    let mut fleet = waved(4, &["name=node-2", "name=nobody", "100%"]);
    let release = fleet.release();
    rest(&mut fleet);
    assert_eq!(at(&fleet, release), BTreeSet::from([fleet.snapshot.nodes[2].id]));
    let seen = progress(&fleet.snapshot, &fleet.snapshot.rollouts[0]);
    assert_eq!(
        seen.waves.iter().map(|wave| (wave.nodes, wave.run)).collect::<Vec<_>>(),
        [(1, 1), (0, 0), (3, 0)]
    );
    assert!(seen.gate.contains("watched for 901 s more"), "{}", seen.gate);
    later(&mut fleet, SOAK);
    rest(&mut fleet);
    assert_eq!(at(&fleet, release).len(), 4, "there is nobody to watch in an empty wave");
}

#[test]
fn a_hub_that_has_just_started_opens_no_wave_and_silent_nodes_prove_nothing() {
    let mut fleet = waved(10, &["20%", "100%"]);
    let release = fleet.release();
    fleet.step();
    let first = fleet.open();
    assert_eq!(first.len(), 2);
    // Nobody has checked in since the hub's start: who is there is not known.
    fleet.snapshot.nodes.iter_mut().for_each(|node| node.online = false);
    later(&mut fleet, 2 * SOAK);
    assert!(!fleet.step());
    // All of the first wave are known to be away: there is nothing to go by.
    let is_first = |id: NodeId| first.iter().any(|(node, _)| *node == id);
    fleet
        .snapshot
        .nodes
        .iter_mut()
        .for_each(|node| (node.online, node.silent) = (!is_first(node.id), is_first(node.id)));
    assert!(!fleet.step());
    assert!(
        progress(&fleet.snapshot, &fleet.snapshot.rollouts[0]).gate.contains("none of 2 nodes has tried it")
    );
    // One of the two is back and well: it speaks for both, as half of them are asked for.
    let (node, attempt) = first[0];
    fleet
        .snapshot
        .nodes
        .iter_mut()
        .filter(|one| one.id == node)
        .for_each(|one| (one.online, one.silent) = (true, false));
    fleet.end(attempt.deployment, TryState::Succeeded);
    later(&mut fleet, SOAK);
    assert!(fleet.step());
    assert_eq!(fleet.snapshot.rollouts[0].wave, 1);
    let _ = release;
}

proptest! {
    /// Nobody waits for nodes that are away, but those that are there must be enough: a share of the open waves, and as many as
    /// make a sample. A wave whose nodes are all there never stands for that.
    #[test]
    fn a_wave_of_which_most_are_away_opens_no_other(
        count in 1..80_usize, here in 0..80_usize, share in 1..101_u8, sample in 1..60_u32,
    ) {
        let mut fleet = waved(count, &["50%", "100%"]);
        let strategy = &mut fleet.snapshot.stacks[0].strategy;
        (strategy.min_success_percent, strategy.min_sample) = (share, sample);
        let release = fleet.release();
        fleet.step();
        let first: Vec<_> = fleet.open().into_iter().map(|(node, _)| node).collect();
        let here: BTreeSet<_> = first.iter().take(here).copied().collect();
        for node in &mut fleet.snapshot.nodes {
            let away = first.contains(&node.id) && !here.contains(&node.id);
            (node.online, node.silent) = (!away, away);
        }
        for (node, attempt) in fleet.open() {
            if here.contains(&node) {
                fleet.end(attempt.deployment, TryState::Succeeded);
            }
        }
        later(&mut fleet, 2 * SOAK);
        fleet.step();
        let (had, of) = (here.len(), first.len());
        let enough = had * 100 >= of * usize::from(share) && had >= of.div_ceil(2).min(sample as usize) && had > 0;
        prop_assert_eq!(fleet.snapshot.rollouts[0].wave, u32::from(enough), "{} of {} are there", had, of);
        if !enough {
            let gate = progress(&fleet.snapshot, &fleet.snapshot.rollouts[0]).gate;
            prop_assert!(gate.contains("away: wait for them, or promote it by hand"), "{}", gate);
            prop_assert!(!fleet.step(), "it waits");
        }
        // Those that began before there was such a share go by what was said then.
        let old = RolloutStrategy { min_success_percent: 0, ..fleet.snapshot.rollouts[0].strategy.clone() };
        let old = (old, GateFigures { members: 500, ended: 1, run: 1, away: 499, ..GateFigures::default() });
        prop_assert!(matches!(gate(&old.0, &old.1, false, fleet.snapshot.now), Gate::Open(_)));
        // All come back: it ends, however small the fleet is.
        fleet.snapshot.nodes.iter_mut().for_each(|node| (node.online, node.silent) = (true, false));
        rest(&mut fleet);
        later(&mut fleet, 2 * SOAK);
        rest(&mut fleet);
        prop_assert_eq!(at(&fleet, release).len(), count);
    }
}

#[test]
fn what_a_gate_says_of_a_wave_that_is_not_there_and_when_it_cannot_come() {
    let strategy = RolloutStrategy { min_success_percent: 80, ..RolloutStrategy::default() };
    let figures = GateFigures { members: 50, run: 5, ended: 5, away: 45, ..GateFigures::default() };
    let says = |figures: &GateFigures| gate(&strategy, figures, false, Timestamp::UNIX_EPOCH);
    let waits = "5 of 50 nodes run it, 0 failed; the next wave begins once 40 do. \
                 45 are away: wait for them, or promote it by hand";
    assert_eq!(says(&figures), Gate::Wait(waits.into()));
    // With many failures within what the rules allow: who failed does not try again under the same rollout.
    let lax = RolloutStrategy { stop: vec!["failed_ratio > 0.5".into()], ..strategy.clone() };
    let failed = GateFigures { members: 50, run: 39, ended: 50, failed: 11, ..GateFigures::default() };
    let stops = "39 of 50 nodes run it, 11 failed: the next wave begins once 40 do, and so many cannot";
    assert_eq!(gate(&lax, &failed, false, Timestamp::UNIX_EPOCH), Gate::Stop(stops.into()));
    assert!(matches!(gate(&lax, &failed, true, Timestamp::UNIX_EPOCH), Gate::Wait(_)), "no wave follows");
    // Enough run it, and too few have tried it for the rules to say much.
    let few = RolloutStrategy { min_success_percent: 1, ..RolloutStrategy::default() };
    let figures = GateFigures { members: 500, run: 19, ended: 19, away: 481, ..GateFigures::default() };
    let says = gate(&few, &figures, false, Timestamp::UNIX_EPOCH);
    assert!(matches!(&says, Gate::Wait(text) if text.contains("once 20 have tried it")), "{says:?}");
    let figures = GateFigures { run: 20, ended: 20, away: 480, ..figures };
    assert!(matches!(gate(&few, &figures, false, Timestamp::UNIX_EPOCH), Gate::Open(_)));
}

#[test]
fn nodes_that_failed_by_their_own_fault_try_again_where_the_others_are_too_few() {
    let mut fleet = waved(6, &["50%", "100%"]);
    let release = fleet.release();
    fleet.step();
    let told = fleet.open();
    assert_eq!(told.len(), 3);
    fleet.end(told[0].1.deployment, TryState::Succeeded);
    for (_, attempt) in &told[1..] {
        let (node, _) = fleet.tries[&attempt.deployment];
        let again = fleet.snapshot.now.checked_add(std::time::Duration::from_secs(900)).unwrap();
        fleet.end(attempt.deployment, TryState::Failed);
        fleet.past(node).latest.as_mut().unwrap().again_at = Some(again);
    }
    assert!(!fleet.step(), "their disks are full");
    let gate = progress(&fleet.snapshot, &fleet.snapshot.rollouts[0]).gate;
    assert!(gate.contains("2 failed by their own fault and will try again: wait for them"), "{gate}");
    later(&mut fleet, 900);
    fleet.step();
    assert_eq!((fleet.open().len(), fleet.snapshot.rollouts[0].wave), (2, 0));
    rest(&mut fleet);
    later(&mut fleet, SOAK);
    rest(&mut fleet);
    assert_eq!(at(&fleet, release).len(), 6);
}

#[test]
fn a_stop_takes_the_release_back_everywhere_when_that_is_asked_for() {
    let mut fleet = waved(10, &["50%", "100%"]);
    fleet.snapshot.stacks[0].strategy.on_stop = OnStop::Return;
    let good = fleet.release();
    for _ in 0..3 {
        rest(&mut fleet);
        later(&mut fleet, SOAK);
    }
    let bad = fleet.release();
    let mut ended = 0;
    fleet.settle(|_, release| {
        ended += u32::from(release == bad);
        if release == bad && ended == 5 { TryState::Failed } else { TryState::Succeeded }
    });
    assert_eq!(at(&fleet, bad).len(), 4, "without a place to go back to they stay");
    fleet.snapshot.stacks[0].go_back = Some(GoBack { from: bad, to: good });
    rest(&mut fleet);
    assert_eq!(at(&fleet, good).len(), 10);
    let last = fleet.snapshot.rollouts.last().unwrap();
    assert_eq!((last.kind, last.state, last.release), (RolloutKind::Rollback, RolloutState::Succeeded, good));
    assert!(!fleet.step());
}

#[test]
fn a_pause_and_an_emergency_stop_move_nobody_new() {
    let mut fleet = waved(10, &["10%", "100%"]);
    let release = fleet.release();
    rest(&mut fleet);
    let paused = Paused { by: "ada".into(), reason: "lunch".into(), at: fleet.snapshot.now };
    fleet.snapshot.rollouts[0].paused = Some(paused);
    later(&mut fleet, 2 * SOAK);
    assert!(!fleet.step());
    assert_eq!(progress(&fleet.snapshot, &fleet.snapshot.rollouts[0]).gate, "paused by ada: lunch");
    fleet.snapshot.rollouts[0].paused = None;
    fleet.snapshot.stopped = Some("smoke".into());
    assert!(!fleet.step());
    let newer = fleet.release();
    rest(&mut fleet);
    assert!(at(&fleet, newer).is_empty(), "nothing new begins");
    // Back is always possible.
    fleet.snapshot.stacks[0].origin.kind = RolloutKind::Rollback;
    rest(&mut fleet);
    assert_eq!(at(&fleet, newer).len(), 10);
    let _ = release;
}

#[test]
fn a_gate_stops_by_share_once_enough_was_seen() {
    let strategy = RolloutStrategy {
        min_sample: 10,
        stop: vec!["failed_ratio > 0.1".into(), "offline_ratio >= 0.5".into()],
        ..RolloutStrategy::default()
    };
    let now = Timestamp::UNIX_EPOCH;
    let figures = |ended, failed, silent| GateFigures {
        members: 100,
        ended,
        failed,
        run: ended - failed,
        silent,
        ..GateFigures::default()
    };
    let stops = |figures| matches!(gate(&strategy, &figures, false, now), Gate::Stop(_));
    assert!(stops(figures(9, 1, 0)), "of few any failure is too much");
    assert!(!stops(figures(10, 1, 0)), "one in ten is not more than a tenth");
    assert!(stops(figures(10, 2, 0)) && !stops(figures(100, 10, 0)) && stops(figures(100, 11, 0)));
    assert!(!stops(figures(9, 0, 9)), "silence counts once enough was seen");
    assert!(!stops(figures(20, 0, 9)) && stops(figures(20, 0, 10)));
    // A rule that cannot be read stops nothing by itself; it was refused where it was written.
    let odd = RolloutStrategy { stop: vec!["luck < 1".into()], ..strategy.clone() };
    assert!(!matches!(gate(&odd, &figures(100, 99, 0), true, now), Gate::Stop(_)));
}

#[test]
fn what_nodes_say_about_themselves_stops_a_rollout_and_silence_about_it_opens_no_wave() {
    let now = Timestamp::UNIX_EPOCH;
    let judged = |rule: &str, said: &[f64]| {
        let strategy = RolloutStrategy { stop: vec![rule.into()], ..RolloutStrategy::default() };
        let mut figures = GateFigures { members: 4, run: 4, ended: 4, ..GateFigures::default() };
        for value in said {
            let mut told = backstay_types::Figures::default();
            assert!(told.insert("errors", *value));
            figures.add_reported(&told);
        }
        gate(&strategy, &figures, false, now)
    };
    let stops = |rule: &str, said: &[f64]| matches!(judged(rule, said), Gate::Stop(_));
    assert!(stops("errors > 0.01", &[0.0, 0.05]) && !stops("errors > 0.03", &[0.0, 0.05]), "the mean");
    assert!(stops("max(errors) > 0.03", &[0.0, 0.05]) && stops("sum(errors) >= 0.05", &[0.0, 0.05]));
    assert!(stops("min(errors) < 1", &[0.0, 5.0]) && !stops("errors < 1", &[0.0, 5.0]));
    let Gate::Stop(reason) = judged("max(errors) > 0.03", &[0.0, 0.05]) else { unreachable!() };
    assert_eq!(reason, "max(errors) > 0.03 holds: it is 0.050 over 2 nodes");
    assert!(
        matches!(judged("errors > 0.01", &[]), Gate::Wait(reason) if reason.contains("none of them has said `errors`"))
    );
    assert!(matches!(judged("errors > 0.01", &[0.0]), Gate::Open(_)));
}

#[test]
fn a_drop_of_heartbeats_stops_it_and_one_silent_node_does_not() {
    let now = Timestamp::UNIX_EPOCH;
    let stops = |began, gone| {
        let figures = GateFigures { members: 100, open: 1, began, gone, ..GateFigures::default() };
        matches!(gate(&RolloutStrategy::default(), &figures, false, now), Gate::Stop(_))
    };
    assert!(!stops(100, 3) && stops(100, 4), "three of a hundred");
    assert!(!stops(20, 1), "one is no drop");
    assert!(!stops(5, 1) && !stops(5, 2) && stops(5, 3) && stops(2, 2), "of few, half of them");
}

proptest! {
    /// A label that changes while a rollout runs moves nobody between its waves; the next rollout goes by the new ones.
    #[test]
    fn labels_that_change_move_nobody_between_waves(nodes in 3..30_usize, changed in any::<prop::sample::Index>()) {
        let mut fleet = waved(nodes, &["ring=canary", "100%"]);
        let relabel = |fleet: &mut Fleet, at: usize, label: &str| {
            let old = fleet.snapshot.nodes[at].clone();
            fleet.snapshot.nodes[at] = NodeFacts::new(old.id, old.name().clone(), Labels::parse([label]).unwrap());
        };
        relabel(&mut fleet, 0, "ring=canary");
        let release = fleet.release();
        fleet.step();
        let canary = fleet.snapshot.nodes[0].id;
        prop_assert_eq!(fleet.open().iter().map(|(node, _)| *node).collect::<Vec<_>>(), vec![canary]);
        let other = 1 + changed.index(nodes - 1);
        relabel(&mut fleet, 0, "ring=general");
        relabel(&mut fleet, other, "ring=canary");
        // One that joins with the label later goes by its place in line: here with everyone.
        let late = NodeFacts::new(fleet.world.mint(), "late".parse().unwrap(), Labels::parse(["ring=canary"]).unwrap());
        fleet.snapshot.nodes.push(late.clone());
        rest(&mut fleet);
        prop_assert_eq!(at(&fleet, release), BTreeSet::from([canary]));
        later(&mut fleet, SOAK);
        rest(&mut fleet);
        prop_assert_eq!(at(&fleet, release).len(), nodes + 1);
        let newer = fleet.release();
        rest(&mut fleet);
        prop_assert_eq!(at(&fleet, newer), BTreeSet::from([fleet.snapshot.nodes[other].id, late.id]));
    }

    /// A newer release takes over at once, whatever wave the older one is in, and begins with its own first wave.
    #[test]
    fn a_newer_release_pre_empts_the_older_one_and_keeps_to_its_own_waves(nodes in 10..40_usize, steps in 0..12_usize) {
        let mut fleet = waved(nodes, &["10%", "50%", "100%"]);
        let older = fleet.release();
        for _ in 0..steps {
            fleet.step();
            match fleet.open().first().copied() {
                Some((_, next)) => fleet.end(next.deployment, TryState::Succeeded),
                None => later(&mut fleet, SOAK),
            }
        }
        let newer = fleet.release();
        let before = at(&fleet, older).len() + fleet.open().len();
        for (_, next) in fleet.open() {
            fleet.end(next.deployment, TryState::Running);
        }
        rest(&mut fleet);
        prop_assert!(at(&fleet, older).len() <= before, "nobody new begins the older one");
        prop_assert_eq!(at(&fleet, newer).len(), (nodes * 10).div_ceil(100).max(1));
        let running: Vec<_> =
            fleet.snapshot.rollouts.iter().filter(|r| r.state == RolloutState::Running).collect();
        prop_assert_eq!(running.len(), 1);
        prop_assert_eq!(running[0].release, newer);
    }
}
