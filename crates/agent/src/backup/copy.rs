//! Copies of folders, twice: once while they are written to, and once more of what changed, while they stand still.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use backstay_manifest::PathPattern;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use serde::{Deserialize, Serialize};

/// A change may carry a time this much before it was made: clocks of file systems are coarse.
const COARSE: Duration = Duration::from_secs(2);

/// Mode of the folder that a single file is saved in: no other has it, so that a file that was lost comes back as one.
pub(super) const FILE_ALONE: u32 = 0o1700;

/// Copies a single file into a folder, as it is, and marks the folder.
pub(super) fn file_alone(from: &Path, folder: &Path) -> io::Result<()> {
    let to = folder.join(from.file_name().unwrap_or_default());
    let meta = fs::symlink_metadata(from)?;
    if !meta.is_file() {
        return Err(io::Error::other("is neither a file nor a folder"));
    }
    fs::copy(from, &to)?;
    dress(from, &to, &meta)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(FILE_ALONE))
}

/// What to copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Copy {
    /// A folder.
    pub(crate) from: PathBuf,
    /// A folder that is made.
    pub(crate) to: PathBuf,
    /// What is left out, below `from`.
    pub(crate) exclude: Vec<PathPattern>,
    /// When the first copy was begun; none for the first.
    pub(crate) since: Option<SystemTime>,
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copied {
    /// Files and folders that are there.
    pub(crate) files: u64,
    /// Bytes of content in them.
    pub(crate) bytes: u64,
    /// Files that were written now.
    pub(crate) written: u64,
}

struct Walk<'a> {
    copy: &'a Copy,
    device: u64,
    linked: HashMap<u64, PathBuf>,
    copied: Copied,
}

/// Copies a folder with modes, owners, times, links and extended attributes. Files that vanish while a first copy is made
/// are left out; the second one sees what is there.
pub(crate) fn copy(copy: &Copy) -> io::Result<Copied> {
    let meta = fs::symlink_metadata(&copy.from)?;
    if !meta.is_dir() {
        return Err(io::Error::other(format!("{} is no folder", copy.from.display())));
    }
    let mut walk = Walk { copy, device: meta.dev(), linked: HashMap::new(), copied: Copied::default() };
    walk.folder(Path::new(""), &meta)?;
    Ok(walk.copied)
}

/// How much a copy of it takes.
pub(crate) fn size(from: &Path, exclude: &[PathPattern]) -> io::Result<u64> {
    fn add(from: &Path, below: &Path, exclude: &[PathPattern], bytes: &mut u64) -> io::Result<()> {
        for entry in fs::read_dir(from.join(below))? {
            let path = below.join(entry?.file_name());
            let Some(meta) = there(fs::symlink_metadata(from.join(&path)))? else { continue };
            if is_excluded(exclude, &path) {
                continue;
            }
            if meta.is_dir() {
                add(from, &path, exclude, bytes)?;
            } else {
                *bytes = bytes.saturating_add(meta.blocks().saturating_mul(512).max(meta.len().min(4096)));
            }
        }
        Ok(())
    }
    let mut bytes = 0;
    add(from, Path::new(""), exclude, &mut bytes)?;
    Ok(bytes)
}

fn is_excluded(exclude: &[PathPattern], path: &Path) -> bool {
    let path = path.to_string_lossy();
    exclude.iter().any(|pattern| pattern.matches(&path))
}

/// What may have gone meanwhile.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Walk<'_> {
    fn folder(&mut self, below: &Path, meta: &Metadata) -> io::Result<()> {
        let (from, to) = (self.copy.from.join(below), self.copy.to.join(below));
        if !fs::symlink_metadata(&to).is_ok_and(|meta| meta.is_dir()) {
            clear(&to)?;
            fs::create_dir_all(&to)?;
        }
        self.copied.files += 1;
        let mut names: HashSet<OsString> = HashSet::new();
        let Some(entries) = there(fs::read_dir(&from))? else { return Ok(()) };
        for entry in entries {
            let name = entry?.file_name();
            let path = below.join(&name);
            if is_excluded(&self.copy.exclude, &path) {
                continue;
            }
            let Some(meta) = there(fs::symlink_metadata(self.copy.from.join(&path)))? else { continue };
            if meta.dev() != self.device {
                continue;
            }
            names.insert(name);
            self.entry(&path, &meta).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", self.copy.from.join(&path).display()))
            })?;
        }
        for entry in fs::read_dir(&to)? {
            let entry = entry?;
            if !names.contains(&entry.file_name()) {
                clear(&entry.path())?;
            }
        }
        dress(&from, &to, meta)
    }

    fn entry(&mut self, path: &Path, meta: &Metadata) -> io::Result<()> {
        if meta.is_dir() {
            return self.folder(path, meta);
        }
        let (from, to) = (self.copy.from.join(path), self.copy.to.join(path));
        if meta.is_symlink() {
            let Some(target) = there(fs::read_link(&from))? else { return Ok(()) };
            clear(&to)?;
            symlink(target, &to)?;
            self.copied.files += 1;
            return dress(&from, &to, meta);
        }
        if !meta.is_file() {
            // A socket or a pipe holds nothing.
            return Ok(());
        }
        self.copied.files += 1;
        self.copied.bytes += meta.len();
        if meta.nlink() > 1 {
            if let Some(first) = self.linked.get(&meta.ino()) {
                clear(&to)?;
                return fs::hard_link(first, &to);
            }
            self.linked.insert(meta.ino(), to.clone());
        } else if self.is_unchanged(&to, meta) {
            return Ok(());
        }
        let Some(written) = there(self.file(&from, &to))? else { return clear(&to) };
        self.copied.written += u64::from(written);
        dress(&from, &to, meta)
    }

    /// Whether the first copy has it as it is now.
    fn is_unchanged(&self, to: &Path, meta: &Metadata) -> bool {
        let Some(since) = self.copy.since.and_then(|since| since.checked_sub(COARSE)) else { return false };
        let Ok(since) = since.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let since = i64::try_from(since.as_secs()).unwrap_or(0);
        let old = meta.mtime() < since && meta.ctime() < since;
        // Also where the clock was set back meanwhile: the copy carries the time that the file had.
        let same = |there: Metadata| {
            there.is_file()
                && there.len() == meta.len()
                && (there.mtime(), there.mtime_nsec()) == (meta.mtime(), meta.mtime_nsec())
        };
        old && fs::symlink_metadata(to).is_ok_and(same)
    }

    fn file(&self, from: &Path, to: &Path) -> io::Result<bool> {
        let mut source = OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(from)?;
        if self.copy.since.is_none() {
            // What is written through a mapping shows in a file's times only after it was written back.
            let _ = source.sync_data();
        }
        clear(to)?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            io::copy(&mut source, &mut target)?;
        }
        Ok(true)
    }
}

/// `O_NOFOLLOW`: what was a file a moment ago may be a link now.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// Removes a file or folder, if it is there.
pub(super) fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Owner, mode, extended attributes and times, as the original has them.
pub(super) fn dress(from: &Path, to: &Path, meta: &Metadata) -> io::Result<()> {
    let here = fs::symlink_metadata(to)?;
    if (here.uid(), here.gid()) != (meta.uid(), meta.gid()) {
        std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    }
    attributes(from, to);
    if !meta.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
}

/// Extended attributes, as far as both file systems have them.
fn attributes(from: &Path, to: &Path) {
    let mut names = vec![0u8; 64 << 10];
    let Ok(len) = rustix::fs::llistxattr(from, &mut names[..]) else { return };
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        let Ok(len) = rustix::fs::lgetxattr(from, name, &mut value[..]) else { continue };
        let _ = rustix::fs::lsetxattr(to, name, &value[..len], XattrFlags::empty());
    }
}

/// Makes all that is below a folder durable.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    rustix::fs::syncfs(&File::open(dir)?).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    fn call(from: &Path, to: &Path, exclude: &[&str], since: Option<SystemTime>) -> Copy {
        let exclude = exclude.iter().map(|text| PathPattern::new(text).unwrap()).collect();
        Copy { from: from.to_owned(), to: to.to_owned(), exclude, since }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "files carry the machine's own time")]
    fn a_second_copy_takes_what_changed_and_only_that() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("deep/cache")).unwrap();
        for name in ["old", "changed", "gone", "deep/file", "deep/cache/x"] {
            fs::write(from.join(name), name).unwrap();
        }
        fs::hard_link(from.join("old"), from.join("deep/linked")).unwrap();
        symlink("../old", from.join("deep/link")).unwrap();
        fs::set_permissions(from.join("deep/file"), fs::Permissions::from_mode(0o640)).unwrap();
        sleep(Duration::from_millis(3100));
        let began = SystemTime::now();
        let first = copy(&call(&from, &to, &["deep/cache"], None)).unwrap();
        assert_eq!((first.files, first.written), (8, 4), "{first:?}");
        fs::write(from.join("changed"), "CHANGED").unwrap();
        fs::write(from.join("new"), "new").unwrap();
        fs::remove_file(from.join("gone")).unwrap();
        let second = copy(&call(&from, &to, &["deep/cache"], Some(began))).unwrap();
        // What has several names is always taken: which of them is the first may change.
        assert_eq!((second.files, second.written), (8, 3), "{second:?}");
        let read = |name: &str| fs::read_to_string(to.join(name)).ok();
        assert_eq!(read("changed").as_deref(), Some("CHANGED"));
        assert_eq!((read("new").as_deref(), read("gone"), read("deep/cache/x")), (Some("new"), None, None));
        assert_eq!(fs::read_link(to.join("deep/link")).unwrap(), Path::new("../old"));
        let meta = |path: PathBuf| fs::metadata(path).unwrap();
        assert_eq!(meta(to.join("old")).ino(), meta(to.join("deep/linked")).ino());
        let (a, b) = (meta(from.join("deep/file")), meta(to.join("deep/file")));
        assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()));
    }
}
