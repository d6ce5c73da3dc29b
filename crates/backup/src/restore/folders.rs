//! Folders of a place, and what is made in them without content.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustic_core::repofile::{Metadata, Node, NodeType};
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, statat, symlinkat, unlinkat,
    },
    io::Errno,
};

use super::attributes;
use crate::fault::Fault;

/// A folder that is open.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) open: OwnedFd,
    /// Where it is, for messages.
    pub(super) path: PathBuf,
}

/// The folders of a place, while its content is made.
///
/// Only those above what is made now are kept open; the others are opened again, step by step, when their turn comes to get
/// their owner, mode and times: a folder that may not be written to must be filled before it is so.
pub(super) struct Folders {
    base: Base,
    open: Vec<(PathBuf, Arc<Made>)>,
    made: Vec<(PathBuf, PathBuf, Metadata)>,
}

enum Base {
    /// A folder whose content is restored.
    Folder(Arc<Made>),
    /// The folder of a file that is restored, and the file's name.
    File(Arc<Made>, OsString),
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Folders {
    /// Opens the place. Its own path is the job's word: links in it are followed.
    pub(super) fn at(into: &Path, node: &Node) -> Result<Self, Fault> {
        let base = if node.is_dir() {
            Base::Folder(Arc::new(base(into)?))
        } else {
            let (parent, name) = into
                .parent()
                .zip(into.file_name())
                .ok_or_else(|| Fault::bad_job(format!("the place {} is not a file's", into.display())))?;
            Base::File(Arc::new(base(parent)?), name.to_owned())
        };
        Ok(Self { base, open: Vec::new(), made: Vec::new() })
    }

    /// Makes a folder, and remembers what it is to be like.
    pub(super) fn make(&mut self, inside: &Path, path: &Path, node: Node) -> Result<(), Fault> {
        let Some((above, name)) = self.above(inside) else {
            // The place itself.
            self.made.push((inside.to_owned(), path.to_owned(), node.meta));
            return match &self.base {
                Base::Folder(_) => Ok(()),
                Base::File(..) => Err(Fault::bad_job("a folder cannot become a file")),
            };
        };
        let at = above.path.join(&name);
        let open = self::make(&above.open, &name)
            .map_err(|error| Fault::of_io(format!("making the folder {}", at.display()), &error.into()))?;
        self.open.push((inside.to_owned(), Arc::new(Made { open, path: at })));
        self.made.push((inside.to_owned(), path.to_owned(), node.meta));
        Ok(())
    }

    /// The open folder above a path, and the path's name in it; none for the place itself, or when the folder was not made.
    pub(super) fn above(&mut self, inside: &Path) -> Option<(Arc<Made>, OsString)> {
        let base = match &self.base {
            Base::File(above, name) => return Some((above.clone(), name.clone())),
            Base::Folder(base) => base.clone(),
        };
        let (parent, name) = inside.parent().zip(inside.file_name())?;
        if parent == Path::new("") {
            self.open.clear();
            return Some((base, name.to_owned()));
        }
        while self.open.last().is_some_and(|(open, _)| open != parent) {
            self.open.pop();
        }
        self.open.last().map(|(_, open)| (open.clone(), name.to_owned()))
    }

    /// Gives every folder its owner, mode and times, the innermost first.
    pub(super) fn finish(self, failed: impl Fn(&Path, Fault)) {
        let Base::Folder(base) = &self.base else { return };
        for (inside, path, meta) in self.made.into_iter().rev() {
            let at = base.path.join(&inside);
            match again(&base.open, &inside) {
                Ok(open) => {
                    for fault in attributes::set_open(open.as_fd(), &meta, &at) {
                        failed(&path, fault);
                    }
                }
                Err(error) => failed(&path, Fault::of_io(format!("opening {}", at.display()), &error.into())),
            }
        }
    }
}

fn base(path: &Path) -> Result<Made, Fault> {
    let fault =
        |error: std::io::Error| Fault::of_io(format!("opening the folder {}", path.display()), &error);
    fs::create_dir_all(path).map_err(fault)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| fault(error.into()))?;
    Ok(Made { open, path: path.to_owned() })
}

/// Makes a folder, or takes the one that is there. What else has its name is in the way and goes: a link would lead out.
fn make(above: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    match mkdirat(above, name, Mode::RWXU) {
        Err(Errno::EXIST) => {
            let there = statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                unlinkat(above, name, AtFlags::empty())?;
                mkdirat(above, name, Mode::RWXU)?;
            }
        }
        result => result?,
    }
    openat(above, name, FOLDER, Mode::empty())
}

/// Opens a folder below another again, step by step.
fn again(base: &OwnedFd, inside: &Path) -> Result<OwnedFd, Errno> {
    let mut open = openat(base, ".", FOLDER, Mode::empty())?;
    for name in inside {
        open = openat(&open, name, FOLDER, Mode::empty())?;
    }
    Ok(open)
}

/// Makes room for a name: a file or a link that has it goes; a folder does not.
pub(super) fn make_room(folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// Makes what has no content: a link, a device, a pipe. Sockets are made by who listens on them.
pub(super) fn special(folder: &Made, name: &OsStr, node: &Node) -> Result<(), Fault> {
    let at = folder.path.join(name);
    let fault = |error: Errno| Fault::of_io(format!("making {}", at.display()), &error.into());
    if node.node_type == NodeType::Socket {
        return Ok(());
    }
    make_room(&folder.open, name).map_err(fault)?;
    let device = |kind, device| {
        let mode = Mode::from_raw_mode(0o600);
        mknodat(&folder.open, name, kind, mode, device)
    };
    match &node.node_type {
        NodeType::Symlink { .. } => symlinkat(node.node_type.to_link(), &folder.open, name),
        NodeType::Dev { device: number } => device(FileType::BlockDevice, *number),
        NodeType::Chardev { device: number } => device(FileType::CharacterDevice, *number),
        NodeType::Fifo => device(FileType::Fifo, 0),
        NodeType::Socket | NodeType::File | NodeType::Dir => Ok(()),
    }
    .map_err(fault)?;
    match attributes::set_named(&folder.open, name, node, &at).into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// Gives a file one more name.
pub(super) fn link(from: &Made, name: &OsStr, to: &Made, other: &OsStr) -> Result<(), Fault> {
    let linked =
        make_room(&to.open, other).and_then(|()| linkat(&from.open, name, &to.open, other, AtFlags::empty()));
    linked.map_err(|error| Fault::of_io(format!("linking {}", to.path.join(other).display()), &error.into()))
}

/// Puts on the disk what was written below a place.
pub(super) fn settle(into: &Path) -> Result<(), Fault> {
    let fault = |error: Errno| Fault::of_io(format!("putting {} on the disk", into.display()), &error.into());
    let open =
        rustix::fs::openat(CWD, into, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    match open {
        Ok(open) => rustix::fs::syncfs(&open).map_err(fault),
        // A file that was damaged is not there.
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(fault(error)),
    }
}
