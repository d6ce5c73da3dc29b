//! What a scrape gets: Prometheus' text format and OpenMetrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//! Timestamps of single lines and exemplars are left out: a sample is from when it was scraped.

use std::{collections::HashMap, str::Chars};

use super::{Incoming, Unreadable};
use crate::{Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, Sample};

/// Reads what a target answered at a time. The target's own labels come to each series; what the text has under the same
/// name goes to `exported_<name>`, as in Prometheus.
///
/// # Errors
/// With the number of the line that cannot be read.
pub fn read(text: &str, at: i64, target: &Labels) -> Result<Incoming, Unreadable> {
    let mut incoming = Incoming::default();
    let mut said: HashMap<String, Metadata> = HashMap::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            note(comment, &mut said);
            continue;
        }
        let (labels, value) = sample(line, target)
            .ok_or_else(|| Unreadable::Malformed(format!("line {} is no sample: {line:.100}", n + 1)))?;
        incoming.batch.push((labels, vec![Sample { at, value }]));
    }
    // Counters of OpenMetrics are described without their ending.
    incoming.metadata.extend(said.into_iter().map(|(name, metadata)| {
        let counter = metadata.kind == MetricKind::Counter && !name.ends_with("_total");
        (if counter { format!("{name}_total") } else { name }, metadata)
    }));
    Ok(incoming)
}

fn note(comment: &str, said: &mut HashMap<String, Metadata>) {
    let mut words = comment.trim_start().splitn(3, [' ', '\t']);
    let (Some(what), Some(metric), rest) = (words.next(), words.next(), words.next().unwrap_or_default())
    else {
        return;
    };
    if !["TYPE", "HELP", "UNIT"].contains(&what) {
        return;
    }
    let empty = Metadata { kind: MetricKind::Unknown, help: String::new(), unit: String::new() };
    let metadata = said.entry(metric.to_owned()).or_insert(empty);
    match what {
        "TYPE" => metadata.kind = kind_of(rest.trim()),
        "HELP" => metadata.help = rest.replace("\\n", "\n").replace("\\\\", "\\"),
        _ => rest.trim().clone_into(&mut metadata.unit),
    }
}

fn kind_of(word: &str) -> MetricKind {
    match word {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "gaugehistogram" => MetricKind::GaugeHistogram,
        "summary" => MetricKind::Summary,
        "info" => MetricKind::Info,
        "stateset" => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

fn sample(line: &str, target: &Labels) -> Option<(Labels, f64)> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    let mut labels = target.to_builder();
    labels.set(METRIC_NAME, name);
    let rest = match rest.strip_prefix('{') {
        Some(inside) => pairs(inside, &mut labels, target)?,
        None => rest,
    };
    let value = rest.split_whitespace().next()?;
    Some((labels.build(), number(value)?))
}

/// Reads `a="b",c="d"}` and gives what follows.
fn pairs<'a>(text: &'a str, labels: &mut LabelsBuilder, target: &Labels) -> Option<&'a str> {
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (name, after) = rest.split_once('=')?;
        let mut chars = after.trim_start().strip_prefix('"')?.chars();
        let value = quoted(&mut chars)?;
        let name = name.trim();
        match target.get(name) {
            Some(_) => labels.set(format!("exported_{name}"), value),
            None => labels.set(name, value),
        };
        rest = chars.as_str().trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

/// Reads up to the closing quote.
fn quoted(chars: &mut Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_read() {
        let text = "# HELP a_seconds What \\n it is\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{x=\"1,}\\\"\\\\\\n\",job=\"theirs\"} 12.5 1700000000 # {trace_id=\"x\"} 1\n\
                    b 3\nc{} +Inf\nd{y=\"z\",} NaN\n# EOF\n";
        let target = Labels::from_pairs([("job", "ours")]);
        let incoming = read(text, 5, &target).unwrap();
        let found: Vec<_> =
            incoming.batch.iter().map(|(labels, s)| (labels.to_string(), s[0].value)).collect();
        assert_eq!(
            found[0].0,
            r#"{__name__="a_seconds_total", exported_job="theirs", job="ours", x="1,}\"\\\n"}"#
        );
        assert_eq!(found[0].1, 12.5);
        assert_eq!(found[1], (r#"{__name__="b", job="ours"}"#.to_owned(), 3.0));
        assert_eq!(found[2].1, f64::INFINITY);
        assert!(found[3].1.is_nan());
        assert_eq!(incoming.metadata[0].0, "a_seconds_total");
        assert_eq!(incoming.metadata[0].1.unit, "seconds");
        let wrong = read("a 1\nb{x=\"1\" 2\n", 5, &target).unwrap_err();
        assert!(wrong.to_string().contains("line 2"), "{wrong}");
    }
}
