//! Queries put together at random.

use crate::{
    both,
    compare::Ask,
    data::{Dice, LENGTH},
};

const SELECTORS: &[&str] = &[
    "temperature",
    "limit",
    "http_requests_total",
    "http_requests_total{code=\"200\"}",
    "http_requests_total{job=\"api\",code!=\"500\"}",
    "late_total",
    "jittered_total",
    "flapping",
    "moved",
    "sparse",
    "rare",
    "mixed_nan",
    "build_info",
    "latency_bucket{route=\"/\"}",
    "not_a_counter",
    "nothing",
];
const LABELS: &[&str] = &["job", "instance", "code", "room", "node", "route", "le"];

struct Generator(Dice);

impl Generator {
    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        self.0.pick::<&'static str>(from)
    }

    fn labels(&mut self) -> String {
        let labels: Vec<_> = (0..self.0.below(3)).map(|_| self.pick(LABELS)).collect();
        labels.join(", ")
    }

    fn shift(&mut self) -> &'static str {
        self.pick(&[
            "",
            "",
            "",
            "",
            " offset 1m",
            " offset 7m13s",
            " offset -2m",
            " @ 1700003600",
            " @ start()",
            " @ end() offset 3m",
        ])
    }

    fn scalar(&mut self, depth: u64) -> String {
        match self.0.below(8) {
            0..5 => self.pick(&["0", "1", "2.5", "-3", "100", "0.9"]).to_owned(),
            5 => "(time() - 1700000000)".to_owned(),
            6 if depth > 0 => format!("scalar({})", self.vector(depth - 1)),
            _ => "1e3".to_owned(),
        }
    }

    fn range(&mut self, depth: u64) -> String {
        if depth > 0 && self.0.below(4) == 0 {
            let window = self.pick(&["[5m:1m]", "[10m:47s]", "[3m:]", "[20m:5m]"]);
            return format!("({}){window}{}", self.vector(depth - 1), self.shift());
        }
        let window = self.pick(&["[1m]", "[5m]", "[47s]", "[20m]", "[15s]", "[1h]"]);
        format!("{}{window}{}", self.pick(SELECTORS), self.shift())
    }

    fn vector(&mut self, depth: u64) -> String {
        if depth == 0 {
            return format!("{}{}", self.pick(SELECTORS), self.shift());
        }
        match self.0.below(10) {
            0 => format!("{}{}", self.pick(SELECTORS), self.shift()),
            1..4 => {
                let function = self.pick(&[
                    "rate",
                    "increase",
                    "delta",
                    "irate",
                    "idelta",
                    "avg_over_time",
                    "sum_over_time",
                    "min_over_time",
                    "max_over_time",
                    "count_over_time",
                    "last_over_time",
                    "changes",
                    "resets",
                    "present_over_time",
                    "absent_over_time",
                    "stddev_over_time",
                    "quantile_over_time",
                ]);
                let first = if function == "quantile_over_time" { "0.7, " } else { "" };
                format!("{function}({first}{})", self.range(depth - 1))
            }
            4..6 => {
                let op = self.pick(&["sum", "avg", "count", "min", "max", "group", "stdvar", "quantile"]);
                let first = if op == "quantile" { "0.3, " } else { "" };
                let grouping = match self.0.below(3) {
                    0 => String::new(),
                    1 => format!("by ({})", self.labels()),
                    _ => format!("without ({})", self.labels()),
                };
                format!("{op} {grouping} ({first}{})", self.vector(depth - 1))
            }
            6 => {
                let function =
                    self.pick(&["abs", "ceil", "sgn", "timestamp", "absent", "round", "sort", "-"]);
                format!("{function}({})", self.vector(depth - 1))
            }
            7 => {
                let op = self.pick(&["+", "-", "*", "/", "%", "==", "!=", ">", "<", ">= bool", "< bool"]);
                format!("({} {op} {})", self.vector(depth - 1), self.scalar(depth - 1))
            }
            8 => {
                let op = self.pick(&["and", "or", "unless"]);
                let matching = match self.0.below(3) {
                    0 => String::new(),
                    1 => format!("on ({})", self.labels()),
                    _ => format!("ignoring ({})", self.labels()),
                };
                format!("({} {op} {matching} {})", self.vector(depth - 1), self.vector(depth - 1))
            }
            _ => {
                let op = self.pick(&["+", "-", "*", "/", "==", ">", "<= bool"]);
                let matching = match self.0.below(4) {
                    0 => String::new(),
                    1 => format!("on ({})", self.labels()),
                    2 => format!("ignoring ({})", self.labels()),
                    _ => format!("on ({}) group_left", self.labels()),
                };
                format!("({} {op} {matching} {})", self.vector(depth - 1), self.vector(depth - 1))
            }
        }
    }
}

/// A thousand queries; the seed makes another thousand.
#[test]
fn generated_queries() {
    let Some(both) = both() else { return };
    let seed = std::env::var("PROMQL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20);
    let mut generator = Generator(Dice::new(seed));
    let asked: Vec<_> = (0..1000)
        .map(|n| {
            let query = generator.vector(1 + n % 4);
            let ask = match n % 3 {
                0 => Ask::At(i64::try_from(generator.0.below(u64::try_from(LENGTH).unwrap())).unwrap()),
                1 => Ask::Over(0, LENGTH, 307_000),
                _ => Ask::Over(3_000_000, 3_900_000, 15_000),
            };
            (query, ask)
        })
        .collect();
    both.assert_same(asked.iter().map(|(query, ask)| (&**query, *ask, false)));
}
