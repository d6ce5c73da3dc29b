//! Many series into few.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{
    ABSENT, EvalError, Evaluator, Rows, Steps,
    float::{Mean, Sum, count, nan_first, quantile},
    is_absent, labels,
    rows::Sink,
};
use crate::{
    Labels,
    promql::{
        ast::{Aggregate, AggregateOp, Expr},
        print::plain_number,
    },
};

impl<'q> Evaluator<'q> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, steps: Steps) -> Result<Rows<'q>, EvalError> {
        let param = aggregate.param.as_deref();
        let rows = self.rows(&aggregate.expr, steps)?;
        match (aggregate.op, param) {
            (AggregateOp::CountValues, Some(label)) => count_values(aggregate, Self::text(label)?, &rows),
            (op @ (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk), Some(k)) => {
                let wanted = self.scalars(k, steps)?;
                some_of(op, &Groups::of(aggregate, &rows), &wanted, rows)
            }
            (AggregateOp::Quantile, Some(param)) => {
                let wanted = self.scalars(param, steps)?;
                self.doubt_quantiles(&wanted, param);
                let groups = Groups::of(aggregate, &rows);
                groups.each_step(&rows, |step, values| quantile(wanted[step], values))
            }
            (op, _) => fold(op, &Groups::of(aggregate, &rows), &rows),
        }
    }

    fn doubt_quantiles(&self, wanted: &[f64], param: &Expr) {
        let span = param.bare().span;
        if wanted.iter().any(|q| q.is_nan()) {
            self.notes.quantile(f64::NAN, span);
        }
        let largest = wanted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = wanted.iter().copied().fold(f64::INFINITY, f64::min);
        for q in [largest, smallest].into_iter().filter(|q| q.is_finite() || wanted.contains(q)) {
            self.notes.quantile(q, span);
        }
    }
}

/// Which row belongs to which group; groups in the order of their first rows.
struct Groups {
    labels: Vec<Labels>,
    of_row: Vec<usize>,
}

impl Groups {
    fn of(aggregate: &Aggregate, rows: &Rows<'_>) -> Self {
        let mut places: HashMap<Labels, usize, FixedState> = HashMap::default();
        let mut groups = Self { labels: Vec::new(), of_row: Vec::with_capacity(rows.len()) };
        for row in rows.iter() {
            let labels = labels::grouped(&row.labels, &aggregate.grouping, aggregate.without);
            let place = *places.entry(labels.clone()).or_insert_with(|| {
                groups.labels.push(labels);
                groups.labels.len() - 1
            });
            groups.of_row.push(place);
        }
        groups
    }

    /// The rows of each group.
    fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.labels.len()];
        for (row, group) in self.of_row.iter().enumerate() {
            members[*group].push(row);
        }
        members
    }

    /// A row for each group, from all values of the group at a step.
    fn each_step<'q>(
        &self,
        rows: &Rows<'q>,
        mut value: impl FnMut(usize, &mut [f64]) -> f64,
    ) -> Result<Rows<'q>, EvalError> {
        let mut out = rows.empty_like();
        let mut values = Vec::new();
        for (labels, members) in self.labels.iter().zip(self.members()) {
            rows.check()?;
            let to = out.push_absent(labels.clone())?;
            for step in 0..rows.steps() {
                values.clear();
                let there = members.iter().map(|member| rows.row(*member).values[step]);
                values.extend(there.filter(|value| !is_absent(*value)));
                if !values.is_empty() {
                    out.row_mut(to).values[step] = value(step, &mut values);
                }
            }
        }
        out.drop_absent();
        Ok(out)
    }
}

/// What is known of a group at one step.
#[derive(Clone, Copy)]
enum Folded {
    Sum(Sum),
    Avg(Mean),
    One(f64),
    Count(f64),
    /// Count, mean, and the sum of squared deviations.
    Spread(f64, f64, f64),
}

impl Folded {
    fn of(op: AggregateOp, value: f64) -> Self {
        match op {
            AggregateOp::Sum => Self::Sum(Sum::of(value)),
            AggregateOp::Avg => Self::Avg(Mean::of(value)),
            AggregateOp::Count => Self::Count(1.0),
            AggregateOp::Group => Self::One(1.0),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                Self::Spread(1.0, value, if value.is_finite() { 0.0 } else { f64::NAN })
            }
            _ => Self::One(value),
        }
    }

    fn plus(self, op: AggregateOp, value: f64) -> Self {
        match self {
            Self::Sum(sum) => Self::Sum(sum.plus(value)),
            Self::Avg(mean) => Self::Avg(mean.plus(value)),
            Self::Count(count) => Self::Count(count + 1.0),
            Self::Spread(count, mean, squares) => {
                let count = count + 1.0;
                let delta = value - mean;
                let mean = mean + delta / count;
                Self::Spread(count, mean, squares + delta * (value - mean))
            }
            Self::One(best) => Self::One(match op {
                AggregateOp::Max if best < value || best.is_nan() => value,
                AggregateOp::Min if best > value || best.is_nan() => value,
                _ => best,
            }),
        }
    }

    fn value(self, op: AggregateOp) -> f64 {
        match self {
            Self::Sum(sum) => sum.total(),
            Self::Avg(mean) => mean.mean(),
            Self::One(value) | Self::Count(value) => value,
            Self::Spread(count, _, squares) if op == AggregateOp::Stdvar => squares / count,
            Self::Spread(count, _, squares) => (squares / count).sqrt(),
        }
    }
}

fn fold<'q>(op: AggregateOp, groups: &Groups, rows: &Rows<'q>) -> Result<Rows<'q>, EvalError> {
    let mut out = rows.empty_like();
    let mut states: Vec<Option<Folded>> = Vec::with_capacity(rows.steps());
    for (labels, members) in groups.labels.iter().zip(groups.members()) {
        rows.check()?;
        states.clear();
        states.resize(rows.steps(), None);
        for member in members {
            let values = &rows.row(member).values;
            let there = states.iter_mut().zip(values).filter(|(_, value)| !is_absent(**value));
            for (state, value) in there {
                *state = Some(state.map_or_else(|| Folded::of(op, *value), |state| state.plus(op, *value)));
            }
        }
        let values = states.iter().map(|state| state.map_or(ABSENT, |state| state.value(op)));
        out.push(labels.clone(), values.collect())?;
    }
    out.drop_absent();
    Ok(out)
}

/// The k largest, smallest or first of each group, with the labels that they had.
fn some_of<'q>(
    op: AggregateOp,
    groups: &Groups,
    wanted: &[f64],
    mut rows: Rows<'q>,
) -> Result<Rows<'q>, EvalError> {
    let members = groups.members();
    let mut order = Vec::new();
    for (step, k) in wanted.iter().enumerate() {
        rows.check()?;
        for members in &members {
            let value = |row: &usize| rows.row(*row).values[step];
            let mut there: Vec<_> = members.iter().copied().filter(|row| !is_absent(value(row))).collect();
            if there.is_empty() {
                continue;
            }
            let k = whole(*k)?;
            match op {
                AggregateOp::Topk => there.sort_by(|a, b| nan_first(value(b), value(a))),
                AggregateOp::Bottomk => there.sort_by(|a, b| nan_last(value(a), value(b))),
                _ => {}
            }
            let cut = there.len().min(k);
            for row in &there[cut..] {
                rows.row_mut(*row).values[step] = ABSENT;
            }
            order.extend_from_slice(&there[..cut]);
        }
    }
    if rows.steps() == 1 {
        // An answer at one time goes by rank.
        let ranks: HashMap<_, _> =
            order.iter().enumerate().map(|(rank, row)| (rows.row(*row).labels.clone(), rank)).collect();
        rows.sort_by(|a, b| {
            let rank = |labels| ranks.get(labels).copied().unwrap_or(usize::MAX);
            rank(&a.labels).cmp(&rank(&b.labels))
        });
    }
    rows.drop_absent();
    Ok(rows)
}

fn nan_last(a: f64, b: f64) -> std::cmp::Ordering {
    match a.is_nan() || b.is_nan() {
        true => nan_first(a, b).reverse(),
        false => nan_first(a, b),
    }
}

/// `k` as a count.
fn whole(k: f64) -> Result<usize, EvalError> {
    // 2^63, which is what Prometheus counts with.
    if !(-9_223_372_036_854_775_808.0..=9_223_372_036_854_775_808.0).contains(&k) {
        let k = crate::prometheus::json::go_number(k);
        return Err(EvalError::execution(format!("Scalar value {k} overflows int64")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, at 0 too")]
    Ok(k as usize)
}

fn count_values<'q>(aggregate: &Aggregate, label: &str, rows: &Rows<'q>) -> Result<Rows<'q>, EvalError> {
    if label.is_empty() {
        return Err(EvalError::execution("invalid label name \"\""));
    }
    let mut grouping = aggregate.grouping.clone();
    if !aggregate.without {
        grouping.push(label.to_owned());
    }
    let mut sink = Sink::new(rows.empty_like());
    let mut counts: HashMap<Labels, usize, FixedState> = HashMap::default();
    let mut order = Vec::new();
    for step in 0..rows.steps() {
        rows.check()?;
        for row in rows.iter().filter(|row| !is_absent(row.values[step])) {
            let mut builder = row.labels.to_builder();
            builder.set(label, plain_number(row.values[step]));
            let labels = labels::grouped(&builder.build(), &grouping, aggregate.without);
            *counts.entry(labels.clone()).or_insert_with(|| {
                order.push(labels);
                0
            }) += 1;
        }
        for labels in order.drain(..) {
            let row = sink.row(&labels)?;
            sink.set(row, step, count(counts.remove(&labels).unwrap_or(0)))?;
        }
    }
    Ok(sink.into_rows())
}
