//! Whose turn it is to make a backup.

use std::time::Duration;

use backstay_types::{Digest, Id as _, NodeId, Timestamp, backup::BackupHistory};

/// After a failure it is tried again so much later, twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(300);

/// How often backups are made.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// How often.
    pub every: Duration,
    /// Over how long nodes are spread.
    pub jitter: Duration,
    /// How many nodes at once.
    pub parallel: u32,
}

/// A node whose data is saved.
#[derive(Debug, Clone)]
pub struct SavedNode {
    /// The node.
    pub id: NodeId,
    /// Whether it is heard from: who is not is asked when it is back.
    pub online: bool,
    /// Since when it is there.
    pub since: Timestamp,
    /// What was tried.
    pub history: BackupHistory,
    /// Whether a job of its own waits or runs: never two at once.
    pub busy: bool,
}

/// A node whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The node.
    pub node: NodeId,
    /// Since when.
    pub since: Timestamp,
}

/// When the next backup of a node is due, whether it is there or not.
pub fn next_at(node: &SavedNode, rhythm: &Rhythm, now: Timestamp) -> Timestamp {
    let spread = spread(node.id, rhythm.jitter);
    // What is dated in the future was noted by a clock that was wrong; it must not stop backups until then.
    let past = |at: Option<Timestamp>| at.filter(|at| *at <= now);
    let by_rhythm = match past(node.history.last_good_at) {
        // The place of a node is the same each time, so that its rhythm is kept.
        Some(good) => later(good, rhythm.every.saturating_sub(rhythm.jitter / 2) + spread),
        // The first ones are spread too, over an hour at most.
        None => later(node.since, spread.min(Duration::from_secs(3600))),
    };
    match (past(node.history.last_tried_at), node.history.failed_in_a_row) {
        (Some(tried), failed @ 1..) => by_rhythm.max(later(tried, pause(failed, rhythm.every))),
        _ => by_rhythm,
    }
}

/// Whose turn it is now: who has waited longest first, and no more than may be at once.
pub fn due(nodes: &[SavedNode], rhythm: &Rhythm, now: Timestamp) -> Vec<Due> {
    // Who was given a job and went away takes nobody's place.
    let running = nodes.iter().filter(|node| node.busy && node.online).count();
    let free = (rhythm.parallel as usize).saturating_sub(running);
    let waiting = nodes.iter().filter(|node| node.online && !node.busy);
    let mut due: Vec<Due> = waiting
        .map(|node| Due { node: node.id, since: next_at(node, rhythm, now) })
        .filter(|due| due.since <= now)
        .collect();
    due.sort_by_key(|due| (due.since, due.node));
    due.truncate(free);
    due
}

/// How long to wait after so many failures in a row.
fn pause(failed: u32, most: Duration) -> Duration {
    let factor = 1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.checked_mul(factor).unwrap_or(most).min(most)
}

/// A node's own place within `jitter`: always the same.
fn spread(node: NodeId, jitter: Duration) -> Duration {
    let digest = Digest::of(node.uuid().as_bytes());
    let bytes = digest.as_bytes();
    let part = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    jitter.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm =
        Rhythm { every: Duration::from_secs(6 * 3600), jitter: Duration::from_secs(3600), parallel: 8 };

    fn at(seconds: u64) -> Timestamp {
        later("2026-01-01T00:00:00Z".parse().unwrap(), Duration::from_secs(seconds))
    }

    fn node(number: u128) -> SavedNode {
        SavedNode {
            id: NodeId::from_uuid(uuid::Uuid::from_u128(number)),
            online: true,
            since: at(0),
            history: BackupHistory::default(),
            busy: false,
        }
    }

    /// A fleet over days of virtual time, looked at every minute; a backup takes two minutes. Gives for each node when
    /// its backups were begun, and how many were under way at most.
    fn live(count: u128, minutes: u64, there: impl Fn(u64, usize) -> bool) -> (Vec<Vec<u64>>, usize) {
        let mut nodes: Vec<_> = (1..=count).map(node).collect();
        let (mut begun, mut ends, mut most) = (vec![Vec::new(); nodes.len()], vec![0u64; nodes.len()], 0);
        for minute in 0..minutes {
            let now = at(minute * 60);
            for (index, node) in nodes.iter_mut().enumerate() {
                if node.busy && ends[index] <= minute {
                    node.busy = false;
                    node.history.last_good_at = node.history.last_tried_at;
                }
                node.online = there(minute, index);
            }
            for due in due(&nodes, &RHYTHM, now) {
                let index = nodes.iter().position(|node| node.id == due.node).unwrap();
                assert!(!nodes[index].busy && nodes[index].online);
                nodes[index].busy = true;
                nodes[index].history.last_tried_at = Some(now);
                ends[index] = minute + 2;
                begun[index].push(minute);
            }
            most = most.max(nodes.iter().filter(|node| node.busy).count());
        }
        (begun, most)
    }

    #[test]
    fn every_node_has_its_turn_every_six_hours_and_never_too_many_at_once() {
        let (begun, most) = live(200, 4 * 24 * 60, |_, _| true);
        assert!(most <= 8);
        for times in &begun {
            assert!((15..=18).contains(&times.len()), "{}", times.len());
            let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| (330..=391).contains(gap)), "{gaps:?}");
            assert!(gaps.iter().max().unwrap() - gaps.iter().min().unwrap() <= 2, "a rhythm: {gaps:?}");
        }
        let of_an_hour = begun.iter().filter(|times| times[1] < 6 * 60).count();
        assert!((20..100).contains(&of_an_hour), "they are spread: {of_an_hour}");
    }

    #[test]
    fn after_an_outage_all_catch_up_without_a_storm() {
        // Nobody is there on the second day.
        let (begun, most) = live(200, 3 * 24 * 60, |minute, _| !(1440..2880).contains(&minute));
        assert!(most <= 8, "{most}");
        for times in &begun {
            let back = times.iter().find(|minute| **minute >= 2880).unwrap();
            assert!(back - 2880 <= 60, "200 nodes, 8 at once, 2 minutes each: {back}");
        }
    }

    #[test]
    fn a_machine_that_sleeps_is_saved_when_it_wakes() {
        let (begun, _) = live(1, 3 * 24 * 60, |minute, _| minute % 1440 < 30);
        assert_eq!(begun[0].len(), 3, "{:?}", begun[0]);
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let mut one = node(1);
        one.history.last_tried_at = Some(at(100_000));
        let mut pauses = Vec::new();
        for failed in 1..=12 {
            one.history.failed_in_a_row = failed;
            pauses.push(next_at(&one, &RHYTHM, at(100_000)).duration_since(at(100_000)).as_secs());
        }
        assert_eq!(pauses[..4], [300, 600, 1200, 2400]);
        assert_eq!(*pauses.last().unwrap(), 6 * 3600, "as often as it would be without failures");
    }

    #[test]
    fn a_clock_that_was_wrong_stops_nothing() {
        let mut one = node(1);
        one.history.last_good_at = Some(at(90 * 86_400));
        one.history.last_tried_at = one.history.last_good_at;
        one.history.failed_in_a_row = 3;
        assert!(next_at(&one, &RHYTHM, at(7200)) <= at(7200));
    }
}
