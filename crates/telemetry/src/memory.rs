//! Series kept in memory: what answers queries before anything is on disk, and what tests query.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{
    Labels, Matcher, Sample,
    reader::{Budget, Exemplar, Metadata, Querier, ReadError, Samples, Selection, Series, SeriesSet, Window},
};

/// Series in memory.
#[derive(Debug, Default)]
pub struct Memory(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    metadata: BTreeMap<String, BTreeSet<Metadata>>,
    exemplars: BTreeMap<Labels, Vec<Exemplar>>,
}

impl Memory {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples to a series; a time that is there already takes the new value.
    pub fn append(&self, labels: &Labels, samples: impl IntoIterator<Item = Sample>) {
        let mut kept = self.write();
        let series = kept.series.entry(labels.clone()).or_default();
        series.extend(samples.into_iter().map(|sample| (sample.at, sample.value)));
    }

    /// Adds what is known of a metric.
    pub fn describe(&self, metric: &str, metadata: Metadata) {
        self.write().metadata.entry(metric.to_owned()).or_default().insert(metadata);
    }

    /// Adds an exemplar to a series.
    pub fn exemplify(&self, labels: &Labels, exemplar: Exemplar) {
        let mut kept = self.write();
        let exemplars = kept.exemplars.entry(labels.clone()).or_default();
        let at = exemplars.partition_point(|other| other.at <= exemplar.at);
        exemplars.insert(at, exemplar);
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Kept> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn matching(&self, any_of: &[Vec<Matcher>], window: Window) -> Vec<Labels> {
        let kept = self.read();
        let there = kept.series.iter().filter(|(labels, samples)| {
            fits_any(labels, any_of) && samples.range(window.from..=window.to).next().is_some()
        });
        there.map(|(labels, _)| labels.clone()).collect()
    }
}

fn fits_any(labels: &Labels, any_of: &[Vec<Matcher>]) -> bool {
    any_of.is_empty() || any_of.iter().any(|matchers| fits(labels, matchers))
}

fn fits(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}

impl Querier for Memory {
    fn select<'a>(&'a self, selection: &Selection, budget: &'a Budget) -> Result<SeriesSet<'a>, ReadError> {
        budget.check()?;
        let Window { from, to } = selection.window;
        let kept = self.read();
        let mut found = Vec::new();
        for (labels, samples) in kept.series.iter().filter(|(labels, _)| fits(labels, &selection.matchers)) {
            let run: Vec<_> = match from <= to {
                true => samples.range(from..=to).map(|(&at, &value)| Sample { at, value }).collect(),
                false => Vec::new(),
            };
            if !run.is_empty() {
                budget.count_series(1)?;
                found.push((labels.clone(), run));
            }
        }
        let series = |(labels, run)| Ok(Series { labels, samples: Box::new(OneRun(Some(run))) });
        Ok(Box::new(found.into_iter().map(series)))
    }

    fn series(&self, any_of: &[Vec<Matcher>], window: Window, _: &Budget) -> Result<Vec<Labels>, ReadError> {
        Ok(self.matching(any_of, window))
    }

    fn label_names(
        &self,
        any_of: &[Vec<Matcher>],
        window: Window,
        _: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let series = self.matching(any_of, window);
        let names: BTreeSet<_> =
            series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        any_of: &[Vec<Matcher>],
        window: Window,
        _: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let series = self.matching(any_of, window);
        let values: BTreeSet<_> = series.iter().filter_map(|labels| labels.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    fn metadata(
        &self,
        metric: Option<&str>,
        _: &Budget,
    ) -> Result<BTreeMap<String, Vec<Metadata>>, ReadError> {
        let kept = self.read();
        let wanted = kept.metadata.iter().filter(|(name, _)| metric.is_none_or(|metric| metric == *name));
        Ok(wanted.map(|(name, known)| (name.clone(), known.iter().cloned().collect())).collect())
    }

    fn exemplars(
        &self,
        any_of: &[Vec<Matcher>],
        window: Window,
        _: &Budget,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        let kept = self.read();
        let mut found = Vec::new();
        for (labels, exemplars) in kept.exemplars.iter().filter(|(labels, _)| fits_any(labels, any_of)) {
            let within: Vec<_> = exemplars.iter().filter(|e| window.contains(e.at)).cloned().collect();
            if !within.is_empty() {
                found.push((labels.clone(), within));
            }
        }
        Ok(found)
    }
}

struct OneRun(Option<Vec<Sample>>);

impl Samples for OneRun {
    fn read(&mut self, into: &mut Vec<Sample>) -> Result<bool, ReadError> {
        let Some(run) = self.0.take() else { return Ok(false) };
        into.extend(run);
        Ok(true)
    }
}
