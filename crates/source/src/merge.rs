//! One three-way merge on trees: the effect of a commit taken out of a later tree.

use gix::{
    ObjectId, Repository as Git,
    bstr::ByteSlice as _,
    merge::{
        blob::builtin_driver::text::Labels,
        tree::{Conflict as GixConflict, ResolutionFailure, TreatAsUnresolved},
    },
    objs::tree::EntryMode,
};

use crate::{
    error::SourceError,
    mirror::Mirror,
    text,
    tree_diff::{self, FileChange},
};

/// What stands in the way at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// The same lines were changed later.
    Content,
    /// It was changed later, and is not text.
    Binary,
    /// One side changes the file, the other has removed it.
    Removed,
    /// Files, folders and renames cross each other. Cannot be settled by giving the file's content.
    Structure,
}

/// A path on which a merge conflicts.
#[derive(Debug, Clone)]
pub(crate) struct PathConflict {
    pub path: Vec<u8>,
    pub kind: ConflictKind,
}

#[derive(Debug)]
pub(crate) struct Merged {
    /// Everything that merges; conflicting text carries markers, other conflicting paths are as in ours.
    pub tree: ObjectId,
    pub conflicts: Vec<PathConflict>,
}

type Side = Option<(EntryMode, ObjectId)>;

/// Larger files are not merged line by line.
const MAX_MERGED_BYTES: u64 = 8 << 20;

/// Applies what leads from `base` to `theirs` to `ours`. Objects go where `git` writes, which should be memory.
pub(crate) fn three_way(
    mirror: &Mirror,
    git: &Git,
    base: ObjectId,
    ours: ObjectId,
    theirs: ObjectId,
    label: &str,
) -> Result<Merged, SourceError> {
    let clean = |tree| Ok(Merged { tree, conflicts: Vec::new() });
    if base == ours {
        return clean(theirs);
    }
    let mut direct = Vec::new();
    let mut contested = Vec::new();
    for change in tree_diff::changes(mirror, git, base, theirs)? {
        let now = mirror.entry(git, ours, &change.path)?;
        if now == change.new {
            continue;
        }
        if now == change.old { direct.push(change) } else { contested.push((change, now)) }
    }
    let blocked = direct.iter().any(|change| is_blocked(mirror, git, ours, change, &direct));
    if contested.is_empty() && !blocked {
        return clean(apply(mirror, git, ours, &direct)?);
    }
    let mut conflicts = Vec::new();
    let mut aside = Vec::new();
    for (change, now) in contested {
        if !all_text(git, [change.old, change.new, now]).map_err(|e| mirror.broken("reading files", &e))? {
            let kind = if now.is_none() || change.new.is_none() {
                ConflictKind::Removed
            } else {
                ConflictKind::Binary
            };
            conflicts.push(PathConflict { path: change.path.clone(), kind });
            // Both sides the same is no conflict for the merge below.
            aside.push(FileChange { new: now, ..change });
        }
    }
    let theirs = apply(mirror, git, theirs, &aside)?;
    let merged = by_lines(mirror, git, base, ours, theirs, label)?;
    conflicts.extend(merged.conflicts);
    Ok(Merged { tree: merged.tree, conflicts })
}

/// Whether a file that would be added has a file of ours where its folder should be.
fn is_blocked(mirror: &Mirror, git: &Git, ours: ObjectId, change: &FileChange, all: &[FileChange]) -> bool {
    let folders =
        change.path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &change.path[..at]);
    let mut folders = folders.filter(|folder| !all.iter().any(|c| c.path == *folder && c.new.is_none()));
    change.new.is_some()
        && folders
            .any(|folder| matches!(mirror.entry(git, ours, folder), Ok(Some((mode, _))) if !mode.is_tree()))
}

/// The tree with each change's new side in place.
pub(crate) fn apply(
    mirror: &Mirror,
    git: &Git,
    tree: ObjectId,
    changes: &[FileChange],
) -> Result<ObjectId, SourceError> {
    if changes.is_empty() {
        return Ok(tree);
    }
    let edit = || -> gix::Result<ObjectId> {
        let mut editor = git.edit_tree(tree)?;
        for change in changes.iter().filter(|change| change.new.is_none()) {
            editor.remove(change.path.as_bstr())?;
        }
        for change in changes {
            if let Some((mode, id)) = change.new {
                editor.upsert(change.path.as_bstr(), mode.kind(), id)?;
            }
        }
        Ok(editor.write()?.detach())
    };
    edit().map_err(|e| mirror.broken("editing a tree", &e))
}

fn all_text(git: &Git, sides: [Side; 3]) -> gix::Result<bool> {
    for (mode, id) in sides.into_iter().flatten() {
        let plain = mode.is_blob() && git.find_header(id)?.size() <= MAX_MERGED_BYTES;
        // A folder where a file should be is for the merge to sort out.
        if !mode.is_tree() && (!plain || git.find_blob(id)?.data.contains(&0)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn by_lines(
    mirror: &Mirror,
    git: &Git,
    base: ObjectId,
    ours: ObjectId,
    theirs: ObjectId,
    label: &str,
) -> Result<Merged, SourceError> {
    let merge = || -> gix::Result<Merged> {
        let labels = Labels {
            ancestor: Some("undone".into()),
            current: Some("now".into()),
            other: Some(label.into()),
        };
        let mut outcome = git.merge_trees(base, ours, theirs, labels, git.tree_merge_options()?)?;
        let how = TreatAsUnresolved::git();
        let unresolved: Vec<&GixConflict> =
            outcome.conflicts.iter().filter(|c| c.is_unresolved(how)).collect();
        let mut conflicts = Vec::new();
        for conflict in &unresolved {
            let kind = kind_of(conflict);
            for path in paths_of(conflict) {
                conflicts.push(PathConflict { path, kind });
            }
        }
        let ours_tree = git.find_tree(ours)?;
        // Where lines conflict the merged text stays, so that older reverts apply around the markers.
        let restored = conflicts.iter().filter(|conflict| conflict.kind != ConflictKind::Content);
        for conflict in restored.clone() {
            outcome.tree.remove(conflict.path.as_bstr())?;
        }
        for conflict in restored {
            let entry = ours_tree.lookup_entry(conflict.path.split(|b| *b == b'/'))?;
            if let Some(entry) = entry {
                outcome.tree.upsert(conflict.path.as_bstr(), entry.mode().kind(), entry.object_id())?;
            }
        }
        Ok(Merged { tree: outcome.tree.write()?.detach(), conflicts })
    };
    let mut merged = merge().map_err(|e| mirror.broken("merging trees", &e))?;
    merged.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    merged.conflicts.dedup_by(|a, b| a.path == b.path);
    Ok(merged)
}

fn kind_of(conflict: &GixConflict) -> ConflictKind {
    let renamed = conflict.ours.location() != conflict.theirs.location()
        || conflict.ours.source_location() != conflict.theirs.source_location();
    match &conflict.resolution {
        Ok(_) if !renamed && conflict.content_merge().is_some() => ConflictKind::Content,
        Err(ResolutionFailure::OursModifiedTheirsDeleted) => ConflictKind::Removed,
        _ => ConflictKind::Structure,
    }
}

/// Every path that a conflict may have left something at.
fn paths_of(conflict: &GixConflict) -> Vec<Vec<u8>> {
    let mut paths = vec![
        conflict.ours.location().to_vec(),
        conflict.ours.source_location().to_vec(),
        conflict.theirs.location().to_vec(),
        conflict.theirs.source_location().to_vec(),
    ];
    match &conflict.resolution {
        Err(ResolutionFailure::OursModifiedTheirsDirectoryThenOursRenamed {
            renamed_unique_path_to_modified_blob: path,
        })
        | Err(ResolutionFailure::OursDirectoryTheirsNonDirectoryTheirsRenamed {
            renamed_unique_path_of_theirs: path,
        })
        | Err(ResolutionFailure::OursAddedTheirsAddedTypeMismatch { their_unique_location: path }) => {
            paths.push(path.to_vec());
        }
        _ => {}
    }
    paths.sort();
    paths.dedup();
    paths
}

/// The two sides of a path as text with markers, for conflicts that are not between lines.
pub(crate) fn two_sides(
    mirror: &Mirror,
    git: &Git,
    ours: ObjectId,
    theirs: ObjectId,
    path: &[u8],
    label: &str,
) -> Result<String, SourceError> {
    let side = |tree| -> Result<String, SourceError> {
        Ok(match mirror.entry(git, tree, path)? {
            None => "(not there)\n".to_owned(),
            Some((mode, id)) if mode.is_blob() => match mirror.blob(git, id, &text::escaped(path)) {
                Ok(data) if !data.contains(&0) && data.len() < 1 << 20 => {
                    let text = String::from_utf8_lossy(&data).into_owned();
                    if text.ends_with('\n') { text } else { text + "\n" }
                }
                Ok(data) => format!("(not text, {} bytes, {id})\n", data.len()),
                Err(_) => format!("(too large, {id})\n"),
            },
            Some((mode, id)) => format!("(mode {:o}, {id})\n", mode.value()),
        })
    };
    Ok(format!("<<<<<<< now\n{}=======\n{}>>>>>>> {label}\n", side(ours)?, side(theirs)?))
}
