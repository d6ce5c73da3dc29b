//! Values as Prometheus writes them: times as seconds, numbers as texts, since JSON has no NaN.

use std::fmt::Write as _;

use crate::{Labels, Sample, promql::Value};

/// The result of a query: its type and its values. Scalars and vectors stand at `at`, in milliseconds since 1970.
pub fn result(value: &Value, at: i64) -> String {
    let (kind, write): (_, &dyn Fn(&mut String)) = match value {
        Value::Scalar(value) => ("scalar", &|out| point(out, Sample { at, value: *value })),
        Value::Text(text) => ("string", &|out| {
            let _ = write!(out, "[{},{}]", time(at), string(text));
        }),
        Value::Vector(series) => ("vector", &|out| {
            each(out, series, |out, (labels, value)| {
                let _ = write!(out, "{{\"metric\":{},\"value\":", metric(labels));
                point(out, Sample { at, value: *value });
                out.push('}');
            });
        }),
        Value::Matrix(series) => ("matrix", &|out| {
            each(out, series, |out, (labels, samples)| {
                let _ = write!(out, "{{\"metric\":{},\"values\":", metric(labels));
                each(out, samples, |out, sample| point(out, *sample));
                out.push('}');
            });
        }),
    };
    let mut out = format!("{{\"resultType\":\"{kind}\",\"result\":");
    write(&mut out);
    out.push('}');
    out
}

/// A list, written one element after the other: an answer may have millions.
fn each<T>(out: &mut String, elements: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (n, element) in elements.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write(out, element);
    }
    out.push(']');
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

fn point(out: &mut String, sample: Sample) {
    let _ = write!(out, "[{},\"{}\"]", time(sample.at), go_number(sample.value));
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
