//! Writing a block: series by label order, each with all of its samples.

use std::{
    collections::BTreeMap,
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use parquet::{
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type},
    errors::ParquetError,
    file::writer::{SerializedFileWriter, SerializedRowGroupWriter},
};
use roaring::RoaringBitmap;

use super::{
    MakeBlock,
    columns::{GROUP, PAIR_TABLE, PAIRS, SAMPLE_TABLE, SAMPLES, SERIES, SERIES_TABLE, Table},
    meta::{FILE, FileMeta, Meta, VERSION},
};
use crate::{
    Labels, Sample,
    store::{StoreError, disk, disk::Output},
};

pub(crate) type Writer = SerializedFileWriter<Output>;
type Pairs = BTreeMap<Arc<str>, BTreeMap<Arc<str>, RoaringBitmap>>;

/// A block that is being written.
pub(crate) struct BlockWriter {
    folder: PathBuf,
    meta: Meta,
    samples: Option<Writer>,
    rows: Rows,
    series: SeriesColumns,
    pairs: Pairs,
}

/// Rows of samples that wait to become a group.
#[derive(Default)]
struct Rows {
    series: Vec<i32>,
    times: Vec<i64>,
    values: Vec<f64>,
}

#[derive(Default)]
struct SeriesColumns {
    numbers: Vec<i32>,
    labels: Vec<ByteArray>,
    first_rows: Vec<i64>,
    rows: Vec<i64>,
    first_times: Vec<i64>,
    last_times: Vec<i64>,
}

impl BlockWriter {
    pub(super) fn create(folder: &Path, id: u64, plan: &MakeBlock) -> Result<Self, StoreError> {
        let meta = Meta {
            version: VERSION,
            id,
            from: plan.from,
            span: plan.span,
            first: i64::MAX,
            last: i64::MIN,
            samples: 0,
            series: 0,
            sources: plan.sources.clone(),
            log: plan.log.clone(),
            files: BTreeMap::new(),
            made_at: Timestamp::from_millisecond(plan.now).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        let samples = open(&folder.join(SAMPLES), &SAMPLE_TABLE)?;
        Ok(Self {
            folder: folder.to_owned(),
            meta,
            samples: Some(samples),
            rows: Rows::default(),
            series: SeriesColumns::default(),
            pairs: Pairs::new(),
        })
    }

    /// Adds a series: later by label order than all before, its samples by time. One without samples is left out.
    pub(crate) fn push(&mut self, labels: &Labels, samples: &[Sample]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Ok(()) };
        let number = u32::try_from(self.meta.series).map_err(|_| self.failed(SERIES, "too many series"))?;
        let columns = &mut self.series;
        columns.numbers.push(number.cast_signed());
        columns.labels.push(json(labels).into());
        columns.first_rows.push(self.meta.samples.cast_signed());
        columns.rows.push(samples.len() as i64);
        columns.first_times.push(first.at);
        columns.last_times.push(last.at);
        for (name, value) in labels.pairs() {
            let values = self.pairs.entry(name.clone()).or_default();
            values.entry(value.clone()).or_default().insert(number);
        }
        self.meta.series += 1;
        self.meta.samples += samples.len() as u64;
        self.meta.first = self.meta.first.min(first.at);
        self.meta.last = self.meta.last.max(last.at);
        for sample in samples {
            self.rows.series.push(number.cast_signed());
            self.rows.times.push(sample.at);
            self.rows.values.push(sample.value);
            if self.rows.times.len() == GROUP {
                self.write_rows()?;
            }
        }
        Ok(())
    }

    fn write_rows(&mut self) -> Result<(), StoreError> {
        let rows = mem::take(&mut self.rows);
        let Some(writer) = &mut self.samples else { return Ok(()) };
        let written = (|| {
            let mut group = writer.next_row_group()?;
            column::<Int32Type>(&mut group, &rows.series)?;
            column::<Int64Type>(&mut group, &rows.times)?;
            column::<DoubleType>(&mut group, &rows.values)?;
            group.close()?;
            Ok(())
        })();
        written.map_err(|error| io_error(&self.folder.join(SAMPLES), error))
    }

    /// Writes the rest and makes all of it durable. Whether there is a block: without samples there is none.
    pub(super) fn finish(mut self) -> Result<bool, StoreError> {
        if self.meta.samples == 0 {
            return Ok(false);
        }
        if !self.rows.times.is_empty() {
            self.write_rows()?;
        }
        if let Some(writer) = self.samples.take() {
            self.close(SAMPLES, writer)?;
        }
        self.write_series()?;
        self.write_pairs()?;
        let path = self.folder.join(FILE);
        let text = serde_json::to_vec_pretty(&self.meta);
        let text = text.map_err(|error| self.failed(FILE, &error.to_string()))?;
        disk::replace(&path, &text).map_err(StoreError::io("write", &path))?;
        disk::sync_folder(&self.folder).map_err(StoreError::io("sync", &self.folder))?;
        Ok(true)
    }

    fn write_series(&mut self) -> Result<(), StoreError> {
        let path = self.folder.join(SERIES);
        let mut writer = open(&path, &SERIES_TABLE)?;
        let all = mem::take(&mut self.series);
        let written = (|| {
            for at in (0..all.numbers.len()).step_by(GROUP) {
                let part = at..all.numbers.len().min(at + GROUP);
                let mut group = writer.next_row_group()?;
                column::<Int32Type>(&mut group, &all.numbers[part.clone()])?;
                column::<ByteArrayType>(&mut group, &all.labels[part.clone()])?;
                column::<Int64Type>(&mut group, &all.first_rows[part.clone()])?;
                column::<Int64Type>(&mut group, &all.rows[part.clone()])?;
                column::<Int64Type>(&mut group, &all.first_times[part.clone()])?;
                column::<Int64Type>(&mut group, &all.last_times[part])?;
                group.close()?;
            }
            Ok(())
        })();
        written.map_err(|error| io_error(&path, error))?;
        self.close(SERIES, writer)
    }

    fn write_pairs(&mut self) -> Result<(), StoreError> {
        let path = self.folder.join(PAIRS);
        let mut writer = open(&path, &PAIR_TABLE)?;
        let (mut names, mut values, mut sets) = (Vec::new(), Vec::new(), Vec::new());
        for (name, below) in mem::take(&mut self.pairs) {
            for (value, mut series) in below {
                series.optimize();
                let mut bytes = Vec::with_capacity(series.serialized_size());
                series.serialize_into(&mut bytes).map_err(StoreError::io("write", &path))?;
                names.push(ByteArray::from(&*name));
                values.push(ByteArray::from(&*value));
                sets.push(ByteArray::from(bytes));
            }
        }
        let written = (|| {
            let mut group = writer.next_row_group()?;
            column::<ByteArrayType>(&mut group, &names)?;
            column::<ByteArrayType>(&mut group, &values)?;
            column::<ByteArrayType>(&mut group, &sets)?;
            group.close()?;
            Ok(())
        })();
        written.map_err(|error| io_error(&path, error))?;
        self.close(PAIRS, writer)
    }

    fn close(&mut self, name: &str, writer: Writer) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        let output = writer.into_inner().map_err(|error| io_error(&path, error))?;
        let (bytes, crc32) = output.finish().map_err(StoreError::io("write", &path))?;
        self.meta.files.insert(name.to_owned(), FileMeta { bytes, crc32 });
        Ok(())
    }

    fn failed(&self, name: &str, what: &str) -> StoreError {
        let source = std::io::Error::other(what.to_owned());
        StoreError::Io { what: "write", path: self.folder.join(name), source }
    }
}

/// A table that is written from its beginning.
pub(crate) fn open(path: &Path, table: &Table) -> Result<Writer, StoreError> {
    let output = Output::create(path).map_err(StoreError::io("create", path))?;
    SerializedFileWriter::new(output, table.schema.clone(), table.properties.clone())
        .map_err(|error| io_error(path, error))
}

/// Writes the next column of a group.
pub(crate) fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Output>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("more columns than the schema has".to_owned()));
    };
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

/// The system's error inside of what the format says, so that a full disk is known as one.
pub(crate) fn io_error(path: &Path, error: ParquetError) -> StoreError {
    let source = match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(other) => std::io::Error::other(other.to_string()),
        },
        other => std::io::Error::other(other.to_string()),
    };
    StoreError::Io { what: "write", path: path.to_owned(), source }
}

/// Labels as a JSON object, by name.
fn json(labels: &Labels) -> Vec<u8> {
    let map: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    serde_json::to_vec(&map).unwrap_or_default()
}
