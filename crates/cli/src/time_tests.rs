//! Times as people write them, by example and by what is always so.

use proptest::prelude::*;

use super::*;

fn now() -> Zoned {
    // A Saturday.
    "2026-11-21T15:30:00+01:00[Europe/Berlin]".parse().unwrap()
}

fn show(at: Result<Timestamp, CliError>) -> String {
    match at {
        Ok(at) => at.to_zoned(now().time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "no".to_owned(),
    }
}

#[test]
fn understands_what_people_write_of_the_past() {
    for (text, expected) in [
        ("2026-11-20T14:00:00Z", "2026-11-20 15:00:00"),
        ("2026-11-20T14:00:00+01:00", "2026-11-20 14:00:00"),
        ("2026-11-20T14:00", "2026-11-20 14:00:00"),
        ("2026-11-20 14:00", "2026-11-20 14:00:00"),
        ("2026-11-20 14:00:05", "2026-11-20 14:00:05"),
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("now", "2026-11-21 15:30:00"),
        ("2h ago", "2026-11-21 13:30:00"),
        ("2h", "2026-11-21 13:30:00"),
        ("3 days", "2026-11-18 15:30:00"),
        ("2 hours ago", "2026-11-21 13:30:00"),
        ("1h 30m ago", "2026-11-21 14:00:00"),
        ("1 day, 3 hours ago", "2026-11-20 12:30:00"),
        ("yesterday", "2026-11-20 00:00:00"),
        ("yesterday 14:00", "2026-11-20 14:00:00"),
        ("Yesterday 9:05", "2026-11-20 09:05:00"),
        ("today 14:00", "2026-11-21 14:00:00"),
        ("tuesday 14:00", "2026-11-17 14:00:00"),
        ("saturday", "2026-11-14 00:00:00"),
        ("14:00", "2026-11-21 14:00:00"),
        ("18:00", "2026-11-20 18:00:00"),
        // What is still to come cannot be gone back to.
        ("in 45m", "no"),
        ("today 18:00", "no"),
        ("tomorrow 08:00", "no"),
        ("2026-11-22", "no"),
        ("2026-11-21T15:00:00Z", "no"),
    ] {
        assert_eq!(show(past(text, &now())), expected, "{text}");
    }
}

#[test]
fn understands_what_people_write_of_the_future() {
    for (text, expected) in [
        ("2026-11-27T18:00:00Z", "2026-11-27 19:00:00"),
        ("2026-11-27 18:00", "2026-11-27 18:00:00"),
        ("2026-12-24", "2026-12-24 00:00:00"),
        ("now", "2026-11-21 15:30:00"),
        ("in 45m", "2026-11-21 16:15:00"),
        ("in 3 days", "2026-11-24 15:30:00"),
        ("2h", "2026-11-21 17:30:00"),
        ("3 days", "2026-11-24 15:30:00"),
        ("today 18:00", "2026-11-21 18:00:00"),
        ("tomorrow", "2026-11-22 00:00:00"),
        ("tomorrow 09:00", "2026-11-22 09:00:00"),
        ("monday 06:00", "2026-11-23 06:00:00"),
        ("friday", "2026-11-27 00:00:00"),
        ("Friday 18:00", "2026-11-27 18:00:00"),
        // Saturday itself: what of it is still to come, else that of next week.
        ("saturday 18:00", "2026-11-21 18:00:00"),
        ("saturday 14:00", "2026-11-28 14:00:00"),
        ("saturday", "2026-11-28 00:00:00"),
        ("18:00", "2026-11-21 18:00:00"),
        ("14:00", "2026-11-22 14:00:00"),
        ("15:30", "2026-11-22 15:30:00"),
        // What has passed is a mistake.
        ("2h ago", "no"),
        ("yesterday", "no"),
        ("today 14:00", "no"),
        ("2026-11-20", "no"),
        ("2026-11-20T14:00:00Z", "no"),
    ] {
        assert_eq!(show(future(text, &now())), expected, "{text}");
    }
}

#[test]
fn an_end_is_looked_for_from_where_it_begins() {
    let friday = future("friday 18:00", &now()).ok();
    for (text, expected) in [
        ("monday 06:00", "2026-11-30 06:00:00"),
        ("22:00", "2026-11-27 22:00:00"),
        ("3 days", "2026-11-30 18:00:00"),
        // These say themselves what they count from.
        ("in 3 days", "2026-11-24 15:30:00"),
        ("tomorrow", "2026-11-22 00:00:00"),
        ("2026-12-24", "2026-12-24 00:00:00"),
    ] {
        assert_eq!(show(end(text, &now(), friday)), expected, "{text}");
    }
    assert_eq!(show(end("monday 06:00", &now(), None)), "2026-11-23 06:00:00");
    let before = past("monday", &now()).ok();
    assert_eq!(show(end("monday 06:00", &now(), before)), "2026-11-23 06:00:00");
}

#[test]
fn what_lives_for_a_while_may_be_told_its_end() {
    let seconds = |text: &str| life(text, &now()).map(|life| life.as_secs()).ok();
    assert_eq!(seconds("30 days"), Some(2_592_000));
    assert_eq!(seconds("in 2h"), Some(7200));
    assert_eq!(seconds("18:00"), Some(9000));
    assert_eq!(seconds("yesterday"), None);
    assert_eq!(seconds("soon"), None);
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
        "in friday",
        "x 14:00",
        "14:00 x",
        "99999999999999999999h ago",
        "9223372036854775807w ago",
        "9223372036854775807w",
    ] {
        assert_eq!(show(past(text, &now())), "no", "{text}");
        assert_eq!(show(future(text, &now())), "no", "{text}");
    }
}

#[test]
fn a_time_that_a_clock_change_skips_still_means_something() {
    let now: Zoned = "2026-04-01T12:00:00+02:00[Europe/Berlin]".parse().unwrap();
    assert_eq!(past("2026-03-29 02:30", &now).unwrap().to_string(), "2026-03-29T01:30:00Z");
    let before: Zoned = "2026-03-29T01:59:00+01:00[Europe/Berlin]".parse().unwrap();
    assert_eq!(future("02:30", &before).unwrap().to_string(), "2026-03-29T01:30:00Z");
}

#[test]
fn lengths() {
    assert_eq!(parse_length("1h 30m").unwrap().as_secs(), 5400);
    assert_eq!(parse_length("3 days").unwrap().as_secs(), 259_200);
    assert!(parse_length("-3h").is_err());
    assert!(parse_length("soon").is_err());
}

/// Moments in places whose clocks change by an hour, by half an hour, by a whole day, and never.
fn moments() -> impl Strategy<Value = Zoned> {
    const PLACES: &[&str] =
        &["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"];
    (946_684_800_000_i64..4_102_444_800_000, prop::sample::select(PLACES))
        .prop_map(|(millis, place)| Timestamp::from_millisecond(millis).unwrap().in_tz(place).unwrap())
}

fn clocks() -> impl Strategy<Value = String> {
    (0..24, 0..60).prop_map(|(hour, minute)| format!("{hour:02}:{minute:02}"))
}

/// What can always be found again, and before.
fn returning() -> impl Strategy<Value = String> {
    const DAYS: &[&str] = &["mon", "tuesday", "Wednesday", "thu", "friday", "sat", "sunday"];
    let day = || prop::sample::select(DAYS).prop_map(str::to_owned);
    prop_oneof![
        clocks(),
        day(),
        (day(), clocks()).prop_map(|(day, clock)| format!("{day} {clock}")),
        (0..5000_u32, prop::sample::select(&["s", "min", " hours", "d", " weeks"][..]))
            .prop_map(|(n, unit)| format!("{n}{unit}")),
    ]
}

fn anything() -> impl Strategy<Value = String> {
    let days = prop::sample::select(&["today", "yesterday", "tomorrow", "now"][..]);
    prop_oneof![
        returning(),
        returning().prop_map(|text| format!("in {text}")),
        returning().prop_map(|text| format!("{text} ago")),
        days.clone().prop_map(str::to_owned),
        (days, clocks()).prop_map(|(day, clock)| format!("{day} {clock}")),
        (2000..2100, 1..13, 1..32, clocks())
            .prop_map(|(year, month, day, clock)| format!("{year}-{month:02}-{day:02} {clock}")),
        moments().prop_map(|at| at.timestamp().to_string()),
        ".{0,20}",
    ]
}

proptest! {
    #[test]
    fn the_past_is_never_after_now_nor_the_future_before(text in anything(), now in moments()) {
        if let Ok(at) = past(&text, &now) {
            prop_assert!(at <= now.timestamp(), "{at}");
        }
        if let Ok(at) = future(&text, &now) {
            prop_assert!(at >= now.timestamp(), "{at}");
        }
    }

    #[test]
    fn what_returns_is_found_on_both_sides(text in returning(), now in moments()) {
        prop_assert!(past(&text, &now).is_ok());
        let at = future(&text, &now).unwrap();
        if weekday(text.split(' ').next().unwrap_or_default()).is_some() {
            let days = at.duration_since(now.timestamp()).as_secs_f64() / 86_400.0;
            prop_assert!(days <= 8.1, "the next one, not one of the weeks after: {days}");
        }
    }

    #[test]
    fn what_ends_by_returning_ends_after_it_began(text in returning(), now in moments(), hours in 0..2000_i64) {
        let from = now.timestamp() + jiff::SignedDuration::from_hours(hours);
        prop_assert!(end(&text, &now, Some(from)).unwrap() >= from);
    }
}
