//! From environment to environment, whatever becomes of the nodes: nothing enters where it may not.

use std::time::Duration;

use backstay_plan::{
    Entry, EnvironmentFacts, Inputs, NodeFacts, Try, TryState, Verdict, Within, inputs::replay, passing,
    verdicts,
};
use backstay_types::{DecisionKind, EnvironmentName, Labels, ReleaseId, Timestamp};
use proptest::prelude::*;

use crate::simulated::Fleet;

fn name(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

fn environment(text: &str, after: &[&str], soak: u64) -> EnvironmentFacts {
    EnvironmentFacts {
        name: name(text),
        nodes: format!("stage={text}").parse().unwrap(),
        earlier: Vec::new(),
        after: after.iter().map(|text| name(text)).collect(),
        by_hand: false,
        soak: Duration::from_secs(soak),
        asked: None,
        since: None,
        turn: None,
        undone: None,
    }
}

/// `dev`, watched for a minute, then `prod`; what each node of dev has come to with the release.
fn world(dev: &[Option<TryState>], ago: u64) -> (Fleet, ReleaseId) {
    let mut fleet = Fleet::new(dev.len() + 2, backstay_plan::MaxUpdating::All);
    let release = fleet.release();
    let now = fleet.snapshot.now;
    let ended = now.checked_sub(Duration::from_secs(ago)).unwrap();
    let base = fleet.snapshot.stacks.remove(0);
    let line = |facts: EnvironmentFacts| backstay_plan::StackFacts {
        release: Ok(release),
        within: Within::Environment(facts),
        ..base.clone()
    };
    let asked = |facts| EnvironmentFacts { asked: Some(release), since: Some(ended), turn: Some(1), ..facts };
    fleet.snapshot.stacks =
        vec![line(asked(environment("dev", &[], 60))), line(environment("prod", &["dev"], 0))];
    for (index, node) in fleet.snapshot.nodes.iter_mut().enumerate() {
        let stage = if index < dev.len() { "dev" } else { "prod" };
        let labels = Labels::parse([format!("stage={stage}").as_str()]).unwrap();
        *node = NodeFacts::new(node.id, node.name().clone(), labels);
    }
    for (index, state) in dev.iter().enumerate() {
        let Some(state) = *state else { continue };
        let attempt = Try {
            deployment: fleet.world.mint(),
            release,
            rollout: fleet.world.mint(),
            state,
            removal: false,
            ended_at: Some(ended),
            again_at: None,
        };
        let past = fleet.snapshot.past.at(0, index);
        past.latest = Some(attempt);
        past.settled = (state == TryState::Succeeded).then_some(attempt.settled());
    }
    (fleet, release)
}

fn state() -> impl Strategy<Value = Option<TryState>> {
    prop_oneof![
        6 => Just(Some(TryState::Succeeded)),
        1 => Just(Some(TryState::Failed)),
        1 => Just(Some(TryState::Running)),
        1 => Just(None),
    ]
}

proptest! {
    #[test]
    fn a_release_enters_only_where_all_run_it_and_none_failed_for_long_enough(
        dev in prop::collection::vec(state(), 0..8), ago in 0..200_u64,
    ) {
        let (fleet, release) = world(&dev, ago);
        let found = verdicts(&fleet.snapshot);
        let all = !dev.is_empty() && dev.iter().all(|state| *state == Some(TryState::Succeeded));
        let [Verdict { stack: 1, next: Some(next), entry, inputs: Some(inputs) }] = &found[..] else {
            panic!("{found:?}")
        };
        prop_assert_eq!(*next, release);
        // From what is kept of it, the same comes out.
        let kept = serde_json::to_value(Inputs::Entry(inputs.clone())).unwrap();
        let (kind, reason) = match entry {
            Entry::Enters(reason) => (DecisionKind::LetIn, reason),
            Entry::Not(reason) => (DecisionKind::Waits, reason),
            other => panic!("{other:?}"),
        };
        prop_assert!(replay(kind, reason, &kept).unwrap().same, "{:?}", entry);
        let enters = matches!(entry, Entry::Enters(_));
        prop_assert_eq!(enters, all && ago >= 60, "{:?}", entry);
        let seen = passing(&fleet.snapshot, 0, release);
        let count = |wanted: TryState| dev.iter().filter(|state| **state == Some(wanted)).count() as u64;
        prop_assert_eq!((seen.nodes, seen.run), (dev.len() as u64, count(TryState::Succeeded)));
        prop_assert_eq!(seen.failed, count(TryState::Failed));
    }

    #[test]
    fn every_node_is_in_one_part_of_the_fleet(stages in prop::collection::vec(0..4_usize, 0..20)) {
        let selectors: [backstay_manifest::Selector; 3] = ["stage in (a,b)", "stage=b", "stage=c"].map(|text| text.parse().unwrap());
        let mut parts: Vec<Within> = Vec::new();
        for at in 0..selectors.len() {
            let facts = EnvironmentFacts {
                nodes: selectors[at].clone(),
                earlier: selectors[..at].to_vec(),
                ..environment("x", &[], 0)
            };
            parts.push(Within::Environment(facts));
        }
        parts.push(Within::Outside(selectors.to_vec()));
        let (fleet, _) = world(&[], 0);
        for stage in stages {
            let label = format!("stage={}", ["a", "b", "c", "d"][stage]);
            let one = &fleet.snapshot.nodes[0];
            let node = NodeFacts::new(one.id, one.name().clone(), Labels::parse([label.as_str()]).unwrap());
            let of: Vec<_> = (0..parts.len()).filter(|at| parts[*at].holds(&fleet.stack, &node)).collect();
            prop_assert_eq!(of, [[0, 0, 2, 3][stage]]);
        }
    }
}

#[test]
fn a_person_a_stop_and_what_was_forced_past_are_heeded() {
    let (mut fleet, _) = world(&[Some(TryState::Succeeded)], 120);
    let entry = |fleet: &Fleet| verdicts(&fleet.snapshot).remove(0).entry;
    assert!(matches!(entry(&fleet), Entry::Enters(_)));
    fleet.snapshot.stopped = Some("smoke".to_owned());
    assert!(matches!(entry(&fleet), Entry::Not(why) if why.contains("smoke")));
    fleet.snapshot.stopped = None;
    let prod = |fleet: &mut Fleet, change: &dyn Fn(&mut EnvironmentFacts)| {
        if let Within::Environment(facts) = &mut fleet.snapshot.stacks[1].within {
            change(facts);
        }
    };
    prod(&mut fleet, &|facts| facts.by_hand = true);
    assert!(matches!(entry(&fleet), Entry::ByHand(_)));
    // Something newer was forced in past dev: what dev runs since before does not come back.
    let (other, now): (ReleaseId, Timestamp) = (fleet.world.mint(), fleet.snapshot.now);
    prod(&mut fleet, &|facts| (facts.asked, facts.since, facts.turn) = (Some(other), Some(now), Some(2)));
    assert_eq!(entry(&fleet), Entry::Has);
}
