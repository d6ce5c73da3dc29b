//! A release's folder compared with the list of its files, gently: hashing stops for breath, so that what runs gets
//! the disk.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use backstay_manifest::compose::TreeEntry;
use backstay_types::{
    Digest, TreeDigest,
    tree::{Mode, TreeHasher},
};
use sha2::{Digest as _, Sha256};

use super::list_folder;

/// How much is read between two breaths.
const CHUNK: usize = 64 << 10;

/// Reads at a bounded rate.
#[derive(Debug)]
pub(crate) struct Gently {
    bytes_per_second: u64,
    began: Instant,
    read: u64,
}

/// A file that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Differing {
    /// Its path in the folder.
    pub(crate) path: String,
    /// How it differs.
    pub(crate) how: How,
}

/// How a file differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    Gone,
    Content {
        expected: Digest,
        found: Digest,
    },
    /// Permission bits, as in chmod.
    Mode {
        expected: u32,
        found: u32,
    },
    Owner {
        found: u32,
    },
    /// It is no plain file.
    Kind,
    Stray,
}

impl How {
    /// In words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Gone => "it is gone".to_owned(),
            Self::Content { expected, found } => {
                format!("its content has SHA-256 {} instead of {}", found.short(), expected.short())
            }
            Self::Mode { expected, found } => format!("its mode is {found:04o} instead of {expected:04o}"),
            Self::Owner { found } => format!("it belongs to user {found}"),
            Self::Kind => "it is no plain file any more".to_owned(),
            Self::Stray => "it is not of the release".to_owned(),
        }
    }
}

impl Gently {
    /// At most so many bytes a second; 0 is as fast as the disk.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, began: Instant::now(), read: 0 }
    }

    fn hash(&mut self, path: &Path) -> io::Result<Digest> {
        let mut file = File::open(path)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => {
                    hash.update(&buffer[..n]);
                    self.breathe(n as u64);
                }
            }
        }
        Ok(Digest::from_bytes(hash.finalize().into()))
    }

    fn breathe(&mut self, read: u64) {
        self.read += read;
        if self.bytes_per_second == 0 {
            return;
        }
        let due = Duration::from_secs_f64(self.read as f64 / self.bytes_per_second as f64);
        if let Some(ahead) = due.checked_sub(self.began.elapsed()) {
            thread::sleep(ahead);
        }
    }
}

/// Where the list of a release's files is kept.
fn list_path(lists: &Path, tree: TreeDigest) -> PathBuf {
    lists.join(format!("{tree}.json"))
}

/// The files of a release. From the list beside it, which proves itself by its digest; else from the folder, when
/// that is as it was signed. None when neither is: then nobody here knows what it should be.
pub(crate) fn expected(lists: &Path, release: &Path, tree: TreeDigest) -> io::Result<Option<Vec<TreeEntry>>> {
    let path = list_path(lists, tree);
    match fs::read(&path) {
        Ok(bytes) => {
            let list: Option<Vec<(bool, String, Digest, u64)>> = serde_json::from_slice(&bytes).ok();
            let entry = |(executable, path, content, len)| TreeEntry {
                path,
                mode: if executable { Mode::Executable } else { Mode::File },
                content,
                len,
            };
            let list: Option<Vec<_>> = list.map(|list| list.into_iter().map(entry).collect());
            if let Some(list) = list.filter(|list| digest(list) == Some(tree)) {
                return Ok(Some(list));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let Ok(list) = list_folder(release) else { return Ok(None) };
    if digest(&list) != Some(tree) {
        return Ok(None);
    }
    note(lists, tree, &list)?;
    Ok(Some(list))
}

/// Keeps the list of a release's files.
pub(crate) fn note(lists: &Path, tree: TreeDigest, list: &[TreeEntry]) -> io::Result<()> {
    super::private_dir(lists)?;
    let plain: Vec<_> =
        list.iter().map(|e| (e.mode == Mode::Executable, &e.path, e.content, e.len)).collect();
    // Not synced: a torn one does not prove itself, and is made again.
    fs::write(list_path(lists, tree), serde_json::to_vec(&plain)?)
}

/// Forgets it.
pub(crate) fn forget(lists: &Path, tree: TreeDigest) {
    let _ = fs::remove_file(list_path(lists, tree));
}

fn digest(list: &[TreeEntry]) -> Option<TreeDigest> {
    let mut hasher = TreeHasher::default();
    for entry in list {
        hasher.add(entry.mode, &entry.path, entry.content, entry.len).ok()?;
    }
    Some(hasher.finish())
}

/// Permission bits of a release's file.
pub(crate) fn bits(mode: Mode) -> u32 {
    match mode {
        Mode::File => 0o644,
        Mode::Executable => 0o755,
    }
}

/// What of a folder is not as the list says.
pub(crate) fn compare(root: &Path, list: &[TreeEntry], gently: &mut Gently) -> io::Result<Vec<Differing>> {
    let mut found = Vec::new();
    for entry in list {
        if let Some(how) = compare_file(&root.join(&entry.path), entry, gently)? {
            found.push(Differing { path: entry.path.clone(), how });
        }
    }
    strays(root, "", list, &mut found)?;
    Ok(found)
}

fn compare_file(path: &Path, entry: &TreeEntry, gently: &mut Gently) -> io::Result<Option<How>> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Some(How::Gone));
        }
        other => other?,
    };
    if !meta.is_file() {
        return Ok(Some(How::Kind));
    }
    let found = gently.hash(path)?;
    if found != entry.content {
        return Ok(Some(How::Content { expected: entry.content, found }));
    }
    let (expected, found) = (bits(entry.mode), meta.permissions().mode() & 0o7777);
    if expected != found {
        return Ok(Some(How::Mode { expected, found }));
    }
    let owner = meta.uid();
    Ok((owner != rustix::process::geteuid().as_raw()).then_some(How::Owner { found: owner }))
}

fn strays(root: &Path, prefix: &str, list: &[TreeEntry], found: &mut Vec<Differing>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(prefix)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            strays(root, &path, list, found)?;
        } else if list.binary_search_by(|e| e.path.cmp(&path)).is_err() {
            found.push(Differing { path, how: How::Stray });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn release() -> (tempfile::TempDir, TreeDigest, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        fs::create_dir_all(root.join("conf/d")).unwrap();
        for (path, mode) in [("run", 0o755), ("conf/app.toml", 0o644), ("conf/d/x", 0o644)] {
            fs::write(root.join(path), path).unwrap();
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        let tree = digest(&list_folder(&root).unwrap()).unwrap();
        let named = dir.path().join(tree.to_string());
        fs::rename(&root, &named).unwrap();
        (dir, tree, named)
    }

    fn differing(dir: &Path, tree: TreeDigest) -> Vec<(String, How)> {
        let list = expected(&dir.join("lists"), &dir.join(tree.to_string()), tree).unwrap().unwrap();
        let found = compare(&dir.join(tree.to_string()), &list, &mut Gently::new(0)).unwrap();
        found.into_iter().map(|one| (one.path, one.how)).collect()
    }

    #[test]
    fn says_which_file_differs_and_how() {
        let (dir, tree, root) = release();
        assert_eq!(differing(dir.path(), tree), []);
        fs::write(root.join("conf/app.toml"), "evil").unwrap();
        fs::remove_file(root.join("conf/d/x")).unwrap();
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(root.join("stray"), "").unwrap();
        symlink("/etc/passwd", root.join("conf/link")).unwrap();
        let content = How::Content { expected: Digest::of(b"conf/app.toml"), found: Digest::of(b"evil") };
        let mut found = differing(dir.path(), tree);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("conf/app.toml", content),
            ("conf/d/x", How::Gone),
            ("conf/link", How::Stray),
            ("run", How::Mode { expected: 0o755, found: 0o4755 }),
            ("stray", How::Stray),
        ];
        assert_eq!(found, expected.map(|(path, how)| (path.to_owned(), how)));
        // A link in the place of a file is not followed.
        fs::remove_file(root.join("run")).unwrap();
        symlink("conf/app.toml", root.join("run")).unwrap();
        assert!(differing(dir.path(), tree).contains(&("run".to_owned(), How::Kind)));
    }

    #[test]
    fn a_list_that_was_touched_is_not_believed() {
        let (dir, tree, root) = release();
        let lists = dir.path().join("lists");
        expected(&lists, &root, tree).unwrap().unwrap();
        let path = list_path(&lists, tree);
        let text = fs::read_to_string(&path).unwrap().replace("conf/app.toml", "conf/app.tomk");
        fs::write(&path, text).unwrap();
        assert_eq!(differing(dir.path(), tree), [], "it is made again from the folder");
        fs::write(root.join("run"), "evil").unwrap();
        fs::write(&path, "[]").unwrap();
        assert!(expected(&lists, &root, tree).unwrap().is_none(), "nobody knows what it should be");
    }

    #[test]
    fn hashing_keeps_to_its_rate() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("big"), vec![1; 1 << 20]).unwrap();
        let began = Instant::now();
        let mut gently = Gently::new(4 << 20);
        gently.hash(&dir.path().join("big")).unwrap();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(240) && took < Duration::from_secs(5), "{took:?}");
    }
}
