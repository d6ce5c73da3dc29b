//! Times for people: how long ago, and when exactly.

use backstay_types::Timestamp;
use jiff::Zoned;

/// `14:03:10 (2m ago)` today, `Nov 20 14:03 (1d ago)` before.
pub(crate) fn when(at: Timestamp, now: &Zoned) -> String {
    let local = at.to_zoned(now.time_zone().clone());
    let format = if local.date() == now.date() {
        "%H:%M:%S"
    } else if local.year() == now.year() {
        "%b %e %H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    format!("{} ({})", local.strftime(format), relative(at, now.timestamp()))
}

/// `2026-11-20 14:03:10 +01:00 (2h ago)`.
pub(crate) fn exactly(at: Timestamp, now: &Zoned) -> String {
    let local = at.to_zoned(now.time_zone().clone());
    format!("{} ({})", local.strftime("%Y-%m-%d %H:%M:%S %:z"), relative(at, now.timestamp()))
}

/// `just now`, `40s ago`, `in 2h`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    let span = span(seconds.unsigned_abs());
    match seconds {
        -1..=1 => "just now".to_owned(),
        2.. => format!("{span} ago"),
        _ => format!("in {span}"),
    }
}

/// A length of time by its largest unit: `40s`, `3m`, `2h`, `5d`.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

/// Milliseconds for people: `85 ms`, `1.2 s`, `3m 20s`.
pub(crate) fn millis(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{}m {}s", millis / 60_000, millis % 60_000 / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_both_when_and_how_long_ago() {
        let now: Zoned = "2026-11-21T15:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let show = |at: &str| when(at.parse().unwrap(), &now);
        assert_eq!(show("2026-11-21T13:58:00Z"), "14:58:00 (2m ago)");
        assert_eq!(show("2026-11-19T13:58:00Z"), "Nov 19 14:58 (2d ago)");
        assert_eq!(show("2025-01-01T00:00:00Z"), "2025-01-01 01:00 (1y ago)");
        assert_eq!(show("2026-11-21T16:00:00Z"), "17:00:00 (in 2h)");
        let exact = exactly("2026-11-21T13:58:00Z".parse().unwrap(), &now);
        assert_eq!(exact, "2026-11-21 14:58:00 +01:00 (2m ago)");
    }

    #[test]
    fn durations_by_their_largest_unit() {
        assert_eq!([0, 59, 60, 7200, 90_000].map(span), ["0s", "59s", "1m", "2h", "1d"]);
        assert_eq!([12, 1250, 200_000].map(millis), ["12 ms", "1.2 s", "3m 20s"]);
    }
}
