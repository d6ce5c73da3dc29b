//! Reading a Parquet file: columns, by ranges of rows.

use std::{io, ops::Range, path::Path, sync::Arc};

use parquet::{
    bloom_filter::Sbbf,
    column::reader::{ColumnReaderImpl, get_typed_column_reader},
    data_type::DataType,
    errors::ParquetError,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
        properties::ReaderProperties,
        reader::RowGroupReader as _,
        serialized_reader::SerializedRowGroupReader,
    },
};

use super::file::BlockFile;
use crate::store::StoreError;

/// A Parquet file that is open. It can be read when its name is gone.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    /// As errors say it.
    pub(crate) name: String,
    file: Arc<BlockFile>,
    pub(super) meta: Arc<ParquetMetaData>,
}

impl ParquetFile {
    pub(crate) fn open(path: &Path, name: String) -> Result<Self, StoreError> {
        let opened = BlockFile::open(path).map_err(StoreError::io("open", path))?;
        // Where pages are is needed to leave some out; what values they have is not.
        let meta = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(&opened)
            .map_err(|error| wrong(&name, error))?;
        Ok(Self { name, file: Arc::new(opened), meta: Arc::new(meta) })
    }

    pub(crate) fn rows(&self) -> u64 {
        u64::try_from(self.meta.file_metadata().num_rows()).unwrap_or(0)
    }

    pub(crate) fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { file: self.name.clone(), what }
    }

    /// A column's values in ranges of rows, which are in order and do not overlap.
    pub(crate) fn read<T: DataType>(
        &self,
        column: usize,
        ranges: &[Range<u64>],
    ) -> Result<Vec<T::T>, StoreError>
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

    /// Whether a group may have a value in a column, as far as its bloom filter says.
    pub(crate) fn may_have(&self, group: usize, column: usize, value: &str) -> Result<bool, StoreError> {
        let chunk = self.meta.row_group(group).column(column);
        let filter = Sbbf::read_from_column_chunk(chunk, &*self.file);
        let filter = filter.map_err(|error| wrong(&self.name, error))?;
        Ok(filter.is_none_or(|filter| filter.check(value.as_bytes())))
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
