//! A repository in a folder of this machine.
//!
//! A file is written without a name, made durable, and then named; so a cut-off write leaves nothing. Where the file system
//! has no files without names, it gets a temporary one that no reader takes for a repository's file.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use backstay_types::backup::job::FailedKind;
use bytes::Bytes;
use rustic_core::{ALL_FILE_TYPES, BytesList, FileType, Id};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{Files, Part, is_missing, limit::Limit, path_of};
use crate::fault::Fault;

/// What temporary names begin with.
const TEMPORARY: &str = ".backstay-";

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    limit: Limit,
    temporaries: AtomicU64,
}

impl Folder {
    pub(super) fn new(path: &str, limit: Limit) -> Result<Self, Fault> {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(Fault::bad_job(format!("the target's folder {} is not absolute", path.display())));
        }
        Ok(Self { path, limit, temporaries: AtomicU64::new(0) })
    }

    fn fault(&self, what: &str, path: &str, error: &io::Error) -> Fault {
        let at = format!("{} in {} cannot be {what}", path, self.path.display());
        let mut fault = Fault::of_io(at, error);
        // A disk that went away, or fails: another time it may answer.
        if fault.kind == FailedKind::Other {
            fault.kind = FailedKind::Unreachable;
        }
        fault
    }

    fn list_folder(&self, folder: &Path, found: &mut Vec<(Id, u32)>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().filter(|name| name.len() == 64).and_then(|name| name.parse::<Id>().ok());
            if let Some(id) = id {
                match entry.metadata() {
                    Ok(metadata) => found.push((id, size_of(&metadata))),
                    // Taken away meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn list_all(&self, kind: FileType) -> io::Result<Vec<(Id, u32)>> {
        let mut found = Vec::new();
        match kind {
            FileType::Config => match fs::metadata(self.path.join("config")) {
                Ok(metadata) => found.push((Id::default(), size_of(&metadata))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
            FileType::Pack => {
                for first in 0..=u8::MAX {
                    self.list_folder(&self.path.join(format!("data/{first:02x}")), &mut found)?;
                }
            }
            FileType::Key | FileType::Snapshot | FileType::Index => {
                self.list_folder(&self.path.join(kind.dirname()), &mut found)?;
            }
        }
        Ok(found)
    }

    fn write_durably(&self, path: &Path, content: &BytesList) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.path);
        let folder = rustix::fs::open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&folder, ".", unnamed, Mode::from_raw_mode(0o600)) {
            Ok(file) => {
                let file = File::from(file);
                fill(&file, content)?;
                name(&file, path)?;
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                self.write_named(parent, path, content)?;
            }
            Err(error) => return Err(error.into()),
        }
        sync_folder(&folder)
    }

    /// Where there are no files without names.
    fn write_named(&self, parent: &Path, path: &Path, content: &BytesList) -> io::Result<()> {
        let number = self.temporaries.fetch_add(1, Relaxed);
        let temporary = parent.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let written = || {
            fill(&File::create_new(&temporary)?, content)?;
            match rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&temporary, path),
                result => Ok(result?),
            }
        };
        let result = written();
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }
}

/// Puts the content into the file, and the file on the disk.
fn fill(mut file: &File, content: &BytesList) -> io::Result<()> {
    for part in content.slice() {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Gives a file its name, which no other file may have.
fn name(file: &File, path: &Path) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn sync_folder(folder: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        // File systems of the network may have no such thing for folders.
        Err(Errno::INVAL) => Ok(()),
        result => Ok(result?),
    }
}

/// No file of a repository is larger than a library's number for it.
fn size_of(metadata: &fs::Metadata) -> u32 {
    u32::try_from(metadata.len()).unwrap_or(u32::MAX)
}

impl Files for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn create(&self) -> Result<(), Fault> {
        let made = || {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(&self.path)?;
            for kind in ALL_FILE_TYPES {
                builder.create(self.path.join(kind.dirname()))?;
            }
            // restic looks for its locks.
            builder.create(self.path.join("locks"))?;
            for first in 0..=u8::MAX {
                builder.create(self.path.join(format!("data/{first:02x}")))?;
            }
            for folder in ["data", ""] {
                File::open(self.path.join(folder))?.sync_all()?;
            }
            Ok(())
        };
        made().map_err(|error| self.fault("made", "the repository's folders", &error))
    }

    fn list(&self, kind: FileType) -> Result<Vec<(Id, u32)>, Fault> {
        self.list_all(kind).map_err(|error| self.fault("listed", kind.dirname(), &error))
    }

    fn read(&self, kind: FileType, id: &Id, part: Option<Part>) -> Result<Bytes, Fault> {
        let path = path_of(kind, id);
        let read = || {
            let file = File::open(self.path.join(&path))?;
            let length = file.metadata()?.len();
            let (offset, wanted) =
                part.map_or((0, length), |(offset, wanted)| (offset.into(), wanted.into()));
            let mut bytes = vec![0; wanted.min(length.saturating_sub(offset)) as usize];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(Bytes::from(bytes))
        };
        let bytes = read().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => is_missing(&self.place(), kind, id),
            _ => self.fault("read", &path, &error),
        })?;
        self.limit.wait(bytes.len() as u64);
        Ok(bytes)
    }

    fn write(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), Fault> {
        let path = path_of(kind, id);
        self.limit.wait(content.size() as u64);
        match self.write_durably(&self.path.join(&path), &content) {
            // Names are digests of what is inside; only the config has none, and is never replaced.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && kind != FileType::Config => Ok(()),
            result => result.map_err(|error| self.fault("written", &path, &error)),
        }
    }

    fn remove(&self, kind: FileType, id: &Id) -> Result<(), Fault> {
        let path = path_of(kind, id);
        match fs::remove_file(self.path.join(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.fault("removed", &path, &error))
            }
            _ => Ok(()),
        }
    }
}
