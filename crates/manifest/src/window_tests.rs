use proptest::prelude::*;

use super::*;

fn window(opens: &str, lasts: &str, zone: &str, blackout: &[&str]) -> Window {
    Window {
        stacks: Vec::new(),
        nodes: Selector::everything(),
        opens: opens.parse().unwrap(),
        lasts: crate::duration::parse_duration(lasts).unwrap(),
        time_zone: zone.parse().unwrap(),
        blackout: blackout.iter().map(|text| text.parse().unwrap()).collect(),
        line: 0,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn open_from_its_opening_for_as_long_as_it_lasts() {
    let window = window("0 2 * * Sun#2", "4h", "Europe/Berlin", &[]);
    // The second Sunday of December 2026 is the 13th; Berlin is an hour ahead.
    let (opens, closes) = (at("2026-12-13T01:00:00Z"), at("2026-12-13T05:00:00Z"));
    let before = at("2026-12-13T00:59:59Z");
    assert!(!window.is_open(before) && window.is_open(opens));
    assert!(window.is_open(at("2026-12-13T04:59:59Z")) && !window.is_open(closes));
    assert_eq!(window.changes_at(before), Some(opens));
    assert_eq!(window.changes_at(opens), Some(closes));
    assert_eq!(window.changes_at(closes), Some(at("2027-01-10T01:00:00Z")));
    assert_eq!(window.shown(opens), "Sun 2026-12-13 02:00 CET");
}

#[test]
fn the_clock_changes_and_windows_last_as_long_as_they_should() {
    // On 2026-03-29 the clock in Berlin goes from 02:00 to 03:00, on 2026-10-25 from 03:00 to 02:00.
    let skipped = window("30 2 * * *", "1h", "Europe/Berlin", &[]);
    assert_eq!(skipped.changes_at(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
    assert_eq!(skipped.changes_at(at("2026-03-29T01:30:00Z")), Some(at("2026-03-29T02:30:00Z")));
    let twice = at("2026-10-25T00:30:00Z");
    assert_eq!(skipped.changes_at(at("2026-10-25T00:00:00Z")), Some(twice), "the first of the two");
    assert!(!skipped.is_open(at("2026-10-25T01:30:00Z")));
    let night = window("0 22 * * Sat", "8h", "Europe/Berlin", &[]);
    let shorter = at("2026-03-28T21:00:00Z");
    assert_eq!(night.changes_at(shorter), Some(at("2026-03-29T05:00:00Z")), "eight hours, not until six");
}

#[test]
fn closed_on_days_of_blackout_by_its_own_clock() {
    let window = window("0 22 * * *", "4h", "America/New_York", &["2026-12-24..2026-12-26"]);
    let eve = at("2026-12-24T03:30:00Z");
    assert!(window.is_open(eve), "the 23rd, half past ten in the evening");
    assert_eq!(window.changes_at(eve), Some(at("2026-12-24T05:00:00Z")), "midnight");
    assert!(!window.is_open(at("2026-12-24T05:30:00Z")) && !window.is_open(at("2026-12-26T03:30:00Z")));
    let back = at("2026-12-27T05:00:00Z");
    assert_eq!(window.changes_at(at("2026-12-24T05:30:00Z")), Some(back), "what began on the 26th goes on");
    assert!(window.is_open(back));
}

#[test]
fn windows_that_meet_are_one() {
    let window = window("0 */2 * * Sat", "2h", "UTC", &[]);
    let inside = at("2026-11-21T10:23:00Z");
    assert!(window.is_open(inside));
    assert_eq!(window.changes_at(inside), Some(at("2026-11-22T00:00:00Z")));
    let always = super::tests::window("0 0 * * *", "24h", "UTC", &[]);
    assert_eq!(always.changes_at(inside), None, "it never closes");
    let never = super::tests::window("0 0 24 12 *", "1h", "UTC", &["2020-01-01..2099-12-31"]);
    assert_eq!(never.changes_at(inside), None, "it never opens");
}

#[test]
fn zones_are_known_everywhere_and_named_when_nearly_right() {
    assert_eq!("utc".parse::<Zone>().unwrap().to_string(), "UTC");
    assert_eq!("Asia/Kolkata".parse::<Zone>().unwrap().to_string(), "Asia/Kolkata");
    let error = "Europe/Berlim".parse::<Zone>().unwrap_err();
    assert!(error.contains("did you mean `Europe/Berlin`?"), "{error}");
    let kept =
        serde_json::to_string(&window("0 2 * * Sun#2", "4h", "Europe/Berlin", &["2026-12-24"])).unwrap();
    let back: Window = serde_json::from_str(&kept).unwrap();
    assert_eq!(back, window("0 2 * * Sun#2", "4h", "Europe/Berlin", &["2026-12-24"]));
}

proptest! {
    /// What it says it will do, it does, and not a second earlier.
    #[test]
    fn changes_are_where_they_are_said_to_be(
        second in 1_700_000_000..1_900_000_000_i64,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
        opens in prop::sample::select(vec!["0 2 * * Sun#2", "30 2 * * *", "15 22 * * Mon-Fri", "0 0 L * *", "*/20 3 * 3,10,11 *"]),
        hours in 1..40_u64,
        black: bool,
    ) {
        let dates: &[&str] = if black { &["2024-03-31", "2025-10-26..2025-11-02", "2027-01-01"] } else { &[] };
        let window = Window { lasts: Duration::from_secs(hours * 1800), ..window(opens, "1h", zone, dates) };
        let at = Timestamp::from_second(second).unwrap();
        let open = window.is_open(at);
        if let Some(change) = window.changes_at(at) {
            prop_assert!(change > at);
            prop_assert_eq!(window.is_open(change), !open);
            let before = change.checked_sub(SignedDuration::from_secs(1)).unwrap();
            prop_assert_eq!(window.is_open(before), open);
            let middle = Timestamp::from_second(at.as_second().midpoint(change.as_second())).unwrap();
            prop_assert_eq!(window.is_open(middle.max(at)), open);
        }
    }
}
