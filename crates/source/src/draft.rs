//! Trees that do not exist in the mirror yet.

use std::{fmt, sync::Arc};

use backstay_types::{
    CommitId,
    tree::{Mode, in_folder},
};
use gix::{ObjectId, objs::tree::EntryKind, odb::memory::Storage};

use crate::{error::SourceError, mirror::Mirror, paths};

/// A tree with what it needs beyond the mirror, in memory. It can be read like a commit, so that it can be
/// checked before anything is made of it, and costs the mirror nothing until [`Mirror::commit_undo`].
#[derive(Clone)]
pub struct Draft {
    tree: ObjectId,
    objects: Arc<Storage>,
}

impl Draft {
    pub(crate) fn new(tree: ObjectId, objects: Storage) -> Self {
        Self { tree, objects: Arc::new(objects) }
    }

    /// The tree's id as Git names it.
    pub fn tree(&self) -> String {
        self.tree.to_string()
    }

    pub(crate) fn tree_oid(&self) -> ObjectId {
        self.tree
    }

    pub(crate) fn objects(&self) -> &Storage {
        &self.objects
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("tree", &self.tree).field("objects", &self.objects.len()).finish()
    }
}

impl PartialEq for Draft {
    fn eq(&self, other: &Self) -> bool {
        self.tree == other.tree
    }
}

impl Eq for Draft {}

/// Whether a file of a folder is meant, by its path in there.
pub type Holds<'a> = dyn Fn(&str) -> bool + 'a;

/// What to read: a commit of the mirror, or a draft.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// A commit.
    Commit(&'a CommitId),
    /// A draft.
    Draft(&'a Draft),
}

impl<'a> From<&'a CommitId> for At<'a> {
    fn from(commit: &'a CommitId) -> Self {
        Self::Commit(commit)
    }
}

impl<'a> From<&'a Draft> for At<'a> {
    fn from(draft: &'a Draft) -> Self {
        Self::Draft(draft)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(commit) => f.write_str(commit.short()),
            Self::Draft(_) => f.write_str("the result"),
        }
    }
}

impl Mirror {
    /// The tree at `at` as a draft.
    ///
    /// # Errors
    /// When the commit is not in the mirror.
    pub fn draft_of<'a>(&self, at: impl Into<At<'a>>) -> Result<Draft, SourceError> {
        let (mut git, tree) = self.git_at(at.into())?;
        git.objects.enable_object_memory();
        Ok(self.draft(git, tree))
    }

    /// The tree of a commit in whose `folder` some files are those of other commits: for each of these, what it holds
    /// there and no other does.
    ///
    /// # Errors
    /// When a commit or its folder is not in the mirror, or holds what a release may not.
    pub fn composed(
        &self,
        base: &CommitId,
        folder: &str,
        others: &[(CommitId, &Holds<'_>)],
    ) -> Result<Draft, SourceError> {
        let (mut git, root) = self.git_at(At::Commit(base))?;
        git.objects.enable_object_memory();
        let own = self.files_in(&git, root, At::Commit(base), folder)?;
        let gone: Vec<_> = own
            .into_iter()
            .map(|(path, ..)| path)
            .filter(|path| others.iter().any(|(_, holds)| holds(path)))
            .collect();
        let mut added = Vec::new();
        for (commit, holds) in others {
            let (from, root) = self.git_at(At::Commit(commit))?;
            let files = self.files_in(&from, root, At::Commit(commit), folder)?;
            added.extend(files.into_iter().filter(|(path, ..)| holds(path)));
        }
        let edited = (|| -> gix::Result<ObjectId> {
            let mut editor = git.edit_tree(root)?;
            for path in &gone {
                editor.remove(in_folder(folder, path))?;
            }
            for (path, mode, id) in &added {
                let kind = match mode {
                    Mode::Executable => EntryKind::BlobExecutable,
                    Mode::File => EntryKind::Blob,
                };
                editor.upsert(in_folder(folder, path), kind, *id)?;
            }
            Ok(editor.write()?.detach())
        })();
        let edited = edited.map_err(|e| self.broken("putting a tree together", &e))?;
        Ok(self.draft(git, edited))
    }

    /// The tree at `at` with one file replaced or added (`Some`), or removed (`None`). A file keeps its mode.
    ///
    /// # Errors
    /// When the path is not one that a release may hold, or the mirror cannot be read.
    pub fn with_file<'a>(
        &self,
        at: impl Into<At<'a>>,
        path: &str,
        content: Option<&[u8]>,
    ) -> Result<Draft, SourceError> {
        paths::check(path)?;
        let (mut git, tree) = self.git_at(at.into())?;
        git.objects.enable_object_memory();
        let edited = (|| -> gix::Result<ObjectId> {
            let mut editor = git.edit_tree(tree)?;
            match content {
                Some(bytes) => {
                    let old = git.find_tree(tree)?.lookup_entry(path.split('/').map(str::as_bytes))?;
                    let kind = old.map(|entry| entry.mode().kind());
                    let kind =
                        kind.filter(|kind| *kind == EntryKind::BlobExecutable).unwrap_or(EntryKind::Blob);
                    editor.upsert(path, kind, git.write_blob(bytes)?)?;
                }
                None => {
                    editor.remove(path)?;
                }
            }
            Ok(editor.write()?.detach())
        })();
        let edited = edited.map_err(|e| self.broken("editing a tree", &e))?;
        Ok(self.draft(git, edited))
    }
}
