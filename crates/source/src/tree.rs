//! Files at a commit, and stacks' trees as releases.

use std::collections::HashMap;

use backstay_types::{
    Digest, TreeDigest,
    tree::{self as release, MAX_TREE_BYTES, MAX_TREE_FILES, Mode, TreeError, TreeFile, TreeHasher},
};
use gix::{
    ObjectId, Repository as Git,
    objs::tree::{EntryKind, EntryMode},
};

use crate::{draft::At, error::SourceError, mirror::Mirror, notes::empty_tree, paths, text};

/// The largest file that is read.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// The largest number of entries that is listed.
const MAX_ENTRIES: usize = 200_000;
const MAX_DEPTH: usize = 64;
/// Digests kept in memory, of files and of trees; all are forgotten when there are more.
const MAX_CACHED: usize = 50_000;

/// Digests by Git's object ids, which never change meaning.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    files: HashMap<ObjectId, (Digest, u64)>,
    trees: HashMap<ObjectId, StackTree>,
}

/// A file at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the folder that was listed.
    pub path: String,
    /// Git's mode: `100644`, `100755`, `120000` (link) or `160000` (submodule), octal.
    pub mode: u32,
    /// Size in bytes; 0 for a submodule.
    pub size: u64,
    /// Git's id of its content.
    pub oid: String,
}

/// Files at a commit, in ascending byte order of their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files, links and submodules.
    pub entries: Vec<Entry>,
    /// Paths that are not UTF-8, escaped: nothing of Backstay's can be at them.
    pub unreadable: Vec<String>,
}

/// A stack's tree as a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackTree {
    /// Its digest.
    pub digest: TreeDigest,
    /// Bytes of content.
    pub bytes: u64,
    /// Number of files.
    pub files: usize,
}

impl Mirror {
    /// Every file below `folder`; the root is the empty text. A folder that is not there is empty.
    ///
    /// # Errors
    /// When the commit is not in the mirror, or there are more than 200,000 entries.
    pub fn tree_at<'a>(&self, at: impl Into<At<'a>>, folder: &str) -> Result<Listing, SourceError> {
        let at = at.into();
        let (git, root) = self.git_at(at)?;
        let mut listing = Listing::default();
        let Some(tree) = self.folder_oid(&git, root, paths::folder(folder)?)? else { return Ok(listing) };
        for (path, mode, id) in self.flatten(&git, tree)? {
            match String::from_utf8(path) {
                Ok(path) => {
                    let size = if mode.is_commit() { 0 } else { self.size_of(&git, id)? };
                    let mode = u32::from(mode.value());
                    listing.entries.push(Entry { path, mode, size, oid: id.to_string() });
                }
                Err(error) => listing.unreadable.push(text::escaped(error.as_bytes())),
            }
        }
        Ok(listing)
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When there is no such file, it is a link, a folder or a submodule, or larger than [`MAX_FILE_BYTES`].
    pub fn read<'a>(&self, at: impl Into<At<'a>>, path: &str) -> Result<Vec<u8>, SourceError> {
        let at = at.into();
        self.try_read(at, path)?
            .ok_or_else(|| SourceError::NoPath { path: path.to_owned(), at: at.to_string() })
    }

    /// The content of a file, or `None` when nothing is there.
    ///
    /// # Errors
    /// As [`Self::read`], but for a file that is not there.
    pub fn try_read<'a>(&self, at: impl Into<At<'a>>, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        paths::check(path)?;
        let (git, root) = self.git_at(at.into())?;
        match self.entry(&git, root, path.as_bytes())? {
            None => Ok(None),
            Some((mode, id)) if mode.is_blob() => self.blob(&git, id, path).map(Some),
            Some((mode, _)) => Err(not_a_file(path, mode)),
        }
    }

    /// The tree of a stack's folder as a release. Cheap when little has changed since the last call.
    ///
    /// # Errors
    /// When there is no such folder, or it holds what a release may not: links, submodules, paths that are not
    /// UTF-8 or not allowed, too large files.
    pub fn stack_tree<'a>(&self, at: impl Into<At<'a>>, folder: &str) -> Result<StackTree, SourceError> {
        let at = at.into();
        let (git, root) = self.git_at(at)?;
        let tree = self.stack_oid(&git, root, at, folder)?;
        if let Some(known) = self.digests().trees.get(&tree) {
            return Ok(*known);
        }
        let mut hasher = TreeHasher::default();
        let files = self.release_files(&git, tree, folder)?;
        for (path, mode, id) in &files {
            let (digest, len) = self.file_digest(&git, *id, path)?;
            hasher.add(*mode, path, digest, len).map_err(|source| refused(folder, source))?;
        }
        let bytes = hasher.bytes();
        let found = StackTree { digest: hasher.finish(), bytes, files: files.len() };
        self.digests().trees.insert(tree, found);
        Ok(found)
    }

    /// The files of a stack's folder sorted into so many trees, by the place that each is given.
    ///
    /// # Errors
    /// As [`Self::stack_tree`].
    pub fn trees_of<'a>(
        &self,
        at: impl Into<At<'a>>,
        folder: &str,
        count: usize,
        place: &dyn Fn(&str) -> usize,
    ) -> Result<Vec<StackTree>, SourceError> {
        let at = at.into();
        let (git, root) = self.git_at(at)?;
        let mut hashers: Vec<_> = (0..count).map(|_| (TreeHasher::default(), 0)).collect();
        for (path, mode, id) in self.files_in(&git, root, at, folder)? {
            let Some((hasher, files)) = hashers.get_mut(place(&path)) else { continue };
            let (digest, len) = self.file_digest(&git, id, &path)?;
            hasher.add(mode, &path, digest, len).map_err(|source| refused(folder, source))?;
            *files += 1;
        }
        let finish = |(hasher, files): (TreeHasher, usize)| {
            let bytes = hasher.bytes();
            StackTree { digest: hasher.finish(), bytes, files }
        };
        Ok(hashers.into_iter().map(finish).collect())
    }

    /// The files of a stack's folder, paths relative to it, in ascending order.
    ///
    /// # Errors
    /// As [`Self::stack_tree`].
    pub fn stack_files<'a>(&self, at: impl Into<At<'a>>, folder: &str) -> Result<Vec<TreeFile>, SourceError> {
        let at = at.into();
        let (git, root) = self.git_at(at)?;
        let tree = self.stack_oid(&git, root, at, folder)?;
        let mut left = MAX_TREE_BYTES;
        let mut files = Vec::new();
        for (path, mode, id) in self.release_files(&git, tree, folder)? {
            let content = self.blob(&git, id, &path)?;
            let len = content.len() as u64;
            left = left.checked_sub(len).ok_or_else(|| refused(folder, TreeError::TooLarge))?;
            files.push(TreeFile { path, mode, content });
        }
        Ok(files)
    }

    /// The pack of a stack's folder, checked against the digest that [`Self::stack_tree`] gives.
    ///
    /// # Errors
    /// As [`Self::stack_tree`].
    pub fn pack<'a>(&self, at: impl Into<At<'a>>, folder: &str) -> Result<Vec<u8>, SourceError> {
        let at = at.into();
        let expected = self.stack_tree(at, folder)?.digest;
        let files = self.stack_files(at, folder)?;
        let found = release::digest(&files).map_err(|source| refused(folder, source))?;
        if found != expected {
            return Err(refused(folder, TreeError::Digest { expected, found }));
        }
        release::pack(&files).map_err(|source| refused(folder, source))
    }
}

/// For the other modules.
impl Mirror {
    /// What stands at a path of a tree.
    pub(crate) fn entry(
        &self,
        git: &Git,
        tree: ObjectId,
        path: &[u8],
    ) -> Result<Option<(EntryMode, ObjectId)>, SourceError> {
        let find = || -> gix::Result<Option<(EntryMode, ObjectId)>> {
            let found = git.find_tree(tree)?.lookup_entry(path.split(|b| *b == b'/'))?;
            Ok(found.map(|entry| (entry.mode(), entry.object_id())))
        };
        find().map_err(|e| self.broken("reading a tree", &e))
    }

    pub(crate) fn blob(&self, git: &Git, id: ObjectId, path: &str) -> Result<Vec<u8>, SourceError> {
        let bytes = self.size_of(git, id)?;
        if bytes > MAX_FILE_BYTES {
            return Err(SourceError::TooLarge { path: path.to_owned(), bytes, limit: MAX_FILE_BYTES });
        }
        Ok(git.find_blob(id).map_err(|e| self.broken("reading a file", &e))?.take_data())
    }

    /// The files of a stack's folder in a tree.
    pub(crate) fn files_in(
        &self,
        git: &Git,
        root: ObjectId,
        at: At<'_>,
        folder: &str,
    ) -> Result<Vec<(String, Mode, ObjectId)>, SourceError> {
        let tree = self.stack_oid(git, root, at, folder)?;
        self.release_files(git, tree, folder)
    }

    fn size_of(&self, git: &Git, id: ObjectId) -> Result<u64, SourceError> {
        Ok(git.find_header(id).map_err(|e| self.broken("reading a file", &e))?.size())
    }

    fn digests(&self) -> std::sync::MutexGuard<'_, Digests> {
        let mut digests = self.digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if digests.files.len() > MAX_CACHED || digests.trees.len() > MAX_CACHED {
            *digests = Digests::default();
        }
        digests
    }

    fn file_digest(&self, git: &Git, id: ObjectId, path: &str) -> Result<(Digest, u64), SourceError> {
        if let Some(known) = self.digests().files.get(&id) {
            return Ok(*known);
        }
        let content = self.blob(git, id, path)?;
        let found = (Digest::of(&content), content.len() as u64);
        self.digests().files.insert(id, found);
        Ok(found)
    }

    fn folder_oid(&self, git: &Git, root: ObjectId, folder: &str) -> Result<Option<ObjectId>, SourceError> {
        if folder.is_empty() {
            return Ok(Some(root));
        }
        let entry = self.entry(git, root, folder.as_bytes())?;
        Ok(entry.filter(|(mode, _)| mode.is_tree()).map(|(_, id)| id))
    }

    fn stack_oid(
        &self,
        git: &Git,
        root: ObjectId,
        at: At<'_>,
        folder: &str,
    ) -> Result<ObjectId, SourceError> {
        let found = self.folder_oid(git, root, paths::folder(folder)?)?;
        found.ok_or_else(|| SourceError::NoPath { path: folder.to_owned(), at: at.to_string() })
    }

    /// The files of a release in ascending order of path, each with an allowed path and mode.
    fn release_files(
        &self,
        git: &Git,
        tree: ObjectId,
        folder: &str,
    ) -> Result<Vec<(String, Mode, ObjectId)>, SourceError> {
        let entries = self.flatten(git, tree)?;
        if entries.len() > MAX_TREE_FILES {
            return Err(refused(folder, TreeError::TooLarge));
        }
        let mut files = Vec::with_capacity(entries.len());
        for (path, mode, id) in entries {
            let path = paths::utf8(&path)?.to_owned();
            release::check_path(&path).map_err(|source| refused(folder, source))?;
            let number = u32::from(mode.value());
            // Group-writable files of very old repositories are plain files.
            let mode = Mode::from_number(if mode.kind() == EntryKind::Blob { 0o100_644 } else { number });
            let mode =
                mode.ok_or_else(|| refused(folder, TreeError::Mode { path: path.clone(), mode: number }))?;
            files.push((path, mode, id));
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    /// All that is not a folder below a tree, in byte order of paths.
    fn flatten(&self, git: &Git, tree: ObjectId) -> Result<Vec<(Vec<u8>, EntryMode, ObjectId)>, SourceError> {
        let mut found = Vec::new();
        if tree != empty_tree(git) {
            self.descend(git, tree, &mut Vec::new(), 0, &mut found)?;
        }
        Ok(found)
    }

    fn descend(
        &self,
        git: &Git,
        tree: ObjectId,
        prefix: &mut Vec<u8>,
        depth: usize,
        found: &mut Vec<(Vec<u8>, EntryMode, ObjectId)>,
    ) -> Result<(), SourceError> {
        let broken = |error: gix::Error| self.broken("reading a tree", &error);
        let tree = git.find_tree(tree).map_err(broken)?;
        let length = prefix.len();
        for entry in tree.iter() {
            let entry = entry.map_err(broken)?;
            if depth > MAX_DEPTH || found.len() >= MAX_ENTRIES {
                let reason = format!("`{}` is too deep, or holds too many files", text::escaped(prefix));
                return Err(SourceError::Path(reason));
            }
            prefix.extend_from_slice(entry.filename());
            if entry.mode().is_tree() {
                prefix.push(b'/');
                self.descend(git, entry.object_id(), prefix, depth + 1, found)?;
            } else {
                found.push((prefix.clone(), entry.mode(), entry.object_id()));
            }
            prefix.truncate(length);
        }
        Ok(())
    }
}

fn refused(folder: &str, source: TreeError) -> SourceError {
    SourceError::Tree { path: folder.to_owned(), source }
}

fn not_a_file(path: &str, mode: EntryMode) -> SourceError {
    let what = match mode.kind() {
        EntryKind::Link => "a link",
        EntryKind::Commit => "a submodule",
        EntryKind::Tree => "a folder",
        EntryKind::Blob | EntryKind::BlobExecutable => "a file",
    };
    SourceError::Path(format!("`{path}` is {what}, not a file"))
}
