//! Whose turn it is to be drilled.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use backstay_types::{Digest, Id as _, NodeId, StackName, Timestamp, backup::DrillHistory};

/// After a failure, or when it made way for something else, it is tried again so much later, twice as long after each
/// further one.
const FIRST_PAUSE: Duration = Duration::from_secs(3600);

/// How often drills are made.
#[derive(Debug, Clone, Copy)]
pub struct DrillRhythm {
    /// How often each stack of each node; never by itself when it is zero.
    pub every: Duration,
    /// How many nodes at once.
    pub parallel: u32,
}

/// A stack on a node of which there is a proven snapshot.
#[derive(Debug, Clone)]
pub struct DrilledStack {
    /// The node.
    pub node: NodeId,
    /// The stack.
    pub stack: StackName,
    /// Whether the node is heard from.
    pub online: bool,
    /// Since when there is a proven snapshot.
    pub since: Timestamp,
    /// Whether a job of the node waits or runs: never two at once.
    pub busy: bool,
    /// Whether that is a drill.
    pub drilling: bool,
    /// Whether a rollout moves the node.
    pub moving: bool,
    /// What was tried.
    pub history: DrillHistory,
}

/// A stack whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDrill {
    /// The node.
    pub node: NodeId,
    /// The stack.
    pub stack: StackName,
    /// Since when.
    pub since: Timestamp,
}

/// When the next drill of a stack is due, whether its node is there or not; never when drills are not made by
/// themselves.
pub fn next_drill_at(stack: &DrilledStack, rhythm: &DrillRhythm, now: Timestamp) -> Option<Timestamp> {
    if rhythm.every.is_zero() {
        return None;
    }
    // What is dated in the future was noted by a clock that was wrong.
    let past = |at: Option<Timestamp>| at.filter(|at| *at <= now);
    let jitter = rhythm.every / 4;
    let spread = spread(stack.node, &stack.stack, jitter);
    let history = &stack.history;
    let tried = past(history.tried_at);
    // What there is nothing to be tried of is asked again as seldom as the rest.
    let last = if history.off { tried } else { past(history.passed_at) };
    let by_rhythm = match last {
        Some(last) => later(last, rhythm.every - jitter / 2 + spread),
        // The first ones come early, and not all at once.
        None => later(past(Some(stack.since)).unwrap_or(now), spread),
    };
    let in_a_row = history.failed_in_a_row.max(history.put_off_in_a_row);
    Some(match (tried, in_a_row) {
        (Some(tried), failed @ 1..) => by_rhythm.max(later(tried, pause(failed, rhythm.every))),
        _ => by_rhythm,
    })
}

/// Whose turn it is now: who has waited longest first, one of each node, and no more nodes than may be at once.
pub fn due_drills(stacks: &[DrilledStack], rhythm: &DrillRhythm, now: Timestamp) -> Vec<DueDrill> {
    let running: HashSet<NodeId> =
        stacks.iter().filter(|stack| stack.drilling && stack.online).map(|stack| stack.node).collect();
    let free = (rhythm.parallel as usize).saturating_sub(running.len());
    let mut of_node: HashMap<NodeId, DueDrill> = HashMap::new();
    for stack in stacks.iter().filter(|stack| stack.online && !stack.busy && !stack.moving) {
        let Some(since) = next_drill_at(stack, rhythm, now).filter(|since| *since <= now) else { continue };
        let due = DueDrill { node: stack.node, stack: stack.stack.clone(), since };
        let known = of_node.entry(stack.node).or_insert_with(|| due.clone());
        if (due.since, &due.stack) < (known.since, &known.stack) {
            *known = due;
        }
    }
    let mut due: Vec<DueDrill> = of_node.into_values().collect();
    due.sort_by_key(|one| (one.since, one.node));
    due.truncate(free);
    due
}

/// How long to wait after so many in a row that did not pass.
fn pause(failed: u32, most: Duration) -> Duration {
    let factor = 1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.checked_mul(factor).unwrap_or(most).min(most)
}

/// The place of a stack on a node within `jitter`: always the same.
fn spread(node: NodeId, stack: &StackName, jitter: Duration) -> Duration {
    let digest = Digest::of(&[node.uuid().as_bytes(), stack.as_str().as_bytes()].concat());
    let bytes = digest.as_bytes();
    let part = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    jitter.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;
    const RHYTHM: DrillRhythm = DrillRhythm { every: Duration::from_secs(30 * DAY), parallel: 2 };

    fn at(seconds: u64) -> Timestamp {
        later("2026-01-01T00:00:00Z".parse().unwrap(), Duration::from_secs(seconds))
    }

    fn stack(node: u128, name: &str) -> DrilledStack {
        DrilledStack {
            node: NodeId::from_uuid(uuid::Uuid::from_u128(node)),
            stack: name.parse().unwrap(),
            online: true,
            since: at(0),
            busy: false,
            drilling: false,
            moving: false,
            history: DrillHistory::default(),
        }
    }

    /// A fleet of nodes with three stacks each over days of virtual time, looked at every ten minutes; a drill takes
    /// half an hour. When each stack's drills were begun, in minutes.
    fn live(nodes: u128, days: u64, there: impl Fn(u64, &DrilledStack) -> (bool, bool)) -> Vec<Vec<u64>> {
        let names = ["a", "b", "c"];
        let mut all: Vec<_> = (1..=nodes).flat_map(|node| names.map(|name| stack(node, name))).collect();
        let mut begun = vec![Vec::new(); all.len()];
        let mut ends: HashMap<NodeId, (u64, usize)> = HashMap::new();
        for minute in (0..days * 1440).step_by(10) {
            let now = at(minute * 60);
            ends.retain(|_, (end, index)| {
                let over = *end <= minute;
                if over {
                    all[*index].history.passed_at = Some(now);
                    all[*index].history.put_off_in_a_row = 0;
                }
                !over
            });
            for one in &mut all {
                (one.online, one.moving) = there(minute, one);
                one.busy = ends.contains_key(&one.node);
                one.drilling = one.busy;
            }
            for due in due_drills(&all, &RHYTHM, now) {
                let index =
                    all.iter().position(|one| one.node == due.node && one.stack == due.stack).unwrap();
                assert!(all[index].online && !all[index].moving, "not while a rollout moves it");
                assert!(ends.insert(due.node, (minute + 30, index)).is_none(), "one at a time on a node");
                assert!(ends.len() <= RHYTHM.parallel as usize);
                all[index].history.tried_at = Some(now);
                begun[index].push(minute);
            }
        }
        begun
    }

    #[test]
    fn every_stack_has_its_turn_and_none_too_often() {
        let begun = live(10, 100, |_, _| (true, false));
        for times in &begun {
            assert!((3..=4).contains(&times.len()), "{times:?}");
            assert!(times[0] <= 8 * 1440, "the first comes early: {times:?}");
            let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1440).collect();
            assert!(gaps.iter().all(|gap| (26..=34).contains(gap)), "{gaps:?}");
        }
        let first_day = begun.iter().filter(|times| times[0] < 1440).count();
        assert!(first_day < 15, "they are spread: {first_day} of 30 on the first day");
    }

    #[test]
    fn who_was_away_or_moved_is_drilled_when_that_is_over() {
        // One node is away for the first twenty days, another one is moved all of that time.
        let (away, moved) = (stack(1, "a").node, stack(2, "a").node);
        let begun = live(3, 30, |minute, one| {
            let over = minute >= 20 * 1440;
            (over || one.node != away, !over && one.node == moved)
        });
        for times in &begun[..6] {
            assert!((20 * 1440..21 * 1440).contains(&times[0]), "{times:?}");
        }
        assert!(begun[6][0] < 8 * 1440);
    }

    #[test]
    fn what_failed_is_tried_again_ever_later_and_what_is_off_as_seldom_as_the_rest() {
        let mut one = stack(1, "a");
        one.history.tried_at = Some(at(40 * DAY));
        let mut pauses = Vec::new();
        for failed in 1..=12 {
            one.history.failed_in_a_row = failed;
            let next = next_drill_at(&one, &RHYTHM, at(40 * DAY)).unwrap();
            pauses.push(next.duration_since(at(40 * DAY)).as_hours());
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8]);
        assert_eq!(*pauses.last().unwrap(), 30 * 24);
        one.history = DrillHistory { off: true, tried_at: Some(at(40 * DAY)), ..DrillHistory::default() };
        let next = next_drill_at(&one, &RHYTHM, at(40 * DAY)).unwrap();
        assert!(next.duration_since(at(40 * DAY)).as_hours() >= 26 * 24, "{next}");
        assert_eq!(next_drill_at(&one, &DrillRhythm { every: Duration::ZERO, parallel: 1 }, at(0)), None);
    }

    proptest! {
        /// Whatever is known: nothing of who is away, busy or moved, one of each node, no more than may be, and nobody
        /// who has waited longer is left out for one who has not.
        #[test]
        fn only_whose_turn_it_is(
            given in prop::collection::vec(
                (0u128..6, 0usize..3, any::<[bool; 4]>(), 0u64..60, 0u64..60, 0u32..5), 0..20,
            ),
            parallel in 0u32..5,
        ) {
            let rhythm = DrillRhythm { parallel, ..RHYTHM };
            let now = at(60 * DAY);
            let mut stacks = Vec::new();
            for (node, name, [online, busy, moving, passed], since, tried, failed) in given {
                let mut one = stack(node, ["a", "b", "c"][name]);
                (one.online, one.moving, one.since) = (online, moving, at(since * DAY));
                (one.busy, one.drilling) = (busy, busy);
                one.history.tried_at = Some(at(tried * DAY));
                one.history.passed_at = passed.then(|| at(tried * DAY));
                one.history.failed_in_a_row = failed;
                stacks.push(one);
            }
            let due = due_drills(&stacks, &rhythm, now);
            let drilling: HashSet<_> =
                stacks.iter().filter(|one| one.drilling && one.online).map(|one| one.node).collect();
            prop_assert!(due.len() + drilling.len() <= (parallel as usize).max(drilling.len()));
            let nodes: HashSet<_> = due.iter().map(|one| one.node).collect();
            prop_assert_eq!(nodes.len(), due.len());
            let may = |one: &&DrilledStack| one.online && !one.busy && !one.moving;
            for one in &due {
                let fits = |known: &&DrilledStack| known.node == one.node && known.stack == one.stack && may(known);
                let is_due = |known: &DrilledStack| next_drill_at(known, &rhythm, now).unwrap() <= now;
                prop_assert!(stacks.iter().filter(fits).any(is_due));
            }
            let last = due.iter().map(|one| one.since).max();
            for left in stacks.iter().filter(may).filter(|one| !nodes.contains(&one.node)) {
                let since = next_drill_at(left, &rhythm, now).unwrap();
                let full = due.len() + drilling.len() >= parallel as usize;
                prop_assert!(since > now || (full && last.is_none_or(|last| last <= since)));
            }
        }
    }
}
