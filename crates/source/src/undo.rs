//! What an undo would make of a tree, in memory: nothing is written before [`Mirror::commit_undo`].

use std::collections::{BTreeMap, HashSet};

use backstay_types::{CommitId, ConflictedFile};
use gix::{ObjectId, Repository as Git};

use crate::{
    changes::ChangeFacts,
    draft::Draft,
    error::SourceError,
    merge::{self, ConflictKind},
    mirror::{Mirror, commit_id},
    notes::empty_tree,
    paths,
    skip::{HistoryEntry, SkipReason, Skipped},
    text,
    tree_diff::{self, FileChange},
    walk,
};

/// How a person settles a path on which an undo conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The file shall hold this.
    Content(Vec<u8>),
    /// It stays as it is at the tip.
    Keep,
    /// It goes.
    Delete,
}

/// A path on which an undo conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The path in the repository; what is not UTF-8 is written as `\xNN`.
    pub path: String,
    /// What stands in the way.
    pub kind: ConflictKind,
    /// The newest commit whose revert conflicts there.
    pub reverting: CommitId,
    /// Later commits that touched it and are not being taken back, newest first.
    pub later: Vec<CommitId>,
    /// The file with conflict markers, or both sides of it.
    pub markers: String,
}

impl Conflict {
    /// Whether a [`Resolution`] can settle it.
    pub fn can_be_resolved(&self) -> bool {
        self.kind != ConflictKind::Structure
    }
}

impl From<Conflict> for ConflictedFile {
    fn from(conflict: Conflict) -> Self {
        let Conflict { path, reverting, later, markers, .. } = conflict;
        Self { path, reverting, later, markers }
    }
}

/// What taking commits back comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevertOutcome {
    /// The resulting tree. Paths that conflict are as at the tip.
    pub draft: Draft,
    /// The commits taken back, newest first; some only in part while there are conflicts.
    pub reverted: Vec<CommitId>,
    /// Commits that are left alone.
    pub skipped: Vec<Skipped>,
    /// Paths that need a person. Nothing should be made of the draft while there are any.
    pub conflicts: Vec<Conflict>,
    /// Paths that the draft changes, escaped as in [`Conflict::path`].
    pub files: Vec<String>,
    /// What the person should know.
    pub notes: Vec<String>,
}

/// What restoring an earlier tree comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// The resulting tree.
    pub draft: Draft,
    /// Paths that it changes.
    pub files: Vec<String>,
}

/// More later commits than this are not looked through to name those that touched a conflicting file.
const MAX_LATER: usize = 5_000;

impl Mirror {
    /// Takes commits out of the tree at `tip`, newest first, each by a three-way merge: base is the commit, ours
    /// the result so far, theirs its first parent. `resolutions` settle paths that conflict.
    ///
    /// A merge is left alone when commits of either of its sides are in `commits`; otherwise it is taken back
    /// against its first parent.
    ///
    /// # Errors
    /// When a commit is not in the mirror, or a resolution is for a path that does not conflict, cannot be
    /// settled by content, or still holds conflict markers.
    pub fn plan_revert(
        &self,
        tip: &CommitId,
        commits: &[CommitId],
        resolutions: &BTreeMap<String, Resolution>,
    ) -> Result<RevertOutcome, SourceError> {
        let mut git = self.git();
        git.objects.enable_object_memory();
        let tip_id = self.commit_oid(&git, tip)?;
        let asked: Vec<ObjectId> =
            commits.iter().map(|c| self.commit_oid(&git, c)).collect::<Result<_, _>>()?;
        let (order, absent) = walk::ordered(self, &git, tip_id, &asked)?;
        let tip_tree = self.tree_of(&git, tip_id)?;
        let mut work = Work::new(tip, tip_tree);
        work.skip(absent, SkipReason::NotDeployed);
        for id in &order {
            work.revert(self, &git, *id, &order)?;
        }
        let (tree, conflicts) = work.settle(self, &git, tip_tree, resolutions)?;
        let changes = tree_diff::changes(self, &git, tip_tree, tree)?;
        Ok(RevertOutcome {
            draft: self.draft(git, tree),
            reverted: work.reverted,
            skipped: work.skipped,
            conflicts,
            files: changes.iter().map(|change| text::escaped(&change.path)).collect(),
            notes: work.notes,
        })
    }

    /// Whether a commit takes back the commits that its message names, and does nothing else.
    ///
    /// # Errors
    /// When it is not in the mirror.
    pub fn is_exact_revert(&self, commit: &CommitId) -> Result<bool, SourceError> {
        let mut git = self.git();
        git.objects.enable_object_memory();
        let reverts = self.facts(commit)?.reverts;
        let id = self.commit_oid(&git, commit)?;
        let (Some(parent), false) = (self.parents_of(&git, id)?.first().copied(), reverts.is_empty()) else {
            return Ok(false);
        };
        let mut tree = self.tree_of(&git, parent)?;
        for reverted in &reverts {
            let Ok(reverted) = self.commit_oid(&git, reverted) else { return Ok(false) };
            let theirs = self.parents_of(&git, reverted)?.first().map(|parent| self.tree_of(&git, *parent));
            let theirs = theirs.transpose()?.unwrap_or_else(|| empty_tree(&git));
            let merged = merge::three_way(self, &git, self.tree_of(&git, reverted)?, tree, theirs, "before")?;
            if !merged.conflicts.is_empty() {
                return Ok(false);
            }
            tree = merged.tree;
        }
        Ok(tree == self.tree_of(&git, id)?)
    }

    /// What [`crate::select`] needs to know of a commit. Undo commits of ours count as taking back what they name,
    /// even where a person settled conflicts; others only when they do exactly that.
    ///
    /// # Errors
    /// When it is not in the mirror.
    pub fn history_entry(&self, facts: &ChangeFacts) -> Result<HistoryEntry, SourceError> {
        let exact = !facts.reverts.is_empty() && self.is_exact_revert(&facts.commit)?;
        let counts = exact || !facts.undo.is_empty();
        let reverts = if counts { facts.reverts.clone() } else { Vec::new() };
        Ok(HistoryEntry { commit: facts.commit.clone(), reverts, exact })
    }

    /// The tree at `tip` with `only` (files or folders; everything when empty) as they were at `target`.
    ///
    /// # Errors
    /// When a commit is not in the mirror, or a path is not one.
    pub fn plan_restore(
        &self,
        tip: &CommitId,
        target: &CommitId,
        only: &[String],
    ) -> Result<RestoreOutcome, SourceError> {
        let everything = [String::new()];
        let only = if only.is_empty() { &everything } else { only };
        let targets: Vec<_> = only.iter().map(|path| (target.clone(), path.clone())).collect();
        self.plan_restore_each(tip, &targets)
    }

    /// The tree at `tip` with each path (a file or folder; everything when empty) as it was at its commit.
    ///
    /// # Errors
    /// When a commit is not in the mirror, or a path is not one.
    pub fn plan_restore_each(
        &self,
        tip: &CommitId,
        targets: &[(CommitId, String)],
    ) -> Result<RestoreOutcome, SourceError> {
        let mut git = self.git();
        git.objects.enable_object_memory();
        let now = self.tree_of(&git, self.commit_oid(&git, tip)?)?;
        let mut tree = now;
        for (target, path) in targets {
            let then = self.tree_of(&git, self.commit_oid(&git, target)?)?;
            let path = paths::folder(path)?.as_bytes().to_vec();
            tree = if path.is_empty() {
                then
            } else {
                let new = self.entry(&git, then, &path)?;
                merge::apply(self, &git, tree, &[FileChange { path, old: None, new }])?
            };
        }
        let changes = tree_diff::changes(self, &git, now, tree)?;
        let files = changes.iter().map(|change| text::escaped(&change.path)).collect();
        Ok(RestoreOutcome { draft: self.draft(git, tree), files })
    }
}

/// A plan in the making.
struct Work<'a> {
    tip: &'a CommitId,
    tree: ObjectId,
    reverted: Vec<CommitId>,
    skipped: Vec<Skipped>,
    notes: Vec<String>,
    conflicts: BTreeMap<Vec<u8>, Open>,
}

/// A conflict not yet settled, by the newest commit that met it.
struct Open {
    kind: ConflictKind,
    reverting: ObjectId,
    /// Its parent's tree: what the revert wants there.
    theirs: ObjectId,
}

impl<'a> Work<'a> {
    fn new(tip: &'a CommitId, tree: ObjectId) -> Self {
        Self {
            tip,
            tree,
            reverted: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
            conflicts: BTreeMap::new(),
        }
    }

    fn skip(&mut self, commits: impl IntoIterator<Item = ObjectId>, reason: SkipReason) {
        let skipped = commits.into_iter().map(|id| Skipped { commit: commit_id(id), reason: reason.clone() });
        self.skipped.extend(skipped);
    }

    fn revert(
        &mut self,
        mirror: &Mirror,
        git: &Git,
        commit: ObjectId,
        selected: &[ObjectId],
    ) -> Result<(), SourceError> {
        let parents = mirror.parents_of(git, commit)?;
        let short = commit_id(commit).short().to_owned();
        if parents.len() > 1 {
            if brings_selected(mirror, git, &parents, selected)? {
                self.skip([commit], SkipReason::MergeOfSelected);
                return Ok(());
            }
            self.notes.push(format!(
                "{short} is a merge and is taken back whole; merging the same branch again will not bring it back"
            ));
        }
        let base = mirror.tree_of(git, commit)?;
        let theirs = parents.first().map(|parent| mirror.tree_of(git, *parent)).transpose()?;
        let theirs = theirs.unwrap_or_else(|| empty_tree(git));
        let merged = merge::three_way(mirror, git, base, self.tree, theirs, &format!("before {short}"))?;
        if merged.tree == self.tree && merged.conflicts.is_empty() {
            self.skip([commit], SkipReason::NothingLeft);
            return Ok(());
        }
        self.tree = merged.tree;
        self.reverted.push(commit_id(commit));
        for conflict in merged.conflicts {
            let open = Open { kind: conflict.kind, reverting: commit, theirs };
            self.conflicts.entry(conflict.path).or_insert(open);
        }
        Ok(())
    }

    /// Applies resolutions; what is still open is put back as it was at the tip, and described.
    fn settle(
        &mut self,
        mirror: &Mirror,
        git: &Git,
        tip_tree: ObjectId,
        resolutions: &BTreeMap<String, Resolution>,
    ) -> Result<(ObjectId, Vec<Conflict>), SourceError> {
        check_resolutions(&self.conflicts, resolutions)?;
        let mut changes = Vec::new();
        let mut left = Vec::new();
        for (path, open) in &self.conflicts {
            let now = mirror.entry(git, tip_tree, path)?;
            let new = match resolutions.get(&text::escaped(path)) {
                Some(Resolution::Delete) => None,
                Some(Resolution::Keep) => now,
                Some(Resolution::Content(content)) => {
                    let was = mirror.entry(git, open.theirs, path)?;
                    let mode = now.or(was).map_or(PLAIN.into(), |(mode, _)| mode);
                    let blob =
                        git.write_blob(content).map_err(|e| mirror.broken("keeping a resolution", &e))?;
                    Some((mode, blob.detach()))
                }
                None => {
                    left.push(self.describe(mirror, git, path, open)?);
                    now
                }
            };
            changes.push(FileChange { path: path.clone(), old: None, new });
        }
        Ok((merge::apply(mirror, git, self.tree, &changes)?, left))
    }

    fn describe(
        &self,
        mirror: &Mirror,
        git: &Git,
        path: &[u8],
        open: &Open,
    ) -> Result<Conflict, SourceError> {
        let reverting = commit_id(open.reverting);
        let markers = match (open.kind, mirror.entry(git, self.tree, path)?) {
            (ConflictKind::Content, Some((_, id))) => {
                String::from_utf8_lossy(&mirror.blob(git, id, &text::escaped(path))?).into_owned()
            }
            _ => {
                let label = format!("before {}", reverting.short());
                merge::two_sides(mirror, git, self.tree, open.theirs, path, &label)?
            }
        };
        let later = self.later(mirror, git, path, &reverting)?;
        Ok(Conflict { path: text::escaped(path), kind: open.kind, reverting, later, markers })
    }

    fn later(
        &self,
        mirror: &Mirror,
        git: &Git,
        path: &[u8],
        since: &CommitId,
    ) -> Result<Vec<CommitId>, SourceError> {
        let own: HashSet<&CommitId> = self.reverted.iter().collect();
        let mut later = Vec::new();
        for walked in walk::range(mirror, git, self.tip, [since], MAX_LATER)? {
            let here = mirror.entry(git, mirror.tree_of(git, walked.id)?, path)?;
            let mut touched = true;
            for parent in &walked.parents {
                touched &= mirror.entry(git, mirror.tree_of(git, *parent)?, path)? != here;
            }
            later.extend(Some(commit_id(walked.id)).filter(|id| touched && !own.contains(id)));
        }
        Ok(later)
    }
}

const PLAIN: gix::objs::tree::EntryKind = gix::objs::tree::EntryKind::Blob;

/// Whether some of the selected commits came by one side of a merge only: then the merge itself is not what
/// is to be undone. (Taking back a merge of the deployed branch into somebody's work would undo everyone else's.)
fn brings_selected(
    mirror: &Mirror,
    git: &Git,
    parents: &[ObjectId],
    selected: &[ObjectId],
) -> Result<bool, SourceError> {
    for commit in selected {
        let mut sides = Vec::new();
        for parent in parents {
            sides.push(mirror.base_of(git, *parent, *commit)? == Some(*commit));
        }
        if sides.contains(&true) && sides.contains(&false) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_resolutions(
    conflicts: &BTreeMap<Vec<u8>, Open>,
    resolutions: &BTreeMap<String, Resolution>,
) -> Result<(), SourceError> {
    let known: BTreeMap<String, ConflictKind> =
        conflicts.iter().map(|(path, open)| (text::escaped(path), open.kind)).collect();
    for (path, resolution) in resolutions {
        let refuse =
            |reason: &str| Err(SourceError::Resolution { path: path.clone(), reason: reason.to_owned() });
        match known.get(path) {
            None => return refuse("it does not conflict"),
            Some(ConflictKind::Structure) => {
                return refuse("files and folders cross each other there; undo it by hand, or undo less");
            }
            Some(_) => {}
        }
        if matches!(resolution, Resolution::Content(content) if has_markers(content)) {
            return refuse("it still holds conflict markers");
        }
    }
    Ok(())
}

fn has_markers(content: &[u8]) -> bool {
    let starts = |marker: &[u8]| content.split(|b| *b == b'\n').any(|line| line.starts_with(marker));
    starts(b"<<<<<<< ") && starts(b">>>>>>> ")
}
