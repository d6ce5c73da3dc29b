//! Which snapshots of one stack on one node stay.

use std::collections::BTreeSet;

use backstay_types::{
    Timestamp,
    backup::{BackupReason, Proof, SnapshotId},
};
use jiff::{SignedDuration, civil::Date, tz::TimeZone};

/// The way back from a deployment, a rollback or a restore is kept at least so long.
pub const SAFETY: SignedDuration = SignedDuration::from_hours(7 * 24);
/// So long a snapshot that was not read back yet is given.
const PROVING: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Clocks may differ so much; what is dated later comes from one that is wrong.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Nothing older but `at_least`, and what is needed.
    pub days: u32,
    /// Hours of which the newest is kept.
    pub hourly: u32,
    /// Days of which the newest is kept.
    pub daily: u32,
    /// Weeks (from Monday) of which the newest is kept.
    pub weekly: u32,
    /// Months of which the newest is kept.
    pub monthly: u32,
    /// So many proven ones are kept however old they are.
    pub at_least: u32,
}

impl Keep {
    /// What must be kept when there is no room: the newest proven ones, what is needed, and weeks and months, so that
    /// nobody who writes much now pushes out what is older.
    pub fn at_the_ceiling(self) -> Self {
        Self { hourly: 0, daily: 0, ..self }
    }

    fn is_at_the_ceiling(&self) -> bool {
        (self.hourly, self.daily) == (0, 0)
    }
}

/// A snapshot as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: SnapshotId,
    /// When it was begun, as far as the hub believes it.
    pub at: Timestamp,
    /// When the hub heard of it.
    pub heard_at: Timestamp,
    /// Whether it was not told of as what a job made, when that ran: its date may be anybody's.
    pub doubtful: bool,
    /// How far it is proven.
    pub proof: Proof,
    /// Whether it was found to be damaged.
    pub damaged: bool,
    /// Why it was made.
    pub reason: BackupReason,
    /// Who needs it, in words: a hold, an open undo, a pin, a deployment or a restore that runs.
    pub needed: Option<String>,
}

impl Kept {
    fn counts(&self) -> bool {
        self.proof >= Proof::Verified && !self.damaged
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Its id.
    pub id: SnapshotId,
    /// Whether it stays.
    pub stays: bool,
    /// Why.
    pub why: String,
}

/// What becomes of each of a stack's snapshots, newest first. Only proven ones take a place in what is kept, so that
/// none goes for one that could not be restored; and only ones whose date is the hub's to believe, so that none goes for a
/// wrong clock, or for what somebody else left who has the node's key.
pub fn retain(snapshots: &[Kept], keep: &Keep, now: Timestamp) -> Vec<Fate> {
    let mut all: Vec<&Kept> = snapshots.iter().collect();
    all.sort_by_key(|one| std::cmp::Reverse((one.at, one.id)));
    let from_now_on = now.checked_add(TOLERANCE).unwrap_or(Timestamp::MAX);
    let (doubtful, sure): (Vec<&Kept>, Vec<&Kept>) =
        all.iter().copied().filter(|one| one.counts()).partition(|one| one.doubtful || one.at > from_now_on);
    let places = places(&sure, keep, now);
    // Where only those are left that are doubted, the newest of them are better than nothing.
    let few = (keep.at_least as usize).saturating_sub(sure.len());
    let spare: BTreeSet<SnapshotId> = doubtful.iter().take(few).map(|one| one.id).collect();
    let look = Look { keep, now, from_now_on, enough: few == 0, spare };
    all.iter()
        .map(|one| {
            let why = places.iter().find(|(id, _)| *id == one.id).map(|(_, why)| why.clone());
            let (stays, why) = match look.needed(one).or(why) {
                Some(why) => (true, why),
                None => (false, gone(one, keep)),
            };
            Fate { id: one.id, stays, why }
        })
        .collect()
}

/// What it depends on whether a snapshot stays whatever its place.
struct Look<'a> {
    keep: &'a Keep,
    now: Timestamp,
    from_now_on: Timestamp,
    enough: bool,
    spare: BTreeSet<SnapshotId>,
}

impl Look<'_> {
    /// Why a snapshot stays whatever its place.
    fn needed(&self, one: &Kept) -> Option<String> {
        let within = |at: Timestamp, time: SignedDuration| self.now.duration_since(at) < time;
        if let Some(why) = &one.needed {
            return Some(why.clone());
        }
        if one.at > self.from_now_on {
            return Some("it is dated in the future: a clock was wrong, a person should look".to_owned());
        }
        let way_back = matches!(
            one.reason,
            BackupReason::Deployment
                | BackupReason::Rollback
                | BackupReason::Safety
                | BackupReason::Migration
        );
        if way_back && within(one.at, SAFETY) {
            return Some("it is the way back of what happened in the last 7 days".to_owned());
        }
        if one.counts() {
            return self.doubted(one).filter(|_| one.doubtful);
        }
        if within(one.heard_at, PROVING) {
            return Some("it is not proven yet".to_owned());
        }
        (!self.enough).then(|| "it is not proven, but there are too few that are".to_owned())
    }

    /// Why one stays that has no place because its date is not believed: by when the hub heard of it.
    fn doubted(&self, one: &Kept) -> Option<String> {
        if self.spare.contains(&one.id) {
            return Some("its date is not sure, but there are too few whose date is".to_owned());
        }
        let days = SignedDuration::from_hours(24 * i64::from(self.keep.days));
        let time = if self.keep.is_at_the_ceiling() { days.min(SAFETY) } else { days };
        let why = "it was not told when it was made, or has a date that cannot be: a person should look";
        (self.now.duration_since(one.heard_at) < time).then(|| why.to_owned())
    }
}

/// Why each of the proven ones that have a place has it: the first reason counts.
fn places(proven: &[&Kept], keep: &Keep, now: Timestamp) -> Vec<(SnapshotId, String)> {
    let oldest =
        now.checked_sub(SignedDuration::from_hours(24 * i64::from(keep.days))).unwrap_or(Timestamp::MIN);
    let recent: Vec<&Kept> = proven.iter().copied().filter(|one| one.at >= oldest).collect();
    let mut places: Vec<(SnapshotId, String)> = Vec::new();
    if let Some(newest) = proven.first() {
        places.push((newest.id, "it is the newest proven one".to_owned()));
    }
    newest_of(&mut places, &recent, keep.hourly, "hour", |at| (day(at), hour(at)));
    newest_of(&mut places, &recent, keep.daily, "day", day);
    newest_of(&mut places, &recent, keep.weekly, "week", |at| {
        let week = day(at).iso_week_date();
        (week.year(), week.week())
    });
    newest_of(&mut places, &recent, keep.monthly, "month", |at| (day(at).year(), day(at).month()));
    let few = format!("it is one of the newest {} proven ones", keep.at_least);
    places.extend(proven.iter().take(keep.at_least as usize).map(|one| (one.id, few.clone())));
    places
}

/// Adds the newest of each of the newest `count` spans that have one.
fn newest_of<K: Ord>(
    places: &mut Vec<(SnapshotId, String)>,
    newest_first: &[&Kept],
    count: u32,
    what: &str,
    span: impl Fn(Timestamp) -> K,
) {
    let mut seen = BTreeSet::new();
    for one in newest_first {
        if seen.len() >= count as usize {
            return;
        }
        if seen.insert(span(one.at)) {
            places.push((one.id, format!("it is the newest of its {what}")));
        }
    }
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn hour(at: Timestamp) -> i8 {
    at.to_zoned(TimeZone::UTC).hour()
}

fn gone(one: &Kept, keep: &Keep) -> String {
    if one.damaged {
        "it is damaged, and there are enough that are not".to_owned()
    } else if !one.counts() {
        "it was never proven".to_owned()
    } else if one.doubtful {
        "it was not told when it was made, or had a date that cannot be, and nobody kept it".to_owned()
    } else if keep.is_at_the_ceiling() {
        format!("there is no room: of what nobody needs, only the newest {} proven ones stay", keep.at_least)
    } else {
        format!("newer ones have its hour, day, week and month, or it is older than {} days", keep.days)
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Digest;
    use proptest::prelude::*;

    use super::*;

    const KEEP: Keep = Keep { days: 90, hourly: 24, daily: 14, weekly: 8, monthly: 3, at_least: 3 };

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn after(hours: i64) -> Timestamp {
        start().checked_add(SignedDuration::from_hours(hours)).unwrap()
    }

    fn proven(at: Timestamp) -> Kept {
        Kept {
            id: SnapshotId::new(Digest::of(at.to_string().as_bytes())),
            at,
            heard_at: at,
            doubtful: false,
            proof: Proof::Verified,
            damaged: false,
            reason: BackupReason::Schedule,
            needed: None,
        }
    }

    fn staying(snapshots: &[Kept], keep: &Keep, now: Timestamp) -> Vec<SnapshotId> {
        retain(snapshots, keep, now).into_iter().filter(|fate| fate.stays).map(|fate| fate.id).collect()
    }

    /// A node that makes a backup every six hours for 120 days, pruned after each: what is there at the end was never
    /// gone in between, and is exactly what the policy says, which is worked out here by another way.
    #[test]
    fn ninety_days_and_more_in_virtual_time() {
        let mut there: Vec<Kept> = Vec::new();
        let mut now = start();
        for run in 0..480 {
            now = after(run * 6);
            there.push(proven(now));
            let stay: BTreeSet<_> = staying(&there, &KEEP, now).into_iter().collect();
            there.retain(|one| stay.contains(&one.id));
        }
        // 120 days from 1 January 2026: the last is of 30 April 2026, 18:00.
        assert_eq!(now.to_string(), "2026-04-30T18:00:00Z");
        let mut times: Vec<String> =
            there.iter().map(|one| one.at.strftime("%m-%d %H").to_string()).collect();
        times.sort();
        let expected = [
            // The newest of their months; of February it is not: three months are April, March, February.
            "02-28 18", // The newest of their weeks, which end on Sundays.
            "03-15 18", "03-22 18", "03-29 18", "03-31 18", "04-05 18", "04-12 18",
            // The newest of their days: 14.
            "04-17 18", "04-18 18", "04-19 18", "04-20 18", "04-21 18", "04-22 18", "04-23 18", "04-24 18",
            // The newest of their hours: 24, that is six days of four.
            "04-25 00", "04-25 06", "04-25 12", "04-25 18", "04-26 00", "04-26 06", "04-26 12", "04-26 18",
            "04-27 00", "04-27 06", "04-27 12", "04-27 18", "04-28 00", "04-28 06", "04-28 12", "04-28 18",
            "04-29 00", "04-29 06", "04-29 12", "04-29 18", "04-30 00", "04-30 06", "04-30 12", "04-30 18",
        ];
        assert_eq!(times, expected);
    }

    #[test]
    fn one_dated_in_the_future_makes_none_go_and_stays() {
        let real: Vec<Kept> = (0..8).map(|n| proven(after(n * 6))).collect();
        let now = after(48);
        let before = staying(&real, &KEEP, now);
        let future = proven(after(24 * 365));
        let with: Vec<Kept> = real.iter().cloned().chain([future.clone()]).collect();
        let after = staying(&with, &KEEP, now);
        assert!(before.iter().all(|id| after.contains(id)) && after.contains(&future.id));
    }

    #[test]
    fn only_proven_ones_take_a_place() {
        let keep = Keep { hourly: 1, daily: 0, weekly: 0, monthly: 0, at_least: 1, ..KEEP };
        let good = proven(after(0));
        let unproven = Kept { proof: Proof::Matched, ..proven(after(1)) };
        let damaged = Kept { damaged: true, proof: Proof::Matched, ..proven(after(2)) };
        let all = [good.clone(), unproven.clone(), damaged.clone()];
        assert_eq!(staying(&all, &keep, after(3)).len(), 3, "they are given time");
        assert_eq!(staying(&all, &keep, after(24 * 8)), [good.id]);
        assert_eq!(staying(&all[1..], &keep, after(24 * 8)).len(), 2, "nothing better is there");
    }

    #[test]
    fn what_is_needed_stays_and_so_do_the_last_proven_ones() {
        let long_ago = |hours| proven(after(hours));
        let mut all: Vec<Kept> = (0..10).map(long_ago).collect();
        all[0].needed = Some("held by ann".to_owned());
        all[1].reason = BackupReason::Deployment;
        let now = after(24 * 400);
        let fates = retain(&all, &KEEP, now);
        let stay: Vec<_> = fates.iter().filter(|fate| fate.stays).map(|fate| fate.id).collect();
        assert_eq!(stay, [all[9].id, all[8].id, all[7].id, all[0].id]);
        assert!(fates.iter().any(|fate| fate.why == "held by ann"));
        let soon = retain(&all, &Keep { hourly: 0, ..KEEP }, after(24));
        assert!(soon.iter().any(|fate| fate.id == all[1].id && fate.stays), "the way back of a deployment");
    }

    #[test]
    fn at_the_ceiling_only_what_must_be_kept_stays() {
        let mut all: Vec<Kept> = (0..40).map(|n| proven(after(n * 6))).collect();
        all[3].needed = Some("held by ann".to_owned());
        all[38].reason = BackupReason::Safety;
        all.push(Kept { proof: Proof::Matched, ..proven(after(239)) });
        let now = after(240);
        assert!(staying(&all, &KEEP, now).len() > 20);
        let fates = retain(&all, &KEEP.at_the_ceiling(), now);
        let stay: Vec<_> = fates.iter().filter(|fate| fate.stays).map(|fate| fate.id).collect();
        // The 15th is the newest of the week before.
        assert_eq!(stay, [all[40].id, all[39].id, all[38].id, all[37].id, all[15].id, all[3].id]);
        assert!(fates.iter().any(|fate| !fate.stays && fate.why.contains("no room")));
    }

    fn any_kept() -> impl Strategy<Value = Kept> {
        (0i64..24 * 200, 0u8..3, any::<bool>(), any::<bool>(), 0u64..).prop_map(
            |(hour, proof, damaged, needed, salt)| Kept {
                id: SnapshotId::new(Digest::of(&salt.to_le_bytes())),
                proof: [Proof::Matched, Proof::Verified, Proof::Replicated][usize::from(proof)],
                damaged: damaged && salt % 5 == 0,
                needed: (needed && salt % 7 == 0).then(|| "needed".to_owned()),
                ..proven(after(hour))
            },
        )
    }

    proptest! {
        #[test]
        fn nothing_that_is_needed_goes_and_enough_proven_ones_stay(
            all in proptest::collection::vec(any_kept(), 0..60),
            days in 1u32..120, hourly in 0u32..10, daily in 0u32..10, weekly in 0u32..5, monthly in 0u32..4,
            at_least in 1u32..6, now in 0i64..24 * 250,
        ) {
            let (keep, now) = (Keep { days, hourly, daily, weekly, monthly, at_least }, after(now));
            let fates = retain(&all, &keep, now);
            prop_assert_eq!(fates.len(), all.len());
            let stays = |one: &Kept| fates.iter().any(|fate| fate.id == one.id && fate.stays);
            prop_assert!(all.iter().filter(|one| one.needed.is_some()).all(stays));
            prop_assert!(all.iter().filter(|one| one.at > now.checked_add(TOLERANCE).unwrap()).all(stays));
            let good: Vec<_> = all.iter().filter(|one| one.counts()).collect();
            let left = good.iter().filter(|one| stays(one)).count();
            prop_assert!(left >= good.len().min(at_least as usize));
            // Doing it again at once takes nothing more away.
            let rest: Vec<Kept> = all.iter().filter(|one| stays(one)).cloned().collect();
            prop_assert!(retain(&rest, &keep, now).iter().all(|fate| fate.stays));
            // A later unproven one makes no proven one go.
            let mut with = all.clone();
            with.push(Kept { proof: Proof::Created, ..proven(now) });
            let again = retain(&with, &keep, now);
            for one in good.iter().filter(|one| stays(one)) {
                prop_assert!(again.iter().any(|fate| fate.id == one.id && fate.stays));
            }
        }
    }
}
