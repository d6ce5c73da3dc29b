//! Ways back beside rollouts forward, and attempts that are made again.

use std::{collections::BTreeSet, time::Duration};

use backstay_plan::{TryState, Unproven, Waves};
use backstay_types::{NodeId, ReleaseId, RolloutKind, RolloutState};
use proptest::prelude::*;

use crate::simulated::{Fleet, SOAK, later, waved, well};

/// Every wave opens and does well.
fn all_waves(fleet: &mut Fleet) {
    for _ in 0..5 {
        fleet.settle(well);
        later(fleet, SOAK);
    }
}

/// Who is on the way to a release.
fn told(fleet: &Fleet, release: ReleaseId) -> BTreeSet<NodeId> {
    fleet.open().into_iter().filter(|(_, attempt)| attempt.release == release).map(|(node, _)| node).collect()
}

proptest! {
    /// While a release goes out in waves, what came on top of it is undone: who runs or was told of that goes back at once,
    /// and nobody else gets the release before its wave.
    #[test]
    fn a_way_back_opens_no_wave(
        nodes in 3..40_usize,
        began in prop::collection::vec(any::<bool>(), 40),
        came in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut fleet = waved(nodes, &["20%", "50%", "100%"]);
        let good = fleet.release();
        all_waves(&mut fleet);
        prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(good)));
        let below = fleet.release();
        fleet.step();
        let first = told(&fleet, below);
        // One at least has begun, so that this rollout goes on.
        for (index, (_, attempt)) in fleet.open().into_iter().enumerate() {
            if index == 0 || began[index] {
                fleet.end(attempt.deployment, TryState::Running);
            }
        }
        let undone = fleet.release();
        fleet.step();
        let mut touched = told(&fleet, undone);
        for (index, (_, attempt)) in fleet.open().into_iter().enumerate() {
            if attempt.release == undone && came[index] {
                fleet.end(attempt.deployment, TryState::Succeeded);
            }
        }
        let stack = &mut fleet.snapshot.stacks[0];
        (stack.release, stack.origin.kind) = (Ok(below), RolloutKind::Rollback);
        stack.undone = BTreeSet::from([undone]);
        fleet.step();
        touched.extend(fleet.snapshot.nodes.iter().map(|node| node.id).filter(|node| fleet.runs(*node) == Some(undone)));
        let may: BTreeSet<_> = first.union(&touched).copied().collect();
        prop_assert_eq!(&told(&fleet, below), &may, "all who go back, at once, and nobody else");
        let gone_on = fleet.snapshot.rollouts.iter().find(|r| r.release == below).unwrap().clone();
        prop_assert_eq!((gone_on.state, gone_on.wave), (RolloutState::Running, 0));
        // The others get it with their waves.
        all_waves(&mut fleet);
        prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(below)));
        prop_assert!(fleet.snapshot.rollouts.iter().all(|r| r.state != RolloutState::Running));
    }

    /// A release was superseded before it had proved itself, and an undo goes back to it: who runs what is undone, or ran the
    /// release well before, has it at once. Everybody else gets it in waves, and when it fails nobody else does.
    #[test]
    fn an_undo_to_what_never_proved_itself_goes_in_waves(
        nodes in 3..40_usize,
        bad in any::<bool>(),
        limits in any::<bool>(),
    ) {
        let mut fleet = waved(nodes, &["20%", "50%", "100%"]);
        let good = fleet.release();
        all_waves(&mut fleet);
        let below = fleet.release();
        fleet.settle(well);
        let ran: BTreeSet<_> = fleet.snapshot.nodes.iter().map(|node| node.id).filter(|node| fleet.runs(*node) == Some(below)).collect();
        let undone = fleet.release();
        fleet.settle(well);
        let runs_undone: BTreeSet<_> =
            fleet.snapshot.nodes.iter().map(|node| node.id).filter(|node| fleet.runs(*node) == Some(undone)).collect();
        prop_assert!(runs_undone.len() < nodes && fleet.snapshot.rollouts[1].state == RolloutState::Superseded);
        let stack = &mut fleet.snapshot.stacks[0];
        (stack.release, stack.origin.kind) = (Ok(below), RolloutKind::Rollback);
        stack.undone = BTreeSet::from([undone]);
        stack.unproven = Some(Unproven { ran: ran.clone() });
        if limits {
            fleet.snapshot.stopped = Some("no".to_owned());
        }
        fleet.step();
        let rollout = fleet.snapshot.rollouts.last().unwrap().clone();
        prop_assert_eq!((rollout.kind, rollout.release, rollout.wave), (RolloutKind::Update, below, 0));
        let waves = Waves::of(&rollout.strategy, &rollout.cuts, fleet.snapshot.trees.get(&below).copied(), None);
        let may = |node: &NodeId| {
            let facts = fleet.snapshot.nodes.iter().find(|facts| facts.id == *node).unwrap();
            runs_undone.contains(node) || ran.contains(node) || (!limits && waves.wave_of(facts) == 0)
        };
        let told = told(&fleet, below);
        prop_assert!(told.iter().all(may), "nobody else");
        let at_once = runs_undone.iter().chain(&ran).filter(|node| fleet.runs(**node) != Some(below));
        prop_assert!(at_once.clone().all(|node| told.contains(node)), "at once");
        fleet.snapshot.stopped = None;
        if bad && !told.is_empty() {
            fleet.settle(|_, release| if release == below { TryState::Failed } else { TryState::Succeeded });
            later(&mut fleet, SOAK);
            fleet.settle(well);
            let rollout = fleet.snapshot.rollouts.iter().find(|r| r.id == rollout.id).unwrap();
            prop_assert_eq!(rollout.state, RolloutState::Halted);
            let left = fleet.snapshot.nodes.iter().filter(|node| !ran.contains(&node.id) && !runs_undone.contains(&node.id));
            prop_assert!(left.into_iter().all(|node| fleet.runs(node.id) == Some(good)));
            return Ok(());
        }
        all_waves(&mut fleet);
        prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(below)));
        prop_assert!(fleet.snapshot.rollouts.iter().all(|r| r.state != RolloutState::Running));
    }

    /// A first wave in which every node failed by its own fault says nothing of the release: they try again, and the
    /// rollout goes on from there.
    #[test]
    fn a_wave_of_nodes_that_failed_by_their_own_fault_tries_again(nodes in 4..40_usize, times in 1..4_usize) {
        let mut fleet = waved(nodes, &["25%", "100%"]);
        let good = fleet.release();
        all_waves(&mut fleet);
        let next = fleet.release();
        let first = nodes.div_ceil(4);
        for time in 0..times {
            fleet.step();
            let open = fleet.open();
            prop_assert_eq!(open.len(), first, "time {}", time);
            let again_at = fleet.snapshot.now.checked_add(Duration::from_secs(SOAK)).unwrap();
            for (_, attempt) in open {
                fleet.tries.get_mut(&attempt.deployment).unwrap().1.again_at = Some(again_at);
                fleet.end(attempt.deployment, TryState::Failed);
            }
            fleet.settle(well);
            prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(good)), "not before");
            later(&mut fleet, SOAK);
        }
        fleet.step();
        prop_assert_eq!(told(&fleet, next).len(), first);
        all_waves(&mut fleet);
        prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(next)));
        prop_assert_eq!(fleet.snapshot.rollouts.len(), 2);
        prop_assert_eq!(fleet.snapshot.rollouts[1].state, RolloutState::Succeeded);
    }

    /// The same where everybody is in one wave: what nobody could try is no success, and nothing is banned for it.
    #[test]
    fn a_rollout_that_nobody_could_try_waits(nodes in 1..20_usize, times in 1..4_usize, away in any::<bool>()) {
        let mut fleet = waved(nodes, &[]);
        let good = fleet.release();
        fleet.settle(well);
        fleet.snapshot.nodes[0].silent = away && nodes > 1;
        let next = fleet.release();
        for _ in 0..times {
            fleet.step();
            let again_at = fleet.snapshot.now.checked_add(Duration::from_secs(SOAK)).unwrap();
            for (node, attempt) in fleet.open() {
                if away && nodes > 1 && node == fleet.snapshot.nodes[0].id {
                    continue;
                }
                fleet.tries.get_mut(&attempt.deployment).unwrap().1.again_at = Some(again_at);
                fleet.end(attempt.deployment, TryState::Failed);
            }
            for _ in 0..3 {
                fleet.step();
            }
            let rollout = fleet.snapshot.rollouts.last().unwrap();
            prop_assert_eq!((rollout.release, rollout.state), (next, RolloutState::Running));
            prop_assert!(fleet.snapshot.constraints.is_empty(), "nothing is banned");
            prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(good)));
            later(&mut fleet, SOAK);
        }
        fleet.settle(well);
        prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(next)));
        prop_assert_eq!(fleet.snapshot.rollouts.len(), 2);
        prop_assert_eq!(fleet.snapshot.rollouts[1].state, RolloutState::Succeeded);
    }

    /// Whatever its rules allow, a release that does well nowhere has not succeeded; it goes round neither.
    #[test]
    fn a_release_that_does_well_nowhere_has_not_succeeded(nodes in 1..6_usize, hindered in 0..5_usize) {
        let mut fleet = waved(nodes, &[]);
        let strategy = &mut fleet.snapshot.stacks[0].strategy;
        (strategy.min_sample, strategy.stop) = (0, vec!["failed > 10".to_owned()]);
        let good = fleet.release();
        fleet.settle(well);
        let bad = fleet.release();
        fleet.step();
        let again_at = fleet.snapshot.now.checked_add(Duration::from_secs(SOAK)).unwrap();
        for (index, (_, attempt)) in fleet.open().into_iter().enumerate() {
            if index < hindered.min(nodes - 1) {
                fleet.tries.get_mut(&attempt.deployment).unwrap().1.again_at = Some(again_at);
            }
            fleet.end(attempt.deployment, TryState::Failed);
        }
        fleet.settle(|_, release| if release == bad { TryState::Failed } else { TryState::Succeeded });
        let ended = fleet.snapshot.rollouts.last().unwrap();
        prop_assert_eq!((ended.release, ended.state), (bad, RolloutState::Halted));
        prop_assert_eq!((fleet.snapshot.rollouts.len(), fleet.snapshot.constraints.len()), (2, 1));
        prop_assert!(fleet.snapshot.nodes.iter().all(|node| fleet.runs(node.id) == Some(good)));
    }

    /// A node on which a release failed, within what its rollout allowed, is left where it went back to.
    #[test]
    fn a_failure_that_was_allowed_is_not_tried_for_ever(nodes in 10..30_usize, bad in any::<prop::sample::Index>()) {
        let mut fleet = waved(nodes, &[]);
        let strategy = &mut fleet.snapshot.stacks[0].strategy;
        (strategy.min_sample, strategy.stop) = (0, vec!["failed > 1".to_owned()]);
        let good = fleet.release();
        fleet.settle(well);
        let next = fleet.release();
        let bad = fleet.snapshot.nodes[bad.index(nodes)].id;
        let mut tried = 0;
        fleet.settle(|node, release| {
            if node != bad || release != next {
                return TryState::Succeeded;
            }
            tried += 1;
            TryState::Failed
        });
        prop_assert_eq!(tried, 1);
        prop_assert_eq!(fleet.runs(bad), Some(good));
        prop_assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Succeeded);
    }
}
