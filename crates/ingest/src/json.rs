//! Reading JSON that may have any shape.

use backstay_types::Timestamp;
use serde_json::Value;

/// The longest foreign id that is kept, in bytes.
const LONGEST_ID: usize = 512;

/// The text under a key, when there is one that is not empty.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// An id under a key: a text without control characters and of sane length.
pub(crate) fn id<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    text(value, key).filter(|id| id.len() <= LONGEST_ID && !id.chars().any(char::is_control))
}

/// A time: RFC 3339, or milliseconds since 1970.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(millis) => Timestamp::from_millisecond(millis.as_i64()?).ok(),
        _ => None,
    }
}

/// What kind of value it is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
