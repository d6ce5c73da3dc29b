//! Opening and closing the folder.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use backstay_types::World;

use super::{
    Options, Store, StoreError,
    block::Blocks,
    counters::{Counters, add},
    disk,
    head::Head,
    metadata::MetadataBook,
    wal::{self, Wal},
};

impl Store {
    /// Opens the folder, which is made when it is not there: removes what is half done, sets aside what is damaged, and
    /// takes what is in no block yet from the log.
    ///
    /// # Errors
    /// When another process has the folder, or it cannot be read or written.
    pub fn open(options: Options, world: World) -> Result<Self, StoreError> {
        let folder = options.folder.clone();
        disk::make_folder(&folder).map_err(StoreError::io("make", &folder))?;
        let lock = hold(&folder)?;
        let counters = Counters::default();
        let damaged = folder.join("damaged");
        let blocks = Blocks::open(folder.join("blocks"), damaged.clone(), &counters)?;
        let log = folder.join("log");
        disk::make_folder(&log).map_err(StoreError::io("make", &log))?;
        disk::sync_folder(&folder).map_err(StoreError::io("sync", &folder))?;
        let through = in_blocks(&blocks);
        let mut head = Head::new();
        let replayed = wal::replay_metrics(
            &log,
            &damaged,
            |file, span| through.get(&span).is_some_and(|through| file <= *through),
            |labels, samples| add(&counters.replayed, head.restore(labels, samples).stored),
        )?;
        add(&counters.torn, replayed.torn);
        add(&counters.log_damaged, replayed.damaged);
        // Never a number that a block says it has everything of.
        let next = through.values().map(|through| through + 1).max().unwrap_or(1).max(replayed.next);
        let wal = Wal::new(wal::METRICS, log, options.segment_bytes, next, replayed.spans);
        let metadata = MetadataBook::open(folder.join("metadata.json"));
        Ok(Self {
            options,
            world,
            folder,
            head: RwLock::new(head),
            blocks,
            wal,
            upkeep: Mutex::default(),
            counters,
            metadata,
            room: Mutex::new((u64::MAX, i64::MIN)),
            _lock: lock,
        })
    }

    /// Takes nothing more, and writes down what is not in the log. What was acknowledged is on disk in any case.
    pub fn close(&self) {
        self.wal.close();
        self.save_metadata();
    }

    pub(super) fn save_metadata(&self) {
        if let Err(error) = self.metadata.save() {
            tracing::warn!(%error, "kinds and help of metrics could not be written; senders will repeat them");
        }
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.world.now().as_millisecond()
    }

    pub(super) fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the folder for this process.
pub(crate) fn hold(folder: &std::path::Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(StoreError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Held(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::Io { what: "lock", path, source: error }),
    }
}

/// For each span, up to which file of the log its samples are in blocks.
fn in_blocks(blocks: &Blocks) -> BTreeMap<i64, u64> {
    let mut through = BTreeMap::new();
    for block in blocks.read().iter() {
        for (span, file) in &block.meta.log {
            let known = through.entry(*span).or_insert(*file);
            *known = (*known).max(*file);
        }
    }
    through
}
