//! Searching: a page of lines by what they say, and how many there are over time.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use memchr::memmem::Finder;

use super::{
    Field, Key, Level, LogRecord, LogStore,
    columns::{BODY, FIELDS, TIME},
    parts::{Opened, Part},
    words::Probe,
};
use crate::{Budget, ReadError, store::StoreError};

const MINUTE: i64 = 60_000_000_000;

/// Which lines.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// From this time on, in nanoseconds since 1970.
    pub from: i64,
    /// Up to this time, which is in it.
    pub to: i64,
    /// Only with one of these texts in each of these fields.
    pub fields: Vec<(Field, Vec<String>)>,
    /// Only as severe as this, or more.
    pub level: Option<Level>,
    /// Only with this in their text, letter by letter.
    pub text: Option<String>,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self { from: i64::MIN, to: i64::MAX, fields: Vec::new(), level: None, text: None }
    }
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest line first.
    #[default]
    NewestFirst,
    /// The oldest line first.
    OldestFirst,
}

/// Lines in the order that was asked for.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The lines, each once.
    pub lines: Vec<(Key, Arc<LogRecord>)>,
    /// Whether there are more after them.
    pub more: bool,
}

/// Lines of a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Where it begins, in nanoseconds.
    pub from: i64,
    /// Lines by [`Level`].
    pub counts: [u64; 7],
}

impl LogQuery {
    /// Whether a line is one of them.
    pub fn fits(&self, record: &LogRecord) -> bool {
        (self.from..=self.to).contains(&record.time)
            && self.level.is_none_or(|level| record.severity >= level.severity())
            && self.fields.iter().all(|(field, any)| any.iter().any(|value| record.field(*field) == value))
            && self.text.as_ref().is_none_or(|text| record.body.contains(&**text))
    }

    fn is_only_time(&self) -> bool {
        self.fields.is_empty() && self.text.is_none()
    }
}

/// A query with what makes it quick.
struct Search<'a> {
    query: &'a LogQuery,
    finder: Option<Finder<'a>>,
    probe: Option<Probe>,
}

/// Rows of one group to look at.
struct Place {
    part: Arc<Part>,
    group: usize,
    rows: Range<u64>,
    first: Key,
    last: Key,
}

impl LogStore {
    /// At most `limit` lines after a key, in an order.
    ///
    /// # Errors
    /// When a file cannot be read, or the budget's time is over. A part that turns out to be damaged is set aside.
    pub fn search(
        &self,
        query: &LogQuery,
        order: Order,
        after: Option<Key>,
        limit: usize,
        budget: &Budget,
    ) -> Result<Page, ReadError> {
        let bounds = bounds(query, order, after);
        let Some(bounds) = bounds else { return Ok(Page::default()) };
        let search = Search::new(query);
        let newest = order == Order::NewestFirst;
        // One more than asked for says whether there are more.
        let mut found = Nearest { lines: BTreeMap::new(), most: limit.saturating_add(1), newest };
        let mut places = {
            let state = self.read();
            for lines in state.head.all() {
                let fits = lines.range(bounds.0..=bounds.1).filter(|(_, record)| query.fits(record));
                let fits = fits.map(|(key, record)| (*key, record.clone()));
                if newest {
                    fits.rev().take(found.most).for_each(|(key, record)| found.add(key, record));
                } else {
                    fits.take(found.most).for_each(|(key, record)| found.add(key, record));
                }
            }
            places(&state.parts, bounds)
        };
        places.sort_by_key(|place| if newest { place.last } else { place.first });
        if newest {
            places.reverse();
        }
        for place in places {
            if found.is_done_before(&place) {
                break;
            }
            budget.check()?;
            let read = place.part.opened().and_then(|opened| {
                let rows = search.rows(&place, &opened, bounds, (found.most, newest))?;
                opened.records(&rows)
            });
            for (key, record) in self.sound(&place.part, read)? {
                found.add(key, Arc::new(record));
            }
        }
        Ok(found.page(limit))
    }

    /// How many lines there are in each `step` nanoseconds from the query's `from` on, by level.
    ///
    /// # Errors
    /// As [`LogStore::search`].
    pub fn histogram(&self, query: &LogQuery, step: i64, budget: &Budget) -> Result<Vec<Bucket>, ReadError> {
        let step = step.max(1);
        let Some(bounds) = bounds(query, Order::OldestFirst, None) else { return Ok(Vec::new()) };
        let search = Search::new(query);
        let mut buckets: BTreeMap<i64, [u64; 7]> = BTreeMap::new();
        let mut add = |time: i64, level: Level, count: u64| {
            let from = query.from + (time - query.from).div_euclid(step) * step;
            buckets.entry(from).or_default()[level as usize] += count;
        };
        let parts = {
            let state = self.read();
            for lines in state.head.all() {
                let fits = lines.range(bounds.0..=bounds.1).filter(|(_, record)| query.fits(record));
                fits.for_each(|(key, record)| add(key.time, Level::of(record.severity), 1));
            }
            state.parts.clone()
        };
        // Where whole minutes are asked for, these are counted already.
        let whole = query.is_only_time()
            && [query.from, step, query.to.wrapping_add(1)].iter().all(|time| time.rem_euclid(MINUTE) == 0);
        for part in parts {
            if whole {
                let minutes = query.from.div_euclid(MINUTE)..=query.to.div_euclid(MINUTE);
                for (minute, counts) in part.meta.minutes.range(minutes) {
                    let wanted = Level::ALL
                        .into_iter()
                        .zip(counts)
                        .filter(|(level, _)| query.level.is_none_or(|least| *level >= least));
                    wanted.for_each(|(level, count)| add(minute * MINUTE, level, u64::from(*count)));
                }
                continue;
            }
            for place in places(std::slice::from_ref(&part), bounds) {
                budget.check()?;
                let read = part.opened().and_then(|opened| {
                    let rows = search.rows(&place, &opened, bounds, (usize::MAX, false))?;
                    Ok((opened.numbers(TIME, &rows)?, opened.severities(&rows)?))
                });
                let (times, severities) = self.sound(&part, read)?;
                for (time, severity) in times.into_iter().zip(severities) {
                    add(time, Level::of(u8::try_from(severity).unwrap_or(0)), 1);
                }
            }
        }
        Ok(buckets.into_iter().map(|(from, counts)| Bucket { from, counts }).collect())
    }

    /// Sets a part aside that is not what was written; the next search goes without it.
    fn sound<T>(&self, part: &Arc<Part>, read: Result<T, StoreError>) -> Result<T, ReadError> {
        if let Err(StoreError::Damaged { file, what }) = &read {
            self.report(part, &format!("{file}: {what}"));
        }
        read.map_err(ReadError::from)
    }
}

/// The first and last key that may be found; none when there is no such key.
fn bounds(query: &LogQuery, order: Order, after: Option<Key>) -> Option<(Key, Key)> {
    let mut first = Key { time: query.from, id: i64::MIN };
    let mut last = Key { time: query.to, id: i64::MAX };
    let step = |key: Key, by: i64| match key.id.checked_add(by) {
        Some(id) => Some(Key { id, ..key }),
        None => Some(Key { time: key.time.checked_add(by)?, id: if by > 0 { i64::MIN } else { i64::MAX } }),
    };
    if let Some(after) = after {
        match order {
            Order::NewestFirst => last = last.min(step(after, -1)?),
            Order::OldestFirst => first = first.max(step(after, 1)?),
        }
    }
    (first <= last).then_some((first, last))
}

fn places(parts: &[Arc<Part>], bounds: (Key, Key)) -> Vec<Place> {
    let of_part = |part: &Arc<Part>| -> Vec<Place> {
        part.groups()
            .filter(|(_, _, group)| group.last >= bounds.0 && group.first <= bounds.1)
            .map(|(n, rows, group)| Place {
                part: part.clone(),
                group: n,
                rows,
                first: group.first,
                last: group.last,
            })
            .collect()
    };
    parts.iter().flat_map(of_part).collect()
}

impl<'a> Search<'a> {
    fn new(query: &'a LogQuery) -> Self {
        let text = query.text.as_deref();
        Self { query, finder: text.map(Finder::new), probe: text.and_then(Probe::of) }
    }

    /// Rows of a group that fit: of those nearest to one end at most so many.
    fn rows(
        &self,
        place: &Place,
        opened: &Opened,
        bounds: (Key, Key),
        (most, newest): (usize, bool),
    ) -> Result<Vec<Range<u64>>, StoreError> {
        if !self.may_be_in(place, opened)? {
            return Ok(Vec::new());
        }
        let mut rows = place.rows.clone();
        if (place.first < bounds.0 || place.last > bounds.1)
            && let Some(group) = place.part.meta.groups.get(place.group)
        {
            rows = opened.between(group, &rows, bounds)?;
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut fits = vec![rows];
        if let Some(level) = self.query.level {
            let severities = opened.severities(&fits)?;
            fits = keep(&fits, severities.iter().map(|severity| *severity >= i32::from(level.severity())));
        }
        for (field, any) in &self.query.fields {
            if fits.is_empty() {
                return Ok(fits);
            }
            let texts = opened.texts(FIELDS + *field as usize, &fits)?;
            fits = keep(
                &fits,
                texts.iter().map(|text| {
                    let is = |value: &String| text.data() == value.as_bytes();
                    any.iter().any(is)
                }),
            );
        }
        if let Some(finder) = &self.finder
            && !fits.is_empty()
        {
            let bodies = opened.texts(BODY, &fits)?;
            fits = keep(&fits, bodies.iter().map(|body| finder.find(body.data()).is_some()));
        }
        Ok(nearest(fits, most, newest))
    }

    /// Whether the filters and words of a group let it have what is searched for.
    fn may_be_in(&self, place: &Place, opened: &Opened) -> Result<bool, StoreError> {
        for (field, any) in &self.query.fields {
            if !matches!(field, Field::Conversation | Field::Deployment | Field::Trace) {
                continue;
            }
            let mut may = false;
            for value in any {
                may = may || opened.may_have(place.group, FIELDS + *field as usize, value)?;
            }
            if !may {
                return Ok(false);
            }
        }
        match (&self.probe, place.part.meta.groups.get(place.group)) {
            (Some(probe), Some(group)) => Ok(probe.may_be_in(&opened.words(group)?)),
            _ => Ok(true),
        }
    }
}

/// Those rows of ranges for which it is so, as ranges.
fn keep(ranges: &[Range<u64>], fits: impl Iterator<Item = bool>) -> Vec<Range<u64>> {
    let mut kept: Vec<Range<u64>> = Vec::new();
    for (row, _) in ranges.iter().cloned().flatten().zip(fits).filter(|(_, fits)| *fits) {
        match kept.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => kept.push(row..row + 1),
        }
    }
    kept
}

/// At most so many rows, from one end.
fn nearest(ranges: Vec<Range<u64>>, most: usize, newest: bool) -> Vec<Range<u64>> {
    let mut left = most as u64;
    let mut kept = Vec::new();
    let mut take = |range: Range<u64>| {
        let count = left.min(range.end - range.start);
        left -= count;
        if count > 0 {
            let start = if newest { range.end - count } else { range.start };
            kept.push(start..start + count);
        }
    };
    if newest {
        ranges.into_iter().rev().for_each(&mut take);
        kept.reverse();
    } else {
        ranges.into_iter().for_each(&mut take);
    }
    kept
}

/// The lines nearest to one end, each once.
struct Nearest {
    lines: BTreeMap<Key, Arc<LogRecord>>,
    most: usize,
    newest: bool,
}

impl Nearest {
    fn add(&mut self, key: Key, record: Arc<LogRecord>) {
        self.lines.insert(key, record);
        if self.lines.len() > self.most {
            if self.newest {
                self.lines.pop_first()
            } else {
                self.lines.pop_last()
            };
        }
    }

    /// Whether nothing of a place, nor of those after it, is as near as what is there.
    fn is_done_before(&self, place: &Place) -> bool {
        let full = self.lines.len() >= self.most;
        let farthest = if self.newest { self.lines.first_key_value() } else { self.lines.last_key_value() };
        full && farthest
            .is_some_and(|(key, _)| if self.newest { place.last < *key } else { place.first > *key })
    }

    fn page(self, limit: usize) -> Page {
        let more = self.lines.len() > limit;
        let mut lines: Vec<_> = self.lines.into_iter().collect();
        if self.newest {
            lines.reverse();
        }
        lines.truncate(limit);
        Page { lines, more }
    }
}
