//! Durations as people write them: `500ms`, `30s`, `1h 30m`.

use std::time::Duration;

use jiff::{SignedDuration, fmt::friendly::SpanPrinter};
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Writes a duration, such as `1h 30m`.
pub fn show(value: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&value)
}

/// Reads a duration.
///
/// # Errors
/// A message that says what was expected.
pub fn read(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is not a duration: expected a number with its unit, such as 500ms, 30s, 5m or 1h 30m"
        )
    };
    let signed: SignedDuration = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*value))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h 30m", 5_400_000), ("0s", 0)]
        {
            assert_eq!(read(text).unwrap(), Duration::from_millis(millis));
            assert_eq!(show(Duration::from_millis(millis)), text);
        }
        for text in ["", "30", "-30s", "30 parsecs", "s", "1e9999s", "99999999999999999999s"] {
            assert!(read(text).unwrap_err().contains("expected"), "{text}");
        }
    }
}
