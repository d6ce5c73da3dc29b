//! Series with a value for each step.

use std::{collections::HashMap, collections::hash_map::Entry};

use super::{EvalError, Steps};
use crate::{Budget, Labels, STALE, Sample, is_stale};

/// "No value at this step". A staleness marker is never a value of an expression, and no arithmetic makes its bits.
pub(super) const ABSENT: f64 = STALE;

pub(super) const fn is_absent(value: f64) -> bool {
    is_stale(value)
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// One for each step.
    pub(super) values: Vec<f64>,
}

/// Rows, counted against the query's limit of samples as long as they are there.
#[derive(Debug)]
pub(super) struct Rows<'q> {
    rows: Vec<Row>,
    steps: usize,
    budget: &'q Budget,
}

impl<'q> Rows<'q> {
    pub(super) fn new(budget: &'q Budget, steps: usize) -> Self {
        Self { rows: Vec::new(), steps, budget }
    }

    /// An empty set that takes as many steps as this one.
    pub(super) fn empty_like(&self) -> Self {
        Self::new(self.budget, self.steps)
    }

    /// Whether the query may go on; asked in loops over steps.
    pub(super) fn check(&self) -> Result<(), EvalError> {
        Ok(self.budget.check()?)
    }

    pub(super) fn push(&mut self, labels: Labels, values: Vec<f64>) -> Result<(), EvalError> {
        debug_assert_eq!(values.len(), self.steps);
        self.rows.push(Row { labels, values });
        self.budget.hold_samples(samples(self.steps))?;
        Ok(())
    }

    /// A row without any value yet.
    pub(super) fn push_absent(&mut self, labels: Labels) -> Result<usize, EvalError> {
        self.push(labels, vec![ABSENT; self.steps])?;
        Ok(self.rows.len() - 1)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Row> {
        self.rows.iter()
    }

    pub(super) fn row(&self, n: usize) -> &Row {
        &self.rows[n]
    }

    pub(super) fn row_mut(&mut self, n: usize) -> &mut Row {
        &mut self.rows[n]
    }

    /// Puts the rows in another order.
    pub(super) fn sort_by(&mut self, compare: impl FnMut(&Row, &Row) -> std::cmp::Ordering) {
        self.rows.sort_by(compare);
    }

    /// Changes each value that is there; [`ABSENT`] takes it away.
    pub(super) fn map(&mut self, mut change: impl FnMut(usize, f64) -> f64) {
        for row in &mut self.rows {
            for (step, value) in row.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
                *value = change(step, *value);
            }
        }
    }

    pub(super) fn relabel(&mut self, change: impl Fn(&Labels) -> Labels) {
        for row in &mut self.rows {
            row.labels = change(&row.labels);
        }
    }

    /// Drops rows without a value.
    pub(super) fn drop_absent(&mut self) {
        let before = self.rows.len();
        self.rows.retain(|row| row.values.iter().any(|value| !is_absent(*value)));
        self.budget.free_samples(samples(self.steps) * samples(before - self.rows.len()));
    }

    /// # Errors
    /// When two rows have the same labels, even with values at different steps.
    pub(super) fn all_differ(&self) -> Result<(), EvalError> {
        let mut seen = std::collections::HashSet::with_capacity(self.rows.len());
        match self.rows.iter().all(|row| seen.insert(&row.labels)) {
            true => Ok(()),
            false => Err(EvalError::same_labels()),
        }
    }

    /// Makes rows with the same labels one.
    ///
    /// # Errors
    /// When two of them have a value at the same step.
    pub(super) fn merged(mut self) -> Result<Self, EvalError> {
        self.drop_absent();
        if self.all_differ().is_ok() {
            return Ok(self);
        }
        let mut sink = Sink::new(self.empty_like());
        for row in &self.rows {
            let to = sink.row(&row.labels)?;
            for (step, value) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                sink.set(to, step, *value)?;
            }
        }
        Ok(sink.into_rows())
    }

    /// What is there at the only step.
    pub(super) fn into_single_step(mut self) -> Vec<(Labels, f64)> {
        let rows = self.take();
        let there = rows.into_iter().filter_map(|row| Some((row.labels, *row.values.first()?)));
        there.filter(|(_, value)| !is_absent(*value)).collect()
    }

    /// Series by label order, with what is there.
    pub(super) fn into_series(mut self, steps: Steps) -> Vec<(Labels, Vec<Sample>)> {
        let mut rows = self.take();
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        let series = rows.into_iter().map(|row| (row.labels, present(&row.values, steps)));
        series.filter(|(_, samples)| !samples.is_empty()).collect()
    }

    fn take(&mut self) -> Vec<Row> {
        self.budget.free_samples(samples(self.steps) * samples(self.rows.len()));
        std::mem::take(&mut self.rows)
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.take();
    }
}

/// The values that are there, with their times.
pub(super) fn present(values: &[f64], steps: Steps) -> Vec<Sample> {
    let at = steps.times().zip(values).filter(|(_, value)| !is_absent(**value));
    at.map(|(at, value)| Sample { at, value: *value }).collect()
}

pub(super) fn samples(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Rows that are filled value by value, found by their labels.
#[derive(Debug)]
pub(super) struct Sink<'q> {
    rows: Rows<'q>,
    places: HashMap<Labels, usize, foldhash::fast::FixedState>,
}

impl<'q> Sink<'q> {
    pub(super) fn new(rows: Rows<'q>) -> Self {
        Self { rows, places: HashMap::default() }
    }

    /// The row of these labels.
    pub(super) fn row(&mut self, labels: &Labels) -> Result<usize, EvalError> {
        match self.places.entry(labels.clone()) {
            Entry::Occupied(place) => Ok(*place.get()),
            Entry::Vacant(place) => Ok(*place.insert(self.rows.push_absent(labels.clone())?)),
        }
    }

    /// # Errors
    /// When there is a value already.
    pub(super) fn set(&mut self, row: usize, step: usize, value: f64) -> Result<(), EvalError> {
        let place = &mut self.rows.row_mut(row).values[step];
        if !is_absent(*place) {
            return Err(EvalError::same_labels());
        }
        *place = value;
        Ok(())
    }

    pub(super) fn into_rows(self) -> Rows<'q> {
        self.rows
    }
}
