//! Measurements against goals. Each measures its baseline in the same run and
//! ends with one JSON object on the last line.
//!
//! A benchmark is one file here with a function that gives a [`Measurement`],
//! and one line in [`BENCHES`].

use std::io::Write;

use serde::Serialize;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark's name
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Name them all, with their goals
    #[arg(long)]
    list: bool,
}

/// A benchmark.
struct Bench {
    name: &'static str,
    /// What is measured and what it should be, in words.
    goal: &'static str,
    measure: fn() -> Result<Measurement, String>,
}

const BENCHES: &[Bench] = &[];

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measurement {
    /// The figure.
    pub(crate) value: f64,
    /// Its unit: `ms`, `s`, `MB`, …
    pub(crate) unit: &'static str,
    /// The same by hand or without Backstay, in the same unit; none where there is nothing to compare with.
    pub(crate) baseline: Option<f64>,
    /// What it is held against.
    pub(crate) goal: Goal,
    /// More figures of the same run, by name.
    pub(crate) more: serde_json::Map<String, serde_json::Value>,
}

/// What a figure is held against.
#[cfg_attr(not(test), allow(dead_code, reason = "each benchmark uses one of the two"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most this much.
    AtMost(f64),
    /// At most this much more than the baseline.
    AtMostOverBaseline(f64),
}

#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    value: f64,
    unit: &'a str,
    baseline: Option<f64>,
    ratio: Option<f64>,
    goal: f64,
    met: bool,
    #[serde(flatten)]
    more: &'a serde_json::Map<String, serde_json::Value>,
}

impl Measurement {
    /// The figure that the value may not exceed.
    fn limit(&self) -> Result<f64, String> {
        match (self.goal, self.baseline) {
            (Goal::AtMost(limit), _) => Ok(limit),
            (Goal::AtMostOverBaseline(more), Some(baseline)) => Ok(baseline + more),
            (Goal::AtMostOverBaseline(_), None) => Err("the baseline was not measured".to_owned()),
        }
    }

    /// The last line.
    fn line(&self, bench: &str) -> Result<String, String> {
        let goal = self.limit()?;
        let line = Line {
            bench,
            value: self.value,
            unit: self.unit,
            baseline: self.baseline,
            ratio: self.baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.value / baseline),
            goal,
            met: self.value <= goal,
            more: &self.more,
        };
        serde_json::to_string(&line).map_err(|error| error.to_string())
    }
}

/// Lists, or measures one.
///
/// # Errors
/// When there is no such benchmark or it could not be measured. A goal that is not met is not an error.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    if args.list {
        for bench in BENCHES {
            println!("{:<18} {}", bench.name, bench.goal);
        }
        return Ok(());
    }
    let name = args.name.as_deref().unwrap_or_default();
    let bench = BENCHES.iter().find(|bench| bench.name == name);
    let bench = bench.ok_or_else(|| format!("there is no benchmark `{name}`; `cargo xtask bench --list`"))?;
    let line = (bench.measure)()?.line(bench.name)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(value: f64, baseline: Option<f64>, goal: Goal) -> Measurement {
        Measurement { value, unit: "ms", baseline, goal, more: serde_json::Map::new() }
    }

    #[test]
    fn the_last_line_says_whether_the_goal_is_met() {
        let over = measurement(1_250.0, Some(1_000.0), Goal::AtMostOverBaseline(300.0));
        assert_eq!(
            over.line("undo-one").unwrap(),
            r#"{"bench":"undo-one","value":1250.0,"unit":"ms","baseline":1000.0,"ratio":1.25,"goal":1300.0,"met":true}"#
        );
        let mut plain = measurement(12.0, None, Goal::AtMost(10.0));
        plain.more.insert("agents".into(), 3.into());
        assert_eq!(
            plain.line("x").unwrap(),
            r#"{"bench":"x","value":12.0,"unit":"ms","baseline":null,"ratio":null,"goal":10.0,"met":false,"agents":3}"#
        );
    }

    #[test]
    fn a_goal_over_a_baseline_needs_the_baseline() {
        assert!(measurement(1.0, None, Goal::AtMostOverBaseline(1.0)).line("x").is_err());
    }

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<_> = BENCHES.iter().map(|bench| bench.name).collect();
        assert_eq!(names.len(), BENCHES.len());
    }
}
