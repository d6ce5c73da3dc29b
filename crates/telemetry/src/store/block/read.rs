//! Reading a block: its series by number, their samples by row.

use std::{
    fs,
    io::ErrorKind,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use roaring::RoaringBitmap;

use super::{
    columns::{PAIRS, SAMPLES, SERIES},
    meta::{FILE, Meta, VERSION},
    pairs::Pairs,
    table::ParquetFile,
};
use crate::{
    Labels, Sample,
    store::{StoreError, disk},
};

/// A block on disk. Its files are opened when it is read.
#[derive(Debug)]
pub(crate) struct Block {
    /// What it is.
    pub(crate) meta: Meta,
    /// Its folder.
    pub(super) path: PathBuf,
}

/// A block with its files open: it can be read also when it is taken off the disk meanwhile.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The block.
    pub(crate) block: Arc<Block>,
    /// Its index.
    pub(crate) pairs: Pairs,
    series: ParquetFile,
    samples: ParquetFile,
}

/// A series of a block.
#[derive(Debug, Clone)]
pub(crate) struct SeriesRow {
    pub(crate) labels: Labels,
    pub(crate) first_row: u64,
    pub(crate) rows: u64,
    /// Times of its first and last sample.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Block {
    /// Looks whether a folder is a whole block.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let damaged = |what: String| StoreError::Damaged { file: path.display().to_string(), what };
        let text = match fs::read(path.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(damaged(format!("{FILE} is missing")));
            }
            Err(source) => return Err(StoreError::Io { what: "read", path: path.join(FILE), source }),
        };
        let meta: Meta =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("{FILE}: {error}")))?;
        if meta.version != VERSION {
            return Err(damaged(format!(
                "version {} of the format; this program knows {VERSION}",
                meta.version
            )));
        }
        for (name, file) in &meta.files {
            let found = fs::metadata(path.join(name)).map_err(|error| damaged(format!("{name}: {error}")))?;
            if found.len() != file.bytes {
                let is = found.len();
                return Err(damaged(format!("{name} has {is} bytes; expected {}", file.bytes)));
            }
        }
        let expected = [SAMPLES, SERIES, PAIRS].into_iter().find(|name| !meta.files.contains_key(*name));
        match expected {
            Some(name) => Err(damaged(format!("{FILE} does not name {name}"))),
            None => Ok(Self { meta, path: path.to_owned() }),
        }
    }

    /// Reads all files through and compares their sums with what was written.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        [SAMPLES, SERIES, PAIRS].into_iter().try_for_each(|name| self.verify_file(name))
    }

    fn verify_file(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let sum = disk::sum_of(&path).map_err(StoreError::io("read", &path))?;
        match self.meta.files.get(name) {
            Some(file) if file.crc32 == sum => Ok(()),
            _ => Err(StoreError::Damaged {
                file: self.name_of(name),
                what: "its checksum is another one".to_owned(),
            }),
        }
    }

    /// A file's name, relative to the folder of blocks.
    fn name_of(&self, file: &str) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        format!("{}/{file}", name.unwrap_or_default())
    }

    /// The name of its folder.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Opened {
    /// Opens the files of a block. The small ones are compared with their sums.
    pub(super) fn new(block: Arc<Block>) -> Result<Self, StoreError> {
        block.verify_file(SERIES)?;
        block.verify_file(PAIRS)?;
        let pairs = open(&block, PAIRS)?;
        let all = 0..pairs.rows();
        let column = |n| pairs.read::<ByteArrayType>(n, std::slice::from_ref(&all));
        let series = u32::try_from(block.meta.series).unwrap_or(u32::MAX);
        let pairs = Pairs::new(pairs.name.clone(), series, &column(0)?, &column(1)?, column(2)?)?;
        let series = open(&block, SERIES)?;
        let samples = open(&block, SAMPLES)?;
        if (series.rows(), samples.rows()) != (block.meta.series, block.meta.samples) {
            return Err(samples.damaged("it has other rows than block.json says".to_owned()));
        }
        Ok(Self { block, pairs, series, samples })
    }

    /// What it takes in memory, roughly.
    pub(super) fn size(&self) -> u64 {
        let meta = self.samples.meta.memory_size() + self.series.meta.memory_size();
        self.pairs.size() + meta as u64
    }

    /// Series by number, in order.
    pub(crate) fn series(&self, numbers: &RoaringBitmap) -> Result<Vec<SeriesRow>, StoreError> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for number in numbers {
            let number = u64::from(number);
            match ranges.last_mut() {
                Some(last) if last.end == number => last.end += 1,
                _ => ranges.push(number..number + 1),
            }
        }
        self.series_rows(&ranges)
    }

    fn series_rows(&self, ranges: &[Range<u64>]) -> Result<Vec<SeriesRow>, StoreError> {
        let labels = self.series.read::<ByteArrayType>(1, ranges)?;
        let number = |column| self.series.read::<Int64Type>(column, ranges);
        let (first_rows, rows, firsts, lasts) = (number(2)?, number(3)?, number(4)?, number(5)?);
        let mut found = Vec::with_capacity(labels.len());
        for (n, text) in labels.iter().enumerate() {
            let row = SeriesRow {
                labels: self.labels(text)?,
                first_row: first_rows[n].cast_unsigned(),
                rows: rows[n].cast_unsigned(),
                first: firsts[n],
                last: lasts[n],
            };
            let end = row.first_row.checked_add(row.rows);
            if end.is_none_or(|end| end > self.block.meta.samples) {
                return Err(self.series.damaged("rows that are not there".to_owned()));
            }
            found.push(row);
        }
        Ok(found)
    }

    fn labels(&self, text: &ByteArray) -> Result<Labels, StoreError> {
        let pairs: std::collections::BTreeMap<String, String> =
            serde_json::from_slice(text.data()).map_err(|error| self.series.damaged(error.to_string()))?;
        Ok(Labels::from_pairs(pairs))
    }

    /// Samples of series, which are in order of their rows: all of each.
    pub(crate) fn samples(&self, rows: &[SeriesRow]) -> Result<Vec<Vec<Sample>>, StoreError> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for row in rows {
            match ranges.last_mut() {
                Some(last) if last.end == row.first_row => last.end += row.rows,
                _ => ranges.push(row.first_row..row.first_row + row.rows),
            }
        }
        let times = self.samples.read::<Int64Type>(1, &ranges)?;
        let values = self.samples.read::<DoubleType>(2, &ranges)?;
        let mut all = times.into_iter().zip(values).map(|(at, value)| Sample { at, value });
        Ok(rows.iter().map(|row| all.by_ref().take(row.rows as usize).collect()).collect())
    }

    /// A part of the series, in order: for who reads all of them, one part after the other.
    pub(super) fn part(&self, from: u64, count: u64) -> Result<Vec<SeriesRow>, StoreError> {
        let end = from.saturating_add(count).min(self.block.meta.series);
        if from >= end { Ok(Vec::new()) } else { self.series_rows(std::slice::from_ref(&(from..end))) }
    }
}

fn open(block: &Block, file: &str) -> Result<ParquetFile, StoreError> {
    ParquetFile::open(&block.path.join(file), block.name_of(file))
}
