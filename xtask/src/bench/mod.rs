//! Measurements against goals. Each measures its baseline in the same run and
//! ends with one JSON object on the last line.
//!
//! Each is one entry of [`BENCHES`], which has the goals, and one file of `backstay-bench` in `e2e`, which measures.

mod programs;

use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark's name
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Name them all, with their goals
    #[arg(long)]
    list: bool,
    /// How long to look at what is quiet, instead of the usual time
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// How many megabytes to save or take in, instead of the usual number
    #[arg(long, value_name = "N")]
    mb: Option<u64>,
}

/// A benchmark.
struct Bench {
    name: &'static str,
    /// What is measured and what it should be, in words.
    about: &'static str,
    /// Of the main figure: `ms`, `s`, `MB`.
    unit: &'static str,
    /// What the main figure is held against.
    goal: Goal,
    /// More figures with the most that they may be.
    also: &'static [(&'static str, f64)],
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "undo-one",
        about: "one node, Compose: from the command to verified healthy, at most 300 ms over git revert and docker compose up --wait",
        unit: "ms",
        goal: Goal::OverBaseline(300.0),
        also: &[],
    },
    Bench {
        name: "undo-fleet",
        about: "1,000 simulated nodes: all healthy again within 10 s; the baseline is 10 nodes",
        unit: "s",
        goal: Goal::Most(10.0),
        also: &[],
    },
    Bench {
        name: "fleet-scale",
        about: "10,000 simulated agents, each asking every 31 s: p99 of a check-in within 50 ms; hub killed in a rollout and started again: all back within 2 intervals, none called offline, no report lost, at most 3,000 requests in any second; the baseline is without them",
        unit: "ms",
        goal: Goal::Most(50.0),
        also: &[
            ("back_intervals", 2.0),
            ("falsely_offline", 0.0),
            ("reports_lost", 0.0),
            ("busiest_second", 3_000.0),
            ("hub_gb_at_100000", 4.0),
            ("hub_cores_at_100000", 4.0),
        ],
    },
    Bench {
        name: "push-to-healthy",
        about: "from git push to healthy by webhook, at most 300 ms over git push and docker compose up --wait",
        unit: "ms",
        goal: Goal::OverBaseline(300.0),
        also: &[],
    },
    Bench {
        name: "agent-footprint",
        about: "two stacks, 10 quiet minutes: at most 10 MB resident, 0.2 % of a core, 5 MB a day, a binary of 15 MB",
        unit: "MB",
        goal: Goal::Most(10.0),
        also: &[("cpu_percent", 0.2), ("mb_a_day", 5.0), ("binary_mb", 15.0)],
    },
    Bench {
        name: "hub-idle",
        about: "backstay up after a minute: at most 256 MB resident and 20 % of a core, hub and agent together",
        unit: "MB",
        goal: Goal::Most(256.0),
        also: &[("cpu_percent", 20.0)],
    },
    Bench {
        name: "rollout-plan",
        about: "one step of planning for 100,000 nodes and four stacks, a rollout in wave 2 of 4: at most 50 ms of a processor; the baseline is a walk that decides nothing",
        unit: "ms",
        goal: Goal::Most(50.0),
        also: &[],
    },
    Bench {
        name: "backup",
        about: "2 GB of small, medium and large files, a backup, another with 1 % changed, a check of all data, a restore: no step slower than restic, memory at most 1.25 times its; the baseline is restic's first backup",
        unit: "s",
        goal: Goal::OverBaseline(0.0),
        also: &[("changed_ratio", 1.0), ("check_ratio", 1.0), ("restore_ratio", 1.0), ("memory_ratio", 1.25)],
    },
    Bench {
        name: "rto",
        about: "a hub with 50 simulated nodes, and a real node with 2 GB in a volume, lost and back from a bucket with all data: within 5 minutes; the baseline is restic, which restores those 2 GB",
        unit: "s",
        goal: Goal::Most(300.0),
        also: &[],
    },
    Bench {
        name: "undo-data",
        about: "Compose with PostgreSQL and 1 GB: undo with data, with all that makes it safe, within 3 times what restoring the same by hand takes (restic, pg_restore, docker compose), and the stack stands still no longer than that",
        unit: "s",
        goal: Goal::TimesBaseline(3.0),
        also: &[("still_ratio", 1.0)],
    },
    Bench {
        name: "metrics-ingest",
        about: "2.4 million samples of 20,000 series by remote-write, 4 senders, until durable: microseconds a sample, no more than Prometheus needs for the same requests (which it syncs later, and gets over HTTP); bytes of a sample in a block",
        unit: "µs",
        goal: Goal::OverBaseline(0.0),
        also: &[("bytes_ratio", 2.0)],
    },
    Bench {
        name: "log-ingest",
        about: "1 GB of logs by OTLP, secrets looked for, until Parquet and indexes are written and merged: processor time of a MB, at most 20 ms (50 MB/s and core); a tenth of it on disk; memory under its ceiling",
        unit: "ms",
        goal: Goal::Most(20.0),
        also: &[("bytes_on_disk_per_byte", 0.1), ("memory_of_ceiling", 1.0)],
    },
    Bench {
        name: "log-query",
        about: "2 GB of logs over 90 days, cold and warm: a conversation, p99 within 100 ms; an hour of a service with a text, p90 within 100 ms; 7 days by the hour within 200 ms; a rare text in 7 days within 500 ms",
        unit: "ms",
        goal: Goal::Most(100.0),
        also: &[
            ("ids_p99_ms_warm", 100.0),
            ("hour_of_a_service_p90_ms_cold", 100.0),
            ("hour_of_a_service_p90_ms_warm", 100.0),
            ("histogram_ms_cold", 200.0),
            ("histogram_ms_warm", 200.0),
            ("rare_ms_cold", 500.0),
            ("rare_ms_warm", 500.0),
        ],
    },
    Bench {
        name: "page",
        about: "10,000 nodes, 100,000 deployments, 1,000,000 entries: first paint within 100 ms, overview and a month's timeline within 300 ms, 60 frames a second; the baseline is a page without a program",
        unit: "ms",
        goal: Goal::Most(100.0),
        also: &[
            ("overview_interactive_ms", 300.0),
            ("timeline_ms", 300.0),
            ("event_visible_worst_ms", 1000.0),
            ("frame_median_ms", 17.0),
            ("frame_p95_ms", 20.0),
            ("js_kb", 150.0),
            ("hub_cpu_percent", 10.0),
        ],
    },
];

/// What was measured, as `backstay-bench` prints it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Figures {
    value: f64,
    /// The same by hand or without Backstay, in the same unit; none where there is nothing to compare with.
    baseline: Option<f64>,
    /// More figures of the same run, by name.
    more: Map<String, Value>,
}

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    /// At most this much.
    Most(f64),
    /// At most this much more than the baseline.
    OverBaseline(f64),
    /// At most so many times the baseline.
    TimesBaseline(f64),
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
    more: &'a Map<String, Value>,
}

impl Bench {
    /// The figure that the value may not exceed.
    fn limit(&self, figures: &Figures) -> Result<f64, String> {
        match (self.goal, figures.baseline) {
            (Goal::Most(limit), _) => Ok(limit),
            (Goal::OverBaseline(more), Some(baseline)) => Ok(baseline + more),
            (Goal::TimesBaseline(times), Some(baseline)) => Ok(baseline * times),
            (Goal::OverBaseline(_) | Goal::TimesBaseline(_), None) => {
                Err("the baseline was not measured".to_owned())
            }
        }
    }

    /// The last line.
    fn line(&self, figures: &Figures) -> Result<String, String> {
        let limit = self.limit(figures)?;
        let mut met = figures.value <= limit;
        for (name, limit) in self.also {
            let found = figures.more.get(*name).and_then(Value::as_f64);
            met &= found.ok_or_else(|| format!("`{name}` was not measured"))? <= *limit;
        }
        let baseline = figures.baseline.filter(|baseline| *baseline > 0.0);
        let line = Line {
            bench: self.name,
            value: rounded(figures.value),
            unit: self.unit,
            baseline: figures.baseline.map(rounded),
            ratio: baseline.map(|baseline| rounded(figures.value / baseline)),
            goal: rounded(limit),
            met,
            more: &figures.more,
        };
        serde_json::to_string(&line).map_err(|error| error.to_string())
    }
}

/// Two decimals.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Lists, or measures one.
///
/// # Errors
/// When there is no such benchmark or it could not be measured. A goal that is not met is not an error.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    if args.list {
        for bench in BENCHES {
            println!("{:<16} {}", bench.name, bench.about);
        }
        return Ok(());
    }
    let name = args.name.as_deref().unwrap_or_default();
    let bench = BENCHES.iter().find(|bench| bench.name == name);
    let bench = bench.ok_or_else(|| format!("there is no benchmark `{name}`; `cargo xtask bench --list`"))?;
    let figures = programs::measure(bench.name, args.minutes, args.mb)?;
    let line = bench.line(&figures)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(goal: Goal, also: &'static [(&'static str, f64)]) -> Bench {
        Bench { name: "x", about: "", unit: "ms", goal, also }
    }

    fn figures(value: f64, baseline: Option<f64>) -> Figures {
        let more = [("cpu".to_owned(), Value::from(3))].into_iter().collect();
        Figures { value, baseline, more }
    }

    #[test]
    fn the_last_line_says_whether_the_goal_is_met() {
        let over = bench(Goal::OverBaseline(300.0), &[]);
        assert_eq!(
            over.line(&figures(1_250.0, Some(1_000.0))).unwrap(),
            r#"{"bench":"x","value":1250.0,"unit":"ms","baseline":1000.0,"ratio":1.25,"goal":1300.0,"met":true,"cpu":3}"#
        );
        assert_eq!(
            bench(Goal::Most(10.0), &[]).line(&figures(12.0, None)).unwrap(),
            r#"{"bench":"x","value":12.0,"unit":"ms","baseline":null,"ratio":null,"goal":10.0,"met":false,"cpu":3}"#
        );
    }

    #[test]
    fn every_goal_must_be_met() {
        let met = |most| {
            let also: &'static [_] = Box::leak(Box::new([("cpu", most)]));
            bench(Goal::Most(10.0), also).line(&figures(1.0, None)).unwrap().contains(r#""met":true"#)
        };
        assert!(met(3.0));
        assert!(!met(2.9));
        assert!(bench(Goal::Most(10.0), &[("gone", 1.0)]).line(&figures(1.0, None)).is_err());
    }

    #[test]
    fn a_goal_over_a_baseline_needs_the_baseline() {
        assert!(bench(Goal::OverBaseline(1.0), &[]).line(&figures(1.0, None)).is_err());
        assert!(bench(Goal::TimesBaseline(1.0), &[]).line(&figures(1.0, None)).is_err());
        assert_eq!(bench(Goal::TimesBaseline(3.0), &[]).limit(&figures(1.0, Some(2.0))), Ok(6.0));
    }

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<_> = BENCHES.iter().map(|bench| bench.name).collect();
        assert_eq!(names.len(), BENCHES.len());
    }
}
