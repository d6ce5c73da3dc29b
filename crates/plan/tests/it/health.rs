//! What becomes of rollouts when the whole fleet is not well.

use backstay_plan::{MaxUpdating, plan, progress, verdict};
use backstay_types::{Effect, HealthLevel, RolloutKind, RolloutState, RolloutStrategy, Scope};
use proptest::prelude::*;

use crate::simulated::{Fleet, well};

/// A fleet in the first of two waves of a release, and `sick` nodes that turned unhealthy just now.
fn unwell(nodes: usize, sick: usize) -> Fleet {
    let mut fleet = Fleet::new(nodes, MaxUpdating::All);
    let good = fleet.release();
    fleet.settle(well);
    let waves = vec!["50%".to_owned(), "100%".to_owned()];
    fleet.snapshot.stacks[0].strategy =
        RolloutStrategy { waves, soak_seconds: 3600, ..RolloutStrategy::default() };
    fleet.snapshot.now = fleet.snapshot.now.checked_add(std::time::Duration::from_secs(1)).unwrap();
    fleet.release();
    fleet.settle(well);
    fleet.snapshot.stacks[0].last_good = Some(good);
    let now = fleet.snapshot.now;
    fleet.snapshot.nodes.iter_mut().take(sick).for_each(|node| node.sick_since = Some(now));
    fleet
}

proptest! {
    #[test]
    fn the_level_goes_by_the_share_of_all_nodes(nodes in 1..300_usize, sick in 0..300_usize) {
        let sick = sick.min(nodes);
        let mut fleet = Fleet::new(nodes, MaxUpdating::All);
        let now = fleet.snapshot.now;
        fleet.snapshot.nodes.iter_mut().take(sick).for_each(|node| node.sick_since = Some(now));
        let seen = verdict(&fleet.snapshot);
        let share = sick * 100;
        let wanted = match () {
            () if nodes < 20 || sick < 3 || share < nodes * 5 => HealthLevel::Well,
            () if share < nodes * 10 => HealthLevel::Warned,
            () if share < nodes * 20 => HealthLevel::Halted,
            () => HealthLevel::Stopped,
        };
        prop_assert_eq!((seen.level, seen.unhealthy, seen.nodes), (wanted, sick as u64, nodes as u64));
    }
}

#[test]
fn it_slows_then_pauses_then_stops_and_goes_back() {
    let mut slow = unwell(100, 6);
    slow.snapshot.rollouts.last_mut().unwrap().wave = 1;
    let planned = plan(&slow.snapshot);
    assert_eq!(planned.attempts.len(), 50, "half of a hundred at once, of the fifty that are left");
    slow.snapshot.stacks[0].max_updating = MaxUpdating::Nodes(10);
    assert_eq!(plan(&slow.snapshot).attempts.len(), 5);
    let rollout = slow.snapshot.rollouts.last().unwrap();
    assert_eq!(progress(&slow.snapshot, rollout).at_once, Some(5), "and so it is shown");

    let mut halted = unwell(100, 10);
    halted.step();
    let rollout = halted.snapshot.rollouts.last().unwrap();
    assert_eq!(rollout.state, RolloutState::Running);
    let paused = rollout.paused.as_ref().unwrap();
    assert_eq!(paused.reason, "10 of 100 nodes turned unhealthy within 5m");
    assert!(!halted.step(), "paused once");
    let newer = halted.release();
    halted.settle(well);
    assert!(halted.snapshot.nodes.iter().all(|node| halted.runs(node.id) != Some(newer)), "none begins");

    let mut stopped = unwell(100, 20);
    let good = stopped.snapshot.stacks[0].last_good;
    stopped.settle(well);
    assert!(stopped.snapshot.stopped.is_some());
    assert!(stopped.snapshot.nodes.iter().all(|node| stopped.runs(node.id) == good), "everyone is back");
    let states: Vec<_> = stopped.snapshot.rollouts.iter().map(|r| (r.kind, r.state)).collect();
    assert_eq!(
        states[1..],
        [(RolloutKind::Update, RolloutState::Halted), (RolloutKind::Rollback, RolloutState::Succeeded)]
    );
}

#[test]
fn what_is_old_and_what_is_in_maintenance_does_not_count() {
    let mut fleet = unwell(100, 20);
    fleet.constrain(
        Effect::Maintenance,
        Scope::Nodes { selector: "name in (node-0,node-1)".into() },
        "r".into(),
    );
    let seen = verdict(&fleet.snapshot);
    assert_eq!((seen.unhealthy, seen.nodes), (18, 98));
    let later = fleet.snapshot.now.checked_add(std::time::Duration::from_secs(300)).unwrap();
    fleet.snapshot.now = later;
    assert_eq!(verdict(&fleet.snapshot).level, HealthLevel::Well);
}
