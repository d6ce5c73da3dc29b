//! Planning is driven to its end by a small simulated fleet: whatever happens, it settles, and where it should.

use backstay_plan::{GoBack, MaxUpdating, NodeFacts, TryState, progress};
use backstay_types::{Effect, Labels, NodeId, ReleaseId, RolloutKind, RolloutState, Scope};
use proptest::prelude::*;

use crate::simulated::{Fleet, well};

proptest! {
    #[test]
    fn every_node_comes_to_run_the_release(nodes in 1..40_usize, limit in 1..10_u32) {
        let mut fleet = Fleet::new(nodes, MaxUpdating::Nodes(limit));
        let release = fleet.release();
        fleet.settle(well);
        prop_assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(release)));
        prop_assert_eq!(fleet.snapshot.rollouts.len(), 1);
        prop_assert_eq!(fleet.snapshot.rollouts[0].state, RolloutState::Succeeded);
    }

    #[test]
    fn never_more_than_the_limit_at_once(nodes in 1..40_usize, limit in 1..10_u32) {
        let mut fleet = Fleet::new(nodes, MaxUpdating::Nodes(limit));
        fleet.release();
        for _ in 0..100 {
            fleet.step();
            let open = fleet.open();
            prop_assert!(open.len() <= limit as usize);
            let Some((_, next)) = open.first() else { break };
            fleet.end(next.deployment, TryState::Succeeded);
        }
    }

    /// Whatever of: what of one stack is under way leaves less room for another, but a node that updates already may go on
    /// to the other.
    #[test]
    fn at_most_a_share_of_the_fleet_updates_at_once(
        nodes in 1..40_usize, percent in 1..101_u8, done in 0..40_usize, back in any::<bool>(),
    ) {
        let mut fleet = Fleet::new(nodes, MaxUpdating::All);
        fleet.snapshot.thresholds.max_updating_percent = Some(percent);
        let limit = (nodes * usize::from(percent) / 100).max(1);
        fleet.release();
        fleet.step();
        prop_assert_eq!(fleet.open().len(), limit);
        for (_, attempt) in fleet.open().into_iter().take(done) {
            fleet.end(attempt.deployment, TryState::Succeeded);
        }
        let web = fleet.open();
        let mut other = fleet.snapshot.stacks[0].clone();
        other.name = "db".parse().unwrap();
        other.release = Ok(fleet.world.mint());
        if back {
            other.origin.kind = RolloutKind::Rollback;
        }
        fleet.snapshot.stacks.push(other);
        let planned = backstay_plan::plan(&fleet.snapshot);
        let of_db = planned.attempts.iter().filter(|attempt| attempt.stack.as_str() == "db");
        let of_web = planned.attempts.iter().filter(|attempt| attempt.stack == fleet.stack);
        prop_assert_eq!(of_db.clone().count(), if back { nodes } else { limit });
        if !back {
            let open = web.iter().map(|(node, _)| *node).chain(of_web.chain(of_db).map(|attempt| attempt.node));
            prop_assert_eq!(open.collect::<std::collections::BTreeSet<_>>().len(), limit);
        }
    }

    /// However many nodes the fleet has and of those the stack: what is shown is what is kept to, also when the stack comes
    /// to be for others while it goes out.
    #[test]
    fn what_is_shown_as_at_once_is_what_is_kept_to(
        nodes in 1..60_usize, first in 1..60_usize, then in 1..60_usize, percent in 1..101_u32,
    ) {
        let mut fleet = Fleet::new(nodes, MaxUpdating::Percent(percent));
        let some = |fleet: &mut Fleet, count: usize| {
            let names: Vec<_> = (0..count.min(nodes)).map(|n| format!("node-{n}")).collect();
            fleet.assign(&format!("name in ({})", names.join(",")));
            names.len()
        };
        let assigned = some(&mut fleet, first);
        fleet.release();
        fleet.step();
        let begun = fleet.snapshot.rollouts[0].clone();
        let at_once = (assigned * percent as usize / 100).max(1);
        prop_assert_eq!(begun.max_updating.map(|count| count as usize), Some(at_once));
        prop_assert_eq!(fleet.open().len(), at_once);
        prop_assert_eq!(progress(&fleet.snapshot, &begun).at_once, begun.max_updating);

        some(&mut fleet, then);
        let shown = progress(&fleet.snapshot, &begun).at_once.unwrap() as usize;
        let before = fleet.open().len();
        fleet.step();
        prop_assert!(fleet.open().len() <= shown.max(before), "{} > {shown}", fleet.open().len());
    }

    #[test]
    fn a_failure_stops_the_rollout_and_statements_go_back(nodes in 2..20_usize, bad in any::<prop::sample::Index>()) {
        let mut fleet = Fleet::new(nodes, MaxUpdating::Nodes(1));
        let good = fleet.release();
        fleet.settle(well);
        let broken = fleet.release();
        let bad = fleet.snapshot.nodes[bad.index(nodes)].id;
        fleet.settle(|node, release| if node == bad && release == broken { TryState::Failed } else { TryState::Succeeded });
        prop_assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Halted);
        prop_assert_eq!(fleet.runs(bad), Some(good));
        let said = fleet.tries[&fleet.desired[&bad]].1;
        prop_assert_eq!(said.release, good);
        // A newer release takes everyone along, the failed node too.
        let fixed = fleet.release();
        fleet.settle(well);
        prop_assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(fixed)));
    }
}

#[test]
fn lifting_the_ban_tries_again_and_a_failing_pin_does_not_go_round() {
    let mut fleet = Fleet::new(2, MaxUpdating::All);
    let good = fleet.release();
    fleet.settle(well);
    let bad = fleet.release();
    fleet.settle(|_, release| if release == bad { TryState::Failed } else { TryState::Succeeded });
    assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(good)));

    fleet.snapshot.constraints.clear();
    fleet.snapshot.stacks[0].release = Ok(bad);
    fleet.settle(well);
    assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(bad)));

    let pinned = fleet.release();
    fleet.snapshot.stacks[0].release = Ok(bad);
    let effect = Effect::Pin { stack: fleet.stack.clone(), release: pinned };
    fleet.constrain(effect, Scope::Fleet, "a trial".to_owned());
    fleet.settle(|_, release| if release == pinned { TryState::Failed } else { TryState::Succeeded });
    assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(bad)));
}

#[test]
fn a_newer_release_takes_over_a_running_rollout() {
    let mut fleet = Fleet::new(3, MaxUpdating::Nodes(1));
    fleet.release();
    fleet.step();
    let newer = fleet.release();
    fleet.settle(well);
    assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(newer)));
    assert_eq!(fleet.snapshot.rollouts[0].state, RolloutState::Superseded);
}

#[test]
fn a_pin_moves_only_its_nodes_and_lifting_it_brings_them_back() {
    let mut fleet = Fleet::new(3, MaxUpdating::All);
    let old = fleet.release();
    fleet.settle(well);
    let new = fleet.release();
    fleet.settle(well);
    let effect = Effect::Pin { stack: fleet.stack.clone(), release: old };
    fleet.constrain(effect, Scope::Nodes { selector: "name=node-1".to_owned() }, "a trial".to_owned());
    fleet.settle(well);
    let runs: Vec<_> = fleet.snapshot.nodes.iter().map(|n| fleet.runs(n.id)).collect();
    assert_eq!(runs, [Some(new), Some(old), Some(new)]);
    fleet.snapshot.constraints.clear();
    fleet.settle(well);
    assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(new)));
}

#[test]
fn a_node_that_is_away_gets_its_orders_and_holds_nobody_up() {
    let mut fleet = Fleet::new(3, MaxUpdating::Nodes(1));
    (fleet.snapshot.nodes[0].online, fleet.snapshot.nodes[0].silent) = (false, true);
    let away = fleet.snapshot.nodes[0].id;
    let release = fleet.release();
    for _ in 0..20 {
        fleet.step();
        if let Some((_, next)) = fleet.open().iter().find(|(node, _)| *node != away) {
            fleet.end(next.deployment, TryState::Succeeded);
        }
    }
    assert_eq!(fleet.runs(fleet.snapshot.nodes[2].id), Some(release));
    assert_eq!(fleet.snapshot.rollouts[0].state, RolloutState::Running);
    assert!(fleet.desired.contains_key(&away));
}

#[test]
fn a_hub_that_has_just_started_keeps_to_the_limit() {
    let mut fleet = Fleet::new(6, MaxUpdating::Nodes(2));
    fleet.release();
    fleet.step();
    assert_eq!(fleet.open().len(), 2);
    // Nobody has checked in since: who is there is not known.
    fleet.snapshot.nodes.iter_mut().for_each(|node| node.online = false);
    fleet.step();
    assert_eq!(fleet.open().len(), 2);
}

#[test]
fn a_late_joiner_runs_the_finished_release_under_the_same_rollout() {
    let mut fleet = Fleet::new(2, MaxUpdating::All);
    let release = fleet.release();
    fleet.settle(well);
    let late = NodeFacts::new(fleet.world.mint(), "late".parse().unwrap(), Labels::default());
    fleet.snapshot.nodes.push(late.clone());
    fleet.settle(well);
    assert_eq!(fleet.runs(late.id), Some(release));
    assert_eq!(fleet.snapshot.rollouts.len(), 1);
}

#[test]
fn a_release_that_may_not_be_planned_moves_nobody() {
    let mut fleet = Fleet::new(2, MaxUpdating::All);
    let release = fleet.release();
    fleet.settle(well);
    fleet.snapshot.stacks[0].release = Err("held".to_owned());
    assert!(!fleet.step());
    assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(release)));
}

proptest! {
    /// A node that fails by its own fault keeps nobody from the release, and gets there itself in time.
    #[test]
    fn a_nodes_own_failure_is_its_own(nodes in 2..20_usize, limit in 1..5_u32, full in any::<prop::sample::Index>()) {
        let mut fleet = Fleet::new(nodes, MaxUpdating::Nodes(limit));
        let good = fleet.release();
        fleet.settle(well);
        let next = fleet.release();
        let full = fleet.snapshot.nodes[full.index(nodes)].id;
        let again_at = fleet.snapshot.now.checked_add(std::time::Duration::from_secs(900)).unwrap();
        for _ in 0..200 {
            let moved = fleet.step();
            let Some((node, attempt)) = fleet.open().first().copied() else {
                if moved { continue } else { break }
            };
            if node == full {
                fleet.tries.get_mut(&attempt.deployment).unwrap().1.again_at = Some(again_at);
                fleet.end(attempt.deployment, TryState::Failed);
            } else {
                fleet.end(attempt.deployment, TryState::Succeeded);
            }
        }
        for node in fleet.snapshot.nodes.clone() {
            let wanted = if node.id == full { good } else { next };
            prop_assert_eq!(fleet.runs(node.id), Some(wanted));
        }
        prop_assert!(fleet.snapshot.constraints.is_empty(), "nothing is banned");
        prop_assert_eq!(fleet.snapshot.rollouts.len(), 2);
        prop_assert!(fleet.snapshot.rollouts.iter().all(|r| r.state != RolloutState::Running));
        fleet.snapshot.now = again_at;
        fleet.settle(well);
        prop_assert_eq!(fleet.runs(full), Some(next));
    }

    /// Whatever else: without leave in so many words, nothing is ever taken away, and never from more than allowed.
    #[test]
    fn removals_need_leave_and_keep_to_it(
        nodes in 1..12_usize, keep in 0..12_usize, allowed in prop::option::of(1..12_u32), limit in 1..4_u32,
    ) {
        let mut fleet = Fleet::new(nodes, MaxUpdating::Nodes(limit));
        let release = fleet.release();
        fleet.settle(well);
        let names: Vec<_> = (0..keep).map(|n| format!("node-{n}")).collect();
        fleet.assign(&if names.is_empty() { "name=nobody".to_owned() } else { format!("name in ({})", names.join(",")) });
        fleet.snapshot.stacks[0].prune = allowed.map(MaxUpdating::Nodes);
        let mut most = 0;
        for _ in 0..200 {
            let moved = fleet.step();
            let open = fleet.open();
            most = most.max(open.len());
            match open.first() {
                Some((_, next)) => {
                    prop_assert!(next.removal);
                    fleet.end(next.deployment, TryState::Succeeded);
                }
                None if !moved => break,
                None => {}
            }
        }
        let leaving = nodes.saturating_sub(keep);
        let taken = allowed.is_some_and(|allowed| leaving <= allowed as usize);
        for (n, node) in fleet.snapshot.nodes.clone().iter().enumerate() {
            let stays = n < keep || !taken;
            prop_assert_eq!(fleet.runs(node.id), stays.then_some(release), "node {}", n);
        }
        prop_assert!(most <= limit as usize);
        let removals: Vec<_> =
            fleet.snapshot.rollouts.iter().filter(|r| r.kind == RolloutKind::Removal).collect();
        prop_assert_eq!(removals.len(), usize::from(taken && leaving > 0));
        prop_assert!(removals.iter().all(|r| r.state == RolloutState::Succeeded));
        // Assigned again, it comes back.
        fleet.assign("");
        fleet.settle(well);
        prop_assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(release)));
    }
}

#[test]
fn a_removal_waits_for_what_the_agent_is_at_and_can_be_called_off() {
    let mut fleet = Fleet::new(1, MaxUpdating::All);
    let node = fleet.snapshot.nodes[0].id;
    let first = fleet.release();
    fleet.settle(well);
    let second = fleet.release();
    fleet.step();
    let (_, update) = fleet.open()[0];
    fleet.end(update.deployment, TryState::Running);
    fleet.snapshot.stacks[0].prune = Some(MaxUpdating::All);
    fleet.assign("name=nobody");
    fleet.step();
    assert_eq!(fleet.open().len(), 1, "the update is under way");
    assert_eq!(fleet.desired[&node], update.deployment);
    fleet.end(update.deployment, TryState::Failed);
    fleet.step();
    let (_, removal) = fleet.open()[0];
    assert!(removal.removal && removal.release == first);
    // Assigned again before the agent has begun: nothing needs to move but to the release.
    fleet.snapshot.stacks[0].release = Ok(first);
    fleet.assign("");
    fleet.settle(well);
    assert_eq!(fleet.runs(node), Some(first));
    assert_eq!(fleet.tries[&removal.deployment].1.state, TryState::Superseded);
    assert!(fleet.snapshot.rollouts.iter().all(|r| r.state != RolloutState::Running));
    let _ = second;
}

#[test]
fn a_pinned_node_and_a_removal_that_fails_are_left_alone() {
    let mut fleet = Fleet::new(2, MaxUpdating::All);
    let release = fleet.release();
    fleet.settle(well);
    let effect = Effect::Pin { stack: fleet.stack.clone(), release };
    fleet.constrain(effect, Scope::Nodes { selector: "name=node-0".to_owned() }, "a trial".to_owned());
    fleet.snapshot.stacks[0].prune = Some(MaxUpdating::All);
    fleet.snapshot.stacks[0].release = Err("no longer in the repository".to_owned());
    fleet.snapshot.stacks[0].assignments.clear();
    fleet.settle(|_, _| TryState::Failed);
    assert!(fleet.snapshot.nodes.iter().all(|n| fleet.runs(n.id) == Some(release)));
    assert_eq!(
        fleet.tries.values().filter(|(_, t)| t.removal).count(),
        1,
        "once, and not of the pinned node"
    );
    assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Halted);
}

/// How often a node has been sent to a release.
fn sent(fleet: &Fleet, node: NodeId, release: ReleaseId) -> usize {
    fleet.tries.values().filter(|(of, attempt)| *of == node && attempt.release == release).count()
}

fn fail_on(bad: NodeId, release: ReleaseId) -> impl FnMut(NodeId, ReleaseId) -> TryState {
    move |node, to| if node == bad && to == release { TryState::Failed } else { TryState::Succeeded }
}

#[test]
fn what_failed_within_what_its_rollout_allows_is_not_tried_there_again() {
    let mut fleet = Fleet::new(20, MaxUpdating::Nodes(4));
    fleet.snapshot.stacks[0].strategy.stop = vec!["failed_ratio > 0.5".to_owned()];
    let good = fleet.release();
    fleet.settle(well);
    let next = fleet.release();
    let bad = fleet.snapshot.nodes[19].id;
    fleet.settle(fail_on(bad, next));
    assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Succeeded);
    assert_eq!((fleet.runs(bad), sent(&fleet, bad, next)), (Some(good), 1));
    assert!(fleet.snapshot.constraints.is_empty(), "nothing is banned");
    let newer = fleet.release();
    fleet.settle(well);
    assert_eq!(fleet.runs(bad), Some(newer));
}

#[test]
fn what_is_tried_after_its_rollout_and_fails_by_itself_is_not_tried_there_again() {
    let mut fleet = Fleet::new(3, MaxUpdating::Nodes(1));
    let good = fleet.release();
    fleet.settle(well);
    let next = fleet.release();
    let node = fleet.snapshot.nodes[1].id;
    let again_at = fleet.snapshot.now.checked_add(std::time::Duration::from_secs(900)).unwrap();
    // First by the node's own fault, which stops nothing; once its rollout is over, by the release's.
    loop {
        let moved = fleet.step();
        let Some((of, attempt)) = fleet.open().first().copied() else { if moved { continue } else { break } };
        if of == node {
            fleet.tries.get_mut(&attempt.deployment).unwrap().1.again_at = Some(again_at);
        }
        fleet.end(attempt.deployment, if of == node { TryState::Failed } else { TryState::Succeeded });
    }
    assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Succeeded);
    fleet.snapshot.now = again_at;
    fleet.settle(fail_on(node, next));
    assert_eq!((fleet.runs(node), sent(&fleet, node, next)), (Some(good), 2));
    assert_eq!(fleet.snapshot.rollouts.len(), 2);
}

#[test]
fn a_way_back_from_a_stopped_rollout_that_fails_does_not_go_round() {
    let mut fleet = Fleet::new(3, MaxUpdating::Nodes(1));
    let good = fleet.release();
    fleet.settle(well);
    let bad = fleet.release();
    let mut ended = 0;
    fleet.settle(|_, release| {
        ended += u32::from(release == bad);
        if ended == 2 { TryState::Failed } else { TryState::Succeeded }
    });
    let moved = fleet.snapshot.nodes.iter().map(|node| node.id).find(|node| fleet.runs(*node) == Some(bad));
    fleet.snapshot.stacks[0].go_back = Some(GoBack { from: bad, to: good });
    fleet.settle(fail_on(moved.unwrap(), good));
    assert_eq!(fleet.runs(moved.unwrap()), Some(bad));
    assert_eq!(sent(&fleet, moved.unwrap(), good), 2, "when it was new, and once back");
    assert_eq!(fleet.snapshot.rollouts.last().unwrap().state, RolloutState::Halted);
}

#[test]
fn while_a_release_is_taken_away_elsewhere_it_is_not_tried_again_where_it_failed() {
    let mut fleet = Fleet::new(20, MaxUpdating::All);
    fleet.snapshot.stacks[0].strategy.stop = vec!["failed_ratio > 0.5".to_owned()];
    fleet.snapshot.stacks[0].prune = Some(MaxUpdating::All);
    fleet.release();
    fleet.settle(well);
    let next = fleet.release();
    let bad = fleet.snapshot.nodes[19].id;
    fleet.settle(fail_on(bad, next));
    assert_eq!(sent(&fleet, bad, next), 1);
    fleet.assign("name in (node-18,node-19)");
    for _ in 0..50 {
        fleet.step();
        // Nothing is heard of those from which it is taken away.
        let mine = fleet.open().into_iter().find(|(node, _)| *node == bad);
        let Some((_, attempt)) = mine else { continue };
        fleet.end(attempt.deployment, TryState::Failed);
    }
    assert_eq!(fleet.open().len(), 18);
    assert!(sent(&fleet, bad, next) <= 2, "sent {} times", sent(&fleet, bad, next));
}
