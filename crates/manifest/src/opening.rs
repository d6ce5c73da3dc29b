//! When something begins, over and over: cron's five fields, with the nth weekday of a month.

use std::{fmt, str::FromStr};

use jiff::civil::{Date, Time, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const EXPECTED: &str = "expected `minute hour day month weekday`, such as \"0 2 * * Sun#2\"";
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Years in which every combination of day, month and weekday comes round.
const CYCLE: std::ops::Range<i16> = 2024..2052;

/// `minute hour day month weekday`: numbers, `*`, lists (`1,3`), ranges (`1-5`) and steps (`*/2`). Months and weekdays go
/// by name too. `L` is the month's last day, `Sun#2` its second Sunday, `Sun#L` its last. A day must be right by both day
/// and weekday.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Opening {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    last_day: bool,
    months: u64,
    /// For each weekday from Sunday: bit 0 for any, 1 to 5 for the nth, 6 for the last of a month.
    weekdays: [u8; 7],
}

impl Opening {
    /// Whether there is an opening on a date.
    pub fn is_on(&self, date: Date) -> bool {
        let month = has(self.months, date.month());
        let last = self.last_day && date.day() == date.days_in_month();
        month && (last || has(self.days, date.day())) && self.is_weekday(date)
    }

    /// The times of day of openings, in order.
    pub fn times(&self) -> impl Iterator<Item = Time> {
        let minutes = move || (0..60).filter(|minute| has(self.minutes, *minute));
        (0..24)
            .filter(|hour| has(self.hours, *hour))
            .flat_map(move |hour| minutes().map(move |minute| Time::constant(hour, minute, 0, 0)))
    }

    /// Whether there is a date at all on which it opens.
    pub fn ever_opens(&self) -> bool {
        CYCLE.into_iter().any(|year| {
            let first = Date::constant(year, 1, 1);
            first
                .series(jiff::Span::new().days(1))
                .take_while(|date| date.year() == year)
                .any(|d| self.is_on(d))
        })
    }

    fn is_weekday(&self, date: Date) -> bool {
        let index = usize::from(date.weekday().to_sunday_zero_offset().unsigned_abs());
        let rule = self.weekdays[index];
        let nth = (date.day() - 1) / 7 + 1;
        let last = date.day() + 7 > date.days_in_month();
        rule & 1 != 0 || rule & (1 << nth) != 0 || (last && rule & (1 << 6) != 0)
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set & (1 << number) != 0)
}

impl FromStr for Opening {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<_> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("`{text}` has {} fields: {EXPECTED}", fields.len()));
        };
        let (days, last_day) = match day.strip_suffix('L') {
            Some("") => (0, true),
            Some(rest) => (set("day", rest.trim_end_matches(','), 1..=31, &[])?, true),
            None => (set("day", day, 1..=31, &[])?, false),
        };
        let opening = Self {
            text: fields.join(" "),
            minutes: set("minute", minute, 0..=59, &[])?,
            hours: set("hour", hour, 0..=23, &[])?,
            days,
            last_day,
            months: set("month", month, 1..=12, &MONTHS)?,
            weekdays: weekdays(weekday)?,
        };
        if opening.ever_opens() {
            Ok(opening)
        } else {
            Err(format!("`{text}` never comes: no date is like that"))
        }
    }
}

/// The numbers that a field means.
fn set(
    name: &str,
    field: &str,
    bounds: std::ops::RangeInclusive<u32>,
    words: &[&str],
) -> Result<u64, String> {
    let mut found = 0;
    for part in field.split(',') {
        let (low, high, step) = range(name, part, &bounds, words)?;
        found |= (low..=high).step_by(step).fold(0, |set, number| set | (1_u64 << number));
    }
    Ok(found)
}

/// First, last and step of `*`, `n`, `n-m`, each perhaps with `/step`.
fn range(
    name: &str,
    part: &str,
    bounds: &std::ops::RangeInclusive<u32>,
    words: &[&str],
) -> Result<(u32, u32, usize), String> {
    let wrong = |what: &str| {
        let (low, high) = (bounds.start(), bounds.end());
        format!("{name} `{part}`: {what}; expected {low} to {high}, `*`, a list, a range or a step")
    };
    let number = |text: &str| {
        let by_name = words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let by_name = by_name.and_then(|at| u32::try_from(at).ok()).map(|at| at + bounds.start());
        let number = by_name.or_else(|| text.parse().ok()).filter(|number| bounds.contains(number));
        number.ok_or_else(|| wrong(&format!("`{text}` is not one of them")))
    };
    let (span, step) = match part.split_once('/') {
        Some((span, step)) => {
            let step = step.parse().ok().filter(|step| (1..=59).contains(step));
            (span, Some(step.ok_or_else(|| wrong("the step is not a number from 1"))?))
        }
        None => (part, None),
    };
    let (low, high) = match span.split_once('-') {
        _ if span == "*" => (*bounds.start(), *bounds.end()),
        Some((low, high)) => (number(low)?, number(high)?),
        None if step.is_some() => (number(span)?, *bounds.end()),
        None => (number(span)?, number(span)?),
    };
    if low > high {
        return Err(wrong("it ends before it begins"));
    }
    Ok((low, high, step.unwrap_or(1)))
}

fn weekdays(field: &str) -> Result<[u8; 7], String> {
    let mut found = [0; 7];
    for part in field.split(',') {
        let (day, rule) = match part.split_once('#') {
            None => (part, 1),
            Some((day, "L" | "l")) => (day, 1 << 6),
            Some((day, nth)) => {
                let nth = nth.parse().ok().filter(|nth| (1..=5).contains(nth));
                let nth: u8 = nth.ok_or_else(|| {
                    format!("weekday `{part}`: expected `#1` to `#5` or `#L` behind the day")
                })?;
                (day, 1 << nth)
            }
        };
        let days = set("weekday", day, 0..=7, &WEEKDAYS)?;
        if rule != 1 && days.count_ones() != 1 {
            return Err(format!("weekday `{part}`: expected one day before `#`"));
        }
        // 0 and 7 are both Sunday.
        for (index, place) in found.iter_mut().enumerate() {
            let is_on = days & (1 << index) != 0 || (index == 0 && days & (1 << 7) != 0);
            *place |= if is_on { rule } else { 0 };
        }
    }
    Ok(found)
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Opening> for String {
    fn from(opening: Opening) -> Self {
        opening.text
    }
}

impl TryFrom<String> for Opening {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A weekday as people write it.
pub(crate) fn weekday_name(day: Weekday) -> &'static str {
    ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][usize::from(day.to_sunday_zero_offset().unsigned_abs())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dates(text: &str, year: i16, month: i8) -> Vec<i8> {
        let opening: Opening = text.parse().unwrap();
        let first = Date::constant(year, month, 1);
        let days = first.series(jiff::Span::new().days(1)).take_while(|d| d.month() == month);
        days.filter(|date| opening.is_on(*date)).map(|date| date.day()).collect()
    }

    #[test]
    fn the_nth_weekday_of_a_month() {
        // November 2026 begins on a Sunday.
        assert_eq!(dates("0 2 * * Sun#2", 2026, 11), [8]);
        assert_eq!(dates("0 2 * * sun#1,Sun#5", 2026, 11), [1, 29]);
        assert_eq!(dates("0 2 * * Mon#L", 2026, 11), [30]);
        assert_eq!(dates("0 2 * * Tue#5", 2026, 11), [0_i8; 0]);
        assert_eq!(dates("0 2 * * 0", 2026, 11), dates("0 2 * * 7", 2026, 11));
        assert_eq!(dates("0 2 * * Mon-Fri", 2026, 11).len(), 21);
    }

    #[test]
    fn days_months_lists_ranges_and_steps() {
        assert_eq!(dates("0 2 1,15 * *", 2026, 11), [1, 15]);
        assert_eq!(dates("0 2 L * *", 2028, 2), [29]);
        assert_eq!(dates("0 2 1,L * *", 2026, 11), [1, 30]);
        assert_eq!(dates("0 2 */10 * *", 2026, 11), [1, 11, 21]);
        assert_eq!(dates("0 2 1-7 Nov Sun", 2026, 11), [1], "both must be right");
        assert_eq!(dates("0 2 * jan-mar *", 2026, 11), [0_i8; 0]);
        let opening: Opening = "0,30 8-10/2 * * *".parse().unwrap();
        let times: Vec<_> = opening.times().map(|time| time.to_string()).collect();
        assert_eq!(times, ["08:00:00", "08:30:00", "10:00:00", "10:30:00"]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (text, expected) in [
            ("0 2 * *", "has 4 fields"),
            ("60 2 * * *", "minute `60`"),
            ("0 2 31 2 *", "never comes"),
            ("0 2 * Feb Mon#6", "`#1` to `#5`"),
            ("0 2 * * Mon-Fri#1", "one day before `#`"),
            ("0 2 * * Someday", "`Someday` is not one of them"),
            ("0 9-5 * * *", "ends before it begins"),
            ("0 */0 * * *", "the step"),
        ] {
            let error = text.parse::<Opening>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!("0 2 29 2 Mon".parse::<Opening>().is_ok(), "once in 28 years");
    }
}
