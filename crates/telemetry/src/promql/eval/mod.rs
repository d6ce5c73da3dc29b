//! A tree into values.
//!
//! Each expression gives, for all steps of the query at once, a number per step or rows: series with a value per step.
//! Rows keep a place for each step, so that operators go along them without looking anything up.

mod aggregate;
mod binary;
mod call;
mod float;
mod histogram;
mod labels;
mod notes;
mod over_time;
mod rows;
mod select;
mod time;

use self::{
    notes::Notes,
    rows::{ABSENT, Rows, is_absent},
};
use super::{
    ast::{At, Expr, Node, Shift, Type},
    error::EvalError,
};
use crate::{Budget, Labels, Querier, ReadError, Sample};

/// What holds for all queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How old the newest sample of a series may be to stand for its value now, in milliseconds.
    pub lookback: i64,
    /// The step of subqueries that name none, in milliseconds.
    pub subquery_step: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { lookback: 300_000, subquery_step: 60_000 }
    }
}

/// The times at which an expression is evaluated, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first.
    pub start: i64,
    /// No later than this.
    pub end: i64,
    /// From one to the next; above 0.
    pub interval: i64,
}

impl Steps {
    const fn once(at: i64) -> Self {
        Self { start: at, end: at, interval: 1 }
    }

    fn count(self) -> usize {
        if self.end < self.start {
            return 0;
        }
        usize::try_from((self.end - self.start) / self.interval).unwrap_or(usize::MAX - 1) + 1
    }

    fn times(self) -> impl Iterator<Item = i64> + Clone {
        (self.start..=self.end).step_by(usize::try_from(self.interval).unwrap_or(usize::MAX).max(1))
    }
}

/// What a query gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// Series with one value each, at the time of the query.
    Vector(Vec<(Labels, f64)>),
    /// Series with many values each, by label order.
    Matrix(Vec<(Labels, Vec<Sample>)>),
}

/// A query's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The values.
    pub value: Value,
    /// What makes them doubtful.
    pub warnings: Vec<String>,
    /// What may be a mistake in the query.
    pub infos: Vec<String>,
}

/// Evaluates a query at one time, in milliseconds since 1970. `text` is what `expr` was read from: notes say where.
///
/// # Errors
/// When series cannot be read, limits are used up, or the data does not allow it.
pub fn evaluate(
    querier: &dyn Querier,
    budget: &Budget,
    options: Options,
    (text, expr): (&str, &Expr),
    at: i64,
) -> Result<Answer, EvalError> {
    let steps = Steps::once(at);
    let evaluator = Evaluator { querier, budget, options, query: steps, notes: Notes::default() };
    let value = match evaluator.eval_range_vector(expr, steps)? {
        Some(series) => Value::Matrix(series),
        None => match evaluator.eval(expr, steps)? {
            Evaluated::Scalars(values) => Value::Scalar(values.first().copied().unwrap_or(f64::NAN)),
            Evaluated::Text(text) => Value::Text(text),
            Evaluated::Rows(rows) => Value::Vector(rows.into_single_step()),
        },
    };
    Ok(evaluator.notes.answer(value, text))
}

/// Evaluates a query at each step. `text` is what `expr` was read from: notes say where.
///
/// # Errors
/// As [`evaluate`]; also when the query gives no number and no instant vector.
pub fn evaluate_range(
    querier: &dyn Querier,
    budget: &Budget,
    options: Options,
    (text, expr): (&str, &Expr),
    steps: Steps,
) -> Result<Answer, EvalError> {
    let evaluator = Evaluator { querier, budget, options, query: steps, notes: Notes::default() };
    let value = match evaluator.eval(expr, steps)? {
        Evaluated::Scalars(values) => {
            let samples = steps.times().zip(values).map(|(at, value)| Sample { at, value });
            vec![(Labels::empty(), samples.collect())]
        }
        Evaluated::Rows(rows) => rows.into_series(steps),
        Evaluated::Text(_) => {
            return Err(EvalError::execution("a string has no values over a range"));
        }
    };
    Ok(evaluator.notes.answer(Value::Matrix(value), text))
}

struct Evaluator<'q> {
    querier: &'q dyn Querier,
    budget: &'q Budget,
    options: Options,
    /// The query's own steps, which `start()` and `end()` mean.
    query: Steps,
    notes: Notes,
}

enum Evaluated<'q> {
    /// A number for each step.
    Scalars(Vec<f64>),
    Rows(Rows<'q>),
    Text(String),
}

impl<'q> Evaluator<'q> {
    fn eval(&self, expr: &Expr, steps: Steps) -> Result<Evaluated<'q>, EvalError> {
        self.budget.check()?;
        let count = steps.count();
        if u64::try_from(count).unwrap_or(u64::MAX) > self.budget.limits().samples {
            return Err(ReadError::TooManySamples { limit: self.budget.limits().samples }.into());
        }
        if count > 1 && is_constant(expr) && !matches!(expr.node, Node::Number { .. } | Node::Text(_)) {
            return self.eval_once(expr, steps);
        }
        match &expr.node {
            Node::Number { value, .. } => Ok(Evaluated::Scalars(vec![*value; count])),
            Node::Text(text) => Ok(Evaluated::Text(text.clone())),
            Node::Vector(selector) => {
                self.select(selector, steps, |sample| sample.value).map(Evaluated::Rows)
            }
            Node::Aggregate(aggregate) => self.aggregate(aggregate, steps).map(Evaluated::Rows),
            Node::Call { function, args } => self.call(function, args, steps),
            Node::Binary(binary) => self.binary(binary, steps),
            Node::Unary { negative, expr } => self.unary(*negative, expr, steps),
            Node::Paren(expr) => self.eval(expr, steps),
            Node::Range { .. } | Node::Subquery { .. } => {
                Err(EvalError::execution("a range vector stands where it cannot be evaluated"))
            }
        }
    }

    /// An expression that is the same at each step is evaluated at the first one.
    fn eval_once(&self, expr: &Expr, steps: Steps) -> Result<Evaluated<'q>, EvalError> {
        let count = steps.count();
        match self.eval(expr, Steps::once(steps.start))? {
            Evaluated::Scalars(values) => {
                Ok(Evaluated::Scalars(vec![values.first().copied().unwrap_or(f64::NAN); count]))
            }
            Evaluated::Text(text) => Ok(Evaluated::Text(text)),
            Evaluated::Rows(once) => {
                let mut rows = Rows::new(self.budget, count);
                for (labels, value) in once.into_single_step() {
                    rows.push(labels, vec![value; count])?;
                }
                Ok(Evaluated::Rows(rows))
            }
        }
    }

    /// An instant vector. The types were checked when the query was read.
    fn rows(&self, expr: &Expr, steps: Steps) -> Result<Rows<'q>, EvalError> {
        match self.eval(expr, steps)? {
            Evaluated::Rows(rows) => Ok(rows),
            _ => Err(EvalError::execution("expected an instant vector")),
        }
    }

    /// A number for each step.
    fn scalars(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, steps)? {
            Evaluated::Scalars(values) => Ok(values),
            _ => Err(EvalError::execution("expected a scalar")),
        }
    }

    /// A text; it stands there literally.
    fn text(expr: &Expr) -> Result<&str, EvalError> {
        match &expr.bare().node {
            Node::Text(text) => Ok(text),
            _ => Err(EvalError::execution("expected a string")),
        }
    }

    fn unary(&self, negative: bool, expr: &Expr, steps: Steps) -> Result<Evaluated<'q>, EvalError> {
        let value = self.eval(expr, steps)?;
        match value {
            value if !negative => Ok(value),
            Evaluated::Scalars(mut values) => {
                values.iter_mut().for_each(|value| *value = -*value);
                Ok(Evaluated::Scalars(values))
            }
            Evaluated::Rows(mut rows) => {
                rows.map(|_, value| -value);
                rows.relabel(labels::without_name);
                rows.all_differ()?;
                Ok(Evaluated::Rows(rows))
            }
            Evaluated::Text(text) => Ok(Evaluated::Text(text)),
        }
    }

    /// The time that a selector means at a step.
    fn reference(&self, shift: Shift, at: i64) -> i64 {
        let base = match shift.at {
            None => at,
            Some(At::Start) => self.query.start,
            Some(At::End) => self.query.end,
            Some(At::Time(at)) => at,
        };
        base.saturating_sub(shift.offset)
    }
}

/// Functions that look at the time of evaluation, even when what they are given is the same at all times.
const TIMELY: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether an expression is the same at each step.
fn is_constant(expr: &Expr) -> bool {
    match &expr.node {
        Node::Number { .. } | Node::Text(_) => true,
        Node::Vector(selector) | Node::Range { selector, .. } => selector.shift.at.is_some(),
        Node::Subquery { shift, .. } => shift.at.is_some(),
        Node::Call { function, .. } if TIMELY.contains(&function.name) => false,
        _ => expr.children().into_iter().all(is_constant),
    }
}

/// Whether an expression gives a range vector.
fn is_range(expr: &Expr) -> bool {
    expr.kind() == Type::Matrix
}
