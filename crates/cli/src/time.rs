//! Times as people write them.

use backstay_types::Timestamp;
use jiff::{
    Span, Zoned,
    civil::{Date, Time, Weekday},
};

use crate::error::CliError;

const PAST: &str = "`2h ago`, `2h`, `14:00`, `yesterday 14:00`, `monday`, `2026-11-20 14:00` or RFC 3339";
const FUTURE: &str =
    "`in 2h`, `2h`, `18:00`, `tomorrow 09:00`, `friday 18:00`, `2026-11-20 18:00` or RFC 3339";

/// On which side of now a time is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Past,
    Future,
}

/// A time that has been, as `now` and its time zone see it: never after `now`.
///
/// RFC 3339, `now`, `2h ago`, `1 day 3 hours` (ago), `today|yesterday [14:00]`, `monday [14:00]` (the last one before
/// today), `14:00` (the last one), `2026-11-20 [14:00[:05]]`.
///
/// # Errors
/// Says what was expected, or that it is still to come.
pub(crate) fn past(text: &str, now: &Zoned) -> Result<Timestamp, CliError> {
    let wrong = || CliError::argument(format!("`{text}` is not a time: expected {PAST}"));
    let at = read(text, now, now, Side::Past).ok_or_else(wrong)?;
    if at > now.timestamp() {
        let message = format!("`{text}` is still to come: expected a time that has been, such as {PAST}");
        return Err(CliError::argument(message));
    }
    Ok(at)
}

/// A time to come, as `now` and its time zone see it: never before `now`.
///
/// RFC 3339, `now`, `in 30m`, `2h` (from now), `today|tomorrow [14:00]`, `monday [14:00]` (the next one), `14:00` (the
/// next one), `2026-11-20 [14:00[:05]]`.
///
/// # Errors
/// Says what was expected, or that it has passed.
pub(crate) fn future(text: &str, now: &Zoned) -> Result<Timestamp, CliError> {
    ahead(text, now, now)
}

/// When something ends that begins at `from`, or now: as [`future`], but a weekday, a time of day and a length count from
/// where it begins. `monday 06:00` of what begins on Friday is the Monday after that.
///
/// # Errors
/// As [`future`].
pub(crate) fn end(text: &str, now: &Zoned, from: Option<Timestamp>) -> Result<Timestamp, CliError> {
    let begin = from.map(|from| from.to_zoned(now.time_zone().clone()));
    ahead(text, now, begin.as_ref().filter(|begin| *begin > now).unwrap_or(now))
}

/// How long something lives: a length, or until a time to come.
///
/// # Errors
/// Says what was expected.
pub(crate) fn life(text: &str, now: &Zoned) -> Result<std::time::Duration, CliError> {
    if let Ok(length) = parse_length(text) {
        return Ok(length);
    }
    let at = future(text, now)?;
    // Whole seconds, and never less than asked for.
    let left = at.duration_since(now.timestamp());
    let seconds = left.as_secs() + i64::from(left.subsec_nanos() > 0);
    Ok(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

fn ahead(text: &str, now: &Zoned, after: &Zoned) -> Result<Timestamp, CliError> {
    let wrong = || CliError::argument(format!("`{text}` is not a time: expected {FUTURE}"));
    let at = read(text, now, after, Side::Future).ok_or_else(wrong)?;
    if at < now.timestamp() {
        let message = format!("`{text}` has passed already: expected a time to come, such as {FUTURE}");
        return Err(CliError::argument(message));
    }
    Ok(at)
}

/// What `text` means. Weekdays, times of day and lengths are looked for from `from` on, or back from it.
fn read(text: &str, now: &Zoned, from: &Zoned, side: Side) -> Option<Timestamp> {
    if let Ok(at) = text.trim().parse::<Timestamp>() {
        return Some(at);
    }
    let words = text.trim().to_lowercase();
    if words == "now" {
        return Some(now.timestamp());
    }
    if let Some(length) = words.strip_suffix("ago") {
        return shift(length, now, -1);
    }
    if let Some(length) = words.strip_prefix("in ") {
        return shift(length, now, 1);
    }
    let sign = if side == Side::Past { -1 } else { 1 };
    shift(&words, from, sign).or_else(|| local(&words, now, from, side))
}

/// A length of time: `90s`, `10m`, `1h 30m`, `2 days`.
///
/// # Errors
/// Says what was expected.
pub(crate) fn parse_length(text: &str) -> Result<std::time::Duration, CliError> {
    let wrong =
        || CliError::argument(format!("`{text}` is not a length of time: expected 90s, 10m, 2h or 3 days"));
    let seconds = seconds(text.trim()).ok_or_else(wrong)?;
    u64::try_from(seconds).map(std::time::Duration::from_secs).map_err(|_| wrong())
}

fn shift(length: &str, now: &Zoned, sign: i64) -> Option<Timestamp> {
    let seconds = seconds(length.trim())?.checked_mul(sign)?;
    now.timestamp().checked_add(Span::new().try_seconds(seconds).ok()?).ok()
}

/// Seconds of `1h 30m`, `2 days`: numbers and units, with or without spaces.
fn seconds(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total = total.checked_add(number.checked_mul(unit(&rest[..letters])?)?)?;
        rest = rest[letters..].trim_start_matches([' ', ',']);
    }
    Some(total)
}

fn unit(word: &str) -> Option<i64> {
    Some(match word {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    })
}

/// A day, a time of day, or both. A time that a clock change skips or repeats is read as most calendars do.
fn local(words: &str, now: &Zoned, from: &Zoned, side: Side) -> Option<Timestamp> {
    let (first, rest) = words.split_once([' ', 't']).map_or((words, None), |(a, b)| (a, Some(b.trim())));
    // `today` and `tuesday` hold a `t` themselves: split those at the space alone.
    let (first, rest) = if first.starts_with(|c: char| c.is_ascii_digit()) {
        (first, rest)
    } else {
        words.split_once(' ').map_or((words, None), |(a, b)| (a, Some(b.trim())))
    };
    let at = |day: Date, time: Time| {
        Some(day.to_datetime(time).to_zoned(now.time_zone().clone()).ok()?.timestamp())
    };
    if rest.is_none()
        && let Some(time) = clock(first)
    {
        return nearest(from, side, 1, at, from.date(), time);
    }
    let time = rest.map_or(Some(Time::midnight()), clock)?;
    let Some(weekday) = weekday(first) else { return at(day(first, now)?, time) };
    match side {
        Side::Past => nearest(from, side, 7, at, from.date().nth_weekday(-1, weekday).ok()?, time),
        Side::Future => {
            let yesterday = from.date().yesterday().ok()?;
            nearest(from, side, 7, at, yesterday.nth_weekday(1, weekday).ok()?, time)
        }
    }
}

/// The first time after `from`, or the last one up to it, among days that are `step` days apart, beginning at `day`.
fn nearest(
    from: &Zoned,
    side: Side,
    step: i64,
    at: impl Fn(Date, Time) -> Option<Timestamp>,
    day: Date,
    time: Time,
) -> Option<Timestamp> {
    let fits = |at: &Timestamp| match side {
        Side::Past => *at <= from.timestamp(),
        Side::Future => *at > from.timestamp(),
    };
    let sign = if side == Side::Past { -step } else { step };
    // The third is for a day that a clock change makes come out later than it is written.
    let days = (0..3).filter_map(|i| day.checked_add(Span::new().try_days(sign * i).ok()?).ok());
    days.filter_map(|day| at(day, time)).find(fits)
}

fn day(word: &str, now: &Zoned) -> Option<Date> {
    let today = now.date();
    match word {
        "today" => Some(today),
        "yesterday" => today.yesterday().ok(),
        "tomorrow" => today.tomorrow().ok(),
        _ => date(word),
    }
}

fn date(word: &str) -> Option<Date> {
    // Only the form with dashes: `20261120` could be the beginning of a commit's id.
    if word.len() == 10 { word.parse().ok() } else { None }
}

fn clock(word: &str) -> Option<Time> {
    if !word.contains(':') || word.len() > 8 {
        return None;
    }
    let padded = if word.find(':') == Some(1) { format!("0{word}") } else { word.to_owned() };
    padded.parse().ok()
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
