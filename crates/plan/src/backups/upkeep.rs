//! What the hub does with a repository, and in which order.

use std::time::Duration;

use backstay_types::{
    Timestamp,
    backup::{KeptSnapshot, Proof, RepositoryFacts, SnapshotId},
};

const DAY: Duration = Duration::from_secs(86_400);
/// So many snapshots are read back or copied in one run.
const TOGETHER: usize = 16;

/// How repositories are looked after.
#[derive(Debug, Clone, Copy)]
pub struct UpkeepRules {
    /// Within how long all data is read once.
    pub read_all_every: Duration,
    /// Whether there is a second target.
    pub second: bool,
}

/// A repository as it is looked at.
#[derive(Debug, Clone)]
pub struct RepositoryState<'a> {
    /// What is known about it.
    pub facts: &'a RepositoryFacts,
    /// Its snapshots: those that are not read back yet or have no copy will do.
    pub snapshots: &'a [KeptSnapshot],
    /// The recovery key, when one is set.
    pub recipient: Option<&'a str>,
    /// Whether somebody writes to it now.
    pub written: bool,
    /// Whether another node reads from it now.
    pub read: bool,
    /// Whether somebody waits for it to be made.
    pub wanted: bool,
    /// Whether it has no room left ([`super::Ceiling`]).
    pub full: bool,
}

/// Something to do with a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upkeep {
    /// Make it at the target.
    Make,
    /// Make it at the second target.
    MakeSecond,
    /// Seal its password to the recovery key.
    Seal,
    /// Read these back.
    Verify(Vec<SnapshotId>),
    /// Copy these to the second target, and read them back there.
    Copy(Vec<SnapshotId>),
    /// Take out what is damaged.
    Repair,
    /// Compare its list of snapshots with what is known.
    List,
    /// Check its structure, and read this part of so many.
    Check(u32, u32),
    /// Forget what retention does not keep, and take away what none needs.
    Prune,
}

/// What is to be done next, if anything. What proves a backup goes before what tidies up; nothing is taken away from a
/// repository that is damaged or that somebody writes to.
pub fn upkeep(state: &RepositoryState<'_>, rules: &UpkeepRules, now: Timestamp) -> Option<Upkeep> {
    let facts = state.facts;
    if facts.made_at.is_none() {
        return state.wanted.then_some(Upkeep::Make);
    }
    if state.recipient.is_some_and(|key| facts.sealed_to.as_deref() != Some(key)) {
        return Some(Upkeep::Seal);
    }
    if facts.suspect {
        return Some(Upkeep::List);
    }
    // A backup takes what is damaged for saved: it is taken out before the next one.
    let again =
        |at: Timestamp| facts.damaged.as_ref().is_some_and(|found| at < found.since) || due(at, DAY, now);
    if facts.damaged.is_some() && facts.repaired_at.is_none_or(again) && !state.written && !state.read {
        return Some(Upkeep::Repair);
    }
    let some = |wanted: fn(&KeptSnapshot) -> bool| -> Option<Vec<SnapshotId>> {
        let found = state.snapshots.iter().filter(|one| one.damaged_at.is_none() && wanted(one));
        let ids: Vec<_> = found.map(|one| one.snapshot.id).take(TOGETHER).collect();
        (!ids.is_empty()).then_some(ids)
    };
    if let Some(unproven) = some(|one| one.snapshot.proof < Proof::Verified) {
        return Some(Upkeep::Verify(unproven));
    }
    if rules.second && !state.snapshots.is_empty() {
        if facts.second_made_at.is_none() {
            return Some(Upkeep::MakeSecond);
        }
        if let Some(alone) = some(|one| one.snapshot.proof >= Proof::Verified && one.copy.is_none()) {
            return Some(Upkeep::Copy(alone));
        }
    }
    let made = facts.made_at.unwrap_or(now);
    // There is no room: at once, and again when what was marked may be deleted.
    let squeezed = facts.squeezed_at.is_none_or(|at| due(at, DAY, now));
    if state.full && squeezed && !state.written && facts.damaged.is_none() {
        return Some(Upkeep::Prune);
    }
    let past = |at: Option<Timestamp>| due(at.unwrap_or(made), DAY, now);
    if state.written {
        return None;
    }
    if past(facts.listed_at) {
        return Some(Upkeep::List);
    }
    if past(facts.checked_at) {
        let parts = parts(rules.read_all_every);
        return Some(Upkeep::Check(facts.next_part % parts, parts));
    }
    (past(facts.pruned_at) && facts.damaged.is_none()).then_some(Upkeep::Prune)
}

/// Into how many parts data is divided when one is read each day.
fn parts(read_all_every: Duration) -> u32 {
    u32::try_from(read_all_every.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// Whether `every` has passed. What is dated in the future was noted by a clock that was wrong.
fn due(last: Timestamp, every: Duration, now: Timestamp) -> bool {
    last > now
        || now.duration_since(last)
            >= jiff::SignedDuration::try_from(every).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use backstay_types::{
        Digest,
        backup::{BackupReason, Damage, Snapshot, SnapshotTags},
    };

    use super::*;

    const RULES: UpkeepRules = UpkeepRules { read_all_every: Duration::from_secs(28 * 86_400), second: true };

    fn at(hours: i64) -> Timestamp {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        start.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap()
    }

    fn snapshot(hours: i64) -> KeptSnapshot {
        let tags = SnapshotTags {
            node: None,
            node_name: None,
            stack: None,
            tree: None,
            deployment: None,
            conversation: None,
            reason: BackupReason::Schedule,
        };
        let digest = Digest::of(&hours.to_le_bytes());
        let snapshot = Snapshot {
            id: SnapshotId::new(digest),
            at: at(hours),
            tags,
            proof: Proof::Matched,
            files: 1,
            bytes: 1,
            added_bytes: 1,
            manifest: digest,
        };
        KeptSnapshot {
            snapshot,
            job: None,
            heard_at: at(hours),
            verified_at: None,
            copy: None,
            drilled_at: None,
            damaged_at: None,
            hold: None,
        }
    }

    /// A repository with one backup a day, over 60 days of virtual time: everything that is to be done is done until
    /// nothing is left, in the order in which it is asked for.
    #[test]
    fn sixty_days_in_virtual_time() {
        let (mut facts, mut snapshots) = (RepositoryFacts::default(), Vec::new());
        let (mut done, mut read) = (Vec::new(), Vec::new());
        for day in 0..60 {
            let now = at(day * 24);
            snapshots.push(snapshot(day * 24));
            for _ in 0..20 {
                let state = RepositoryState {
                    facts: &facts,
                    snapshots: &snapshots,
                    recipient: Some("age1x"),
                    written: false,
                    read: false,
                    wanted: true,
                    full: false,
                };
                let Some(next) = upkeep(&state, &RULES, now) else { break };
                match &next {
                    Upkeep::Make => facts.made_at = Some(now),
                    Upkeep::MakeSecond => facts.second_made_at = Some(now),
                    Upkeep::Seal => facts.sealed_to = Some("age1x".to_owned()),
                    Upkeep::Verify(ids) => {
                        for one in snapshots.iter_mut().filter(|one| ids.contains(&one.snapshot.id)) {
                            one.snapshot.proof = Proof::Verified;
                        }
                    }
                    Upkeep::Copy(ids) => {
                        for one in snapshots.iter_mut().filter(|one| ids.contains(&one.snapshot.id)) {
                            one.copy = Some(one.snapshot.id);
                        }
                    }
                    Upkeep::Repair => panic!("nothing is damaged"),
                    Upkeep::List => facts.listed_at = Some(now),
                    Upkeep::Check(part, parts) => {
                        assert_eq!(*parts, 28);
                        facts.checked_at = Some(now);
                        facts.next_part = part + 1;
                        read.push(*part);
                    }
                    Upkeep::Prune => facts.pruned_at = Some(now),
                }
                done.push(next);
            }
        }
        assert!(snapshots.iter().all(|one| one.copy.is_some() && one.snapshot.proof == Proof::Verified));
        let wanted: Vec<u32> = (0..59).map(|n| n % 28).collect();
        assert_eq!(read, wanted, "each part in its turn, one a day, from the second day on");
        assert_eq!(done.iter().filter(|one| **one == Upkeep::Prune).count(), 59);
        assert_eq!(done.iter().filter(|one| **one == Upkeep::List).count(), 59);
        assert_eq!(done[..3], [Upkeep::Make, Upkeep::Seal, Upkeep::Verify(vec![snapshot(0).snapshot.id])]);
    }

    #[test]
    fn nothing_is_taken_away_from_a_damaged_repository_or_under_a_writer() {
        let damage = Damage { since: at(0), problems: Vec::new() };
        let seen = Some(at(100));
        let facts =
            RepositoryFacts { made_at: Some(at(0)), listed_at: seen, checked_at: seen, ..Default::default() };
        let snapshots = [KeptSnapshot { damaged_at: Some(at(1)), ..snapshot(0) }];
        let next = |facts: &RepositoryFacts, written, read| {
            let state = RepositoryState {
                facts,
                snapshots: &snapshots,
                recipient: None,
                written,
                read,
                wanted: true,
                full: false,
            };
            upkeep(&state, &UpkeepRules { second: false, ..RULES }, at(101))
        };
        assert_eq!(next(&facts, false, false), Some(Upkeep::Prune));
        assert_eq!(next(&facts, true, false), None);
        let damaged = RepositoryFacts { damaged: Some(damage), ..facts };
        assert_eq!(next(&damaged, false, false), Some(Upkeep::Repair));
        assert_eq!(next(&damaged, true, false), None, "a writer may need what is taken out");
        assert_eq!(next(&damaged, false, true), None, "so may another node that reads");
        let repaired = RepositoryFacts { repaired_at: Some(at(100)), ..damaged };
        assert_eq!(next(&repaired, false, false), None, "once a day");
    }

    #[test]
    fn one_without_room_is_pruned_at_once_and_once_a_day() {
        let seen = Some(at(100));
        let mut facts = RepositoryFacts {
            made_at: Some(at(0)),
            listed_at: seen,
            checked_at: seen,
            pruned_at: seen,
            ..Default::default()
        };
        let next = |facts: &RepositoryFacts, now, full, written| {
            let state = RepositoryState {
                facts,
                snapshots: &[],
                recipient: None,
                written,
                read: false,
                wanted: false,
                full,
            };
            upkeep(&state, &UpkeepRules { second: false, ..RULES }, now)
        };
        assert_eq!(next(&facts, at(101), false, false), None);
        assert_eq!(next(&facts, at(101), true, true), None, "not under a writer");
        assert_eq!(next(&facts, at(101), true, false), Some(Upkeep::Prune));
        facts.squeezed_at = Some(at(101));
        assert_eq!(next(&facts, at(110), true, false), None);
        assert_eq!(next(&facts, at(125), true, false), Some(Upkeep::Prune));
    }
}
