//! What departed before, how often it was put right, and when that is enough.

use std::{collections::BTreeMap, time::Duration};

use backstay_types::{Drift, DriftPart, DriftState, Timestamp};
use serde::{Deserialize, Serialize};

/// Something that a deep look found to differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What departed.
    pub part: DriftPart,
    /// Which one.
    pub name: String,
    /// What exactly differs; never a secret.
    pub detail: String,
    /// Services that have to be made anew once it is put right.
    pub services: Vec<String>,
}

/// What is remembered of a departure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurring {
    /// What exactly differed last.
    pub detail: String,
    /// When it was first found.
    pub since: Timestamp,
    /// How often it was tried to put it right.
    pub heals: u32,
    /// When it was tried last.
    pub tried_at: Option<Timestamp>,
    /// Whether it is there now.
    pub stands: bool,
    /// Whether it is given up on.
    pub escalated: bool,
}

// Names a departure: what, and which one. Written as text, since it is a key of the journal.
type DriftKey = String;

/// When it is enough.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// So often something is put right before a person is asked.
    pub heals: u32,
    /// What stayed right for so long counts as never having departed.
    pub memory: Duration,
}

/// The memory of a stack's departures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Departures(BTreeMap<DriftKey, Recurring>);

/// What follows from a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// To be put right.
    pub heal: Vec<Finding>,
    /// Given up on just now.
    pub escalated: Vec<Finding>,
    /// Told of and left alone, for the first time.
    pub left: Vec<Finding>,
    /// No longer there without anything having been done.
    pub gone: Vec<String>,
}

impl Departures {
    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in all that a look found of the parts that `looked` says it looked at.
    pub fn look(
        &mut self,
        found: &[Finding],
        looked: impl Fn(DriftPart) -> bool,
        limits: Limits,
        now: Timestamp,
    ) -> Followed {
        let mut followed = Followed::default();
        let keys: Vec<_> = found.iter().map(|finding| key(finding.part, &finding.name)).collect();
        self.0.retain(|key, one| {
            if !part_of(key).is_some_and(&looked) || keys.contains(key) {
                return true;
            }
            if one.stands {
                // Of what was put right its own report has told.
                if one.escalated || one.heals == 0 {
                    followed.gone.push(format!("{}: {}", readable(key), one.detail));
                }
                (one.stands, one.escalated) = (false, false);
            }
            one.tried_at.is_some_and(|at| !passed(at, now, limits.memory))
        });
        for (key, finding) in keys.into_iter().zip(found) {
            let new = Recurring {
                detail: String::new(),
                since: now,
                heals: 0,
                tried_at: None,
                stands: false,
                escalated: false,
            };
            let one = self.0.entry(key).or_insert_with(|| new.clone());
            let forgotten = !one.stands && one.tried_at.is_some_and(|at| passed(at, now, limits.memory));
            if forgotten {
                *one = new;
            }
            let first = !one.stands;
            one.detail.clone_from(&finding.detail);
            one.stands = true;
            if finding.part == DriftPart::Stray {
                if first {
                    followed.left.push(finding.clone());
                }
            } else if one.heals < limits.heals {
                followed.heal.push(finding.clone());
            } else if !one.escalated {
                one.escalated = true;
                followed.escalated.push(finding.clone());
            }
        }
        followed
    }

    /// Forgets all of a part. True when there was something.
    pub fn forget(&mut self, part: DriftPart) -> bool {
        let before = self.0.len();
        self.0.retain(|key, _| part_of(key) != Some(part));
        self.0.len() != before
    }

    /// Forgets of a part what was tried longer ago than the memory, also what was given up.
    pub fn forget_after(&mut self, part: DriftPart, limits: Limits, now: Timestamp) {
        self.0.retain(|key, one| {
            part_of(key) != Some(part) || !one.tried_at.is_some_and(|at| passed(at, now, limits.memory))
        });
    }

    /// Forgets what was given up: it counts as never having departed, and is put right when it is seen again.
    pub fn take_up_again(&mut self) {
        self.0.retain(|_, one| !one.escalated);
    }

    /// What was given up and is there now, of that which what runs is made of.
    pub fn given_up(&self) -> impl Iterator<Item = Drift> + '_ {
        let beside = [DriftPart::WayBack, DriftPart::PreviousFile, DriftPart::Stray];
        self.standing().filter(move |one| one.state == DriftState::Escalated && !beside.contains(&one.part))
    }

    /// Putting these right was tried; `left` are still there.
    pub fn tried(&mut self, tried: &[Finding], left: &[Finding], now: Timestamp) {
        for finding in tried {
            let key = key(finding.part, &finding.name);
            let stands = left.iter().any(|l| l.part == finding.part && l.name == finding.name);
            if let Some(one) = self.0.get_mut(&key) {
                one.heals = one.heals.saturating_add(1);
                (one.tried_at, one.stands) = (Some(now), stands);
            }
        }
    }

    /// What is there now, as the hub is told it.
    pub fn standing(&self) -> impl Iterator<Item = Drift> + '_ {
        self.0.iter().filter(|(_, one)| one.stands).filter_map(|(key, one)| {
            let part = part_of(key)?;
            let state = match (part, one.escalated) {
                (DriftPart::Stray, _) => DriftState::Left,
                (_, true) => DriftState::Escalated,
                (_, false) => DriftState::Healing,
            };
            let name = key.split_once(' ').map_or("", |(_, name)| name).to_owned();
            let Recurring { detail, since, heals, .. } = one.clone();
            Some(Drift { part, name, detail, since, heals, state })
        })
    }
}

/// A finding in words.
pub fn describe(finding: &Finding) -> String {
    format!("{}: {}", readable(&key(finding.part, &finding.name)), finding.detail)
}

/// What departed, in words: `file x`, or what runs where it has no name.
pub(crate) fn named(drift: &Drift) -> String {
    match drift.part {
        DriftPart::Running => "what runs".to_owned(),
        part => readable(&key(part, &drift.name)),
    }
}

fn passed(at: Timestamp, now: Timestamp, span: Duration) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|since| since > span)
}

fn key(part: DriftPart, name: &str) -> DriftKey {
    format!("{} {name}", word(part))
}

fn readable(key: &str) -> String {
    let (part, name) = key.split_once(' ').unwrap_or((key, ""));
    format!("{} `{name}`", part.replace('_', " "))
}

const PARTS: [DriftPart; 8] = [
    DriftPart::Running,
    DriftPart::WayBack,
    DriftPart::File,
    DriftPart::Stray,
    DriftPart::PreviousFile,
    DriftPart::Mount,
    DriftPart::Image,
    DriftPart::Container,
];

fn word(part: DriftPart) -> &'static str {
    match part {
        DriftPart::Running => "running",
        DriftPart::WayBack => "way_back",
        DriftPart::File => "file",
        DriftPart::Stray => "stray",
        DriftPart::PreviousFile => "previous_file",
        DriftPart::Mount => "mount",
        DriftPart::Image => "image",
        DriftPart::Container => "container",
    }
}

fn part_of(key: &str) -> Option<DriftPart> {
    let name = key.split_once(' ')?.0;
    PARTS.into_iter().find(|part| word(*part) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { heals: 2, memory: Duration::from_secs(100) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn finding(part: DriftPart, name: &str) -> Finding {
        Finding { part, name: name.into(), detail: "differs".into(), services: Vec::new() }
    }

    #[test]
    fn what_comes_back_is_put_right_so_often_and_then_left_to_a_person() {
        let (mut known, file) = (Departures::default(), finding(DriftPart::File, "a b"));
        let found = [file.clone()];
        for second in [0, 10] {
            let followed = known.look(&found, |_| true, LIMITS, at(second));
            assert_eq!((followed.heal.len(), followed.escalated.len()), (1, 0), "at {second}");
            known.tried(&found, &[], at(second));
            assert_eq!(known.standing().count(), 0);
        }
        let followed = known.look(&found, |_| true, LIMITS, at(20));
        assert_eq!((followed.heal.len(), followed.escalated), (0, vec![file]));
        let told: Vec<_> = known.standing().collect();
        assert_eq!((told[0].name.as_str(), told[0].heals, told[0].state), ("a b", 2, DriftState::Escalated));
        // Told once; and for as long as it is there it is not touched again.
        assert_eq!(known.look(&found, |_| true, LIMITS, at(9999)), Followed::default());
        // A person puts it right.
        let followed = known.look(&[], |_| true, LIMITS, at(10_000));
        assert_eq!(followed.gone, ["file `a b`: differs"]);
        assert!(known.is_empty());
    }

    #[test]
    fn what_stayed_right_long_enough_is_forgotten() {
        let (mut known, found) = (Departures::default(), [finding(DriftPart::Mount, "x")]);
        known.look(&found, |_| true, LIMITS, at(0));
        known.tried(&found, &[], at(0));
        // Nobody looked in between.
        known.look(&found, |_| true, LIMITS, at(101));
        assert_eq!(known.standing().next().unwrap().heals, 0);
    }

    #[test]
    fn what_cannot_be_put_right_is_given_up_too() {
        let (mut known, found) = (Departures::default(), [finding(DriftPart::Image, "web")]);
        for second in [0, 1] {
            assert_eq!(known.look(&found, |_| true, LIMITS, at(second)).heal.len(), 1);
            known.tried(&found, &found, at(second));
            assert_eq!(known.standing().next().unwrap().state, DriftState::Healing);
        }
        assert_eq!(known.look(&found, |_| true, LIMITS, at(2)).escalated.len(), 1);
    }

    #[test]
    fn strays_are_told_of_once_and_never_touched() {
        let (mut known, found) = (Departures::default(), [finding(DriftPart::Stray, "pid")]);
        let followed = known.look(&found, |_| true, LIMITS, at(0));
        assert_eq!((followed.left.len(), followed.heal.len()), (1, 0));
        assert_eq!(known.look(&found, |_| true, LIMITS, at(1)), Followed::default());
        assert_eq!(known.standing().next().unwrap().state, DriftState::Left);
    }

    #[test]
    fn a_look_says_nothing_of_what_it_did_not_look_at() {
        let (mut known, found) = (Departures::default(), [finding(DriftPart::Running, "web")]);
        known.look(&found, |_| true, LIMITS, at(0));
        known.look(&[], |part| part == DriftPart::File, LIMITS, at(1));
        assert_eq!(known.standing().count(), 1);
    }

    #[test]
    fn every_part_has_a_word_of_its_own() {
        for part in PARTS {
            assert_eq!(part_of(&key(part, "a name")), Some(part));
        }
    }
}
