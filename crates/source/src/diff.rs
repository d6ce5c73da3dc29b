//! What differs between two states of files, for people.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use backstay_types::{
    CommitId,
    diff::{Diff, DiffLine, FileDiff, FileStatus, Hunk, LineKind},
    redact,
    tree::TreeFile,
};
use gix::{ObjectId, Repository as Git, objs::tree::EntryMode};
use similar::{Algorithm, ChangeTag, TextDiff};

use crate::{draft::At, error::SourceError, mirror::Mirror, notes::empty_tree, paths, tree_diff};

/// Files that are shown.
const MAX_FILES: usize = 300;
/// The largest file that is compared, in bytes.
const MAX_BYTES: usize = 512 << 10;
/// Lines that are shown of a file.
const MAX_LINES: usize = 3000;
/// Lines of all files.
const MAX_ALL_LINES: usize = 30_000;
/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// After this a difference is told less finely.
const PATIENCE: Duration = Duration::from_millis(500);

/// A file's mode and content.
type Side<'a> = Option<(u32, &'a [u8])>;

impl Mirror {
    /// What differs below `folder` (everywhere when empty) between two states; without `old`, everything is new.
    /// Paths are relative to the folder.
    ///
    /// # Errors
    /// When one of them is not in the mirror, or the mirror cannot be read.
    pub fn diff<'a>(
        &self,
        old: Option<&CommitId>,
        new: impl Into<At<'a>>,
        folder: &str,
    ) -> Result<Diff, SourceError> {
        let (git, new) = self.git_at(new.into())?;
        let old = match old {
            Some(commit) => self.tree_of(&git, self.commit_oid(&git, commit)?)?,
            None => empty_tree(&git),
        };
        let folder = paths::folder(folder)?;
        let mut budget = Budget::default();
        let mut diff = Diff::default();
        for change in tree_diff::changes(self, &git, old, new)? {
            let path = String::from_utf8_lossy(&change.path);
            let Some(path) = below(&path, folder) else { continue };
            if diff.files.len() == MAX_FILES {
                diff.truncated = true;
                break;
            }
            let read =
                |side: Option<(EntryMode, ObjectId)>| side.map(|side| self.side(&git, side)).transpose();
            let (old, new) = (read(change.old)?, read(change.new)?);
            diff.files.push(compare(path, view(&old), view(&new), &mut budget));
        }
        Ok(diff)
    }

    /// Mode and content; what is no file, or is too large, has none to show.
    fn side(&self, git: &Git, (mode, id): (EntryMode, ObjectId)) -> Result<(u32, Vec<u8>), SourceError> {
        let number = u32::from(mode.value());
        if mode.is_commit() {
            return Ok((number, format!("submodule at {id}\n").into_bytes()));
        }
        let broken = |error: gix::Error| self.broken("reading a file", &error);
        let bytes = git.find_header(id).map_err(broken)?.size();
        if bytes > MAX_BYTES as u64 {
            // Its id stands for it: two of them differ, and neither is shown.
            return Ok((number, vec![0; MAX_BYTES + 1]));
        }
        Ok((number, git.find_blob(id).map_err(broken)?.take_data()))
    }
}

/// What differs between two sets of files.
pub fn between(old: &[TreeFile], new: &[TreeFile]) -> Diff {
    let mut paths: BTreeMap<&str, (Side<'_>, Side<'_>)> = BTreeMap::new();
    for file in old {
        paths.entry(&file.path).or_default().0 = Some((file.mode.number(), &file.content));
    }
    for file in new {
        paths.entry(&file.path).or_default().1 = Some((file.mode.number(), &file.content));
    }
    paths.retain(|_, (old, new)| old != new);
    let truncated = paths.len() > MAX_FILES;
    let mut budget = Budget::default();
    let shown = paths.into_iter().take(MAX_FILES);
    Diff { files: shown.map(|(path, (old, new))| compare(path, old, new, &mut budget)).collect(), truncated }
}

/// Lines that may still be shown.
struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_ALL_LINES)
    }
}

fn view(side: &Option<(u32, Vec<u8>)>) -> Side<'_> {
    side.as_ref().map(|(mode, content)| (*mode, content.as_slice()))
}

fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() { Some(path) } else { path.strip_prefix(folder)?.strip_prefix('/') }
}

fn compare(path: &str, old: Side<'_>, new: Side<'_>, budget: &mut Budget) -> FileDiff {
    let status = match (old, new) {
        (None, _) => FileStatus::Added,
        (_, None) => FileStatus::Removed,
        (Some((_, old)), Some((_, new))) if old == new && old.len() <= MAX_BYTES => FileStatus::Mode,
        _ => FileStatus::Changed,
    };
    let content = |side: Side<'_>| side.map(|(_, content)| content.to_vec()).unwrap_or_default();
    let (old, new) = (content(old), content(new));
    let mut file = FileDiff {
        path: path.to_owned(),
        status,
        binary: false,
        truncated: old.len() > MAX_BYTES || new.len() > MAX_BYTES,
        additions: 0,
        deletions: 0,
        hunks: Vec::new(),
    };
    if file.truncated || status == FileStatus::Mode {
        return file;
    }
    match (text(old), text(new)) {
        (Some(old), Some(new)) => lines(&old, &new, &mut file, budget),
        _ => file.binary = true,
    }
    file
}

/// As text; none when it is not.
fn text(content: Vec<u8>) -> Option<String> {
    String::from_utf8(content).ok().filter(|text| !text.contains('\0'))
}

fn lines(old: &str, new: &str, file: &mut FileDiff, budget: &mut Budget) {
    let (old_shown, new_shown) = (redact::lines(old), redact::lines(new));
    let deadline = Instant::now() + PATIENCE;
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).deadline(deadline).diff_lines(old, new);
    let mut shown = 0;
    for group in diff.grouped_ops(CONTEXT) {
        let Some(first) = group.first() else { continue };
        let (old_start, new_start) = (first.old_range().start + 1, first.new_range().start + 1);
        let mut hunk = Hunk { old_start: old_start as u64, new_start: new_start as u64, lines: Vec::new() };
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (kind, text) = match change.tag() {
                ChangeTag::Equal => (LineKind::Same, change.new_index().and_then(|line| new_shown.get(line))),
                ChangeTag::Insert => {
                    (LineKind::Added, change.new_index().and_then(|line| new_shown.get(line)))
                }
                ChangeTag::Delete => {
                    (LineKind::Removed, change.old_index().and_then(|line| old_shown.get(line)))
                }
            };
            match kind {
                LineKind::Added => file.additions += 1,
                LineKind::Removed => file.deletions += 1,
                LineKind::Same => {}
            }
            if shown < MAX_LINES && budget.0 > 0 {
                hunk.lines.push(DiffLine { kind, text: text.cloned().unwrap_or_default() });
                (shown, budget.0) = (shown + 1, budget.0 - 1);
            } else {
                file.truncated = true;
            }
        }
        if !hunk.lines.is_empty() {
            file.hunks.push(hunk);
        }
    }
}
