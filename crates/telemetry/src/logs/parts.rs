//! Parts: folders with the lines of one day, which never change.
//!
//! `logs.parquet` has a row for each line, sorted by time, with bloom filters on conversation, deployment and trace.
//! `words.bin` says which words each group of rows has. `part.json` says what the part is and the CRC-32 of each file; a
//! folder with it is whole.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use parquet::{
    data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type},
    file::reader::ChunkReader as _,
};

use super::{
    columns::{ATTRIBUTES, BODY, FIELDS, ID, OBSERVED, PartWriter, ROWS, SEVERITY, TIME, WORDS, name_of},
    meta::{FILE, GroupMeta, PAGE, PartMeta, VERSION},
    record::{Key, LogRecord},
};
use crate::store::{
    StoreError,
    block::{BlockFile, ParquetFile, folders},
    disk,
};

/// The ending of a folder that is being written, or removed.
const HALF: &str = "tmp";

/// A part on disk. Its files are opened when it is read first.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) meta: PartMeta,
    pub(super) path: PathBuf,
    opened: Mutex<Option<Arc<Opened>>>,
}

/// A part with its files open: it can be read also when it is taken off the disk meanwhile.
#[derive(Debug)]
pub(super) struct Opened {
    rows: ParquetFile,
    words: BlockFile,
}

impl Part {
    /// Looks whether a folder is a whole part.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let damaged = |what: String| StoreError::Damaged { file: path.display().to_string(), what };
        let text = match fs::read(path.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(damaged(format!("{FILE} is missing")));
            }
            Err(source) => return Err(StoreError::Io { what: "read", path: path.join(FILE), source }),
        };
        let meta: PartMeta =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("{FILE}: {error}")))?;
        if meta.version != VERSION {
            let version = meta.version;
            return Err(damaged(format!("version {version} of the format; this program knows {VERSION}")));
        }
        for name in [ROWS, WORDS] {
            let Some(file) = meta.files.get(name) else {
                return Err(damaged(format!("{FILE} does not name {name}")));
            };
            let found = fs::metadata(path.join(name)).map_err(|error| damaged(format!("{name}: {error}")))?;
            if found.len() != file.bytes {
                return Err(damaged(format!("{name} has {} bytes; expected {}", found.len(), file.bytes)));
            }
        }
        Ok(Self { meta, path: path.to_owned(), opened: Mutex::default() })
    }

    /// Reads all files through and compares their sums with what was written.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        for (name, file) in &self.meta.files {
            let path = self.path.join(name);
            if disk::sum_of(&path).map_err(StoreError::io("read", &path))? != file.crc32 {
                let what = "its checksum is another one".to_owned();
                return Err(StoreError::Damaged { file: format!("{}/{name}", self.name()), what });
            }
        }
        Ok(())
    }

    /// The name of its folder.
    pub(super) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// With its files open.
    pub(super) fn opened(&self) -> Result<Arc<Opened>, StoreError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*opened {
            return Ok(opened.clone());
        }
        let rows = ParquetFile::open(&self.path.join(ROWS), format!("{}/{ROWS}", self.name()))?;
        if rows.rows() != self.meta.rows() {
            return Err(rows.damaged(format!("it has other rows than {FILE} says")));
        }
        let path = self.path.join(WORDS);
        let words = BlockFile::open(&path).map_err(StoreError::io("open", &path))?;
        let both = Arc::new(Opened { rows, words });
        *opened = Some(both.clone());
        Ok(both)
    }

    /// Its groups with their rows.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, Range<u64>, &GroupMeta)> {
        self.meta.groups.iter().enumerate().scan(0, |start, (n, group)| {
            let rows = *start..*start + group.rows;
            *start = rows.end;
            Some((n, rows, group))
        })
    }
}

impl Opened {
    /// What is known of a group's words.
    pub(super) fn words(&self, group: &GroupMeta) -> Result<bytes::Bytes, StoreError> {
        let (from, to) = group.words;
        let length = to.saturating_sub(from) as usize;
        let read = self.words.get_bytes(from, length);
        read.map_err(|error| self.rows.damaged(format!("{WORDS}: {error}")))
    }

    /// Whether a group may have a value in the column, as far as its bloom filter says.
    pub(super) fn may_have(&self, group: usize, column: usize, value: &str) -> Result<bool, StoreError> {
        self.rows.may_have(group, column, value)
    }

    /// Times or ids of rows.
    pub(super) fn numbers(&self, column: usize, rows: &[Range<u64>]) -> Result<Vec<i64>, StoreError> {
        self.rows.read::<Int64Type>(column, rows)
    }

    /// Which of a group's rows have keys from the first to the last.
    pub(super) fn between(
        &self,
        group: &GroupMeta,
        rows: &Range<u64>,
        (first, last): (Key, Key),
    ) -> Result<Range<u64>, StoreError> {
        let from = self.before(group, rows, |key| key < first)?;
        let to = self.before(group, rows, |key| key <= last)?;
        Ok(from..to.max(from))
    }

    /// The first row for whose key it is not so; it is so for none after it.
    fn before(
        &self,
        group: &GroupMeta,
        rows: &Range<u64>,
        is_before: impl Fn(Key) -> bool,
    ) -> Result<u64, StoreError> {
        let page = group.marks.partition_point(|key| is_before(*key));
        let Some(page) = page.checked_sub(1) else { return Ok(rows.start) };
        let start = rows.start + (page * PAGE) as u64;
        let within = start..rows.end.min(start + PAGE as u64);
        let within = std::slice::from_ref(&within);
        let keys = self.numbers(TIME, within)?.into_iter().zip(self.numbers(ID, within)?);
        Ok(start + keys.take_while(|(time, id)| is_before(Key { time: *time, id: *id })).count() as u64)
    }

    /// Severities of rows.
    pub(super) fn severities(&self, rows: &[Range<u64>]) -> Result<Vec<i32>, StoreError> {
        self.rows.read::<Int32Type>(SEVERITY, rows)
    }

    /// A text column of rows.
    pub(super) fn texts(&self, column: usize, rows: &[Range<u64>]) -> Result<Vec<ByteArray>, StoreError> {
        self.rows.read::<ByteArrayType>(column, rows)
    }

    /// Whole records of rows.
    pub(super) fn records(&self, rows: &[Range<u64>]) -> Result<Vec<(Key, LogRecord)>, StoreError> {
        let (times, ids) = (self.numbers(TIME, rows)?, self.numbers(ID, rows)?);
        let (observed, severities) = (self.numbers(OBSERVED, rows)?, self.severities(rows)?);
        let mut records: Vec<(Key, LogRecord)> = Vec::with_capacity(times.len());
        for n in 0..times.len() {
            let severity = u8::try_from(severities[n]).unwrap_or(0);
            let record =
                LogRecord { time: times[n], observed: observed[n], severity, ..LogRecord::default() };
            records.push((Key { time: times[n], id: ids[n] }, record));
        }
        let mut known: HashMap<Vec<u8>, Arc<str>> = HashMap::new();
        for column in FIELDS..BODY {
            for ((_, record), text) in records.iter_mut().zip(self.texts(column, rows)?) {
                let field = match known.get(text.data()) {
                    Some(field) => field.clone(),
                    None => {
                        let field: Arc<str> = self.text(&text)?.into();
                        known.insert(text.data().to_vec(), field.clone());
                        field
                    }
                };
                record.fields[column - FIELDS] = field;
            }
        }
        for ((_, record), text) in records.iter_mut().zip(self.texts(BODY, rows)?) {
            record.body = self.text(&text)?.to_owned();
        }
        for ((_, record), text) in records.iter_mut().zip(self.texts(ATTRIBUTES, rows)?) {
            record.attributes = self.text(&text)?.to_owned();
        }
        Ok(records)
    }

    fn text<'a>(&self, bytes: &'a ByteArray) -> Result<&'a str, StoreError> {
        bytes.as_utf8().map_err(|error| self.rows.damaged(error.to_string()))
    }
}

/// The parts of a store when it is opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) parts: Vec<Arc<Part>>,
    pub(super) damaged: Vec<PathBuf>,
    pub(super) next: u64,
}

/// Looks through the folder: removes what is half done or in another part, and names what is damaged.
pub(super) fn open(folder: &Path) -> Result<Found, StoreError> {
    disk::make_folder(folder).map_err(StoreError::io("make", folder))?;
    let mut found = Found::default();
    for path in folders(folder)? {
        if path.extension().is_some_and(|extension| extension == HALF) {
            disk::remove_folder(&path).map_err(StoreError::io("remove", &path))?;
            continue;
        }
        match Part::open(&path) {
            Ok(part) => found.parts.push(Arc::new(part)),
            Err(StoreError::Damaged { what, .. }) => {
                tracing::error!(part = %path.display(), what, "a part of the logs is damaged; it is set aside");
                found.damaged.push(path);
            }
            Err(other) => return Err(other),
        }
    }
    found.next = found.parts.iter().map(|part| part.meta.id + 1).max().unwrap_or(1);
    let merged: Vec<u64> = found.parts.iter().flat_map(|part| part.meta.sources.iter().copied()).collect();
    let (gone, stay): (Vec<_>, Vec<_>) =
        std::mem::take(&mut found.parts).into_iter().partition(|part| merged.contains(&part.meta.id));
    found.parts = stay;
    gone.iter().try_for_each(|part| erase(part))?;
    found.parts.sort_by_key(|part| (part.meta.day, part.meta.id));
    Ok(found)
}

/// Writes a part and gives it its name. Nothing comes of it when there are no lines.
pub(super) fn make(
    folder: &Path,
    meta: PartMeta,
    fill: impl FnOnce(&mut PartWriter) -> Result<(), StoreError>,
) -> Result<Option<Arc<Part>>, StoreError> {
    let name = name_of(meta.day, meta.id);
    let half = folder.join(format!("{name}.{HALF}"));
    let filled = || {
        disk::make_folder(&half).map_err(StoreError::io("make", &half))?;
        let mut writer = PartWriter::create(&half, meta)?;
        fill(&mut writer)?;
        writer.finish()
    };
    match filled() {
        Ok(true) => {}
        other => {
            // What is left of it is removed at the next start if it cannot be now.
            let _ = fs::remove_dir_all(&half);
            return other.map(|_| None);
        }
    }
    let path = folder.join(name);
    disk::rename(&half, &path).map_err(StoreError::io("rename", &path))?;
    Part::open(&path).map(|part| Some(Arc::new(part)))
}

/// Takes a part off the disk that is not read any more. Who reads it still has its files open.
pub(super) fn erase(part: &Part) -> Result<(), StoreError> {
    let half = part.path.with_file_name(format!("{}.{HALF}", part.name()));
    disk::rename(&part.path, &half).map_err(StoreError::io("rename", &part.path))?;
    disk::remove_folder(&half).map_err(StoreError::io("remove", &half))
}

/// Rows of a part one after the other, some in memory at a time.
pub(super) struct Scan {
    part: Arc<Part>,
    opened: Arc<Opened>,
    at: u64,
    batch: std::vec::IntoIter<(Key, LogRecord)>,
}

/// Rows that a merge holds of each part.
const BATCH: u64 = 4096;

impl Scan {
    pub(super) fn new(part: &Arc<Part>) -> Result<Self, StoreError> {
        Ok(Self { part: part.clone(), opened: part.opened()?, at: 0, batch: Vec::new().into_iter() })
    }

    /// The next key, if there is one.
    fn peek(&mut self) -> Result<Option<Key>, StoreError> {
        if self.batch.len() == 0 && self.at < self.part.meta.rows() {
            let end = (self.at + BATCH).min(self.part.meta.rows());
            self.batch = self.opened.records(std::slice::from_ref(&(self.at..end)))?.into_iter();
            self.at = end;
        }
        Ok(self.batch.as_slice().first().map(|(key, _)| *key))
    }
}

/// All rows by key, each once.
pub(super) fn merge(
    scans: &mut [Scan],
    mut push: impl FnMut(Key, &LogRecord) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut before = None;
    loop {
        let mut first: Option<(Key, usize)> = None;
        for (n, scan) in scans.iter_mut().enumerate() {
            if let Some(key) = scan.peek()?
                && first.is_none_or(|(least, _)| key < least)
            {
                first = Some((key, n));
            }
        }
        let Some((_, n)) = first else { return Ok(()) };
        let Some((key, record)) = scans[n].batch.next() else { return Ok(()) };
        if before != Some(key) {
            push(key, &record)?;
        }
        before = Some(key);
    }
}
