//! Answering queries: memory and blocks as one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use roaring::RoaringBitmap;

use super::{
    Store, StoreError,
    block::{Opened, SeriesRow},
    head::{Head, Held},
    index::{find, find_any},
    upkeep::join,
};
use crate::{
    Budget, Labels, Matcher, Querier, ReadError, Sample, Selection, Series, Window,
    reader::{Exemplar, Metadata, Samples, SeriesSet},
};

/// Samples of blocks that are read at once, over all series of a group.
const GROUP: u64 = 1 << 20;
/// How often a query looks again when a block is merged or dropped while it begins.
const TRIES: usize = 16;

/// One state of the store: blocks with their files open, and what memory gave.
struct View<T> {
    blocks: Vec<Arc<Opened>>,
    memory: T,
}

impl Store {
    /// Takes a state of the store. `of_memory` runs while nothing changes.
    fn view<T>(
        &self,
        window: Window,
        of_memory: impl Fn(&Head) -> Result<T, StoreError>,
    ) -> Result<View<T>, ReadError> {
        let mut last = None;
        for _ in 0..TRIES {
            let (blocks, memory) = {
                let live = self.blocks.read();
                let reached = live
                    .iter()
                    .filter(|block| block.meta.first <= window.to && window.from <= block.meta.last);
                (reached.cloned().collect::<Vec<_>>(), of_memory(&self.head())?)
            };
            let mut opened = Vec::with_capacity(blocks.len());
            for block in &blocks {
                match self.blocks.opened(block) {
                    Ok(block) => opened.push(block),
                    Err(StoreError::Damaged { file, what }) => {
                        // The rest answers; how the store stands says what is missing.
                        self.blocks.report(block.meta.id, &format!("{file}: {what}"), &self.counters);
                    }
                    Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                        last = Some(block.name());
                        break;
                    }
                    Err(other) => return Err(other.into()),
                }
            }
            if last.take().is_none() {
                return Ok(View { blocks: opened, memory });
            }
        }
        let what = format!("{} is merged and dropped faster than it can be read", last.unwrap_or_default());
        Err(ReadError::Io { file: "blocks".to_owned(), what })
    }

    fn chosen(&self, window: Window, any_of: &[Vec<Matcher>]) -> Result<View<Vec<Labels>>, ReadError> {
        self.view(window, |head| {
            let numbers = find_any(head, any_of)?;
            Ok(numbers.iter().filter_map(|number| head.labels(number, window.from, window.to)).collect())
        })
    }
}

impl Querier for Store {
    fn select<'a>(&'a self, selection: &Selection, budget: &'a Budget) -> Result<SeriesSet<'a>, ReadError> {
        let Window { from, to } = selection.window;
        let view = self.view(selection.window, |head| {
            let numbers = find(head, &selection.matchers)?;
            Ok(numbers.iter().filter_map(|number| head.held(number, from, to)).collect::<Vec<_>>())
        })?;
        let mut wanted: BTreeMap<Labels, Wanted> = BTreeMap::new();
        for (place, block) in view.blocks.iter().enumerate() {
            budget.check()?;
            let numbers = find(&block.pairs, &selection.matchers)?;
            for row in block.series(&numbers)? {
                if row.first <= to && from <= row.last {
                    wanted.entry(row.labels.clone()).or_default().rows.push((place, row));
                }
            }
        }
        for held in view.memory {
            let labels = held.labels.clone();
            wanted.entry(labels).or_default().held = Some(held);
        }
        budget.count_series(wanted.len() as u64)?;
        let groups = in_groups(wanted, view.blocks.into(), selection.window);
        let series = groups.into_iter().flat_map(move |group| {
            let group = Arc::new(group);
            (0..group.labels.len()).map(move |place| {
                let samples = FromGroup { group: group.clone(), place, budget, read: false };
                Ok(Series { labels: group.labels[place].clone(), samples: Box::new(samples) })
            })
        });
        Ok(Box::new(series))
    }

    fn series(
        &self,
        any_of: &[Vec<Matcher>],
        window: Window,
        budget: &Budget,
    ) -> Result<Vec<Labels>, ReadError> {
        let view = self.chosen(window, any_of)?;
        let mut found: BTreeSet<Labels> = view.memory.into_iter().collect();
        for block in &view.blocks {
            budget.check()?;
            let rows = block.series(&find_any(&block.pairs, any_of)?)?;
            found.extend(rows.into_iter().map(|row| row.labels));
        }
        budget.count_series(found.len() as u64)?;
        Ok(found.into_iter().collect())
    }

    fn label_names(
        &self,
        any_of: &[Vec<Matcher>],
        window: Window,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let view = self.view(window, |head| {
            if any_of.is_empty() {
                return Ok(head.names().map(str::to_owned).collect::<BTreeSet<_>>());
            }
            let numbers = find_any(head, any_of)?;
            let labels = numbers.iter().filter_map(|number| head.labels(number, i64::MIN, i64::MAX));
            Ok(labels
                .flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
                .collect())
        })?;
        let mut names = view.memory;
        for block in &view.blocks {
            budget.check()?;
            let chosen = chosen_of(block, any_of)?;
            for name in block.pairs.names() {
                if !names.contains(name) && has_any(block, name, chosen.as_ref())? {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    fn label_values(
        &self,
        name: &str,
        any_of: &[Vec<Matcher>],
        window: Window,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let view = self.view(window, |head| {
            let chosen = if any_of.is_empty() { None } else { Some(find_any(head, any_of)?) };
            let fits =
                |numbers: &RoaringBitmap| chosen.as_ref().is_none_or(|chosen| !chosen.is_disjoint(numbers));
            let values = head.values(name).filter(|(_, numbers)| fits(numbers));
            Ok(values.map(|(value, _)| value.to_owned()).collect::<BTreeSet<_>>())
        })?;
        let mut found = view.memory;
        for block in &view.blocks {
            budget.check()?;
            match chosen_of(block, any_of)? {
                None => found.extend(block.pairs.all_values(name).iter().map(|value| value.to_string())),
                Some(chosen) => {
                    for (value, numbers) in block.pairs.values(name) {
                        if !chosen.is_disjoint(&numbers?) {
                            found.insert(value.to_owned());
                        }
                    }
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    fn metadata(
        &self,
        metric: Option<&str>,
        _budget: &Budget,
    ) -> Result<BTreeMap<String, Vec<Metadata>>, ReadError> {
        Ok(self.metadata.read(metric))
    }

    /// None are kept: what senders bring of them is counted and left out.
    fn exemplars(
        &self,
        _any_of: &[Vec<Matcher>],
        _window: Window,
        _budget: &Budget,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        Ok(Vec::new())
    }
}

impl Store {
    /// Takes in what a sender says about metrics.
    pub fn learn(&self, said: impl IntoIterator<Item = (String, Metadata)>) {
        self.metadata.learn(said);
    }
}

/// The series of a block that are chosen; nothing where all are.
fn chosen_of(block: &Opened, any_of: &[Vec<Matcher>]) -> Result<Option<RoaringBitmap>, StoreError> {
    if any_of.is_empty() { Ok(None) } else { find_any(&block.pairs, any_of).map(Some) }
}

/// Whether one of the chosen series has the label.
fn has_any(block: &Opened, name: &str, chosen: Option<&RoaringBitmap>) -> Result<bool, StoreError> {
    let Some(chosen) = chosen else { return Ok(true) };
    for (_, numbers) in block.pairs.values(name) {
        if !chosen.is_disjoint(&numbers?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the samples of a series are: rows of blocks, in their order, and memory.
#[derive(Default)]
struct Wanted {
    rows: Vec<(usize, SeriesRow)>,
    held: Option<Held>,
}

/// Series whose samples are read from blocks together, when the first of them is asked for.
struct Group {
    blocks: Arc<[Arc<Opened>]>,
    window: Window,
    labels: Vec<Labels>,
    state: Mutex<State>,
}

enum State {
    Waiting(Vec<Wanted>),
    Read(Vec<Vec<Sample>>),
}

fn in_groups(wanted: BTreeMap<Labels, Wanted>, blocks: Arc<[Arc<Opened>]>, window: Window) -> Vec<Group> {
    let mut groups = Vec::new();
    let (mut labels, mut parts, mut rows) = (Vec::new(), Vec::new(), 0);
    let mut wanted = wanted.into_iter().peekable();
    while let Some((name, part)) = wanted.next() {
        rows += part.rows.iter().map(|(_, row)| row.rows).sum::<u64>();
        labels.push(name);
        parts.push(part);
        if rows >= GROUP || wanted.peek().is_none() {
            let state = Mutex::new(State::Waiting(mem::take(&mut parts)));
            groups.push(Group { blocks: blocks.clone(), window, labels: mem::take(&mut labels), state });
            rows = 0;
        }
    }
    groups
}

impl Group {
    /// The samples of one of its series; they are given once.
    fn take(&self, place: usize, budget: &Budget) -> Result<Vec<Sample>, ReadError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(wanted) = &mut *state {
            let read = self.read(mem::take(wanted), budget)?;
            *state = State::Read(read);
        }
        match &mut *state {
            State::Read(all) => Ok(mem::take(&mut all[place])),
            State::Waiting(_) => Ok(Vec::new()),
        }
    }

    fn read(&self, wanted: Vec<Wanted>, budget: &Budget) -> Result<Vec<Vec<Sample>>, ReadError> {
        let mut all: Vec<Vec<Sample>> = vec![Vec::new(); wanted.len()];
        for (n, block) in self.blocks.iter().enumerate() {
            budget.check()?;
            let of_block = |wanted: &Wanted| {
                wanted.rows.iter().find(|(place, _)| *place == n).map(|(_, row)| row.clone())
            };
            let (places, rows): (Vec<usize>, Vec<SeriesRow>) = wanted
                .iter()
                .enumerate()
                .filter_map(|(place, wanted)| Some((place, of_block(wanted)?)))
                .unzip();
            if rows.is_empty() {
                continue;
            }
            for (place, mut samples) in places.into_iter().zip(block.samples(&rows)?) {
                samples.retain(|sample| self.window.contains(sample.at));
                let before = mem::take(&mut all[place]);
                all[place] = join(before, samples);
            }
        }
        for (samples, wanted) in all.iter_mut().zip(wanted) {
            let Some(held) = wanted.held else { continue };
            let mut newest = held.samples();
            newest.retain(|sample| self.window.contains(sample.at));
            *samples = join(mem::take(samples), newest);
        }
        Ok(all)
    }
}

/// The samples of a series of a group.
struct FromGroup<'a> {
    group: Arc<Group>,
    place: usize,
    budget: &'a Budget,
    read: bool,
}

impl Samples for FromGroup<'_> {
    fn read(&mut self, into: &mut Vec<Sample>) -> Result<bool, ReadError> {
        if mem::replace(&mut self.read, true) {
            return Ok(false);
        }
        let samples = self.group.take(self.place, self.budget)?;
        if into.is_empty() {
            *into = samples
        } else {
            into.extend(samples)
        }
        Ok(true)
    }
}
