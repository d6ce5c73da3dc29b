//! What was restored, read back from scratch and compared with what the snapshot was to hold. Done in a child.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, Metadata},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use backstay_manifest::PathPattern;
use backstay_types::{
    Digest,
    backup::job::{FileEntry, FileKind},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::disk::hash_file;

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Survey {
    /// Files and folders, without the folder itself.
    pub(crate) files: u64,
    /// Bytes of content.
    pub(crate) bytes: u64,
    /// Over path, kind and size, as a snapshot's manifest is.
    pub(crate) manifest: Digest,
    /// Over path, kind, mode and content.
    pub(crate) digest: Digest,
}

/// Reads all of a folder.
pub(crate) fn survey(root: &Path) -> io::Result<Survey> {
    let mut surveyor = Surveyor::default();
    walk(root, &mut |path, meta| surveyor.see(path, meta, &root.join(path)))?;
    Ok(surveyor.done())
}

/// Reads all of a folder but for what is left out, and for what holds nothing: sockets and the like are not restored. Under a
/// `name`, a single file as if it were alone in a folder.
pub(crate) fn checksum(root: &Path, exclude: &[PathPattern], name: Option<&str>) -> io::Result<Survey> {
    let mut surveyor = Surveyor::default();
    if let Some(name) = name {
        surveyor.see(Path::new(name), &fs::symlink_metadata(root)?, root)?;
        return Ok(surveyor.done());
    }
    let left_out = |path: &Path| {
        let above = path.ancestors().filter(|above| !above.as_os_str().is_empty());
        exclude.iter().any(|pattern| above.clone().any(|path| pattern.matches(&path.to_string_lossy())))
    };
    walk(root, &mut |path, meta| {
        if kind_of(meta) == FileKind::Other || left_out(path) {
            return Ok(());
        }
        surveyor.see(path, meta, &root.join(path))
    })?;
    Ok(surveyor.done())
}

#[derive(Default)]
struct Surveyor {
    manifest: Sha256,
    digest: Sha256,
    files: u64,
    bytes: u64,
}

impl Surveyor {
    fn see(&mut self, path: &Path, meta: &Metadata, full: &Path) -> io::Result<()> {
        let kind = kind_of(meta);
        let size = if kind == FileKind::File { meta.len() } else { 0 };
        let name = path.as_os_str().as_bytes();
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.manifest.update(length);
        self.manifest.update(name);
        self.manifest.update([code(kind)]);
        self.manifest.update(size.to_le_bytes());
        let content = match kind {
            FileKind::File => *hash_file(File::open(full)?)?.0.as_bytes(),
            _ => [0; 32],
        };
        self.digest.update(length);
        self.digest.update(name);
        self.digest.update([code(kind)]);
        // Links have no mode of their own.
        let mode = if kind == FileKind::Link { 0 } else { meta.mode() & 0o7777 };
        self.digest.update(mode.to_le_bytes());
        self.digest.update(content);
        self.files += 1;
        self.bytes += size;
        Ok(())
    }

    fn done(self) -> Survey {
        let done = |hash: Sha256| Digest::from_bytes(hash.finalize().into());
        Survey {
            files: self.files,
            bytes: self.bytes,
            manifest: done(self.manifest),
            digest: done(self.digest),
        }
    }
}

/// What of a snapshot's list is not there as it says, and what is there beyond it: the first so many, and how many.
pub(crate) fn differences(root: &Path, list: Vec<FileEntry>, most: usize) -> io::Result<(Vec<String>, u64)> {
    // Sockets hold nothing and are not restored; names that are no text are shown otherwise than they are.
    let plain = |entry: &FileEntry| entry.kind != FileKind::Other && !entry.path.contains('\\');
    let mut wanted: HashMap<String, FileEntry> =
        list.into_iter().filter(plain).map(|entry| (entry.path.clone(), entry)).collect();
    let (mut found, mut count) = (Vec::new(), 0u64);
    let mut tell = |text: String| {
        count += 1;
        if found.len() < most {
            found.push(text);
        }
    };
    walk(root, &mut |path, meta| {
        let kind = kind_of(meta);
        let Some(name) = path.to_str().filter(|name| !name.contains(|c: char| c == '\\' || c.is_control()))
        else {
            return Ok(());
        };
        if kind == FileKind::Other {
            return Ok(());
        }
        match wanted.remove(name) {
            None => tell(format!("{name} is not in the snapshot")),
            Some(entry) if entry.kind != kind => tell(format!("{name} is of another kind")),
            Some(entry) if kind == FileKind::File && entry.bytes != meta.len() => {
                tell(format!("{name} has {} bytes, expected {}", meta.len(), entry.bytes));
            }
            Some(entry) if kind != FileKind::Link && entry.mode != meta.mode() & 0o7777 => {
                tell(format!("{name} has mode {:o}, expected {:o}", meta.mode() & 0o7777, entry.mode));
            }
            Some(_) => {}
        }
        Ok(())
    })?;
    let mut missing: Vec<_> = wanted.into_keys().collect();
    missing.sort_unstable();
    missing.into_iter().for_each(|path| tell(format!("{path} is missing")));
    Ok((found, count))
}

/// All below a folder, each folder before what is in it, by name.
fn walk(root: &Path, see: &mut dyn FnMut(&Path, &Metadata) -> io::Result<()>) -> io::Result<()> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", full.display()));
        let meta = fs::symlink_metadata(&full).map_err(failed)?;
        if !path.as_os_str().is_empty() {
            see(&path, &meta).map_err(failed)?;
        }
        if meta.is_dir() {
            let names =
                fs::read_dir(&full).map_err(failed)?.map(|entry| entry.map(|entry| entry.file_name()));
            let mut names = names.collect::<io::Result<Vec<OsString>>>().map_err(failed)?;
            names.sort_unstable();
            waiting.extend(names.into_iter().rev().map(|name| path.join(name)));
        }
    }
    Ok(())
}

fn kind_of(meta: &Metadata) -> FileKind {
    match meta {
        meta if meta.is_file() => FileKind::File,
        meta if meta.is_dir() => FileKind::Folder,
        meta if meta.is_symlink() => FileKind::Link,
        _ => FileKind::Other,
    }
}

/// As the manifest of a snapshot has it.
const fn code(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 0,
        FileKind::Folder => 1,
        FileKind::Link => 2,
        FileKind::Other => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/a"), "four").unwrap();
        fs::write(dir.path().join("data/more"), "").unwrap();
        let mode = |path: &str| fs::symlink_metadata(dir.path().join(path)).unwrap().mode() & 0o7777;
        let entry = |path: &str, kind, bytes| FileEntry {
            path: path.to_owned(),
            kind,
            bytes,
            mode: if path == "data/lost" { 0o644 } else { mode(path) },
            modified: None,
        };
        let mut list = vec![
            entry("data", FileKind::Folder, 0),
            entry("data/a", FileKind::File, 4),
            entry("data/more", FileKind::File, 0),
        ];
        assert_eq!(differences(dir.path(), list.clone(), 20).unwrap(), (Vec::new(), 0));
        let survey = survey(dir.path()).unwrap();
        assert_eq!((survey.files, survey.bytes), (3, 4));
        list[1].bytes = 5;
        list.remove(2);
        list.push(entry("data/lost", FileKind::File, 1));
        let (found, count) = differences(dir.path(), list, 2).unwrap();
        assert_eq!(count, 3);
        assert_eq!(found, ["data/a has 4 bytes, expected 5", "data/more is not in the snapshot"]);
        fs::write(dir.path().join("data/a"), "FOUR").unwrap();
        let other = super::survey(dir.path()).unwrap();
        assert!(other.manifest == survey.manifest && other.digest != survey.digest);
    }
}
