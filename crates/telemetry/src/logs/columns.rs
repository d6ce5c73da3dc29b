//! The columns of a part, and writing them: rows sorted by time.

use std::{
    collections::BTreeMap,
    mem,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use jiff::Timestamp;
use parquet::{
    basic::Encoding,
    data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type},
    file::properties::EnabledStatistics,
};

use super::{
    level::Level,
    meta::{GroupMeta, PAGE, PartMeta, VERSION},
    record::{Field, Key, LogRecord},
    words::Words,
};
use crate::store::{
    StoreError,
    block::{FileMeta, Table, Writer, base, column, io_error, open, table},
    disk,
};

pub(super) const ROWS: &str = "logs.parquet";
pub(super) const WORDS: &str = "words.bin";

/// Rows of a group at most, and bytes of text: what a writer holds in memory.
const GROUP: usize = 128 << 10;
const GROUP_BYTES: usize = 64 << 20;

pub(super) const TIME: usize = 0;
pub(super) const OBSERVED: usize = 1;
pub(super) const ID: usize = 2;
pub(super) const SEVERITY: usize = 3;
pub(super) const FIELDS: usize = 4;
pub(super) const BODY: usize = FIELDS + Field::ALL.len();
pub(super) const ATTRIBUTES: usize = BODY + 1;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let delta = |properties: parquet::file::properties::WriterPropertiesBuilder, name: &str| {
        properties
            .set_column_dictionary_enabled(name.into(), false)
            .set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED)
    };
    let mut properties = ["time", "observed_time"].into_iter().fold(base(), delta);
    properties = properties
        .set_data_page_row_count_limit(PAGE)
        .set_column_dictionary_enabled("id".into(), false)
        .set_column_statistics_enabled("id".into(), EnabledStatistics::None);
    // Long texts: their bounds say nothing, and lines that repeat whole are rare.
    for name in ["body", "attributes"] {
        properties = properties
            .set_column_statistics_enabled(name.into(), EnabledStatistics::None)
            .set_column_dictionary_enabled(name.into(), name == "attributes");
    }
    for field in [Field::Conversation, Field::Deployment, Field::Trace] {
        properties = properties
            .set_column_bloom_filter_enabled(field.name().into(), true)
            .set_column_bloom_filter_fpp(field.name().into(), 0.01)
            .set_column_bloom_filter_max_ndv(field.name().into(), GROUP as u64);
    }
    let texts: String =
        Field::ALL.iter().map(|field| format!("required binary {} (STRING);", field.name())).collect();
    let schema = format!(
        "message logs {{
            required int64 time (TIMESTAMP(NANOS,true));
            required int64 observed_time (TIMESTAMP(NANOS,true));
            required int64 id;
            required int32 severity (INTEGER(8,false));
            {texts}
            required binary body (STRING);
            required binary attributes (STRING);
        }}"
    );
    table(&schema, properties)
});

/// A part that is being written.
pub(super) struct PartWriter {
    folder: PathBuf,
    pub(super) meta: PartMeta,
    writer: Option<Writer>,
    group: Group,
    words: Words,
    index: Vec<u8>,
}

/// Rows that wait to become a group.
#[derive(Default)]
struct Group {
    keys: Vec<Key>,
    observed: Vec<i64>,
    severity: Vec<i32>,
    fields: [Vec<ByteArray>; 8],
    body: Vec<ByteArray>,
    attributes: Vec<ByteArray>,
    bytes: usize,
}

impl PartWriter {
    pub(super) fn create(folder: &Path, meta: PartMeta) -> Result<Self, StoreError> {
        let writer = open(&folder.join(ROWS), &TABLE)?;
        Ok(Self {
            folder: folder.to_owned(),
            meta: PartMeta { version: VERSION, ..meta },
            writer: Some(writer),
            group: Group::default(),
            words: Words::default(),
            index: Vec::new(),
        })
    }

    /// Adds a record: later by key than all before.
    pub(super) fn push(&mut self, key: Key, record: &LogRecord) -> Result<(), StoreError> {
        let group = &mut self.group;
        group.keys.push(key);
        group.observed.push(record.observed);
        group.severity.push(i32::from(record.severity));
        for (column, field) in group.fields.iter_mut().zip(&record.fields) {
            column.push(ByteArray::from(&**field));
        }
        group.body.push(ByteArray::from(&*record.body));
        group.attributes.push(ByteArray::from(&*record.attributes));
        group.bytes += record.body.len() + record.attributes.len();
        self.words.add(&record.body);
        let minute = key.time.div_euclid(60_000_000_000);
        self.meta.minutes.entry(minute).or_default()[Level::of(record.severity) as usize] += 1;
        if group.keys.len() == GROUP || group.bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), StoreError> {
        let group = mem::take(&mut self.group);
        let (Some(first), Some(last), Some(writer)) =
            (group.keys.first(), group.keys.last(), &mut self.writer)
        else {
            return Ok(());
        };
        let path = self.folder.join(ROWS);
        let written = (|| {
            let mut rows = writer.next_row_group()?;
            column::<Int64Type>(&mut rows, &group.keys.iter().map(|key| key.time).collect::<Vec<_>>())?;
            column::<Int64Type>(&mut rows, &group.observed)?;
            column::<Int64Type>(&mut rows, &group.keys.iter().map(|key| key.id).collect::<Vec<_>>())?;
            column::<Int32Type>(&mut rows, &group.severity)?;
            for field in &group.fields {
                column::<ByteArrayType>(&mut rows, field)?;
            }
            column::<ByteArrayType>(&mut rows, &group.body)?;
            column::<ByteArrayType>(&mut rows, &group.attributes)?;
            rows.close()?;
            Ok(())
        })();
        written.map_err(|error| io_error(&path, error))?;
        let at = self.index.len() as u64;
        self.words.finish(&mut self.index).map_err(|what| StoreError::Io {
            what: "write",
            path: self.folder.join(WORDS),
            source: std::io::Error::other(what),
        })?;
        let words = (at, self.index.len() as u64);
        let marks = group.keys.iter().step_by(PAGE).copied().collect();
        let rows = group.keys.len() as u64;
        self.meta.groups.push(GroupMeta { rows, first: *first, last: *last, marks, words });
        Ok(())
    }

    /// Makes the files durable. Whether there is anything in the part.
    pub(super) fn finish(mut self) -> Result<bool, StoreError> {
        self.write_group()?;
        let Some(writer) = self.writer.take().filter(|_| !self.meta.groups.is_empty()) else {
            return Ok(false);
        };
        let path = self.folder.join(ROWS);
        let output = writer.into_inner().map_err(|error| io_error(&path, error))?;
        let (bytes, crc32) = output.finish().map_err(StoreError::io("write", &path))?;
        let mut files = BTreeMap::from([(ROWS.to_owned(), FileMeta { bytes, crc32 })]);
        let index = mem::take(&mut self.index);
        files.insert(WORDS.to_owned(), write_whole(&self.folder.join(WORDS), &index)?);
        self.meta.files = files;
        let meta = serde_json::to_vec(&self.meta).map_err(|error| StoreError::Io {
            what: "write",
            path: self.folder.join(super::meta::FILE),
            source: error.into(),
        })?;
        write_whole(&self.folder.join(super::meta::FILE), &meta)?;
        disk::sync_folder(&self.folder).map_err(StoreError::io("sync", &self.folder))?;
        Ok(true)
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<FileMeta, StoreError> {
    use std::io::Write as _;
    let write = || {
        let mut output = disk::Output::create(path)?;
        output.write_all(bytes)?;
        output.finish()
    };
    let (bytes, crc32) = write().map_err(StoreError::io("write", path))?;
    Ok(FileMeta { bytes, crc32 })
}

/// The name of a part's folder, such as `2026-11-22_000017`.
pub(super) fn name_of(day: i64, id: u64) -> String {
    let start = Timestamp::from_nanosecond(i128::from(day)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{}_{id:06}", start.strftime("%Y-%m-%d"))
}
