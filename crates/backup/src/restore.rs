//! Writing a snapshot's files, one by one: what is damaged costs the file that it is in, and no other.
//!
//! In this order: folders are made; files are written by a few threads, each beside its place, read back, and put in place
//! whole; then names that are the same file, links and the like; then what folders are like (owner, mode, times); then, when
//! it is asked for and all was well, what the snapshot does not have is taken away. Nothing is done through a symbolic
//! link: each step starts from an open folder.

mod attributes;
mod clean;
mod content;
mod folders;
mod room;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use backstay_types::{
    Digest,
    backup::job::{Done, FailedKind, FileKind, Place, Problem, RestoreTask, Restored},
};
use rustic_core::{IndexedFullStatus, Repository, repofile::Node};
use sha2::{Digest as _, Sha256};

use self::folders::{Folders, Made};
use crate::{
    access::{Access, Cache},
    fault::{Fault, TOLD, problem},
    progress::Progress,
    store::Store,
    tree::{Step, Walk, bytes_of, from_shown, kind_of, node_at, permissions, shown, without_slashes},
};

/// As many files are written at once. Each has a few blobs in memory.
const WRITERS: usize = 4;
/// Of a file that is larger, the library reads several chunks at once; of such files only two are written at a time.
const LARGE: u64 = 8 << 20;
/// As many files wait for a writer.
const WAITING: usize = 64;

type Opened = Repository<IndexedFullStatus>;

/// A place, with what goes there.
struct Target {
    place: Place,
    /// In the snapshot.
    path: PathBuf,
    node: Node,
}

/// Writes a snapshot's files.
pub(crate) fn restore(access: &Access<'_>, task: &RestoreTask) -> Result<Done, Fault> {
    let opened = access.open(Cache::Used)?;
    let snapshot = opened.snapshot(task.snapshot)?;
    let store = opened.store.clone();
    let repository = opened.repository.to_indexed();
    let repository = repository.map_err(|error| store.fault("reading the index", &error))?;
    let mut targets = Vec::new();
    for place in &task.places {
        let path = without_slashes(&from_shown(&place.path)?);
        if !Path::new(&place.into).is_absolute() {
            return Err(Fault::bad_job(format!("the place {} is not absolute", place.into)));
        }
        let found = node_at(&repository, snapshot.tree, &path);
        let node = found.map_err(|error| store.fault(format!("looking for `{}`", place.path), &error))?;
        let node = node.ok_or_else(|| {
            Fault::bad_job(format!("the snapshot has no `{}`; `files` shows what it has", place.path))
        })?;
        targets.push(Target { place: place.clone(), path, node });
    }
    if targets.is_empty() {
        return Err(Fault::bad_job("nothing is to be restored: the job has no places"));
    }
    let run = Run::new(&repository, &store, access.progress, task.reuse);
    room::check(&run.totals(&targets), task.keep_free)?;
    for target in &targets {
        run.target(target)?;
    }
    let clean = run.state.lock().unwrap_or_else(PoisonError::into_inner).damaged.is_empty();
    if task.delete_others && clean {
        for target in &targets {
            run.delete_others(target)?;
        }
    }
    for target in &targets {
        folders::settle(Path::new(&target.place.into))?;
    }
    Ok(Done::Restore(run.restored()))
}

/// A restore while it goes on.
struct Run<'a> {
    repository: &'a Opened,
    store: &'a Arc<Store>,
    progress: &'a Progress,
    /// What is right of files that are there is not fetched again.
    reuse: bool,
    state: Mutex<State>,
    large: [Mutex<()>; 2],
    files: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    damaged: Vec<Problem>,
    /// More than are told.
    damaged_count: u64,
    /// What ended it.
    fault: Option<Fault>,
    /// Content's digest by the order of paths.
    digests: HashMap<u64, [u8; 32]>,
    /// Over all, once a place is done.
    hash: Sha256,
}

/// A file that a writer should write.
struct Work {
    number: u64,
    folder: Arc<Made>,
    path: PathBuf,
    node: Node,
    /// The name where it goes, which may differ from the node's.
    name: std::ffi::OsString,
}

/// A name for a file that another name has already.
struct Same {
    work: Work,
    first: (Arc<Made>, std::ffi::OsString, u64),
}

impl<'a> Run<'a> {
    fn new(repository: &'a Opened, store: &'a Arc<Store>, progress: &'a Progress, reuse: bool) -> Self {
        Self {
            repository,
            store,
            progress,
            reuse,
            state: Mutex::default(),
            large: Default::default(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how much it will be, and gives what of that each place needs at least. Trees that cannot be read are met again
    /// later.
    fn totals(&self, targets: &[Target]) -> Vec<(PathBuf, u64)> {
        let (mut files, mut bytes, mut wanted) = (0, 0, Vec::new());
        for target in targets {
            let (into, mut needed) = (Path::new(&target.place.into), 0);
            let mut add = |at: &Path, node: &Node| {
                files += 1;
                if kind_of(node) == FileKind::File {
                    bytes += node.meta.size;
                    needed += if self.may_stay(at, node) { 0 } else { room::least(node) };
                }
            };
            add(into, &target.node);
            let below = target.node.subtree;
            let walk = below.and_then(|tree| Walk::new(self.repository, tree, into, true).ok());
            for step in walk.into_iter().flatten() {
                if let Step::Node(path, node) = step {
                    add(&path, &node);
                }
            }
            wanted.push((into.to_owned(), needed));
        }
        self.progress.totals(files, bytes);
        wanted
    }

    /// Whether a file is there that is perhaps right as it is.
    fn may_stay(&self, at: &Path, node: &Node) -> bool {
        self.reuse && fs::symlink_metadata(at).is_ok_and(|there| there.len() == node.meta.size)
    }

    fn damaged(&self, path: &Path, what: impl std::fmt::Display) {
        let mut state = self.lock();
        state.damaged_count += 1;
        if state.damaged.len() < TOLD {
            state.damaged.push(problem(shown(path), what));
        }
    }

    /// What ends the whole restore: a full disk, or a target that is gone. Damage does not.
    fn failed(&self, path: &Path, fault: Fault) {
        if matches!(fault.kind, FailedKind::Full | FailedKind::Unreachable | FailedKind::Refused) {
            self.lock().fault.get_or_insert(fault);
        } else {
            self.damaged(path, fault);
        }
    }

    fn fault(&self) -> Result<(), Fault> {
        let state = self.lock();
        match &state.fault {
            Some(fault) => Err(fault.clone().with(state.damaged.clone())),
            None => Ok(()),
        }
    }

    /// Writes what goes to one place.
    fn target(&self, target: &Target) -> Result<(), Fault> {
        let mut folders = Folders::at(Path::new(&target.place.into), &target.node)?;
        let (queue, works) = mpsc::sync_channel(WAITING);
        let works = Mutex::new(works);
        let (later, made) = thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| self.write_all(&works));
            }
            self.make(target, &mut folders, queue)
        })?;
        self.fault()?;
        for later in later {
            self.finish(later);
        }
        folders.finish(|path, fault| self.failed(path, fault));
        self.fault()?;
        self.digest(made);
        Ok(())
    }

    /// Walks what is to be written: makes folders, and hands files to the writers. What must wait for them is returned,
    /// with all that was made, in order.
    fn make(
        &self,
        target: &Target,
        folders: &mut Folders,
        queue: SyncSender<Work>,
    ) -> Result<(Vec<Later>, Vec<MadeEntry>), Fault> {
        let mut later = Vec::new();
        let mut made = Vec::new();
        let mut firsts = HashMap::new();
        let mut put = |path: PathBuf, node: Node, folders: &mut Folders| -> Result<(), Fault> {
            self.fault()?;
            let number = made.len() as u64;
            made.push(MadeEntry {
                path: path.clone(),
                kind: kind_of(&node),
                mode: node.meta.mode.unwrap_or(0),
            });
            let inside = path.strip_prefix(&target.path).unwrap_or(&path).to_owned();
            if node.is_dir() {
                if let Err(fault) = folders.make(&inside, &path, node) {
                    self.failed(&path, fault);
                } else {
                    self.done(0);
                }
                return Ok(());
            }
            let Some((folder, name)) = folders.above(&inside) else {
                self.damaged(&path, "its folder could not be made");
                return Ok(());
            };
            let key = (node.meta.device_id, node.meta.inode);
            let is_shared = node.is_file() && node.meta.links > 1;
            let first = firsts.get(&key).cloned().filter(|_| is_shared);
            let work = Work { number, folder, path, node, name };
            match first {
                Some(first) => later.push(Later::Same(Same { work, first })),
                None if work.node.is_file() => {
                    if is_shared {
                        firsts.insert(key, (work.folder.clone(), work.name.clone(), number));
                    }
                    // The writers are gone only after a fault, which is told by the next step.
                    let _ = queue.send(work);
                }
                None => later.push(Later::Special(work)),
            }
            Ok(())
        };
        put(target.path.clone(), target.node.clone(), folders)?;
        let Some(tree) = target.node.subtree else { return Ok((later, made)) };
        let walk = match Walk::new(self.repository, tree, &target.path, true) {
            Ok(walk) => walk,
            Err(error) => {
                self.failed(&target.path, self.store.fault("reading the folder", &error));
                return Ok((later, made));
            }
        };
        for step in walk {
            match step {
                Step::Node(path, node) => put(path, *node, folders)?,
                Step::Unreadable(path, error) => {
                    self.failed(&path, Fault::of_library("its content cannot be listed", &error));
                }
            }
        }
        Ok((later, made))
    }

    fn write_all(&self, works: &Mutex<Receiver<Work>>) {
        loop {
            let next = works.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(work) = next else { return };
            let turn = &self.large[work.number as usize % self.large.len()];
            let is_large = work.node.meta.size > LARGE;
            let _turn = is_large.then(|| turn.lock().unwrap_or_else(PoisonError::into_inner));
            // After a fault the rest is only taken from the queue.
            if self.fault().is_ok() {
                match content::write(self.repository, &work, self.reuse, &|bytes| self.progress.bytes(bytes))
                {
                    Ok(digest) => {
                        self.lock().digests.insert(work.number, digest);
                        self.done(work.node.meta.size);
                    }
                    Err(fault) => self.failed(&work.path, fault),
                }
            }
        }
    }

    fn done(&self, bytes: u64) {
        self.files.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.progress.files(1);
    }

    /// What had to wait until all files are there.
    fn finish(&self, later: Later) {
        match later {
            Later::Special(work) => match folders::special(&work.folder, &work.name, &work.node) {
                Ok(()) => self.done(0),
                Err(fault) => self.failed(&work.path, fault),
            },
            Later::Same(Same { work, first: (folder, name, number) }) => {
                let Some(digest) = self.lock().digests.get(&number).copied() else {
                    return self.damaged(&work.path, "is the same file as one that is damaged");
                };
                match folders::link(&folder, &name, &work.folder, &work.name) {
                    Ok(()) => {
                        self.lock().digests.insert(work.number, digest);
                        self.done(0);
                    }
                    Err(fault) => self.failed(&work.path, fault),
                }
            }
        }
    }

    /// Adds what a place got to the digest over all.
    fn digest(&self, made: Vec<MadeEntry>) {
        let mut state = self.lock();
        let digests = std::mem::take(&mut state.digests);
        for (number, entry) in made.into_iter().enumerate() {
            let content = digests.get(&(number as u64));
            if entry.kind == FileKind::File && content.is_none() {
                continue;
            }
            let path = bytes_of(&entry.path);
            state.hash.update((path.len() as u32).to_le_bytes());
            state.hash.update(path);
            state.hash.update(format!("{:?}", entry.kind));
            state.hash.update(permissions(entry.mode).to_le_bytes());
            state.hash.update(content.unwrap_or(&[0; 32]));
        }
    }

    fn delete_others(&self, target: &Target) -> Result<(), Fault> {
        let Some(tree) = target.node.subtree else { return Ok(()) };
        clean::delete_others(self.repository, Path::new(&target.place.into), tree)
            .map_err(|error| error.unwrap_or_else(|error| self.store.fault("reading what stays", &error)))
    }

    fn restored(self) -> Restored {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Restored {
            files: self.files.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            damaged: state.damaged,
            digest: Digest::from_bytes(state.hash.finalize().into()),
        }
    }
}

/// Something that was made, for the digest.
struct MadeEntry {
    path: PathBuf,
    kind: FileKind,
    mode: u32,
}

enum Later {
    /// A link, a device and the like.
    Special(Work),
    /// One more name.
    Same(Same),
}
