//! Values as Prometheus writes them: times as seconds, numbers as texts, since JSON has no NaN.

use std::fmt::Write as _;

use crate::{Labels, Sample, promql::Value};

/// The result of a query: its type and its values. Scalars and vectors stand at `at`, in milliseconds since 1970.
pub fn result(value: &Value, at: i64) -> String {
    match value {
        Value::Scalar(scalar) => typed("scalar", &point(Sample { at, value: *scalar })),
        Value::Text(text) => typed("string", &format!("[{},{}]", time(at), string(text))),
        Value::Vector(series) => {
            let element = |(labels, value): &(Labels, f64)| {
                format!("{{\"metric\":{},\"value\":{}}}", metric(labels), point(Sample { at, value: *value }))
            };
            typed("vector", &list(series.iter().map(element)))
        }
        Value::Matrix(series) => {
            let element = |(labels, samples): &(Labels, Vec<Sample>)| {
                let samples = list(samples.iter().copied().map(point));
                format!("{{\"metric\":{},\"values\":{samples}}}", metric(labels))
            };
            typed("matrix", &list(series.iter().map(element)))
        }
    }
}

fn typed(kind: &str, result: &str) -> String {
    format!("{{\"resultType\":\"{kind}\",\"result\":{result}}}")
}

pub(super) fn list(elements: impl Iterator<Item = String>) -> String {
    let mut list = String::from("[");
    for (n, element) in elements.enumerate() {
        if n > 0 {
            list.push(',');
        }
        list.push_str(&element);
    }
    list.push(']');
    list
}

/// A label set as an object.
pub(super) fn metric(labels: &Labels) -> String {
    let mut metric = String::from("{");
    for (n, (name, value)) in labels.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(metric, "{comma}{}:{}", string(name), string(value));
    }
    metric.push('}');
    metric
}

fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn point(sample: Sample) -> String {
    format!("[{},\"{}\"]", time(sample.at), go_number(sample.value))
}

/// Milliseconds as seconds, with three digits behind the point when there are any.
pub(super) fn time(at: i64) -> String {
    let sign = if at < 0 { "-" } else { "" };
    let (seconds, ms) = (at.unsigned_abs() / 1000, at.unsigned_abs() % 1000);
    if ms == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{ms:03}") }
}

/// A number with as few digits as tell it apart, with an exponent where it is very large or very small.
pub fn go_number(value: f64) -> String {
    if value.is_nan() || value.is_infinite() {
        return crate::promql::print::plain_number(value);
    }
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e-7, "1.25e-07"),
            (1e300, "1e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(go_number(value), text);
        }
        for (at, text) in [(0, "0"), (1500, "1.500"), (1_435_781_430_781, "1435781430.781"), (-1, "-0.001")] {
            assert_eq!(time(at), text);
        }
    }
}
