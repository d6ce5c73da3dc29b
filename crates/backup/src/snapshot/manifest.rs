//! What was to be saved, as it was walked, and whether the snapshot holds it.
//!
//! The list is kept in a file without a name: a million files need no memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use backstay_types::{
    Digest,
    backup::job::{FileKind, Problem},
};
use rustic_core::{IndexedFull, Repository, TreeId, repofile::Node};
use sha2::{Digest as _, Sha256};

use super::{source_fault, spool};
use crate::{
    fault::{Fault, TOLD, problem},
    store::Store,
    tree::{Step, Walk, bytes_of, kind_of, shown},
};

/// Something that is to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) kind: FileKind,
    /// Of content.
    pub(super) bytes: u64,
}

/// Files and folders, and bytes of content.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Counts {
    fn add(&mut self, entry: &Entry) {
        self.files += 1;
        self.bytes += entry.bytes;
    }
}

/// The list while it grows.
#[derive(Debug)]
pub(super) struct Writer {
    list: BufWriter<File>,
    digest: Sha256,
    all: Counts,
    roots: BTreeMap<String, Counts>,
}

/// The whole list.
pub(super) struct Manifest {
    list: BufReader<File>,
    pub(super) digest: Digest,
    pub(super) all: Counts,
    pub(super) roots: BTreeMap<String, Counts>,
}

impl Writer {
    pub(super) fn new(scratch: Option<&str>) -> io::Result<Self> {
        Ok(Self {
            list: BufWriter::new(spool::unnamed(scratch)?),
            digest: Sha256::new(),
            all: Counts::default(),
            roots: BTreeMap::new(),
        })
    }

    pub(super) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let path = bytes_of(&entry.path);
        let record =
            [&(path.len() as u32).to_le_bytes()[..], path, &[code(entry.kind)], &entry.bytes.to_le_bytes()];
        for part in record {
            self.digest.update(part);
            self.list.write_all(part)?;
        }
        self.all.add(entry);
        // Roots are UTF-8: they come from the job.
        let root = entry.path.components().next().map(|root| root.as_os_str().to_string_lossy().into_owned());
        self.roots.entry(root.unwrap_or_default()).or_default().add(entry);
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Manifest> {
        let list = self.list.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Manifest {
            list: BufReader::new(list),
            digest: digest(self.digest),
            all: self.all,
            roots: self.roots,
        })
    }
}

fn digest(hash: Sha256) -> Digest {
    Digest::from_bytes(hash.finalize().into())
}

const KINDS: [FileKind; 4] = [FileKind::File, FileKind::Folder, FileKind::Link, FileKind::Other];

fn code(kind: FileKind) -> u8 {
    KINDS.iter().position(|other| *other == kind).unwrap_or_default() as u8
}

impl Manifest {
    fn rewind(&mut self) -> Result<(), Fault> {
        let rewound = self.list.seek(SeekFrom::Start(0)).map(drop);
        rewound.map_err(|error| Fault::of_io("reading the list of what was to be saved", &error))
    }

    /// The next one; none at the end.
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut length = [0; 4];
        match self.list.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let mut path = vec![0; u32::from_le_bytes(length) as usize];
        self.list.read_exact(&mut path)?;
        let (mut kind, mut bytes) = ([0], [0; 8]);
        self.list.read_exact(&mut kind)?;
        self.list.read_exact(&mut bytes)?;
        let kind = KINDS.get(usize::from(kind[0])).copied().ok_or(io::ErrorKind::InvalidData)?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        Ok(Some(Entry { path, kind, bytes: u64::from_le_bytes(bytes) }))
    }
}

/// What a comparison came to.
pub(super) enum Differences {
    /// The snapshot holds all that was to be saved.
    None,
    /// It names data that the index does not have.
    Missing,
    /// It holds other than what was to be saved.
    Some(Fault),
}

/// Compares what a snapshot holds with what was to be saved. Both are in the same order.
pub(super) fn compare<S: IndexedFull>(
    repository: &Repository<S>,
    store: &Store,
    tree: TreeId,
    manifest: &mut Manifest,
) -> Result<Differences, Fault> {
    manifest.rewind()?;
    let mut differences = Vec::new();
    // A prune may have marked the pack of a tree too.
    let Ok(walk) = Walk::new(repository, tree, Path::new(""), true) else { return missing(store) };
    for step in walk {
        let Step::Node(path, node) = step else { return missing(store) };
        let Some(saved) = saved(repository, path, &node) else { return missing(store) };
        loop {
            match next(manifest)? {
                Some(wanted) if wanted == saved => break,
                Some(wanted) if wanted.path == saved.path => {
                    differences.push(differs(&wanted, &saved));
                    break;
                }
                Some(wanted) => differences.push(is_not_there(&wanted)),
                None => {
                    differences
                        .push(problem(shown(&saved.path), "is in the snapshot, and was not to be saved"));
                    break;
                }
            }
            differences.truncate(TOLD);
        }
    }
    while let Some(wanted) = next(manifest)? {
        differences.push(is_not_there(&wanted));
        differences.truncate(TOLD);
    }
    if differences.is_empty() {
        return Ok(Differences::None);
    }
    let message = format!(
        "of {} files and folders some are not in the snapshot as they were to be saved, so there is none; try again",
        manifest.all.files
    );
    Ok(Differences::Some(source_fault(message).with(differences)))
}

/// Something is not where the index should have it; unless the target is gone.
fn missing(store: &Store) -> Result<Differences, Fault> {
    store.swallowed().map(|()| Differences::Missing)
}

fn next(manifest: &mut Manifest) -> Result<Option<Entry>, Fault> {
    manifest.next().map_err(|error| Fault::of_io("reading the list of what was to be saved", &error))
}

fn is_not_there(wanted: &Entry) -> Problem {
    problem(shown(&wanted.path), "is missing from the snapshot")
}

fn differs(wanted: &Entry, saved: &Entry) -> Problem {
    problem(
        shown(&wanted.path),
        format!(
            "is {:?} with {} bytes in the snapshot, expected {:?} with {} bytes",
            saved.kind, saved.bytes, wanted.kind, wanted.bytes
        ),
    )
}

/// What a snapshot has of a file: the bytes are those that its content adds up to, not those that it claims. None when the
/// index does not have all of it.
fn saved<S: IndexedFull>(repository: &Repository<S>, path: PathBuf, node: &Node) -> Option<Entry> {
    let kind = kind_of(node);
    let mut bytes = 0;
    if kind == FileKind::File {
        for id in node.content.iter().flatten() {
            bytes += u64::from(repository.get_index_entry(id).ok()?.data_length());
        }
    }
    Some(Entry { path, kind, bytes })
}
