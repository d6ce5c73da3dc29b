//! Quantiles and fractions of classic histograms: series per bucket, told apart by `le`.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{EvalError, Evaluator, Rows, Steps, is_absent, labels, rows::Sink};
use crate::{Labels, promql::ast::Expr};

/// The label that holds a bucket's upper bound.
const BOUND: &str = "le";

/// Counts of buckets that differ by less than this part of them differ by rounding.
const TOLERANCE: f64 = 1e-12;

/// A bucket: its upper bound, and how many observations lie at or below it.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    bound: f64,
    count: f64,
}

impl<'q> Evaluator<'q> {
    pub(super) fn histogram_quantile(&self, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        let quantiles = self.scalars(&args[0], steps)?;
        for quantile in &quantiles {
            self.notes.quantile(*quantile, args[0].bare().span);
        }
        let span = args[1].bare().span;
        self.each_histogram(&args[1], steps, |labels, step, buckets| {
            let (value, was_forced) = bucket_quantile(quantiles[step], buckets);
            if was_forced {
                let name = labels.metric().unwrap_or("");
                self.notes.info(
                    format!(
                        "input to histogram_quantile needed to be fixed for monotonicity (see \
                         https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for \
                         metric name {name:?}"
                    ),
                    span,
                );
            }
            value
        })
    }

    pub(super) fn histogram_fraction(&self, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        let (lower, upper) = (self.scalars(&args[0], steps)?, self.scalars(&args[1], steps)?);
        self.each_histogram(&args[2], steps, |_, step, buckets| {
            bucket_fraction(lower[step], upper[step], buckets)
        })
    }

    /// The value of each histogram at each step.
    fn each_histogram(
        &self,
        expr: &Expr,
        steps: Steps,
        mut value: impl FnMut(&Labels, usize, &mut Vec<Bucket>) -> f64,
    ) -> Result<Rows<'q>, EvalError> {
        let rows = self.rows(expr, steps)?;
        let mut places: HashMap<Labels, usize, FixedState> = HashMap::default();
        let mut histograms: Vec<(Labels, Vec<(f64, usize)>)> = Vec::new();
        for (n, row) in rows.iter().enumerate() {
            let bound = row.labels.get(BOUND).unwrap_or("");
            let Some(bound) = parse_bound(bound) else {
                let name = row.labels.metric().unwrap_or("");
                let what = format!(
                    "bucket label \"le\" is missing or has a malformed value of {bound:?} for metric name {name:?}"
                );
                self.notes.warn(what, expr.bare().span);
                continue;
            };
            let labels = row.labels.filtered(|name| name != BOUND);
            let place = *places.entry(labels.clone()).or_insert_with(|| {
                histograms.push((labels, Vec::new()));
                histograms.len() - 1
            });
            histograms[place].1.push((bound, n));
        }
        let mut sink = Sink::new(rows.empty_like());
        let mut buckets = Vec::new();
        for (labels, members) in &histograms {
            self.budget.check()?;
            let to = sink.row(&labels::without_name(labels))?;
            for step in 0..rows.steps() {
                buckets.clear();
                let there = members.iter().map(|(bound, n)| (*bound, rows.row(*n).values[step]));
                let there = there.filter(|(_, count)| !is_absent(*count));
                buckets.extend(there.map(|(bound, count)| Bucket { bound, count }));
                if !buckets.is_empty() {
                    sink.set(to, step, value(labels, step, &mut buckets))?;
                }
            }
        }
        let mut rows = sink.into_rows();
        rows.drop_absent();
        Ok(rows)
    }
}

/// A bound as Prometheus reads it.
fn parse_bound(text: &str) -> Option<f64> {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase();
    let value = match &*bare {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => f64::NAN,
        bare if bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') => bare.parse().ok()?,
        _ => return None,
    };
    Some(if text.starts_with('-') { -value } else { value })
}

/// Sorted, those with the same bound as one. Whether the last one holds everything.
fn in_order(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.bound.partial_cmp(&b.bound).unwrap_or(std::cmp::Ordering::Equal));
    if !buckets.last().is_some_and(|last| last.bound == f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

/// The value below which the part `quantile` of the observations lies, taken as spread evenly within a bucket; and
/// whether counts had to be changed, since they fell from one bucket to the next.
fn bucket_quantile(quantile: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if quantile.is_nan() {
        return (f64::NAN, false);
    }
    if quantile < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if quantile > 1.0 {
        return (f64::INFINITY, false);
    }
    if !in_order(buckets) {
        return (f64::NAN, false);
    }
    let was_forced = made_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, false);
    }
    let mut rank = quantile * observations;
    let found = lowest(last, |n| buckets[n].count >= rank);
    if found == last {
        return (buckets[last - 1].bound, was_forced);
    }
    if found == 0 && buckets[0].bound <= 0.0 {
        return (buckets[0].bound, was_forced);
    }
    let (mut start, end, mut count) = (0.0, buckets[found].bound, buckets[found].count);
    if let Some(below) = found.checked_sub(1).map(|below| buckets[below]) {
        start = below.bound;
        count -= below.count;
        rank -= below.count;
    }
    (start + (end - start) * (rank / count), was_forced)
}

/// The lowest number below `end` for which it holds, by halves (counts may be NaN, and then it is not sorted).
fn lowest(end: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn made_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut was_forced = false;
    let Some((first, rest)) = buckets.split_first_mut() else { return false };
    let mut before = first.count;
    for bucket in rest {
        let count = bucket.count;
        if count == before {
            continue;
        }
        if nearly_equal(before, count) {
            bucket.count = before;
        } else if count < before {
            bucket.count = before;
            was_forced = true;
        } else {
            before = count;
        }
    }
    was_forced
}

fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The part of the observations between two values.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !in_order(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank =
        |value: f64| rank_of(value, buckets).map_or(count, |rank| if rank > count { count } else { rank });
    (rank(upper) - rank(lower)) / count
}

/// How many observations lie below a value; none when it is above all buckets.
fn rank_of(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let (mut rank, mut start) = (0.0, f64::NEG_INFINITY);
    for bucket in buckets {
        if start >= value {
            return Some(rank);
        }
        if bucket.bound > value {
            return Some(rank + (bucket.count - rank) * (value - start) / (bucket.bound - start));
        }
        (rank, start) = (bucket.count, bucket.bound);
    }
    None
}
