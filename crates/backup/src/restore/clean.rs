//! Takes away what is at a place and not in the snapshot.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustic_core::{RusticError, TreeId};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, openat, statat, unlinkat},
    io::Errno,
};

use super::Opened;
use crate::{fault::Fault, folder::names_in};

/// A fault of the disk, or of the repository.
pub(super) enum Cause {
    Disk(Fault),
    Repository(Box<RusticError>),
}

impl Cause {
    /// The fault; `repository` makes one of the repository's.
    pub(super) fn unwrap_or_else(self, repository: impl FnOnce(Box<RusticError>) -> Fault) -> Fault {
        match self {
            Self::Disk(fault) => fault,
            Self::Repository(error) => repository(error),
        }
    }
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Takes away what is in the folder and not in the tree, all the way down.
pub(super) fn delete_others(repository: &Opened, into: &Path, tree: TreeId) -> Result<(), Cause> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::open(into, flags, Mode::empty()).map_err(|error| disk(into, error))?;
    below(repository, &open, into.to_owned(), tree)
}

fn disk(path: &Path, error: Errno) -> Cause {
    Cause::Disk(Fault::of_io(
        format!("taking away what is not in the snapshot at {}", path.display()),
        &error.into(),
    ))
}

fn below(repository: &Opened, folder: &OwnedFd, path: PathBuf, tree: TreeId) -> Result<(), Cause> {
    let nodes = repository.get_tree(&tree).map_err(Cause::Repository)?.nodes;
    let stays: HashSet<OsString> = nodes.iter().map(|node| node.name().into_owned()).collect();
    for name in names_in(folder).map_err(|error| disk(&path, error))? {
        if !stays.contains(&name) {
            remove(folder, &name).map_err(|error| disk(&path.join(&name), error))?;
        }
    }
    for node in nodes {
        if let Some(tree) = node.subtree {
            let name = node.name();
            let inner = openat(folder, &*name, FOLDER, Mode::empty());
            let inner = inner.map_err(|error| disk(&path.join(&name), error))?;
            below(repository, &inner, path.join(&name), tree)?;
        }
    }
    Ok(())
}

/// Removes whatever it is; a folder with all that is in it. Links are not followed.
fn remove(folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlinkat(folder, name, AtFlags::empty());
    }
    let inner = openat(folder, name, FOLDER, Mode::empty())?;
    for name in names_in(&inner)? {
        remove(&inner, &name)?;
    }
    unlinkat(folder, name, AtFlags::REMOVEDIR)
}
