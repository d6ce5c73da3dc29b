//! What changes the disk, all of it here, for metrics and logs: so that tests can die, or find the disk full, at each of
//! these steps.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Only the hub's user reads what is here.
const MODE: u32 = 0o600;
/// How much of a file is gathered before it is written.
const BUFFER: usize = 1 << 20;

/// A new file that is written from its beginning; its bytes are counted and summed on the way.
pub(crate) struct Output {
    file: File,
    buffer: Vec<u8>,
    bytes: u64,
    sum: crc32fast::Hasher,
}

impl Output {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        step("create")?;
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
        Ok(Self { file, buffer: Vec::with_capacity(BUFFER), bytes: 0, sum: crc32fast::Hasher::new() })
    }

    fn put(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let half = self.buffer.len() / 2;
        self.file.write_all(&self.buffer[..half])?;
        step("write")?;
        self.file.write_all(&self.buffer[half..])?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes it durable; gives its bytes and their CRC-32.
    pub(crate) fn finish(mut self) -> io::Result<(u64, u32)> {
        self.put()?;
        step("sync")?;
        self.file.sync_all()?;
        Ok((self.bytes, self.sum.finalize()))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        self.sum.update(bytes);
        if self.buffer.len() >= BUFFER {
            self.put()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new file of the log.
pub(crate) fn create_log(path: &Path) -> io::Result<File> {
    step("create a log")?;
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)
}

/// Writes to the log at a place, in two halves: between them is where a test dies.
pub(crate) fn write_log(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let half = bytes.len() / 2;
    file.write_all_at(&bytes[..half], at)?;
    step("write the log")?;
    file.write_all_at(&bytes[half..], at + half as u64)
}

/// Makes a file's content durable.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    step("sync")?;
    file.sync_data()
}

/// Cuts a file.
pub(crate) fn cut(file: &File, bytes: u64) -> io::Result<()> {
    step("cut")?;
    file.set_len(bytes)?;
    file.sync_all()
}

/// Makes what is in a folder durable: names of files that came or went.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    step("sync a folder")?;
    File::open(path)?.sync_all()
}

/// Makes a folder, and those above it.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    step("make a folder")?;
    fs::create_dir_all(path)
}

/// Gives a file or folder its name, durably. `to` must not be there.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step("rename")?;
    fs::rename(from, to)?;
    match to.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Takes a folder away with all that is in it.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    step("remove a folder")?;
    fs::remove_dir_all(path)
}

/// Takes a file away.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    step("remove a file")?;
    fs::remove_file(path)
}

/// The whole of a small file, put in the place of what was there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("tmp");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut output = Output::create(&new)?;
    output.write_all(bytes)?;
    output.finish()?;
    rename(&new, path)
}

/// The CRC-32 of a whole file.
pub(crate) fn sum_of(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum.finalize()),
            read => sum.update(&buffer[..read]),
        }
    }
}

/// Free bytes of the disk that a path is on, for who is not root.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(test))]
#[inline]
fn step(_: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn step(what: &str) -> io::Result<()> {
    crate::steps::reached(what)
}
