//! What a benchmark gives.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// What was measured; the goals are not known here.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Figures {
    /// The figure that has the main goal.
    pub(crate) value: f64,
    /// The same by hand or without Backstay, in the same unit.
    pub(crate) baseline: Option<f64>,
    /// More figures of the same run; some have goals of their own.
    pub(crate) more: Map<String, Value>,
}

impl Figures {
    /// With one more figure, rounded to what is worth reading.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.more.insert(name.to_owned(), Value::from(rounded(value)));
        self
    }

    /// With a list of figures.
    pub(crate) fn with_all(mut self, name: &str, values: &[f64]) -> Self {
        let values = values.iter().map(|value| Value::from(rounded(*value))).collect();
        self.more.insert(name.to_owned(), values);
        self
    }
}

/// Two decimals.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long it takes, in milliseconds.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = work();
    (done, millis(start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
