//! Maintenance windows and freezes: when nodes may begin something new.

use std::{fmt, str::FromStr, sync::OnceLock, time::Duration};

use backstay_types::{StackName, Timestamp};
use jiff::{
    SignedDuration, Zoned,
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Opening, Selector, code, opening::weekday_name, problem::nearest, read::Table};

/// The longest that a window may last.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// So many days ahead the next opening is looked for.
const AHEAD: i32 = 5 * 366;

/// `[[window]]`: outside of it, these nodes begin nothing new. A node that no window is for may always begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// For these stacks; all of the repository when empty.
    #[serde(default)]
    pub stacks: Vec<StackName>,
    /// For these nodes.
    pub nodes: Selector,
    /// When it opens, by the clock of its time zone.
    pub opens: Opening,
    /// How long it stays open, in time that really passes.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub lasts: Duration,
    /// Where its clock hangs.
    pub time_zone: Zone,
    /// Dates in that time zone on which it is closed.
    #[serde(default)]
    pub blackout: Vec<Blackout>,
    /// The line in `fleet.toml`.
    #[serde(default)]
    pub line: u32,
}

/// A time zone of the IANA database, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Zone(TimeZone);

/// A date, or dates from one to another, both included: `2026-12-24` or `2026-12-24..2027-01-02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Blackout {
    first: Date,
    last: Date,
}

/// `[[freeze]]`: nothing forward begins between two times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Freeze {
    /// Only this stack; all of the repository when absent.
    pub stack: Option<StackName>,
    /// For these nodes.
    pub nodes: Selector,
    /// When it begins; at once when absent.
    pub from: Option<Timestamp>,
    /// When it ends; when it is taken out of the file when absent.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// The line in `fleet.toml`.
    #[serde(default)]
    pub line: u32,
}

impl Window {
    /// Whether it is for a stack.
    pub fn is_for(&self, stack: &StackName) -> bool {
        self.stacks.is_empty() || self.stacks.contains(stack)
    }

    /// Whether it is open.
    pub fn is_open(&self, at: Timestamp) -> bool {
        !self.is_black(self.local(at).date()) && self.covering_end(at).is_some()
    }

    /// When it closes if it is open, and opens if it is not. None when it stays as it is for five years, or for good.
    pub fn changes_at(&self, at: Timestamp) -> Option<Timestamp> {
        if self.is_open(at) { self.closes_at(at) } else { self.opens_at(at) }
    }

    /// A time as people at the window's clock write it.
    pub fn shown(&self, at: Timestamp) -> String {
        let local = self.local(at);
        format!("{} {}", weekday_name(local.weekday()), local.strftime("%Y-%m-%d %H:%M %Z"))
    }

    fn opens_at(&self, at: Timestamp) -> Option<Timestamp> {
        let mut date = self.local(at).date();
        for _ in 0..AHEAD {
            // One that spans midnight comes back to life when a day of blackout ends.
            let midnight =
                self.midnight(date).filter(|_| date.yesterday().is_ok_and(|day| self.is_black(day)));
            let starts = midnight.into_iter().chain(self.starts(date));
            if let Some(start) = starts.filter(|start| *start > at).find(|start| self.is_open(*start)) {
                return Some(start);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn closes_at(&self, at: Timestamp) -> Option<Timestamp> {
        let mut at = at;
        let horizon = at.checked_add(SignedDuration::from_hours(24 * i64::from(AHEAD))).ok()?;
        while at < horizon {
            let end = self.covering_end(at)?;
            let (mut date, last) = (self.local(at).date(), self.local(end).date());
            while date < last {
                date = date.tomorrow().ok()?;
                if self.is_black(date) {
                    return self.midnight(date).map(|midnight| midnight.min(end));
                }
            }
            if !self.is_open(end) {
                return Some(end);
            }
            at = end;
        }
        None
    }

    /// When the opening that covers a time ends; of several the latest.
    fn covering_end(&self, at: Timestamp) -> Option<Timestamp> {
        let lasts = SignedDuration::try_from(self.lasts).ok()?;
        let mut date = self.local(at.checked_sub(lasts).ok()?).date();
        let today = self.local(at).date();
        let mut latest = None;
        while date <= today {
            let begun = self.starts(date).take_while(|start| *start <= at);
            latest = begun.filter_map(|start| start.checked_add(lasts).ok()).max().max(latest);
            date = date.tomorrow().ok()?;
        }
        latest.filter(|end| *end > at)
    }

    /// When it opens on a date. A time that the clock skips is taken for the one an hour later; of one that comes twice,
    /// the first counts.
    fn starts(&self, date: Date) -> impl Iterator<Item = Timestamp> {
        let times = self.opens.is_on(date).then(|| self.opens.times()).into_iter().flatten();
        times.filter_map(move |time| {
            Some(date.to_datetime(time).to_zoned(self.time_zone.0.clone()).ok()?.timestamp())
        })
    }

    fn midnight(&self, date: Date) -> Option<Timestamp> {
        Some(date.to_zoned(self.time_zone.0.clone()).ok()?.timestamp())
    }

    fn local(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.time_zone.0.clone())
    }

    fn is_black(&self, date: Date) -> bool {
        self.blackout.iter().any(|blackout| blackout.first <= date && date <= blackout.last)
    }
}

/// The time zones that this build knows, the same on every machine.
fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

impl Zone {
    /// UTC.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("UTC") {
            return Ok(Self::utc());
        }
        zones().get(text).map(Self).map_err(|_| {
            let known: Vec<_> = zones().available().map(|name| name.to_string()).collect();
            let hint = nearest(text, known.iter().map(String::as_str));
            let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            format!("`{text}` is no time zone: expected a name such as \"Europe/Berlin\"{hint}")
        })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Blackout {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let date = |text: &str| {
            let expected = "expected a date such as 2026-12-24, or two with `..` between";
            text.trim().parse::<Date>().map_err(|_| format!("`{text}` is no date: {expected}"))
        };
        let (first, last) = (date(first)?, date(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(format!("`{text}` ends before it begins")) }
    }
}

impl fmt::Display for Blackout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last == self.first { Ok(()) } else { write!(f, "..{}", self.last) }
    }
}

impl From<Blackout> for String {
    fn from(blackout: Blackout) -> Self {
        blackout.to_string()
    }
}

impl TryFrom<String> for Blackout {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Reads one `[[window]]`.
pub(crate) fn read_window(mut table: Table<'_, '_>) -> Option<Window> {
    let stacks = read_stacks(&mut table);
    let nodes = read_nodes(&mut table);
    let opens = table.required_parsed("opens", code::WRONG_VALUE, "when it opens, such as \"0 2 * * Sun#2\"");
    let lasts = table.duration("for");
    match lasts {
        None if !table.has("for") => table.missing("for", "how long it stays open, such as \"4h\""),
        Some(lasts) if lasts.is_zero() || lasts > LONGEST => {
            table.wrong::<()>(
                "for",
                code::WRONG_VALUE,
                "expected more than nothing and at most a week (168h)",
            );
        }
        _ => {}
    }
    let time_zone = table.parsed("time_zone", code::WRONG_VALUE);
    let said = table.has("time_zone");
    let mut blackout = Vec::new();
    for text in table.strings("blackout").unwrap_or_default() {
        match text.parse() {
            Ok(dates) => blackout.push(dates),
            Err(message) => {
                table.wrong::<()>("blackout", code::WRONG_VALUE, message);
            }
        }
    }
    let line = table.line();
    table.finish();
    let time_zone = if said { time_zone? } else { Zone::utc() };
    Some(Window { stacks: stacks?, nodes: nodes?, opens: opens?, lasts: lasts?, time_zone, blackout, line })
}

/// Reads one `[[freeze]]`.
pub(crate) fn read_freeze(mut table: Table<'_, '_>) -> Option<Freeze> {
    let stack = table.parsed("stack", code::BAD_STACK_NAME);
    let nodes = read_nodes(&mut table);
    let (from, until) = (table.timestamp("from"), table.timestamp("until"));
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        table.wrong::<()>("until", code::WRONG_VALUE, "it ends before it begins");
    }
    let reason = table.required("reason", "why nothing is to change");
    let line = table.line();
    table.finish();
    Some(Freeze { stack, nodes: nodes?, from, until, reason: reason?, line })
}

fn read_stacks(table: &mut Table<'_, '_>) -> Option<Vec<StackName>> {
    let names = table.strings("stacks").unwrap_or_default();
    let read = |name: &String| {
        name.parse().map_err(|error| {
            table.wrong::<()>("stacks", code::BAD_STACK_NAME, format!("`{name}`: {error}"));
        })
    };
    names.iter().map(read).collect::<Result<_, ()>>().ok()
}

/// Every node when absent.
fn read_nodes(table: &mut Table<'_, '_>) -> Option<Selector> {
    let said = table.has("nodes");
    let nodes = table.parsed("nodes", code::BAD_SELECTOR);
    if said { nodes } else { Some(Selector::everything()) }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
