//! One file: written beside its place, read back, and put in place whole.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, AsRawFd},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use backstay_types::backup::job::FailedKind;
use rustic_core::{BlobId, DataId, PackedId as _, RusticError};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, unlinkat},
    io::Errno,
};
use sha2::{Digest, Sha256};

use super::{Opened, Work, attributes, folders::Made};
use crate::fault::Fault;

/// What temporary names begin with.
const TEMPORARY: &str = ".backstay-restore-";

/// Writes a file, and says the digest of its content. With `reuse`, what is right of a file that is there is not fetched.
pub(super) fn write(
    repository: &Opened,
    work: &Work,
    reuse: bool,
    told: &dyn Fn(u64),
) -> Result<[u8; 32], Fault> {
    let at = work.folder.path.join(&work.name);
    let fault = |error: &io::Error| Fault::of_io(format!("writing {}", at.display()), error);
    let mut unplaced = Unplaced::new(&work.folder).map_err(|error| fault(&error))?;
    let mut writer = Writer { file: &mut unplaced.file, length: 0, hash: Sha256::new(), told, failed: None };
    let before = if reuse { before(work) } else { None };
    let dumped = match before {
        Some(mut before) => patch(repository, work, &mut before, &mut writer),
        None => repository.dump(&work.node, &mut writer),
    };
    // The library wraps what went wrong with the disk; it is told as it was.
    if let Some(error) = &writer.failed {
        return Err(fault(error));
    }
    dumped.map_err(|error| Fault::of_library("its content cannot be read", &error))?;
    let (length, digest) = (writer.length, <[u8; 32]>::from(writer.hash.finalize()));
    if length != work.node.meta.size {
        let expected = work.node.meta.size;
        let message = format!("its content has {length} bytes, expected {expected} as the snapshot says");
        return Err(Fault::new(FailedKind::Damaged, message));
    }
    // A hole at the end was only skipped.
    unplaced.file.set_len(length).map_err(|error| fault(&error))?;
    if read_back(&mut unplaced.file).map_err(|error| fault(&error))? != digest {
        let message = format!("{} reads back other than it was written: look at the disk", at.display());
        return Err(Fault::new(FailedKind::Other, message));
    }
    let faults = attributes::set_open(unplaced.file.as_fd(), &work.node.meta, &at);
    unplaced.place(work).map_err(|error| fault(&error))?;
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(digest),
    }
}

/// The file that is at the place already, if one is.
fn before(work: &Work) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&work.folder.open, &work.name, flags, Mode::empty()).ok()?);
    file.metadata().is_ok_and(|meta| meta.is_file()).then_some(file)
}

/// Writes a file piece by piece: from the one that was there where that has the piece at the same place, else from the
/// repository.
fn patch(
    repository: &Opened,
    work: &Work,
    before: &mut File,
    writer: &mut Writer<'_>,
) -> Result<(), Box<RusticError>> {
    let mut at = 0;
    let mut buffer = Vec::new();
    for id in work.node.content.iter().flatten() {
        let length = repository.get_index_entry(id)?.location.data_length();
        buffer.resize(length as usize, 0);
        let found = before.seek(SeekFrom::Start(at)).and_then(|_| before.read_exact(&mut buffer)).is_ok();
        let wanted = BlobId::from(*id);
        let is_right = found && hex(Sha256::digest(&buffer).into()) == wanted.to_hex().as_str();
        let written = if is_right {
            writer.write_all(&buffer)
        } else {
            writer.write_all(&repository.get_blob_cached(&wanted, DataId::TYPE)?)
        };
        // What was wrong is kept by the writer, which is asked first.
        if written.is_err() {
            break;
        }
        at += u64::from(length);
    }
    Ok(())
}

fn hex(digest: [u8; 32]) -> String {
    backstay_types::Digest::from_bytes(digest).to_string()
}

fn read_back(file: &mut File) -> io::Result<[u8; 32]> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Writes what the library gives it; what is all zeros becomes a hole.
struct Writer<'a> {
    file: &'a mut File,
    length: u64,
    hash: Sha256,
    told: &'a dyn Fn(u64),
    failed: Option<io::Error>,
}

/// Smaller holes save no disk.
const HOLE: usize = 64 * 1024;

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        let is_hole = bytes.len() >= HOLE && bytes.iter().all(|byte| *byte == 0);
        let written = if is_hole {
            self.file.seek(SeekFrom::Current(bytes.len() as i64)).map(drop)
        } else {
            self.file.write_all(bytes)
        };
        if let Err(error) = written {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        self.length += bytes.len() as u64;
        (self.told)(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is not yet in its place: without a name where the file system can do that, else with one that goes with it.
struct Unplaced<'a> {
    folder: &'a Made,
    file: File,
    temporary: Option<String>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn temporary() -> String {
    format!("{TEMPORARY}{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

impl<'a> Unplaced<'a> {
    fn new(folder: &'a Made) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o600);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        match openat(&folder.open, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Self { folder, file: file.into(), temporary: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                let name = temporary();
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = openat(&folder.open, &name, flags, mode)?;
                Ok(Self { folder, file: file.into(), temporary: Some(name) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives it its name. A file or a link that has the name is replaced at once; a folder is not.
    fn place(mut self, work: &Work) -> io::Result<()> {
        if self.temporary.is_none() {
            match self.name(&work.name) {
                Err(Errno::EXIST) => {
                    let name = temporary();
                    self.name(name.as_ref())?;
                    self.temporary = Some(name);
                }
                result => return Ok(result?),
            }
        }
        if let Some(name) = &self.temporary {
            renameat(&self.folder.open, name, &self.folder.open, &work.name)?;
            self.temporary = None;
        }
        Ok(())
    }

    fn name(&self, name: &std::ffi::OsStr) -> Result<(), Errno> {
        let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, unnamed, &self.folder.open, name, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for Unplaced<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            let _ = unlinkat(&self.folder.open, name, AtFlags::empty());
        }
    }
}
