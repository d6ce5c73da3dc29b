//! Opening and closing the folder, and how it stands.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, RwLock},
};

use backstay_types::World;

use super::{
    LogCounts, LogOptions, LogStore, Redactor, State,
    counters::Counters,
    head::Head,
    parts,
    record::{self, LOGS, Records, day_of},
};
use crate::store::{
    StoreError,
    counters::add,
    disk, hold,
    wal::{self, Wal},
};

/// How the store of logs stands.
#[derive(Debug, Clone, Default)]
pub struct LogStatus {
    /// Lines in memory.
    pub memory_rows: u64,
    /// What they take, in bytes.
    pub memory_bytes: u64,
    /// What they may take.
    pub max_memory_bytes: u64,
    /// Bytes of the write-ahead log.
    pub log_bytes: u64,
    /// Parts on disk.
    pub parts: u64,
    /// Their lines.
    pub part_rows: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Names of parts that were set aside.
    pub damaged: Vec<String>,
    /// Times of the oldest and the newest line, in nanoseconds.
    pub bounds: Option<(i64, i64)>,
    /// Counts since the store was opened.
    pub counts: LogCounts,
}

impl LogStore {
    /// Opens the folder, which is made when it is not there: removes what is half done, sets aside what is damaged, and
    /// takes what is in no part yet from the log.
    ///
    /// # Errors
    /// When another process has the folder, or it cannot be read or written.
    pub fn open(options: LogOptions, world: World) -> Result<Self, StoreError> {
        let folder = options.folder.clone();
        disk::make_folder(&folder).map_err(StoreError::io("make", &folder))?;
        let lock = hold(&folder)?;
        let counters = Counters::default();
        let found = parts::open(&folder.join("days"))?;
        let log = folder.join("log");
        disk::make_folder(&log).map_err(StoreError::io("make", &log))?;
        disk::sync_folder(&folder).map_err(StoreError::io("sync", &folder))?;
        let mut through: HashMap<i64, u64> = HashMap::new();
        for part in &found.parts {
            let known = through.entry(part.meta.day).or_default();
            *known = (*known).max(part.meta.log);
        }
        let mut head = Head::default();
        let now = world.now().as_millisecond();
        let take =
            |file: u64, records: Vec<record::LogRecord>, left: &mut std::collections::BTreeSet<i64>| {
                let missing = |record: &record::LogRecord| {
                    through.get(&day_of(record.time)).is_none_or(|through| file > *through)
                };
                let records: Vec<_> = records.into_iter().filter(missing).collect();
                left.extend(records.iter().map(|record| day_of(record.time)));
                let records = records.into_iter().map(|record| (record.key(), Arc::new(record))).collect();
                add(&counters.replayed, head.apply(&Records(records), now).len() as u64);
                0
            };
        let replayed = wal::replay(&LOGS, &log, &folder.join("damaged"), record::decode, take)?;
        add(&counters.torn, replayed.torn);
        add(&counters.log_damaged, replayed.damaged);
        // Never a number that a part says it has everything of.
        let next = through.values().map(|through| through + 1).max().unwrap_or(1).max(replayed.next);
        let store = Self {
            wal: Wal::new(LOGS, log, options.segment_bytes, next, replayed.spans),
            redactor: Redactor::new(&options.known_secrets),
            state: RwLock::new(State { head, parts: found.parts, damaged: Vec::new() }),
            upkeep: Mutex::new(found.next),
            options,
            world,
            folder,
            counters,
            room: Mutex::new((u64::MAX, i64::MIN)),
            _lock: lock,
        };
        for path in found.damaged {
            store.set_aside(&path)?;
        }
        store.list_damaged();
        Ok(store)
    }

    /// Takes nothing more. What was acknowledged is on disk.
    pub fn close(&self) {
        self.wal.close();
    }

    /// Moves a damaged part out of the way. It is kept for people to look at.
    pub(super) fn set_aside(&self, path: &Path) -> Result<(), StoreError> {
        add(&self.counters.set_aside, 1);
        let damaged = self.folder.join("damaged");
        disk::make_folder(&damaged).map_err(StoreError::io("make", &damaged))?;
        let Some(name) = path.file_name() else { return Ok(()) };
        let mut to = damaged.join(name);
        let mut n = 1;
        while to.exists() {
            n += 1;
            to.set_file_name(format!("{}.{n}", name.to_string_lossy()));
        }
        disk::rename(path, &to).map_err(StoreError::io("set aside", path))
    }

    pub(super) fn list_damaged(&self) {
        let found = crate::store::block::folders(&self.folder.join("damaged")).unwrap_or_default();
        let name = |path: &std::path::PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        self.write().damaged = found.iter().filter_map(name).collect();
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.world.now().as_millisecond()
    }

    /// How it stands.
    pub fn status(&self) -> LogStatus {
        let state = self.read();
        let parts = state.parts.iter().filter_map(|part| part.meta.bounds());
        let bounds = parts.chain(state.head.bounds()).map(|(first, last)| (first.time, last.time));
        LogStatus {
            memory_rows: state.head.rows(),
            memory_bytes: state.head.bytes(),
            max_memory_bytes: self.options.memory_bytes,
            log_bytes: self.wal.bytes(),
            parts: state.parts.len() as u64,
            part_rows: state.parts.iter().map(|part| part.meta.rows()).sum(),
            part_bytes: state.parts.iter().map(|part| part.meta.bytes()).sum(),
            damaged: state.damaged.clone(),
            bounds: bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
            counts: self.counters.read(),
        }
    }
}
