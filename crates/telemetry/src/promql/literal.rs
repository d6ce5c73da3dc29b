//! Numbers, durations and texts as PromQL writes them.

/// A number: decimal, hexadecimal or octal, with `_` between the digits of whole numbers.
pub(super) fn number(text: &str) -> Option<f64> {
    whole(text).or_else(|| {
        let decimal = text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        decimal.then(|| text.parse().ok()).flatten()
    })
}

fn whole(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        None => (&*lower, 10),
    };
    let lone = digits.contains("__") || digits.ends_with('_') || (radix == 10 && digits.starts_with('_'));
    let digits = digits.replace('_', "");
    if lone || !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of PromQL is a float")]
    i64::from_str_radix(&digits, radix).ok().map(|n| n as f64)
}

const UNITS: &[(&str, i64)] = &[
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A duration such as `1h30m`, in milliseconds: units from the largest to the smallest, each at most once. None when the
/// text does not look like one.
pub(crate) fn duration(text: &str) -> Option<Result<i64, String>> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut sum = 0_i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|len| *len > 0)?;
        let after = &rest[digits..];
        let unit = &after[..after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len())];
        let Some((_, ms)) = units.find(|(name, _)| *name == unit) else {
            let known = UNITS.iter().any(|(name, _)| *name == unit);
            return known.then(|| Err(format!("not a valid duration string: {text:?}")));
        };
        let part = rest[..digits].parse::<i64>().ok().and_then(|n| n.checked_mul(*ms));
        let Some(next) = part.and_then(|part| sum.checked_add(part)).filter(|sum| *sum <= MOST) else {
            return Some(Err("duration out of range".to_owned()));
        };
        sum = next;
        rest = &after[unit.len()..];
    }
    Some(Ok(sum))
}

/// What Prometheus can count: 2⁶³ nanoseconds, about 292 years.
pub(crate) const MOST: i64 = i64::MAX / 1_000_000;

/// Seconds as milliseconds, when they are no more than a duration can be.
pub(crate) fn seconds(value: f64) -> Option<i64> {
    let ms = (value * 1000.0).round();
    #[expect(clippy::cast_precision_loss, reason = "a bound, not a value")]
    let within = ms.abs() <= MOST as f64;
    #[expect(clippy::cast_possible_truncation, reason = "it is within the bound")]
    within.then_some(ms as i64)
}

/// A duration as Prometheus writes it: years and weeks only when nothing is left below them.
pub(super) fn duration_text(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = ms.unsigned_abs();
    for (unit, size) in UNITS {
        let size = size.unsigned_abs();
        let whole_only = matches!(*unit, "y" | "w");
        let count = rest / size;
        if count > 0 && (!whole_only || rest.is_multiple_of(size)) {
            text.push_str(&format!("{count}{unit}"));
            rest -= count * size;
        }
    }
    text
}

/// What stands between quotes, with its escapes read.
///
/// # Errors
/// With what is wrong, when an escape is none.
pub(super) fn unquoted(inner: &str, quote: char) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(escape) = rest.chars().next() else {
            return Err("escape sequence not terminated".to_owned());
        };
        rest = &rest[escape.len_utf8()..];
        let simple = match escape {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            c if c == quote => u8::try_from(c).ok(),
            _ => None,
        };
        match (simple, escape) {
            (Some(byte), _) => bytes.push(byte),
            (None, '0'..='7') => {
                let digits = digits(&format!("{escape}{rest}"), 3, 8)?;
                bytes.push(u8::try_from(digits).map_err(|_| "octal escape above 255".to_owned())?);
                rest = &rest[2..];
            }
            (None, 'x') => {
                bytes.push(u8::try_from(digits(rest, 2, 16)?).unwrap_or_default());
                rest = &rest[2..];
            }
            (None, 'u' | 'U') => {
                let len = if escape == 'u' { 4 } else { 8 };
                let c = char::from_u32(digits(rest, len, 16)?)
                    .ok_or_else(|| "escape sequence is an invalid Unicode code point".to_owned())?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[len..];
            }
            (None, c) => return Err(format!("unknown escape sequence {c:?}")),
        }
    }
    String::from_utf8(bytes).map_err(|_| "the string is not UTF-8".to_owned())
}

fn digits(rest: &str, len: usize, radix: u32) -> Result<u32, String> {
    let text = rest.get(..len).ok_or_else(|| "escape sequence not terminated".to_owned())?;
    if !text.chars().all(|c| c.is_digit(radix)) {
        return Err(format!("illegal character in escape sequence {text:?}"));
    }
    u32::from_str_radix(text, radix).map_err(|_| "escape sequence too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0", 0.0),
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("017", 15.0),
            ("089", 89.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["1__0", "1_", "0xg", "1e", "5m", "1.5_0", "inf"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1h30m"), Some(Ok(5_400_000)));
        assert_eq!(duration("5ms"), Some(Ok(5)));
        assert!(matches!(duration("30m1h"), Some(Err(_))));
        assert!(matches!(duration("400y"), Some(Err(_))));
        assert!(matches!(duration("99999999999999999999s"), Some(Err(_))));
        assert_eq!(duration("5x"), None);
        assert_eq!(duration("5"), None);
        assert_eq!(duration_text(90 * 24 * 3_600_000), "90d");
        assert_eq!(duration_text(14 * 24 * 3_600_000), "2w");
        assert_eq!(duration_text(5_400_001), "1h30m1ms");
    }

    #[test]
    fn texts() {
        assert_eq!(unquoted(r#"a\n\x41\101\u00e4\""#, '"'), Ok("a\nAA\u{e4}\"".to_owned()));
        for bad in [r"\'", r"\q", r"\x4", r"\ud800", r"\xff", r"\400", r"\1"] {
            assert!(unquoted(bad, '"').is_err(), "{bad}");
        }
    }
}
