//! What the hub does with a repository, and in which order.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

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

/// What is left alone for now, because it failed a short while ago. Nothing else waits for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resting {
    /// These, whatever they are about.
    pub kinds: BTreeSet<UpkeepKind>,
    /// Snapshots that are not read back.
    pub unread: HashSet<SnapshotId>,
    /// Snapshots that are not copied.
    pub uncopied: HashSet<SnapshotId>,
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
    /// What is left alone for now.
    pub resting: &'a Resting,
}

/// Something to do with a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upkeep {
    /// Make it at the target.
    Make,
    /// Make it at the second target.
    MakeSecond,
    /// Seal its password to the recovery key, beside it.
    Seal,
    /// The same at the second target.
    SealSecond,
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
    /// The same at the second target.
    CheckSecond(u32, u32),
    /// Forget what retention does not keep, and take away what none needs.
    Prune,
}

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpkeepKind {
    /// [`Upkeep::Make`]
    Make,
    /// [`Upkeep::MakeSecond`]
    MakeSecond,
    /// [`Upkeep::Seal`]
    Seal,
    /// [`Upkeep::SealSecond`]
    SealSecond,
    /// [`Upkeep::Verify`]
    Verify,
    /// [`Upkeep::Copy`]
    Copy,
    /// [`Upkeep::Repair`]
    Repair,
    /// [`Upkeep::List`]
    List,
    /// [`Upkeep::Check`]
    Check,
    /// [`Upkeep::CheckSecond`]
    CheckSecond,
    /// [`Upkeep::Prune`]
    Prune,
}

impl UpkeepKind {
    /// Whether it is about the second target.
    pub const fn is_second(self) -> bool {
        matches!(self, Self::MakeSecond | Self::SealSecond | Self::Copy | Self::CheckSecond)
    }
}

impl Upkeep {
    /// What kind it is.
    pub const fn kind(&self) -> UpkeepKind {
        match self {
            Self::Make => UpkeepKind::Make,
            Self::MakeSecond => UpkeepKind::MakeSecond,
            Self::Seal => UpkeepKind::Seal,
            Self::SealSecond => UpkeepKind::SealSecond,
            Self::Verify(_) => UpkeepKind::Verify,
            Self::Copy(_) => UpkeepKind::Copy,
            Self::Repair => UpkeepKind::Repair,
            Self::List => UpkeepKind::List,
            Self::Check(..) => UpkeepKind::Check,
            Self::CheckSecond(..) => UpkeepKind::CheckSecond,
            Self::Prune => UpkeepKind::Prune,
        }
    }
}

/// What is to be done next, if anything. What proves a backup goes before what tidies up; nothing is taken away from a
/// repository that is damaged or that somebody writes to. What failed a short while ago is left out, and holds up nothing
/// but what cannot be without it.
pub fn upkeep(state: &RepositoryState<'_>, rules: &UpkeepRules, now: Timestamp) -> Option<Upkeep> {
    let facts = state.facts;
    let free = |wanted: &Upkeep| !state.resting.kinds.contains(&wanted.kind());
    let Some(made) = facts.made_at else {
        return state.wanted.then_some(Upkeep::Make).filter(free);
    };
    [
        not_sealed(state.recipient, facts.sealed_to.as_deref()).then_some(Upkeep::Seal),
        facts.suspect.then_some(Upkeep::List),
        repair(state, now),
        verify(state),
    ]
    .into_iter()
    .chain(second(state, rules))
    .chain(tidying(state, rules, made, now))
    .flatten()
    .find(free)
}

fn not_sealed(recipient: Option<&str>, sealed_to: Option<&str>) -> bool {
    recipient.is_some_and(|key| sealed_to != Some(key))
}

/// A backup takes what is damaged for saved: it is taken out before the next one.
fn repair(state: &RepositoryState<'_>, now: Timestamp) -> Option<Upkeep> {
    let facts = state.facts;
    let damaged = facts.damaged.as_ref().filter(|_| !state.written && !state.read)?;
    let again = |at: Timestamp| at < damaged.since || due(at, DAY, now);
    facts.repaired_at.is_none_or(again).then_some(Upkeep::Repair)
}

fn some(
    state: &RepositoryState<'_>,
    not: &HashSet<SnapshotId>,
    wanted: fn(&KeptSnapshot) -> bool,
) -> Option<Vec<SnapshotId>> {
    let found = state.snapshots.iter().filter(|one| one.damaged_at.is_none() && wanted(one));
    let ids: Vec<_> =
        found.map(|one| one.snapshot.id).filter(|id| !not.contains(id)).take(TOGETHER).collect();
    (!ids.is_empty()).then_some(ids)
}

fn verify(state: &RepositoryState<'_>) -> Option<Upkeep> {
    some(state, &state.resting.unread, |one| one.snapshot.proof < Proof::Verified).map(Upkeep::Verify)
}

/// What the second target needs to have all that is proven.
fn second(state: &RepositoryState<'_>, rules: &UpkeepRules) -> [Option<Upkeep>; 3] {
    let facts = state.facts;
    if !rules.second || state.snapshots.is_empty() {
        return [None, None, None];
    }
    if facts.second_made_at.is_none() {
        return [Some(Upkeep::MakeSecond), None, None];
    }
    let alone = |one: &KeptSnapshot| one.snapshot.proof >= Proof::Verified && one.copy.is_none();
    [
        not_sealed(state.recipient, facts.second_sealed_to.as_deref()).then_some(Upkeep::SealSecond),
        some(state, &state.resting.uncopied, alone).map(Upkeep::Copy),
        None,
    ]
}

fn tidying(
    state: &RepositoryState<'_>,
    rules: &UpkeepRules,
    made: Timestamp,
    now: Timestamp,
) -> [Option<Upkeep>; 5] {
    let facts = state.facts;
    if state.written {
        return [None, None, None, None, None];
    }
    let past = |at: Option<Timestamp>, since: Timestamp| due(at.unwrap_or(since), DAY, now);
    let sound = facts.damaged.is_none();
    // There is no room: at once, and again when what was marked may be deleted.
    let squeezed = facts.squeezed_at.is_none_or(|at| due(at, DAY, now));
    let parts = parts(rules.read_all_every);
    let second = facts.second_made_at.filter(|_| rules.second);
    let check_second = second.is_some_and(|since| past(facts.second_checked_at, since));
    [
        (state.full && squeezed && sound).then_some(Upkeep::Prune),
        past(facts.listed_at, made).then_some(Upkeep::List),
        past(facts.checked_at, made).then_some(Upkeep::Check(facts.next_part % parts, parts)),
        check_second.then_some(Upkeep::CheckSecond(facts.second_next_part % parts, parts)),
        (past(facts.pruned_at, made) && sound).then_some(Upkeep::Prune),
    ]
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
            claimed_at: None,
            verified_at: None,
            copy: None,
            drilled_at: None,
            damaged_at: None,
            hold: None,
        }
    }

    /// Nobody is at it, it has room, and nothing of it is left alone.
    fn quiet<'a>(
        facts: &'a RepositoryFacts,
        snapshots: &'a [KeptSnapshot],
        resting: &'a Resting,
    ) -> RepositoryState<'a> {
        let (written, read, wanted, full) = (false, false, false, false);
        RepositoryState { facts, snapshots, recipient: None, written, read, wanted, full, resting }
    }

    /// A repository with one backup a day, over 60 days of virtual time: everything that is to be done is done until
    /// nothing is left, in the order in which it is asked for.
    #[test]
    fn sixty_days_in_virtual_time() {
        let (mut facts, mut snapshots) = (RepositoryFacts::default(), Vec::new());
        let (mut done, mut read, mut read_second) = (Vec::new(), Vec::new(), Vec::new());
        for day in 0..60 {
            let now = at(day * 24);
            snapshots.push(snapshot(day * 24));
            for _ in 0..20 {
                let resting = Resting::default();
                let state = quiet(&facts, &snapshots, &resting);
                let state = RepositoryState { recipient: Some("age1x"), wanted: true, ..state };
                let Some(next) = upkeep(&state, &RULES, now) else { break };
                match &next {
                    Upkeep::Make => facts.made_at = Some(now),
                    Upkeep::MakeSecond => facts.second_made_at = Some(now),
                    Upkeep::Seal => facts.sealed_to = Some("age1x".to_owned()),
                    Upkeep::SealSecond => facts.second_sealed_to = Some("age1x".to_owned()),
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
                    Upkeep::CheckSecond(part, _) => {
                        facts.second_checked_at = Some(now);
                        facts.second_next_part = part + 1;
                        read_second.push(*part);
                    }
                    Upkeep::Prune => facts.pruned_at = Some(now),
                }
                done.push(next);
            }
        }
        assert!(snapshots.iter().all(|one| one.copy.is_some() && one.snapshot.proof == Proof::Verified));
        let wanted: Vec<u32> = (0..59).map(|n| n % 28).collect();
        assert_eq!(read, wanted, "each part in its turn, one a day, from the second day on");
        assert_eq!(read_second, wanted, "at the second target too");
        assert_eq!(done.iter().filter(|one| **one == Upkeep::Prune).count(), 59);
        assert_eq!(done.iter().filter(|one| **one == Upkeep::List).count(), 59);
        assert_eq!(done[..3], [Upkeep::Make, Upkeep::Seal, Upkeep::Verify(vec![snapshot(0).snapshot.id])]);
    }

    /// Whatever fails, what does not need it goes on.
    #[test]
    fn what_rests_holds_up_nothing_else() {
        let facts =
            RepositoryFacts { made_at: Some(at(0)), second_made_at: Some(at(0)), ..Default::default() };
        let proven = |hours: i64| {
            let mut one = snapshot(hours);
            one.snapshot.proof = Proof::Verified;
            one
        };
        let snapshots = [snapshot(1), snapshot(2), proven(3), proven(4)];
        let ids: Vec<_> = snapshots.iter().map(|one| one.snapshot.id).collect();
        let next = |resting: &Resting| {
            let state = quiet(&facts, &snapshots, resting);
            let state = RepositoryState { recipient: Some("age1x"), wanted: true, ..state };
            upkeep(&state, &RULES, at(30))
        };
        let mut resting = Resting::default();
        let mut order = Vec::new();
        while let Some(one) = next(&resting) {
            resting.kinds.insert(one.kind());
            order.push(one);
        }
        let all = [
            Upkeep::Seal,
            Upkeep::Verify(ids[..2].to_vec()),
            Upkeep::SealSecond,
            Upkeep::Copy(ids[2..].to_vec()),
            Upkeep::List,
            Upkeep::Check(0, 28),
            Upkeep::CheckSecond(0, 28),
            Upkeep::Prune,
        ];
        assert_eq!(order, all);
        // One snapshot that cannot be read, or copied, keeps no other from it.
        let unread = Resting {
            kinds: BTreeSet::from([UpkeepKind::Seal, UpkeepKind::SealSecond]),
            unread: HashSet::from([ids[0]]),
            ..Resting::default()
        };
        assert_eq!(next(&unread), Some(Upkeep::Verify(vec![ids[1]])));
        let uncopied =
            Resting { unread: HashSet::from([ids[0], ids[1]]), uncopied: HashSet::from([ids[2]]), ..unread };
        assert_eq!(next(&uncopied), Some(Upkeep::Copy(vec![ids[3]])));
    }

    #[test]
    fn nothing_is_taken_away_from_a_damaged_repository_or_under_a_writer() {
        let damage = Damage { since: at(0), problems: Vec::new() };
        let seen = Some(at(100));
        let facts =
            RepositoryFacts { made_at: Some(at(0)), listed_at: seen, checked_at: seen, ..Default::default() };
        let snapshots = [KeptSnapshot { damaged_at: Some(at(1)), ..snapshot(0) }];
        let next = |facts: &RepositoryFacts, written, read| {
            let resting = Resting::default();
            let state = RepositoryState { written, read, wanted: true, ..quiet(facts, &snapshots, &resting) };
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
            let resting = Resting::default();
            let state = RepositoryState { written, full, ..quiet(facts, &[], &resting) };
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
