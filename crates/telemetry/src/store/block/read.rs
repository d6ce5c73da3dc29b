//! Reading a block: its series by number, their samples by row.

use std::{
    fs,
    io::{self, ErrorKind},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    column::reader::{ColumnReaderImpl, get_typed_column_reader},
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
        properties::ReaderProperties,
        reader::RowGroupReader as _,
        serialized_reader::SerializedRowGroupReader,
    },
};
use roaring::RoaringBitmap;

use super::{
    columns::{PAIRS, SAMPLES, SERIES},
    file::BlockFile,
    meta::{FILE, Meta, VERSION},
    pairs::Pairs,
};
use crate::{
    Labels, Sample,
    store::{StoreError, disk},
};

/// A block on disk. Its files are opened when it is read.
#[derive(Debug)]
pub(in crate::store) struct Block {
    /// What it is.
    pub(in crate::store) meta: Meta,
    /// Its folder.
    pub(super) path: PathBuf,
}

/// A block with its files open: it can be read also when it is taken off the disk meanwhile.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    /// The block.
    pub(in crate::store) block: Arc<Block>,
    /// Its index.
    pub(in crate::store) pairs: Pairs,
    series: ParquetFile,
    samples: ParquetFile,
}

/// A series of a block.
#[derive(Debug, Clone)]
pub(in crate::store) struct SeriesRow {
    pub(in crate::store) labels: Labels,
    pub(in crate::store) first_row: u64,
    pub(in crate::store) rows: u64,
    /// Times of its first and last sample.
    pub(in crate::store) first: i64,
    pub(in crate::store) last: i64,
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
    pub(in crate::store) fn verify(&self) -> Result<(), StoreError> {
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
    pub(in crate::store) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Opened {
    /// Opens the files of a block. The small ones are compared with their sums.
    pub(super) fn new(block: Arc<Block>) -> Result<Self, StoreError> {
        block.verify_file(SERIES)?;
        block.verify_file(PAIRS)?;
        let pairs = ParquetFile::open(&block, PAIRS)?;
        let all = 0..pairs.rows();
        let column = |n| pairs.read::<ByteArrayType>(n, std::slice::from_ref(&all));
        let series = u32::try_from(block.meta.series).unwrap_or(u32::MAX);
        let pairs = Pairs::new(pairs.name.clone(), series, &column(0)?, &column(1)?, column(2)?)?;
        let series = ParquetFile::open(&block, SERIES)?;
        let samples = ParquetFile::open(&block, SAMPLES)?;
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
    pub(in crate::store) fn series(&self, numbers: &RoaringBitmap) -> Result<Vec<SeriesRow>, StoreError> {
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
    pub(in crate::store) fn samples(&self, rows: &[SeriesRow]) -> Result<Vec<Vec<Sample>>, StoreError> {
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

/// A Parquet file of a block.
#[derive(Debug)]
struct ParquetFile {
    name: String,
    file: Arc<BlockFile>,
    meta: Arc<ParquetMetaData>,
}

impl ParquetFile {
    fn open(block: &Block, file: &str) -> Result<Self, StoreError> {
        let path = block.path.join(file);
        let name = block.name_of(file);
        let opened = BlockFile::open(&path).map_err(StoreError::io("open", &path))?;
        // Where pages are is needed to leave some out; what values they have is not.
        let meta = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(&opened)
            .map_err(|error| wrong(&name, error))?;
        Ok(Self { name, file: Arc::new(opened), meta: Arc::new(meta) })
    }

    fn rows(&self) -> u64 {
        u64::try_from(self.meta.file_metadata().num_rows()).unwrap_or(0)
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { file: self.name.clone(), what }
    }

    /// A column's values in ranges of rows, which are in order and do not overlap.
    fn read<T: DataType>(&self, column: usize, ranges: &[Range<u64>]) -> Result<Vec<T::T>, StoreError>
    where
        T::T: Clone,
    {
        let wanted: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let mut values = Vec::with_capacity(wanted as usize);
        let mut ranges = ranges.iter().cloned().peekable();
        let mut start = 0;
        for group in 0..self.meta.num_row_groups() {
            let rows = u64::try_from(self.meta.row_group(group).num_rows()).unwrap_or(0);
            let end = start + rows;
            let mut reader: Option<(ColumnReaderImpl<T>, u64)> = None;
            while let Some(range) = ranges.peek_mut().filter(|range| range.start < end) {
                let (column, at) = match &mut reader {
                    Some(reader) => reader,
                    None => reader.insert((self.column(group, column)?, start)),
                };
                let until = range.end.min(end);
                let read = skip_and_read(column, range.start - *at, until - range.start, &mut values);
                read.map_err(|error| wrong(&self.name, error))?;
                *at = until;
                if until == range.end {
                    ranges.next();
                } else {
                    range.start = until;
                }
            }
            if ranges.peek().is_none() {
                break;
            }
            start = end;
        }
        if values.len() as u64 == wanted {
            Ok(values)
        } else {
            Err(self.damaged("rows are missing".to_owned()))
        }
    }

    fn column<T: DataType>(&self, group: usize, column: usize) -> Result<ColumnReaderImpl<T>, StoreError> {
        let properties = Arc::new(ReaderProperties::builder().build());
        let pages = self.meta.page_index_for_row_group(group);
        let reader =
            SerializedRowGroupReader::new(self.file.clone(), self.meta.row_group(group), pages, properties)
                .and_then(|group| group.get_column_reader(column));
        reader.map(get_typed_column_reader).map_err(|error| wrong(&self.name, error))
    }
}

fn skip_and_read<T: DataType>(
    column: &mut ColumnReaderImpl<T>,
    skip: u64,
    count: u64,
    into: &mut Vec<T::T>,
) -> Result<(), ParquetError> {
    let short = || ParquetError::EOF("a group has fewer rows than it says".to_owned());
    if skip > 0 && column.skip_records(skip as usize)? as u64 != skip {
        return Err(short());
    }
    let mut left = count as usize;
    while left > 0 {
        let (read, ..) = column.read_records(left, None, None, into)?;
        if read == 0 {
            return Err(short());
        }
        left -= read;
    }
    Ok(())
}

/// What the system did not give is no damage; all else is.
fn wrong(name: &str, error: ParquetError) -> StoreError {
    let what = error.to_string();
    if let ParquetError::External(inner) = error
        && let Ok(source) = inner.downcast::<io::Error>()
        && source.raw_os_error().is_some()
    {
        return StoreError::Io { what: "read", path: name.into(), source: *source };
    }
    StoreError::Damaged { file: name.to_owned(), what }
}
