//! Times as people write them.

use backstay_types::Timestamp;
use jiff::{
    Span, Zoned,
    civil::{Date, DateTime, Time, Weekday},
};

use crate::error::CliError;

const EXPECTED: &str = "expected RFC 3339 (2026-11-20T14:00:00Z), `2026-11-20 14:00`, `14:00`, `2h ago`, `in 2h`, \
                        `yesterday 14:00`, or a weekday";

/// A time in the past or future, as `now` and its time zone see it.
///
/// RFC 3339, `now`, `2h ago`, `1 day 3 hours ago`, `in 30m`, `today|yesterday|tomorrow [14:00]`,
/// `monday [14:00]` (the last one), `14:00` (today), `2026-11-20 [14:00[:05]]`.
///
/// # Errors
/// Says what was expected.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, CliError> {
    let words = text.trim().to_lowercase();
    if words.is_empty() {
        return Err(wrong(text));
    }
    if let Ok(at) = text.trim().parse::<Timestamp>() {
        return Ok(at);
    }
    if let Some(length) = words.strip_suffix("ago") {
        return shift(length, now, -1).ok_or_else(|| wrong(text));
    }
    if let Some(length) = words.strip_prefix("in ") {
        return shift(length, now, 1).ok_or_else(|| wrong(text));
    }
    let local = if words == "now" { Some(now.datetime()) } else { local(&words, now) };
    let local = local.ok_or_else(|| wrong(text))?;
    // A time that a clock change skips or repeats: as most calendars read it.
    Ok(local.to_zoned(now.time_zone().clone()).map_err(|_| wrong(text))?.timestamp())
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

fn wrong(text: &str) -> CliError {
    CliError::argument(format!("`{text}` is not a time: {EXPECTED}"))
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

/// A day, a time of day, or both.
fn local(words: &str, now: &Zoned) -> Option<DateTime> {
    let (first, rest) = words.split_once([' ', 't']).map_or((words, None), |(a, b)| (a, Some(b.trim())));
    // `today` and `tuesday` hold a `t` themselves: split those at the space alone.
    let (first, rest) = if first.starts_with(|c: char| c.is_ascii_digit()) {
        (first, rest)
    } else {
        words.split_once(' ').map_or((words, None), |(a, b)| (a, Some(b.trim())))
    };
    match (day(first, now), rest) {
        (Some(day), Some(time)) => Some(day.to_datetime(clock(time)?)),
        (Some(day), None) => Some(day.to_datetime(Time::midnight())),
        (None, None) => Some(now.date().to_datetime(clock(first)?)),
        (None, Some(_)) => None,
    }
}

fn day(word: &str, now: &Zoned) -> Option<Date> {
    let today = now.date();
    match word {
        "today" => Some(today),
        "yesterday" => today.yesterday().ok(),
        "tomorrow" => today.tomorrow().ok(),
        _ => weekday(word).and_then(|day| today.nth_weekday(-1, day).ok()).or_else(|| date(word)),
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
mod tests {
    use super::*;

    fn now() -> Zoned {
        // A Saturday.
        "2026-11-21T15:30:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str) -> String {
        match parse(text, &now()) {
            Ok(at) => at.to_zoned(now().time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => "no".to_owned(),
        }
    }

    #[test]
    fn understands_what_people_write() {
        for (text, expected) in [
            ("2026-11-20T14:00:00Z", "2026-11-20 15:00:00"),
            ("2026-11-20T14:00:00+01:00", "2026-11-20 14:00:00"),
            ("2026-11-20T14:00", "2026-11-20 14:00:00"),
            ("2026-11-20 14:00", "2026-11-20 14:00:00"),
            ("2026-11-20 14:00:05", "2026-11-20 14:00:05"),
            ("2026-11-20", "2026-11-20 00:00:00"),
            ("now", "2026-11-21 15:30:00"),
            ("2h ago", "2026-11-21 13:30:00"),
            ("2 hours ago", "2026-11-21 13:30:00"),
            ("1h 30m ago", "2026-11-21 14:00:00"),
            ("1 day, 3 hours ago", "2026-11-20 12:30:00"),
            ("in 45m", "2026-11-21 16:15:00"),
            ("yesterday", "2026-11-20 00:00:00"),
            ("yesterday 14:00", "2026-11-20 14:00:00"),
            ("Yesterday 9:05", "2026-11-20 09:05:00"),
            ("today 14:00", "2026-11-21 14:00:00"),
            ("tomorrow 08:00", "2026-11-22 08:00:00"),
            ("tuesday 14:00", "2026-11-17 14:00:00"),
            ("saturday", "2026-11-14 00:00:00"),
            ("14:00", "2026-11-21 14:00:00"),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for text in [
            "",
            "ago",
            "h ago",
            "2 ago",
            "2x ago",
            "14",
            "20261120",
            "deadbeef",
            "25:00",
            "yesterday 14",
            "in",
            "x 14:00",
            "99999999999999999999h ago",
            "9223372036854775807w ago",
        ] {
            assert_eq!(at(text), "no", "{text}");
        }
    }

    #[test]
    fn a_time_that_a_clock_change_skips_still_means_something() {
        let now: Zoned = "2026-04-01T12:00:00+02:00[Europe/Berlin]".parse().unwrap();
        let at = parse("2026-03-29 02:30", &now).unwrap();
        assert_eq!(at.to_string(), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn lengths() {
        assert_eq!(parse_length("1h 30m").unwrap().as_secs(), 5400);
        assert_eq!(parse_length("3 days").unwrap().as_secs(), 259_200);
        assert!(parse_length("-3h").is_err());
        assert!(parse_length("soon").is_err());
    }
}
