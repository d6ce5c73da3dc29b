//! Operators between two operands.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{
    ABSENT, EvalError, Evaluated, Evaluator, Rows, Steps, is_absent,
    labels::{is_reserved, without_name},
    rows::Sink,
};
use crate::{
    Labels, METRIC_NAME,
    promql::ast::{Binary, BinaryOp, Matching, Side},
};

impl<'q> Evaluator<'q> {
    pub(super) fn binary(&self, binary: &Binary, steps: Steps) -> Result<Evaluated<'q>, EvalError> {
        let (lhs, rhs) = (self.eval(&binary.lhs, steps)?, self.eval(&binary.rhs, steps)?);
        let rows = match (lhs, rhs) {
            (Evaluated::Scalars(lhs), Evaluated::Scalars(rhs)) => {
                let both = lhs.iter().zip(&rhs);
                return Ok(Evaluated::Scalars(both.map(|(a, b)| on_scalars(binary.op, *a, *b)).collect()));
            }
            (Evaluated::Rows(rows), Evaluated::Scalars(scalars)) => {
                with_scalars(binary, rows, |step, value| (value, scalars[step]))?
            }
            (Evaluated::Scalars(scalars), Evaluated::Rows(rows)) => {
                with_scalars(binary, rows, |step, value| (scalars[step], value))?
            }
            (Evaluated::Rows(lhs), Evaluated::Rows(rhs)) if binary.op.is_set() => sets(binary, &lhs, &rhs)?,
            (Evaluated::Rows(lhs), Evaluated::Rows(rhs)) => Join::new(binary, &lhs, &rhs).rows()?,
            _ => return Err(EvalError::execution("an operator stands between strings")),
        };
        Ok(Evaluated::Rows(rows))
    }
}

/// What an operator makes of two numbers, where it makes one.
fn arithmetic(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => return None,
    })
}

fn holds(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessOrEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterOrEqual => a >= b,
        _ => false,
    }
}

fn on_scalars(op: BinaryOp, a: f64, b: f64) -> f64 {
    arithmetic(op, a, b).unwrap_or_else(|| number(holds(op, a, b)))
}

fn number(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// A value of one element: of a comparison `kept` when it holds, or 0 and 1.
fn element(binary: &Binary, a: f64, b: f64, kept: f64) -> f64 {
    if let Some(value) = arithmetic(binary.op, a, b) {
        return value;
    }
    let holds = holds(binary.op, a, b);
    match binary.returns_bool {
        true => number(holds),
        false if holds => kept,
        false => ABSENT,
    }
}

/// Whether what comes out is another metric.
fn changes_metric(binary: &Binary) -> bool {
    binary.returns_bool || !binary.op.compares()
}

fn with_scalars<'q>(
    binary: &Binary,
    mut rows: Rows<'q>,
    operands: impl Fn(usize, f64) -> (f64, f64),
) -> Result<Rows<'q>, EvalError> {
    rows.map(|step, value| {
        let (a, b) = operands(step, value);
        element(binary, a, b, value)
    });
    if changes_metric(binary) {
        rows.relabel(without_name);
    }
    rows.merged()
}

/// The labels by which rows of both sides belong together.
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    match matching.on {
        true => labels.filtered(listed),
        false => labels.filtered(|name| name != METRIC_NAME && !listed(name)),
    }
}

/// Numbers for the signatures of both sides.
#[derive(Default)]
struct Signatures {
    places: HashMap<Labels, usize, FixedState>,
}

impl Signatures {
    fn of(&mut self, matching: &Matching, rows: &Rows<'_>) -> Vec<usize> {
        let mut place = |labels| {
            let next = self.places.len();
            *self.places.entry(labels).or_insert(next)
        };
        rows.iter().map(|row| place(signature(matching, &row.labels))).collect()
    }
}

fn sets<'q>(binary: &Binary, lhs: &Rows<'q>, rhs: &Rows<'q>) -> Result<Rows<'q>, EvalError> {
    let mut signatures = Signatures::default();
    let (left, right) = (signatures.of(&binary.matching, lhs), signatures.of(&binary.matching, rhs));
    let mut sink = Sink::new(lhs.empty_like());
    let mut there = vec![false; signatures.places.len()];
    for step in 0..lhs.steps() {
        lhs.check()?;
        // Of `or` the left side is taken whole, of the others the right side only says what is taken.
        let (told_by, told) = if binary.op == BinaryOp::Or { (lhs, &left) } else { (rhs, &right) };
        there.fill(false);
        for (row, signature) in told_by.iter().zip(told) {
            there[*signature] |= !is_absent(row.values[step]);
        }
        let mut take = |rows: &Rows<'_>, of: &[usize], wanted: Option<bool>| {
            for (row, signature) in rows.iter().zip(of).filter(|(row, _)| !is_absent(row.values[step])) {
                if wanted.is_none_or(|wanted| there[*signature] == wanted) {
                    let to = sink.row(&row.labels)?;
                    sink.set(to, step, row.values[step])?;
                }
            }
            Ok::<(), EvalError>(())
        };
        match binary.op {
            BinaryOp::And => take(lhs, &left, Some(true))?,
            BinaryOp::Unless => take(lhs, &left, Some(false))?,
            _ => {
                take(lhs, &left, None)?;
                take(rhs, &right, Some(false))?;
            }
        }
    }
    Ok(sink.into_rows())
}

/// Arithmetic and comparisons between two vectors.
struct Join<'b, 'r, 'q> {
    binary: &'b Binary,
    /// The side that may have many rows for one of the other.
    many: &'r Rows<'q>,
    one: &'r Rows<'q>,
    many_signatures: Vec<usize>,
    one_signatures: Vec<usize>,
    signatures: usize,
    /// Whether `many` is the right side.
    swapped: bool,
    /// The labels of what a pair of rows gives.
    results: HashMap<(usize, usize), Labels, FixedState>,
}

impl<'b, 'r, 'q> Join<'b, 'r, 'q> {
    fn new(binary: &'b Binary, lhs: &'r Rows<'q>, rhs: &'r Rows<'q>) -> Self {
        let swapped = binary.matching.many == Some(Side::Right);
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let mut signatures = Signatures::default();
        let many_signatures = signatures.of(&binary.matching, many);
        let one_signatures = signatures.of(&binary.matching, one);
        Self {
            binary,
            many,
            one,
            many_signatures,
            one_signatures,
            signatures: signatures.places.len(),
            swapped,
            results: HashMap::default(),
        }
    }

    fn rows(mut self) -> Result<Rows<'q>, EvalError> {
        let mut sink = Sink::new(self.many.empty_like());
        // For each signature the row of the side with one, and whether it was matched, at the present step.
        let mut ones = vec![None; self.signatures];
        let mut matched = vec![false; self.signatures];
        for step in 0..self.many.steps() {
            self.many.check()?;
            let any = |rows: &Rows<'_>| rows.iter().any(|row| !is_absent(row.values[step]));
            if !any(self.many) || !any(self.one) {
                continue;
            }
            ones.fill(None);
            matched.fill(false);
            for (n, signature) in self.one_signatures.iter().enumerate() {
                let there = !is_absent(self.one.row(n).values[step]);
                if there && let Some(other) = ones[*signature].replace(n) {
                    return Err(self.not_one(n, other));
                }
            }
            for n in 0..self.many.len() {
                let signature = self.many_signatures[n];
                let value = self.many.row(n).values[step];
                if let (false, Some(one)) = (is_absent(value), ones[signature]) {
                    self.pair(&mut sink, step, (n, one), &mut matched[signature])?;
                }
            }
        }
        let mut rows = sink.into_rows();
        rows.drop_absent();
        Ok(rows)
    }

    fn pair(
        &mut self,
        sink: &mut Sink<'q>,
        step: usize,
        (many, one): (usize, usize),
        matched: &mut bool,
    ) -> Result<(), EvalError> {
        let (of_many, of_one) = (self.many.row(many).values[step], self.one.row(one).values[step]);
        let (a, b) = if self.swapped { (of_one, of_many) } else { (of_many, of_one) };
        let value = element(self.binary, a, b, a);
        if is_absent(value) {
            return Ok(());
        }
        if self.binary.matching.many.is_none() && std::mem::replace(matched, true) {
            return Err(EvalError::execution(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            ));
        }
        let labels = self.result(many, one);
        let row = sink.row(&labels)?;
        let set = sink.set(row, step, value);
        match self.binary.matching.many {
            None => set,
            Some(_) => set.map_err(|_| {
                EvalError::execution(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                )
            }),
        }
    }

    fn result(&mut self, many: usize, one: usize) -> Labels {
        if let Some(labels) = self.results.get(&(many, one)) {
            return labels.clone();
        }
        let matching = &self.binary.matching;
        let listed = |name: &str| matching.labels.iter().any(|label| label == name);
        let renamed = !self.binary.op.compares();
        let kept = |name: &str| {
            !(renamed && is_reserved(name)) && (matching.many.is_some() || listed(name) == matching.on)
        };
        let mut builder = self.many.row(many).labels.filtered(kept).to_builder();
        for name in &matching.include {
            builder.set(&**name, self.one.row(one).labels.get(name).unwrap_or(""));
        }
        let labels = builder.build();
        let labels = if self.binary.returns_bool { without_name(&labels) } else { labels };
        self.results.insert((many, one), labels.clone());
        labels
    }

    fn not_one(&self, row: usize, other: usize) -> EvalError {
        let matching = &self.binary.matching;
        let labels = &self.one.row(row).labels;
        let group = signature(matching, labels);
        let side = if self.swapped { "left" } else { "right" };
        EvalError::execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{labels}, \
             {}];many-to-many matching not allowed: matching labels must be unique on one side",
            self.one.row(other).labels
        ))
    }
}
