//! What a request says.

use jiff::Timestamp;

use super::ApiError;
use crate::{
    Matcher, Window,
    promql::{
        literal::{MOST, duration, seconds},
        parse_selector,
    },
};

/// The parameters of a request: those of the form in its body first, then those of its URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// From pairs, in the order in which they count.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value of a parameter; none when it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// A time in milliseconds since 1970: seconds, or RFC 3339.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // What Prometheus says for "the earliest" and "the latest".
        match text {
            "-292273086-05-16T16:47:06Z" => return Ok(Some(-MOST)),
            "292277025-08-18T07:12:54.999999999Z" => return Ok(Some(MOST)),
            _ => {}
        }
        let at = match text.parse::<f64>() {
            Ok(value) => seconds(value),
            Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        };
        let wrong = || ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp"));
        at.map(Some).ok_or_else(wrong)
    }

    /// A duration in milliseconds: seconds, or as PromQL writes it.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let ms = match text.parse::<f64>() {
            Ok(value) => seconds(value),
            Err(_) => duration(text).and_then(Result::ok),
        };
        let wrong = || ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration"));
        ms.map(Some).ok_or_else(wrong)
    }

    /// How much of the answer is wanted; 0 and nothing stand for all.
    pub(super) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse::<usize>() {
            Ok(limit) => Ok(Some(limit).filter(|limit| *limit > 0)),
            Err(_) => Err(ApiError::parameter(
                "limit",
                format!("limit must be a number and not below 0, got {text:?}"),
            )),
        }
    }

    /// `start` and `end`; open where they are not said.
    pub(super) fn window(&self) -> Result<Window, ApiError> {
        let window = Window {
            from: self.time("start")?.unwrap_or(i64::MIN),
            to: self.time("end")?.unwrap_or(i64::MAX),
        };
        match window.to < window.from {
            true => Err(ApiError::bad_data("end timestamp must not be before start timestamp")),
            false => Ok(window),
        }
    }

    /// All of `match[]`.
    pub(super) fn matchers(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let sets = self.all("match[]").map(|text| {
            let matchers = parse_selector(text).map_err(|e| ApiError::parameter("match[]", e.to_string()))?;
            match matchers.iter().all(Matcher::matches_empty) {
                true => {
                    let what = "match[] must contain at least one non-empty matcher";
                    Err(ApiError::bad_data(what))
                }
                false => Ok(matchers),
            }
        });
        sets.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: &str) -> Params {
        Params::new(vec![("x".to_owned(), value.to_owned())])
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(params("1.5").time("x").unwrap(), Some(1500));
        assert_eq!(params("1970-01-01T00:00:01.25Z").time("x").unwrap(), Some(1250));
        assert_eq!(params("").time("x").unwrap(), None);
        for wrong in ["never", "NaN", "1e300"] {
            assert!(params(wrong).time("x").is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_seconds_or_with_units() {
        assert_eq!(params("15").duration("x").unwrap(), Some(15_000));
        assert_eq!(params("1m30s").duration("x").unwrap(), Some(90_000));
        for wrong in ["soon", "1x", "inf", "1e300"] {
            assert!(params(wrong).duration("x").is_err(), "{wrong}");
        }
    }
}
