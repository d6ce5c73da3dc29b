//! A release's files on disk.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use backstay_manifest::compose::TreeEntry;
use backstay_types::{
    Digest, TreeDigest,
    tree::{Mode, TreeError, TreeHasher, TreeSink},
};
use rustix::fs::{Mode as Permissions, OFlags, mkdirat, open, openat, syncfs};
use sha2::{Digest as _, Sha256};

/// Up to so many files are synced one by one; beyond that the file system as a whole is quicker.
const SYNC_EACH: usize = 64;
const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Writes files below a folder of its own; follows no link on the way.
#[derive(Debug)]
pub(crate) struct FolderSink {
    root: OwnedFd,
    files: Vec<File>,
    count: usize,
}

impl FolderSink {
    /// A sink into an empty folder.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: open(root, DIR, Permissions::empty())?, files: Vec::new(), count: 0 })
    }

    /// Makes all of it durable: files first, then their folders.
    pub(crate) fn sync(self) -> io::Result<()> {
        if self.count > SYNC_EACH {
            return syncfs(&self.root).map_err(Into::into);
        }
        for file in self.files {
            file.sync_all()?;
        }
        sync_folders(&self.root)
    }

    fn folder(&self, parts: &[&str]) -> io::Result<OwnedFd> {
        let mut dir = self.root.try_clone()?;
        for part in parts {
            match mkdirat(&dir, *part, Permissions::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = openat(&dir, *part, DIR, Permissions::empty())?;
        }
        Ok(dir)
    }
}

impl TreeSink for FolderSink {
    fn file(&mut self, path: &str, mode: Mode, _: u64, content: &mut dyn Read) -> io::Result<()> {
        let parts: Vec<&str> = path.split('/').collect();
        let (name, folders) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.folder(folders)?;
        let permissions = Permissions::from_raw_mode(match mode {
            Mode::File => 0o644,
            Mode::Executable => 0o755,
        });
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir, *name, flags, permissions)?;
        // The umask may have taken bits away.
        rustix::fs::fchmod(&file, permissions)?;
        let mut file = File::from(file);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                n => file.write_all(&buffer[..n])?,
            }
        }
        self.count += 1;
        if self.count <= SYNC_EACH {
            self.files.push(file);
        }
        Ok(())
    }
}

fn sync_folders(dir: &OwnedFd) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match openat(dir, name, DIR, Permissions::empty()) {
            Ok(sub) => sync_folders(&sub)?,
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::fs::fsync(dir.as_fd()).map_err(Into::into)
}

/// The files of a folder, in ascending order of path, each with its digest.
///
/// # Errors
/// When something in it cannot be read, or cannot be in a release.
pub(crate) fn list_folder(root: &Path) -> Result<Vec<TreeEntry>, TreeError> {
    let mut entries = Vec::new();
    let root = open(root, DIR, Permissions::empty()).map_err(io::Error::from)?;
    list(&root, "", &mut entries)?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// The digest of a folder's files as a tree.
///
/// # Errors
/// As [`list_folder`].
pub(crate) fn hash_folder(root: &Path) -> Result<TreeDigest, TreeError> {
    let mut hasher = TreeHasher::default();
    for entry in list_folder(root)? {
        hasher.add(entry.mode, &entry.path, entry.content, entry.len)?;
    }
    Ok(hasher.finish())
}

fn list(dir: &OwnedFd, prefix: &str, entries: &mut Vec<TreeEntry>) -> Result<(), TreeError> {
    for entry in rustix::fs::Dir::read_from(dir).map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(dir, name.as_str(), flags, Permissions::empty()) {
            Err(rustix::io::Errno::LOOP) => return Err(TreeError::Mode { path, mode: 0o120_000 }),
            other => other.map_err(io::Error::from)?,
        };
        let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => list(&file, &path, entries)?,
            rustix::fs::FileType::RegularFile => {
                let mode = if stat.st_mode & 0o111 == 0 { Mode::File } else { Mode::Executable };
                let (content, len) = hash_file(File::from(file))?;
                entries.push(TreeEntry { path, mode, content, len });
            }
            _ => return Err(TreeError::Mode { path, mode: stat.st_mode }),
        }
    }
    Ok(())
}

/// The digest and length of a file's content.
pub(crate) fn hash_file(mut file: File) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut len = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((Digest::from_bytes(hash.finalize().into()), len)),
            n => {
                hash.update(&buffer[..n]);
                len += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use backstay_types::tree::{self, TreeFile};

    use super::*;

    fn files() -> Vec<TreeFile> {
        let file = |path: &str, mode, content: &str| TreeFile {
            path: path.to_owned(),
            mode,
            content: content.as_bytes().to_vec(),
        };
        vec![
            file("a-b", Mode::File, "1"),
            file("a/b/c", Mode::Executable, "#!/bin/sh\n"),
            file("a.d", Mode::File, ""),
        ]
    }

    #[test]
    fn what_is_written_hashes_to_what_was_packed() {
        let dir = tempfile::tempdir().unwrap();
        let digest = tree::digest(&files()).unwrap();
        let mut sink = FolderSink::new(dir.path()).unwrap();
        tree::unpack(&tree::pack(&files()).unwrap()[..], digest, &mut sink).unwrap();
        sink.sync().unwrap();
        assert_eq!(hash_folder(dir.path()).unwrap(), digest);
        std::fs::write(dir.path().join("a-b"), "2").unwrap();
        assert_ne!(hash_folder(dir.path()).unwrap(), digest);
    }

    #[test]
    fn links_are_neither_followed_nor_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("a")).unwrap();
        let mut sink = FolderSink::new(dir.path()).unwrap();
        assert!(sink.file("a/b", Mode::File, 1, &mut &b"x"[..]).is_err());
        assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
        assert!(matches!(hash_folder(dir.path()), Err(TreeError::Mode { .. })));
    }
}
