//! The index of a block, in memory while the block is read: pairs of name and value, and who has them.

use parquet::data_type::ByteArray;
use roaring::RoaringBitmap;

use crate::store::{StoreError, index::Index};

/// The index of a block.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// Relative to the store's folder, for errors.
    file: String,
    series: u32,
    /// Each name with the place of its first value.
    names: Vec<(Box<str>, usize)>,
    values: Vec<Box<str>>,
    sets: Vec<ByteArray>,
}

impl Pairs {
    /// From the columns of the file, which are sorted by name and value.
    pub(super) fn new(
        file: String,
        series: u32,
        names: &[ByteArray],
        values: &[ByteArray],
        sets: Vec<ByteArray>,
    ) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged { file: file.clone(), what: what.to_owned() };
        let text = |bytes: &ByteArray| -> Result<Box<str>, StoreError> {
            Ok(bytes.as_utf8().map_err(|_| damaged("a label is not text"))?.into())
        };
        let mut index = Self { file: String::new(), series, names: Vec::new(), values: Vec::new(), sets };
        for (place, (name, value)) in names.iter().zip(values).enumerate() {
            let name = text(name)?;
            if index.names.last().is_none_or(|(last, _)| *last != name) {
                index.names.push((name, place));
            }
            index.values.push(text(value)?);
        }
        if !index.names.is_sorted() || index.sets.len() != index.values.len() {
            return Err(damaged("labels are not in order"));
        }
        index.file = file;
        Ok(index)
    }

    /// What it takes in memory, roughly.
    pub(super) fn size(&self) -> u64 {
        let values: usize = self.values.iter().map(|value| value.len() + 16).sum();
        let sets: usize = self.sets.iter().map(|set| set.len() + 48).sum();
        (values + sets) as u64
    }

    /// Names of labels, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| &**name)
    }

    /// The places of a name's values.
    fn places(&self, name: &str) -> std::ops::Range<usize> {
        let Ok(found) = self.names.binary_search_by(|(other, _)| (**other).cmp(name)) else { return 0..0 };
        let end = self.names.get(found + 1).map_or(self.values.len(), |(_, place)| *place);
        self.names[found].1..end
    }

    /// Values of a label, in order, with their series.
    pub(crate) fn values(
        &self,
        name: &str,
    ) -> impl Iterator<Item = (&str, Result<RoaringBitmap, StoreError>)> {
        self.places(name).map(|place| (&*self.values[place], self.set(place)))
    }

    /// Only the values of a label, in order.
    pub(crate) fn all_values(&self, name: &str) -> &[Box<str>] {
        &self.values[self.places(name)]
    }

    fn set(&self, place: usize) -> Result<RoaringBitmap, StoreError> {
        let damaged = |what: String| StoreError::Damaged { file: self.file.clone(), what };
        let set = RoaringBitmap::deserialize_from(self.sets[place].data());
        let set = set.map_err(|error| damaged(error.to_string()))?;
        match set.max() {
            Some(last) if last >= self.series => {
                Err(damaged("a label of a series that is not there".to_owned()))
            }
            _ => Ok(set),
        }
    }
}

impl Index for Pairs {
    fn all(&self) -> RoaringBitmap {
        (0..self.series).collect()
    }

    fn with(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        let places = self.places(name);
        let start = places.start;
        match self.values[places].binary_search_by(|other| (**other).cmp(value)) {
            Ok(found) => self.set(start + found),
            Err(_) => Ok(RoaringBitmap::new()),
        }
    }

    fn where_value(
        &self,
        name: &str,
        passes: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, StoreError> {
        let mut found = RoaringBitmap::new();
        for place in self.places(name) {
            if passes(&self.values[place]) {
                found |= self.set(place)?;
            }
        }
        Ok(found)
    }
}
