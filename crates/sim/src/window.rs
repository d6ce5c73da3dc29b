//! Maintenance windows as scenarios have them. When they are open is told here by a table of clocks, and not by what the
//! hub reads them with.

use std::time::Duration;

use crate::{chance::Chance, context::BEGIN};

const DAY: i64 = 24 * 3600;

/// A window of a scenario's fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The nodes that it is for, as [`selects`] knows them.
    pub nodes: &'static str,
    /// When it opens.
    pub opens: Opens,
    /// How long it stays open, in seconds that really pass.
    pub seconds: i64,
    /// Where its clock hangs.
    pub zone: Zone,
    /// The first and the last date of its blackout, by its clock: year, month, day.
    pub blackout: Option<[(i64, i64, i64); 2]>,
}

/// When a window opens, by its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// Every so many minutes of each hour.
    Every(i64),
    /// At an hour and a minute.
    Daily(i64, i64),
    /// At an hour and a minute on the nth Sunday of the month.
    Sunday(i64, i64, i64),
}

/// A clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say where they are")]
pub enum Zone {
    Utc,
    Kathmandu,
    Berlin,
    LosAngeles,
    LordHowe,
}

/// When a clock is set, and by how much it was and is ahead of UTC: all in seconds.
type Change = (i64, i64, i64);

impl Zone {
    /// Its name, and what is done to it in 2026.
    fn table(self) -> (&'static str, &'static [Change], i64) {
        const BERLIN: &[Change] = &[(1_774_746_000, 3600, 7200), (1_792_890_000, 7200, 3600)];
        const LOS_ANGELES: &[Change] =
            &[(1_772_964_000, -28_800, -25_200), (1_793_523_600, -25_200, -28_800)];
        const LORD_HOWE: &[Change] = &[(1_775_314_800, 39_600, 37_800)];
        match self {
            Self::Utc => ("UTC", &[], 0),
            Self::Kathmandu => ("Asia/Kathmandu", &[], 20_700),
            Self::Berlin => ("Europe/Berlin", BERLIN, 3600),
            Self::LosAngeles => ("America/Los_Angeles", LOS_ANGELES, -28_800),
            Self::LordHowe => ("Australia/Lord_Howe", LORD_HOWE, 39_600),
        }
    }

    /// Its name in the IANA database.
    pub fn name(self) -> &'static str {
        self.table().0
    }

    /// What it shows at a time.
    fn wall(self, at: i64) -> i64 {
        let (_, changes, first) = self.table();
        let offset = changes.iter().rev().find(|(when, ..)| *when <= at).map_or(first, |(.., after)| *after);
        at + offset
    }

    /// The times on it for which this one stands, as far as something may open then: none when it shows for the second
    /// time what it has shown before; beside its own the one that was skipped.
    fn stands_for(self, at: i64) -> impl Iterator<Item = i64> {
        let wall = self.wall(at);
        let (_, changes, _) = self.table();
        let by = changes.iter().find_map(|(when, before, after)| {
            let by = after - before;
            (*when <= at && at < when + by.abs()).then_some(by)
        });
        let own = by.is_none_or(|by| by > 0).then_some(wall);
        own.into_iter().chain(by.filter(|by| *by > 0).map(|by| wall - by))
    }
}

impl Opens {
    fn text(self) -> String {
        match self {
            Self::Every(minutes) => format!("*/{minutes} * * * *"),
            Self::Daily(hour, minute) => format!("{minute} {hour} * * *"),
            Self::Sunday(nth, hour, minute) => format!("{minute} {hour} * * Sun#{nth}"),
        }
    }

    /// Whether it opens at a time that a clock shows.
    fn is_at(self, wall: i64) -> bool {
        let (day, second) = (wall.div_euclid(DAY), wall.rem_euclid(DAY));
        let (hour, minute, whole) = (second / 3600, second / 60 % 60, second % 60 == 0);
        let fits = match self {
            Self::Every(minutes) => minute % minutes == 0,
            Self::Daily(at, minutes) => (hour, minute) == (at, minutes),
            Self::Sunday(nth, at, minutes) => {
                // The first of January 1970 was a Thursday.
                let sunday = (day + 4).rem_euclid(7) == 0;
                sunday && (date(day).2 - 1) / 7 + 1 == nth && (hour, minute) == (at, minutes)
            }
        };
        whole && fits
    }
}

impl Window {
    /// Whether it is for a node.
    pub(crate) fn is_for(&self, node: usize) -> bool {
        selects(self.nodes, node)
    }

    /// Whether it is open at a time, in seconds since 1970.
    pub(crate) fn is_open(&self, at: i64) -> bool {
        let today = date(self.zone.wall(at).div_euclid(DAY));
        if self.blackout.is_some_and(|[first, last]| first <= today && today <= last) {
            return false;
        }
        let minute = at.div_euclid(60) * 60;
        let mut starts = (0..).map(|back| minute - back * 60).take_while(|start| start + self.seconds > at);
        starts.any(|start| self.zone.stands_for(start).any(|wall| self.opens.is_at(wall)))
    }

    /// As `fleet.toml` says it.
    pub(crate) fn to_toml(self) -> String {
        let (opens, zone) = (self.opens.text(), self.zone.name());
        let nodes =
            if self.nodes.is_empty() { String::new() } else { format!("nodes = \"{}\"\n", self.nodes) };
        let blackout = self.blackout.map_or_else(String::new, |[first, last]| {
            format!("blackout = [\"{}..{}\"]\n", shown(first), shown(last))
        });
        let seconds = self.seconds;
        format!(
            "[[window]]\n{nodes}opens = \"{opens}\"\nfor = \"{seconds}s\"\ntime_zone = \"{zone}\"\n{blackout}"
        )
    }
}

/// Whether a selector selects a node, by its place: `ring=first` is node 0, `ring=rest` are the others, `kind=odd` is every
/// third from node 1 on, `kind=even` are the others, and nothing selects all.
pub(crate) fn selects(selector: &str, node: usize) -> bool {
    match selector {
        "ring=first" => node == 0,
        "ring=rest" => node != 0,
        "kind=odd" => node % 3 == 1,
        "kind=even" => node % 3 != 1,
        _ => true,
    }
}

/// When a run begins, and its windows. Whether they stay once all is calm: where they open too rarely they are taken away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hours {
    pub(crate) begin: &'static str,
    pub(crate) windows: &'static [Window],
    pub(crate) stay: bool,
}

const fn window(nodes: &'static str, opens: Opens, minutes: i64, zone: Zone) -> Window {
    Window { nodes, opens, seconds: minutes * 60, zone, blackout: None }
}

impl Hours {
    /// No windows.
    pub(crate) const ALWAYS: Self = Self { begin: BEGIN, windows: &[], stay: true };

    /// Some of those that are worth a look: clocks that are set meanwhile, dates of blackout that begin.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        use Zone::{Berlin, Kathmandu, LordHowe, LosAngeles, Utc};
        const NEW_YEAR: [(i64, i64, i64); 2] = [(2027, 1, 1), (2027, 1, 2)];
        const CHRISTMAS: [(i64, i64, i64); 2] = [(2026, 12, 24), (2026, 12, 24)];
        const BLACK: Window = window("", Opens::Every(10), 6, Kathmandu);
        const NIGHT: Window = window("", Opens::Daily(22, 0), 240, LosAngeles);
        const ALL: [Hours; 11] = [
            stays(BEGIN, &[window("", Opens::Every(15), 5, Utc)]),
            stays(BEGIN, &[window("ring=rest", Opens::Every(20), 7, Kathmandu)]),
            stays(
                BEGIN,
                &[
                    window("ring=first", Opens::Every(10), 4, Utc),
                    window("ring=rest", Opens::Every(30), 12, Utc),
                ],
            ),
            stays(
                BEGIN,
                &[
                    window("kind=odd", Opens::Every(30), 9, Kathmandu),
                    window("", Opens::Every(30), 5, Berlin),
                ],
            ),
            stays("2026-03-29T00:40:00Z", &[window("", Opens::Every(20), 6, Berlin)]),
            stays("2026-10-25T00:40:00Z", &[window("ring=rest", Opens::Every(30), 12, Berlin)]),
            stays("2026-04-04T14:40:00Z", &[window("", Opens::Every(10), 4, LordHowe)]),
            goes("2026-03-08T09:45:00Z", &[window("ring=rest", Opens::Daily(2, 20), 30, LosAngeles)]),
            goes(
                BEGIN,
                &[
                    window("", Opens::Sunday(1, 1, 15), 20, Berlin),
                    window("ring=first", Opens::Every(30), 15, Utc),
                ],
            ),
            goes("2026-12-31T17:55:00Z", &[Window { blackout: Some(NEW_YEAR), ..BLACK }]),
            goes("2026-12-24T07:35:00Z", &[Window { blackout: Some(CHRISTMAS), ..NIGHT }]),
        ];
        *chance.pick(&ALL)
    }
}

const fn stays(begin: &'static str, windows: &'static [Window]) -> Hours {
    Hours { begin, windows, stay: true }
}

const fn goes(begin: &'static str, windows: &'static [Window]) -> Hours {
    Hours { begin, windows, stay: false }
}

/// Year, month and day of a day since 1970.
fn date(day: i64) -> (i64, i64, i64) {
    let (mut year, mut left) = (1970, day);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    (year, month, left + 1)
}

fn shown((year, month, day): (i64, i64, i64)) -> String {
    format!("{year:04}-{month:02}-{day:02}")
}

/// How long after its window has closed an order may still be that a node has not heard of while it was away: until the
/// hub has noticed both.
pub(crate) const NOTICED: Duration = Duration::from_secs(240);

#[cfg(test)]
mod tests {
    use backstay_types::Timestamp;

    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn open(window: &Window, times: &[(&str, bool)]) {
        for (time, open) in times {
            assert_eq!(window.is_open(at(time)), *open, "{window:?} at {time}");
        }
    }

    #[test]
    fn it_is_open_by_its_clock() {
        let hourly = window("", Opens::Every(20), 7, Zone::Kathmandu);
        // A quarter to six ahead: its 00:00 is at a quarter past of ours.
        open(&hourly, &[("2026-03-01T00:14:59Z", false), ("2026-03-01T00:15:00Z", true)]);
        open(&hourly, &[("2026-03-01T00:21:59Z", true), ("2026-03-01T00:22:00Z", false)]);
        let sunday = window("", Opens::Sunday(1, 1, 15), 20, Zone::Berlin);
        open(&sunday, &[("2026-03-01T00:20:00Z", true), ("2026-03-08T00:20:00Z", false)]);
        open(&sunday, &[("2026-03-02T00:20:00Z", false), ("2026-03-01T00:35:00Z", false)]);
    }

    #[test]
    fn a_time_that_is_skipped_comes_later_and_one_that_comes_twice_once() {
        let skipped = window("", Opens::Daily(2, 20), 30, Zone::LosAngeles);
        open(&skipped, &[("2026-03-08T10:19:00Z", false), ("2026-03-08T10:20:00Z", true)]);
        open(&skipped, &[("2026-03-08T10:49:00Z", true), ("2026-03-08T10:50:00Z", false)]);
        let twice = window("", Opens::Every(30), 12, Zone::Berlin);
        open(&twice, &[("2026-10-25T00:35:00Z", true), ("2026-10-25T01:05:00Z", false)]);
        open(&twice, &[("2026-10-25T01:35:00Z", false), ("2026-10-25T02:05:00Z", true)]);
        let half = window("", Opens::Every(10), 4, Zone::LordHowe);
        open(&half, &[("2026-04-04T14:51:00Z", true), ("2026-04-04T15:01:00Z", false)]);
        open(&half, &[("2026-04-04T15:21:00Z", false), ("2026-04-04T15:31:00Z", true)]);
    }

    #[test]
    fn a_date_of_blackout_closes_it_at_midnight() {
        let black = Some([(2026, 12, 24), (2026, 12, 24)]);
        let night = Window { blackout: black, ..window("", Opens::Daily(22, 0), 240, Zone::LosAngeles) };
        open(&night, &[("2026-12-24T07:59:00Z", true), ("2026-12-24T08:00:00Z", false)]);
        open(&night, &[("2026-12-25T06:30:00Z", false), ("2026-12-25T08:00:00Z", true)]);
        assert!(night.to_toml().contains("blackout = [\"2026-12-24..2026-12-24\"]"));
    }
}
