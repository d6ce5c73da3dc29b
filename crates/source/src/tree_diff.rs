//! Which files differ between two trees.

use std::{collections::BTreeMap, ops::ControlFlow};

use gix::{ObjectId, Repository as Git, objs::tree::EntryMode};

use crate::{error::SourceError, mirror::Mirror};

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileChange {
    pub path: Vec<u8>,
    pub old: Option<(EntryMode, ObjectId)>,
    pub new: Option<(EntryMode, ObjectId)>,
}

/// The files that differ, in order of path. Renames are a removal and an addition.
pub(crate) fn changes(
    mirror: &Mirror,
    git: &Git,
    old: ObjectId,
    new: ObjectId,
) -> Result<Vec<FileChange>, SourceError> {
    if old == new {
        return Ok(Vec::new());
    }
    collect(git, old, new).map_err(|e| mirror.broken("comparing trees", &e))
}

fn collect(git: &Git, old: ObjectId, new: ObjectId) -> gix::Result<Vec<FileChange>> {
    use gix::object::tree::diff::Change;
    let (old, new) = (git.find_tree(old)?, git.find_tree(new)?);
    // A file that turns into a folder is a removal and additions with other paths, but a file that turns
    // into a link comes as a removal and an addition of one path.
    let mut files: BTreeMap<Vec<u8>, FileChange> = BTreeMap::new();
    let mut platform = old.changes()?;
    platform.options(|options| {
        options.track_path().track_rewrites(None);
    });
    platform.for_each_to_obtain_tree(&new, |change| -> gix::Result<ControlFlow<()>> {
        let (path, old, new) = match change {
            Change::Addition { location, entry_mode, id, .. } => {
                (location, None, Some((entry_mode, id.detach())))
            }
            Change::Deletion { location, entry_mode, id, .. } => {
                (location, Some((entry_mode, id.detach())), None)
            }
            Change::Modification { location, previous_entry_mode, previous_id, entry_mode, id } => {
                (location, Some((previous_entry_mode, previous_id.detach())), Some((entry_mode, id.detach())))
            }
            Change::Rewrite { location, source_entry_mode, source_id, entry_mode, id, .. } => {
                (location, Some((source_entry_mode, source_id.detach())), Some((entry_mode, id.detach())))
            }
        };
        let file = |side: Option<(EntryMode, ObjectId)>| side.filter(|(mode, _)| mode.is_no_tree());
        let (old, new) = (file(old), file(new));
        if old.is_some() || new.is_some() {
            let entry = files.entry(path.to_vec());
            let entry = entry.or_insert_with(|| FileChange { path: path.to_vec(), old: None, new: None });
            entry.old = entry.old.or(old);
            entry.new = entry.new.or(new);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(files.into_values().collect())
}
