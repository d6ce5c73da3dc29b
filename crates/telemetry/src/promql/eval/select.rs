//! Series of the store as rows, and windows over their samples.

use super::{ABSENT, EvalError, Evaluator, Rows, Steps, is_range, rows::present, rows::samples};
use crate::{
    Labels, Sample, is_stale,
    promql::ast::{Expr, Node, Selector, Shift},
    reader::{Selection, Series, Window},
};

/// The samples of one series that a function looks at, over all steps.
pub(super) struct Source {
    pub(super) labels: Labels,
    pub(super) samples: Vec<Sample>,
}

/// Series with all samples of a range.
pub(super) type RangeVector = Vec<(Labels, Vec<Sample>)>;

/// A range vector without its samples: how far it looks back from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) range: i64,
    pub(super) shift: Shift,
}

impl<'q> Evaluator<'q> {
    /// The newest sample of each series at each step, as `value` sees it.
    pub(super) fn select(
        &self,
        selector: &Selector,
        steps: Steps,
        value: impl Fn(Sample) -> f64,
    ) -> Result<Rows<'q>, EvalError> {
        let mut rows = Rows::new(self.budget, steps.count());
        let back = self.options.lookback;
        self.each_series(selector, back, steps, |series| {
            let mut next = 0;
            let values: Vec<_> = steps
                .times()
                .map(|at| {
                    let at = self.reference(selector.shift, at);
                    // With `@` all steps mean the same time, without it times only go up.
                    next += series.samples[next..].partition_point(|sample| sample.at <= at);
                    match next.checked_sub(1).map(|newest| series.samples[newest]) {
                        Some(newest) if newest.at > at - back && !is_stale(newest.value) => value(newest),
                        _ => ABSENT,
                    }
                })
                .collect();
            if values.iter().any(|value| !is_stale(*value)) {
                rows.push(series.labels, values)?;
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// Hands over one series after the other with all samples that any step may look at.
    fn each_series(
        &self,
        selector: &Selector,
        back: i64,
        steps: Steps,
        mut with: impl FnMut(Source) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if steps.count() == 0 {
            return Ok(());
        }
        let (first, last) =
            (self.reference(selector.shift, steps.start), self.reference(selector.shift, steps.end));
        let window = Window { from: first.saturating_sub(back).saturating_add(1), to: last };
        let selection = Selection { matchers: selector.matchers.clone(), window };
        for series in self.querier.select(&selection, self.budget)? {
            self.budget.check()?;
            let source = self.load(series?)?;
            let held = samples(source.samples.len());
            let done = with(source);
            self.budget.free_samples(held);
            done?;
        }
        Ok(())
    }

    /// All samples of a series, counted as held.
    fn load(&self, mut series: Series<'_>) -> Result<Source, EvalError> {
        let mut loaded = Vec::new();
        loop {
            let before = loaded.len();
            let more = series.samples.read(&mut loaded)?;
            self.budget.hold_samples(samples(loaded.len() - before))?;
            if !more {
                return Ok(Source { labels: series.labels, samples: loaded });
            }
        }
    }

    /// Hands over one series of a range vector after the other, and how far the vector looks back.
    pub(super) fn each_range(
        &self,
        expr: &Expr,
        steps: Steps,
        mut with: impl FnMut(Source, Reach) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        match &expr.bare().node {
            Node::Range { selector, range } => {
                let reach = Reach { range: *range, shift: selector.shift };
                self.each_series(selector, *range, steps, |mut source| {
                    source.samples.retain(|sample| !is_stale(sample.value));
                    with(source, reach)
                })
            }
            Node::Subquery { expr, range, step, shift } => {
                let reach = Reach { range: *range, shift: *shift };
                let inner = self.subquery_steps(reach, step.unwrap_or(self.options.subquery_step), steps);
                let rows = self.rows(expr, inner)?;
                for row in rows.iter() {
                    let source = Source { labels: row.labels.clone(), samples: present(&row.values, inner) };
                    if !source.samples.is_empty() {
                        let held = samples(source.samples.len());
                        self.budget.hold_samples(held)?;
                        let done = with(source, reach);
                        self.budget.free_samples(held);
                        done?;
                    }
                }
                Ok(())
            }
            _ => Err(EvalError::execution("expected a range vector")),
        }
    }

    /// The steps of a subquery are multiples of its own interval, whenever it is asked.
    fn subquery_steps(&self, reach: Reach, interval: i64, steps: Steps) -> Steps {
        let before = self.reference(reach.shift, steps.start).saturating_sub(reach.range);
        let aligned = interval * (before / interval);
        let start = if aligned <= before { aligned + interval } else { aligned };
        Steps { start, end: self.reference(reach.shift, steps.end), interval }
    }

    /// The range vector that a query asks for as such.
    pub(super) fn eval_range_vector(
        &self,
        expr: &Expr,
        steps: Steps,
    ) -> Result<Option<RangeVector>, EvalError> {
        if !is_range(expr) {
            return Ok(None);
        }
        let mut series = Vec::new();
        let mut held = 0;
        self.each_range(expr, steps, |source, reach| {
            let window = Windows::new(self, reach, &source.samples).at(steps.start).samples.to_vec();
            if !window.is_empty() {
                held += samples(window.len());
                self.budget.hold_samples(samples(window.len()))?;
                series.push((source.labels, window));
            }
            Ok(())
        })?;
        self.budget.free_samples(held);
        series.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Some(series))
    }
}

/// What a function over time sees at one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'s> {
    /// The samples after `from`, up to and with `to`.
    pub(super) samples: &'s [Sample],
    pub(super) from: i64,
    pub(super) to: i64,
    /// When the function is evaluated.
    pub(super) at: i64,
}

/// Windows over one series, from step to step.
pub(super) struct Windows<'e, 's> {
    evaluator: &'e Evaluator<'e>,
    reach: Reach,
    samples: &'s [Sample],
    first: usize,
    end: usize,
}

impl<'e, 's> Windows<'e, 's> {
    pub(super) fn new<'q: 'e>(evaluator: &'e Evaluator<'q>, reach: Reach, samples: &'s [Sample]) -> Self {
        Self { evaluator, reach, samples, first: 0, end: 0 }
    }

    /// The window at a step; steps come in order.
    pub(super) fn at(&mut self, at: i64) -> Seen<'s> {
        let to = self.evaluator.reference(self.reach.shift, at);
        let from = to.saturating_sub(self.reach.range);
        self.first += self.samples[self.first..].partition_point(|sample| sample.at <= from);
        self.end += self.samples[self.end..].partition_point(|sample| sample.at <= to);
        Seen { samples: &self.samples[self.first..self.end], from, to, at }
    }
}
