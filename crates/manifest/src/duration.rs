//! Durations as people write them: `2s`, `1m30s`, `500ms`.

use std::{fmt::Write, time::Duration};

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration: whole numbers with the units `ms`, `s`, `m`, `h`, `d`, largest first or not,
/// without spaces, such as `90s` or `1h30m`. `None` when it is anything else, or over 100 years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const LONGEST: u64 = 100 * 366 * 86_400_000;
    let mut rest = text;
    let mut millis = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        millis = millis.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[letters..];
    }
    (millis <= LONGEST).then(|| Duration::from_millis(millis))
}

/// Writes a duration so that [`parse_duration`] reads it again; parts under a millisecond are cut.
pub fn format_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, factor) in [UNITS[4], UNITS[3], UNITS[2], UNITS[1], UNITS[0]] {
        let count = left / u128::from(factor);
        left %= u128::from(factor);
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Durations as text in serialised values.
pub(crate) mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        super::parse_duration(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a duration")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_common_forms() {
        assert_eq!(parse_duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "5", "s", "2 s", "-2s", "2.5s", "2sec", "99999999999999999999d", "200000d", "2s5"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn writes_what_it_reads(millis in 0..3_000_000_000u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn never_panics(text in ".*") {
            let _ = parse_duration(&text);
        }
    }
}
