//! Walks the roots: each folder before what is in it, by name, on one file system, never through a symbolic link.
//!
//! Every step is made from the open folder above, so that nobody who may write there can send the walk elsewhere.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    vec::IntoIter,
};

use backstay_types::backup::job::FileKind;
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use rustic_core::{
    ReadSourceEntry, RusticResult,
    repofile::{Metadata, Node, NodeType},
};
use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, lgetxattr, llistxattr, openat,
        readlinkat, statat,
    },
    io::Errno,
};

use super::{
    manifest::Entry,
    source::{From, Notes, Reading, Root, Roots},
};
use crate::{
    folder::names_in,
    store::Store,
    tree::{go_mode, kind_of},
};

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A folder whose entries come next.
#[derive(Debug)]
struct Level {
    folder: OwnedFd,
    /// In the snapshot.
    path: PathBuf,
    /// In the root.
    below: PathBuf,
    names: IntoIter<OsString>,
}

/// The walk that saves.
#[derive(Debug)]
pub(super) struct Walk {
    roots: Arc<Roots>,
    /// Roots that were begun.
    begun: usize,
    levels: Vec<Level>,
    /// The file of a root that is one, which comes after its folder.
    file: Option<Item>,
    store: Arc<Store>,
    notes: Arc<Notes>,
}

type Item = RusticResult<ReadSourceEntry<Reading>>;

impl Walk {
    pub(super) fn new(roots: Arc<Roots>, store: Arc<Store>, notes: Arc<Notes>) -> Self {
        Self { roots, begun: 0, levels: Vec::new(), file: None, store, notes }
    }

    fn root(&mut self) -> Option<Item> {
        let roots = self.roots.clone();
        let root = roots.0.get(self.begun)?;
        self.begun += 1;
        let path = PathBuf::from(&root.name);
        match &root.from {
            From::Folder { folder, stat, .. } => {
                let meta = self.metadata(&path, stat, &Attributed::Open(folder.as_fd()));
                self.enter(folder.try_clone().ok(), path.clone(), PathBuf::new());
                Some(self.item(path, NodeType::Dir, meta, None))
            }
            From::File { file, stat, name } => {
                let inner = path.join(name);
                let meta = self.metadata(&inner, stat, &Attributed::Open(file.as_fd()));
                let folder = self.item(path, NodeType::Dir, folder_metadata(mtime(stat)), None);
                self.file = Some(self.opened(inner, meta, file));
                Some(folder)
            }
            From::Output { file, name, at } => {
                let bytes = file.metadata().map_or(0, |metadata| metadata.len());
                let meta =
                    Metadata { mode: Some(0o600), size: bytes, links: 1, ..folder_metadata(Some(*at)) };
                let inner = path.join(name);
                let folder = self.item(path, NodeType::Dir, folder_metadata(Some(*at)), None);
                self.file = Some(self.opened(inner, meta, file));
                Some(folder)
            }
        }
    }

    fn opened(&self, path: PathBuf, meta: Metadata, file: &File) -> Item {
        match file.try_clone() {
            Ok(file) => {
                let reading = Reading::new(file, path.clone(), meta.size, self.notes.clone());
                self.item(path, NodeType::File, meta, Some(reading))
            }
            Err(error) => {
                self.notes.problem(&path, format!("cannot be read: {error}"));
                self.item(path, NodeType::File, meta, None)
            }
        }
    }

    /// Goes into a folder.
    fn enter(&mut self, folder: Option<OwnedFd>, path: PathBuf, below: PathBuf) {
        let listed = folder.map(|folder| names_in(&folder).map(|names| (folder, names)));
        match listed {
            Some(Ok((folder, names))) => {
                self.levels.push(Level { folder, path, below, names: names.into_iter() });
            }
            Some(Err(error)) => self.notes.problem(&path, format!("cannot be listed: {error}")),
            None => self.notes.problem(&path, "cannot be listed"),
        }
    }

    /// The next of what is open; none when it is left out or cannot be saved.
    fn step(&mut self, name: &OsStr) -> Option<Item> {
        let level = self.levels.last()?;
        let (path, below) = (level.path.join(name), level.below.join(name));
        let stat = match statat(&level.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => return self.lost(&path, error),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.is_excluded(&below, kind == FileType::Directory) {
            return None;
        }
        match kind {
            FileType::Directory => self.folder(name, path, below),
            FileType::RegularFile => self.regular(name, path, &stat),
            kind => self.special(name, path, &stat, kind),
        }
    }

    fn folder(&mut self, name: &OsStr, path: PathBuf, below: PathBuf) -> Option<Item> {
        let level = self.levels.last()?;
        let opened = openat(&level.folder, name, OPEN | OFlags::DIRECTORY, Mode::empty())
            .and_then(|folder| fstat(&folder).map(|stat| (folder, stat)));
        let (folder, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.lost(&path, error),
        };
        let meta = self.metadata(&path, &stat, &Attributed::Open(folder.as_fd()));
        // Where another file system begins, its folder is saved, and what is in it is not.
        if stat.st_dev == self.device() {
            self.enter(Some(folder), path.clone(), below);
        }
        Some(self.item(path, NodeType::Dir, meta, None))
    }

    fn regular(&self, name: &OsStr, path: PathBuf, seen: &Stat) -> Option<Item> {
        let level = self.levels.last()?;
        let opened = openat(&level.folder, name, OPEN, Mode::empty())
            .and_then(|file| fstat(&file).map(|stat| (File::from(file), stat)));
        let (file, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.lost(&path, error),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.notes.problem(&path, "became something else than a file");
            return None;
        }
        if stat.st_size == 0 && seen.st_size > 0 {
            self.notes.problem(&path, format!("became empty; it had {} bytes", seen.st_size));
            return None;
        }
        let meta = self.metadata(&path, &stat, &Attributed::Open(file.as_fd()));
        let reading = Reading::new(file, path.clone(), meta.size, self.notes.clone());
        Some(self.item(path, NodeType::File, meta, Some(reading)))
    }

    fn special(&self, name: &OsStr, path: PathBuf, stat: &Stat, kind: FileType) -> Option<Item> {
        let level = self.levels.last()?;
        let node_type = match kind {
            FileType::Symlink => match readlinkat(&level.folder, name, Vec::new()) {
                Ok(target) => NodeType::from_link(Path::new(OsStr::from_bytes(target.to_bytes()))),
                Err(error) => return self.lost(&path, error),
            },
            FileType::BlockDevice => NodeType::Dev { device: stat.st_rdev },
            FileType::CharacterDevice => NodeType::Chardev { device: stat.st_rdev },
            FileType::Fifo => NodeType::Fifo,
            FileType::Socket => NodeType::Socket,
            _ => {
                self.notes.problem(&path, "is of a kind that is not known");
                return None;
            }
        };
        let meta = self.metadata(&path, stat, &Attributed::named(&level.folder, name));
        Some(self.item(path, node_type, meta, None))
    }

    fn lost<T>(&self, path: &Path, error: Errno) -> Option<T> {
        let what = match error {
            Errno::NOENT => "vanished while it was to be saved".to_owned(),
            Errno::LOOP | Errno::NOTDIR => "became something else while it was to be saved".to_owned(),
            error => format!("cannot be read: {error}"),
        };
        self.notes.problem(path, what);
        None
    }

    fn current(&self) -> Option<&Root> {
        self.roots.0.get(self.begun.checked_sub(1)?)
    }

    fn device(&self) -> u64 {
        match self.current().map(|root| &root.from) {
            Some(From::Folder { stat, .. }) => stat.st_dev,
            _ => 0,
        }
    }

    fn is_excluded(&self, below: &Path, is_folder: bool) -> bool {
        match self.current().map(|root| &root.from) {
            Some(From::Folder { exclude, .. }) => exclude.matched(below, is_folder).is_ignore(),
            _ => false,
        }
    }

    fn item(&self, path: PathBuf, node_type: NodeType, meta: Metadata, open: Option<Reading>) -> Item {
        let name = path.file_name().unwrap_or_default();
        let node = Node::new_node(name, node_type, meta);
        let kind = kind_of(&node);
        let bytes = if kind == FileKind::File { node.meta.size } else { 0 };
        self.notes.entry(&Entry { path: path.clone(), kind, bytes })?;
        Ok(ReadSourceEntry { path, node, open })
    }

    fn metadata(&self, path: &Path, stat: &Stat, of: &Attributed<'_>) -> Metadata {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let mut meta = Metadata {
            mode: Some(go_mode(stat.st_mode)),
            mtime: mtime(stat),
            // What was last looked at is nothing to save, and would make every folder a new one; restic does the same.
            atime: mtime(stat),
            ctime: timestamp(stat.st_ctime, stat.st_ctime_nsec as i64),
            uid: Some(stat.st_uid),
            gid: Some(stat.st_gid),
            inode: stat.st_ino,
            size: if is_file { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 },
            links: if is_file { links(stat) } else { 0 },
            ..Metadata::default()
        };
        // Which device it is matters where two names are one file.
        if meta.links > 1 {
            meta.device_id = stat.st_dev;
        }
        match attributes(of) {
            Ok(attributes) => {
                if !attributes.is_empty() {
                    // The library's type has no public name: it is made from its JSON.
                    match serde_json::from_value(serde_json::Value::Array(attributes)) {
                        Ok(attributes) => meta.extended_attributes = attributes,
                        Err(error) => self
                            .notes
                            .problem(path, format!("has attributes that are not understood: {error}")),
                    }
                }
            }
            Err(error) => self.notes.problem(path, format!("has attributes that cannot be read: {error}")),
        }
        meta
    }
}

impl Iterator for Walk {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            // Nothing that is read now could be written any more.
            if self.store.is_lost() {
                self.notes.end();
                return None;
            }
            if let Some(file) = self.file.take() {
                return Some(file);
            }
            let Some(level) = self.levels.last_mut() else {
                let root = self.root();
                if root.is_none() {
                    self.notes.end();
                }
                return root;
            };
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            if let Some(item) = self.step(&name) {
                return Some(item);
            }
        }
    }
}

/// What has attributes: an open file, or a name in an open folder, which is not followed.
enum Attributed<'a> {
    Open(BorrowedFd<'a>),
    Named(CString),
}

impl<'a> Attributed<'a> {
    fn named(folder: &OwnedFd, name: &OsStr) -> Self {
        let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
        path.extend(name.as_bytes());
        // Names of files have no zeros.
        Self::Named(CString::new(path).unwrap_or_default())
    }

    fn list(&self, names: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => flistxattr(file, names),
            Self::Named(path) => llistxattr(path, names),
        }
    }

    fn get(&self, name: &str, value: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => fgetxattr(file, name, value),
            Self::Named(path) => lgetxattr(path, name, value),
        }
    }
}

/// Reads into a buffer that grows until it is enough.
fn whole(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}

/// Extended attributes in the format's JSON.
fn attributes(of: &Attributed<'_>) -> Result<Vec<serde_json::Value>, String> {
    let names = match whole(|buffer| of.list(buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP | Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let text = std::str::from_utf8(name).map_err(|_| "a name is not UTF-8".to_owned())?;
        match whole(|buffer| of.get(text, buffer)) {
            Ok(value) => {
                attributes.push(serde_json::json!({ "name": text, "value": BASE64_STANDARD.encode(value) }))
            }
            // Taken away meanwhile.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(format!("{text}: {error}")),
        }
    }
    Ok(attributes)
}

fn timestamp(seconds: i64, nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

#[allow(clippy::useless_conversion, reason = "the number is narrower on other processors")]
fn links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

fn mtime(stat: &Stat) -> Option<Timestamp> {
    timestamp(stat.st_mtime, stat.st_mtime_nsec as i64)
}

/// Of a folder that is only in the snapshot.
fn folder_metadata(at: Option<Timestamp>) -> Metadata {
    Metadata {
        mode: Some(1 << 31 | 0o755),
        mtime: at,
        atime: at,
        ctime: at,
        uid: Some(0),
        gid: Some(0),
        ..Metadata::default()
    }
}

/// How much there is in all.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Totals {
    /// Counts; none when the walk that saves was done before.
    pub(super) fn of(roots: &Roots, ended: &AtomicBool) -> Option<Self> {
        let mut totals = Self::default();
        for root in &roots.0 {
            match &root.from {
                From::Folder { folder, stat, exclude } => {
                    totals.files += 1;
                    totals.folder(folder, stat.st_dev, &mut PathBuf::new(), exclude, ended)?;
                }
                From::File { file, .. } | From::Output { file, .. } => {
                    totals.files += 2;
                    totals.bytes += file.metadata().map_or(0, |metadata| metadata.len());
                }
            }
        }
        Some(totals)
    }

    fn folder(
        &mut self,
        folder: &OwnedFd,
        device: u64,
        below: &mut PathBuf,
        exclude: &ignore::gitignore::Gitignore,
        ended: &AtomicBool,
    ) -> Option<()> {
        for name in names_in(folder).unwrap_or_default() {
            if ended.load(Relaxed) {
                return None;
            }
            let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let kind = FileType::from_raw_mode(stat.st_mode);
            below.push(&name);
            if !exclude.matched(&*below, kind == FileType::Directory).is_ignore() {
                self.files += 1;
                if kind == FileType::RegularFile {
                    self.bytes += u64::try_from(stat.st_size).unwrap_or_default();
                }
                if kind == FileType::Directory && stat.st_dev == device {
                    let opened = openat(folder, &name, OPEN | OFlags::DIRECTORY, Mode::empty());
                    if let Ok(opened) = opened {
                        self.folder(&opened, device, below, exclude, ended)?;
                    }
                }
            }
            below.pop();
        }
        Some(())
    }
}
