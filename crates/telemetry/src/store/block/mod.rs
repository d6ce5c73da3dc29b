//! Blocks: folders of Parquet files that never change.
//!
//! `samples.parquet` has a row for each sample: `series`, `time`, `value`, sorted by series and time. `series.parquet` has
//! a row for each series, by label order: its `labels` as a JSON object, and which rows are its samples. `labels.parquet`
//! is the index: for each pair of `name` and `value` the series that have it, as a Roaring bitmap in its portable format.
//! `block.json` says what the block is and the CRC-32 of each file; a folder with it is whole.

mod columns;
mod file;
mod meta;
mod pairs;
mod read;
mod scan;
mod table;
mod write;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

pub(crate) use self::{
    columns::{Table, base, table},
    file::BlockFile,
    meta::{FileMeta, Meta},
    read::{Block, Opened, SeriesRow},
    scan::Scan,
    table::ParquetFile,
    write::{BlockWriter, Writer, column, io_error, open},
};
use lru::LruCache;

use super::{StoreError, counters, counters::Counters, disk, status::DamagedBlock};

/// The ending of a folder that is being written, or removed.
const HALF: &str = "tmp";

/// All blocks, oldest first; of the same span in the order in which they were written.
pub(super) struct Blocks {
    folder: PathBuf,
    damaged_folder: PathBuf,
    live: RwLock<Vec<Arc<Block>>>,
    damaged: Mutex<Vec<DamagedBlock>>,
    next: Mutex<u64>,
    opened: Mutex<Cache>,
}

/// Blocks whose files are open, by how long ago they were read.
struct Cache {
    blocks: LruCache<u64, Arc<Opened>>,
    bytes: u64,
}

/// What indexes of blocks that were read may take in memory.
const CACHED: u64 = 64 << 20;
/// So many blocks keep their files open.
const OPEN: usize = 64;

impl Blocks {
    /// Opens what is there: removes what is half done, sets aside what is damaged.
    pub(super) fn open(
        folder: PathBuf,
        damaged_folder: PathBuf,
        counters: &Counters,
    ) -> Result<Self, StoreError> {
        let blocks = Self {
            folder,
            damaged_folder,
            live: RwLock::default(),
            damaged: Mutex::default(),
            next: Mutex::new(0),
            opened: Mutex::new(Cache { blocks: LruCache::unbounded(), bytes: 0 }),
        };
        disk::make_folder(&blocks.folder).map_err(StoreError::io("make", &blocks.folder))?;
        blocks.list_damaged()?;
        let mut found = Vec::new();
        for path in folders(&blocks.folder)? {
            if path.extension().is_some_and(|extension| extension == HALF) {
                disk::remove_folder(&path).map_err(StoreError::io("remove", &path))?;
                continue;
            }
            match Block::open(&path) {
                Ok(block) => found.push(Arc::new(block)),
                Err(StoreError::Damaged { what, .. }) => blocks.set_aside(&path, &what, counters)?,
                Err(other) => return Err(other),
            }
        }
        let next = found.iter().map(|block| block.meta.id + 1).max().unwrap_or(1);
        *lock(&blocks.next) = next;
        blocks.drop_merged(&mut found)?;
        found.sort_by_key(|block| block.meta.order());
        *blocks.write() = found;
        Ok(blocks)
    }

    /// Blocks whose samples are in another one, which was made from them.
    fn drop_merged(&self, found: &mut Vec<Arc<Block>>) -> Result<(), StoreError> {
        let merged: Vec<u64> = found.iter().flat_map(|block| block.meta.sources.iter().copied()).collect();
        let (gone, stay): (Vec<_>, Vec<_>) =
            std::mem::take(found).into_iter().partition(|block| merged.contains(&block.meta.id));
        *found = stay;
        gone.iter().try_for_each(|block| self.erase(block))
    }

    fn list_damaged(&self) -> Result<(), StoreError> {
        if !self.damaged_folder.exists() {
            return Ok(());
        }
        for path in folders(&self.damaged_folder)? {
            let why = fs::read_to_string(path.join("why")).unwrap_or_default();
            self.note_damaged(&path, &why);
        }
        Ok(())
    }

    fn note_damaged(&self, path: &Path, why: &str) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        lock(&self.damaged).push(DamagedBlock { name, what: why.to_owned() });
    }

    /// Moves a damaged block out of the way. It is kept for people to look at.
    fn set_aside(&self, path: &Path, what: &str, counters: &Counters) -> Result<(), StoreError> {
        counters::add(&counters.set_aside, 1);
        tracing::error!(block = %path.display(), what, "a block of metrics is damaged; it is set aside");
        disk::make_folder(&self.damaged_folder).map_err(StoreError::io("make", &self.damaged_folder))?;
        let Some(name) = path.file_name() else { return Ok(()) };
        let mut to = self.damaged_folder.join(name);
        let mut n = 1;
        while to.exists() {
            n += 1;
            to.set_file_name(format!("{}.{n}", name.to_string_lossy()));
        }
        // Only a note: the block goes aside with it or without.
        let _ = fs::write(path.join("why"), what);
        disk::rename(path, &to).map_err(StoreError::io("set aside", path))?;
        self.note_damaged(&to, what);
        Ok(())
    }

    /// A block turned out to be damaged while it was read: it is not read any more.
    pub(super) fn report(&self, id: u64, what: &str, counters: &Counters) {
        let mut live = self.write();
        let Some(place) = live.iter().position(|block| block.meta.id == id) else { return };
        let block = live.remove(place);
        drop(live);
        self.close(id);
        if let Err(error) = self.set_aside(&block.path, what, counters) {
            tracing::warn!(%error, "a damaged block could not be moved away; it is left out until the next start");
            self.note_damaged(&block.path, what);
        }
    }

    /// A block with its files open.
    pub(super) fn opened(&self, block: &Arc<Block>) -> Result<Arc<Opened>, StoreError> {
        if let Some(found) = lock(&self.opened).blocks.get(&block.meta.id) {
            return Ok(found.clone());
        }
        let opened = Arc::new(Opened::new(block.clone())?);
        let mut cache = lock(&self.opened);
        cache.bytes += opened.size();
        if let Some(before) = cache.blocks.put(block.meta.id, opened.clone()) {
            cache.bytes = cache.bytes.saturating_sub(before.size());
        }
        while cache.blocks.len() > 1 && (cache.bytes > CACHED || cache.blocks.len() > OPEN) {
            let Some((_, oldest)) = cache.blocks.pop_lru() else { break };
            cache.bytes = cache.bytes.saturating_sub(oldest.size());
        }
        Ok(opened)
    }

    fn close(&self, id: u64) {
        let mut cache = lock(&self.opened);
        if let Some(closed) = cache.blocks.pop(&id) {
            cache.bytes = cache.bytes.saturating_sub(closed.size());
        }
    }

    /// Damaged blocks.
    pub(super) fn damaged(&self) -> Vec<DamagedBlock> {
        lock(&self.damaged).clone()
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<Block>>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Vec<Arc<Block>>> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a block and gives it its name. It is on disk then, and not yet read: see [`Blocks::put`]. Nothing comes of
    /// it when there are no samples.
    pub(super) fn make(
        &self,
        plan: &MakeBlock,
        fill: impl FnOnce(&mut BlockWriter) -> Result<(), StoreError>,
    ) -> Result<Option<Arc<Block>>, StoreError> {
        let id = {
            let mut next = lock(&self.next);
            *next += 1;
            *next - 1
        };
        let name = meta::name_of(plan.from, plan.span, id);
        let half = self.folder.join(format!("{name}.{HALF}"));
        match self.fill(&half, id, plan, fill) {
            Ok(true) => {}
            other => {
                // What is left of it is removed at the next start if it cannot be now.
                let _ = fs::remove_dir_all(&half);
                return other.map(|_| None);
            }
        }
        let path = self.folder.join(name);
        disk::rename(&half, &path).map_err(StoreError::io("rename", &path))?;
        Block::open(&path).map(|block| Some(Arc::new(block)))
    }

    fn fill(
        &self,
        half: &Path,
        id: u64,
        plan: &MakeBlock,
        fill: impl FnOnce(&mut BlockWriter) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        disk::make_folder(half).map_err(StoreError::io("make", half))?;
        let mut writer = BlockWriter::create(half, id, plan)?;
        fill(&mut writer)?;
        writer.finish()
    }

    /// Puts a block among those that are read, in the place of the blocks that it was made from.
    pub(super) fn put(live: &mut Vec<Arc<Block>>, block: Arc<Block>) {
        live.retain(|other| !block.meta.sources.contains(&other.meta.id));
        live.push(block);
        live.sort_by_key(|block| block.meta.order());
    }

    /// Takes a block off the disk that is not read any more. Who reads it still has its files open.
    pub(super) fn erase(&self, block: &Block) -> Result<(), StoreError> {
        self.close(block.meta.id);
        let name = block.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let half = block.path.with_file_name(format!("{name}.{HALF}"));
        disk::rename(&block.path, &half).map_err(StoreError::io("rename", &block.path))?;
        disk::remove_folder(&half).map_err(StoreError::io("remove", &half))
    }
}

/// What a block is to be.
#[derive(Debug, Clone, Default)]
pub(super) struct MakeBlock {
    /// The first millisecond of its span.
    pub(super) from: i64,
    /// How long its span is, in milliseconds.
    pub(super) span: i64,
    /// Blocks that it is made from.
    pub(super) sources: Vec<u64>,
    /// For each span that came from the log: up to which of its files.
    pub(super) log: BTreeMap<i64, u64>,
    /// When it is made, in milliseconds.
    pub(super) now: i64,
}

pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        Ok(found)
    };
    list().map_err(StoreError::io("list", folder))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
