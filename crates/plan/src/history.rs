//! What an undo takes back: selection of commits from the history of a branch.

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{CommitId, ConversationId, SkippedChange, StackName, UndoId};

use crate::selection::{Entry, select};

/// A commit on the deployed branch, as selection sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryChange {
    /// The commit.
    pub commit: CommitId,
    /// Its parents, first parent first.
    pub parents: Vec<CommitId>,
    /// Commits that it takes back.
    pub reverts: Vec<CommitId>,
    /// The undo that made it, if one did.
    pub undo: Option<UndoId>,
    /// Conversations that certainly caused it.
    pub conversations: BTreeSet<ConversationId>,
    /// Conversations that may have caused it. Never acted on unless the commit is named.
    pub guesses: BTreeSet<ConversationId>,
    /// Stacks that it touches.
    pub stacks: BTreeSet<StackName>,
}

/// The commits reachable from the deployed branch, newest first: no commit stands before its descendants.
#[derive(Debug, Clone, Default)]
pub struct History {
    changes: Vec<HistoryChange>,
    position: BTreeMap<CommitId, usize>,
    undone_by: BTreeMap<CommitId, CommitId>,
}

/// What to select.
#[derive(Debug, Clone)]
pub enum Selector<'a> {
    /// What a conversation certainly changed, and the named guesses.
    Conversation {
        /// The conversation.
        conversation: ConversationId,
        /// Guessed commits that the asker named.
        named_guesses: &'a BTreeSet<CommitId>,
    },
    /// Back to just before a conversation's first commit.
    BeforeConversation(ConversationId),
    /// Back to a commit.
    To(&'a CommitId),
    /// These commits.
    Commits(&'a [CommitId]),
    /// What an earlier undo did.
    Undo(UndoId),
}

/// What is selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Take these back one by one, newest first; the others stay.
    Revert {
        /// Newest first.
        commits: Vec<CommitId>,
        /// Selected, but left alone.
        skipped: Vec<SkippedChange>,
    },
    /// Make the tree what it was at a commit.
    Restore {
        /// The commit.
        to: CommitId,
        /// What this takes back, newest first.
        commits: Vec<CommitId>,
    },
}

/// Why a selection is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing on the branch belongs to it.
    #[error("nothing on the deployed branch belongs to it")]
    Nothing,
    /// All of it has been taken back already.
    #[error("all of it has been taken back already")]
    AlreadyUndone(Vec<SkippedChange>),
    /// One commit holds the work of several conversations.
    #[error("commit {} holds the work of {} conversations ({}) in one and cannot be taken apart: undo the commit, or return to before it", commit.short(), conversations.len(), list(conversations))]
    Inseparable {
        /// The commit.
        commit: CommitId,
        /// All whose work it holds.
        conversations: Vec<ConversationId>,
    },
    /// The commit is not on the branch.
    #[error("commit {} is not on the deployed branch", .0.short())]
    NotOnBranch(CommitId),
    /// There is nothing before the first commit.
    #[error("commit {} is the first of the repository: there is nothing before it", .0.short())]
    NothingBefore(CommitId),
}

fn list(conversations: &[ConversationId]) -> String {
    conversations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A revert counts only when it is exact (other ones are not stored as reverts) or an undo's, whose conflicts a person
/// may have resolved.
fn entry(change: &HistoryChange) -> Entry {
    Entry { commit: change.commit.clone(), reverts: change.reverts.clone(), exact: change.undo.is_none() }
}

impl History {
    /// A history from commits given newest first.
    pub fn new(changes: Vec<HistoryChange>) -> Self {
        let position = changes.iter().enumerate().map(|(i, c)| (c.commit.clone(), i)).collect();
        let mut undone_by: BTreeMap<CommitId, CommitId> = BTreeMap::new();
        // Newest first: by the time a commit is looked at, all that could undo it has been.
        for change in &changes {
            if !undone_by.contains_key(&change.commit) {
                for reverted in &change.reverts {
                    undone_by.entry(reverted.clone()).or_insert_with(|| change.commit.clone());
                }
            }
        }
        Self { changes, position, undone_by }
    }

    /// The commits, newest first.
    pub fn changes(&self) -> &[HistoryChange] {
        &self.changes
    }

    /// A commit of the branch.
    pub fn get(&self, commit: &CommitId) -> Option<&HistoryChange> {
        self.position.get(commit).map(|i| &self.changes[*i])
    }

    /// Whether a commit is on the branch and nothing after it takes it back.
    pub fn is_effective(&self, commit: &CommitId) -> bool {
        self.position.contains_key(commit) && !self.undone_by.contains_key(commit)
    }

    /// Selects what an undo takes back.
    ///
    /// # Errors
    /// When there is nothing to take back, or it cannot be taken back exactly.
    pub fn select(&self, selector: &Selector<'_>) -> Result<Selection, Refusal> {
        match selector {
            Selector::Conversation { conversation, named_guesses } => {
                let belongs = |c: &HistoryChange| {
                    c.conversations.contains(conversation)
                        || (c.guesses.contains(conversation) && named_guesses.contains(&c.commit))
                };
                let commits = self.separable(belongs, *conversation)?;
                self.revert(commits)
            }
            Selector::BeforeConversation(conversation) => {
                let first = self.changes.iter().rev().find(|c| c.conversations.contains(conversation));
                let first = first.ok_or(Refusal::Nothing)?;
                let parent =
                    first.parents.first().ok_or_else(|| Refusal::NothingBefore(first.commit.clone()))?;
                self.restore(parent)
            }
            Selector::To(commit) => self.restore(commit),
            Selector::Commits(commits) => {
                if let Some(missing) = commits.iter().find(|c| !self.position.contains_key(*c)) {
                    return Err(Refusal::NotOnBranch(missing.clone()));
                }
                self.revert(self.changes.iter().filter(|c| commits.contains(&c.commit)).collect())
            }
            Selector::Undo(undo) => {
                self.revert(self.changes.iter().filter(|c| c.undo == Some(*undo)).collect())
            }
        }
    }

    /// A conversation's commits, newest first, none of which holds another's work too.
    fn separable(
        &self,
        belongs: impl Fn(&HistoryChange) -> bool,
        conversation: ConversationId,
    ) -> Result<Vec<&HistoryChange>, Refusal> {
        let commits: Vec<_> = self.changes.iter().filter(|c| belongs(c)).collect();
        for change in &commits {
            let others = change.conversations.iter().any(|c| *c != conversation);
            if others && self.is_effective(&change.commit) && change.parents.len() < 2 {
                return Err(Refusal::Inseparable {
                    commit: change.commit.clone(),
                    conversations: change.conversations.iter().copied().collect(),
                });
            }
        }
        Ok(commits)
    }

    fn revert(&self, selected: Vec<&HistoryChange>) -> Result<Selection, Refusal> {
        if selected.is_empty() {
            return Err(Refusal::Nothing);
        }
        let set: BTreeSet<_> = selected.iter().map(|c| &c.commit).collect();
        let wanted: Vec<_> = selected.iter().map(|c| c.commit.clone()).collect();
        let chosen = select(&self.changes.iter().map(entry).collect::<Vec<_>>(), &wanted);
        let mut skipped: Vec<_> = chosen
            .skipped
            .into_iter()
            .map(|s| SkippedChange { commit: s.commit, reason: s.reason.to_string() })
            .collect();
        let mut commits = Vec::new();
        for change in chosen.undo.iter().filter_map(|c| self.get(c)) {
            if change.parents.len() > 1 && self.merged(change).iter().any(|c| set.contains(c)) {
                let reason = "a merge; the commits that it brought in are taken back themselves".to_owned();
                skipped.push(SkippedChange { commit: change.commit.clone(), reason });
            } else {
                commits.push(change.commit.clone());
            }
        }
        if commits.is_empty() {
            Err(Refusal::AlreadyUndone(skipped))
        } else {
            Ok(Selection::Revert { commits, skipped })
        }
    }

    /// The commits that a merge brought in: reachable from its other parents, not from its first.
    fn merged(&self, merge: &HistoryChange) -> BTreeSet<CommitId> {
        let mainline = merge.parents.first().map(|p| self.ancestry(p)).unwrap_or_default();
        let others = merge.parents.iter().skip(1).flat_map(|p| self.ancestry(p));
        others.filter(|c| !mainline.contains(c)).collect()
    }

    fn restore(&self, to: &CommitId) -> Result<Selection, Refusal> {
        if !self.position.contains_key(to) {
            return Err(Refusal::NotOnBranch(to.clone()));
        }
        let kept = self.ancestry(to);
        let commits: Vec<_> =
            self.changes.iter().map(|c| &c.commit).filter(|c| !kept.contains(*c)).cloned().collect();
        if commits.is_empty() {
            Err(Refusal::Nothing)
        } else {
            Ok(Selection::Restore { to: to.clone(), commits })
        }
    }

    /// A commit and all that it descends from, as far as the history goes.
    fn ancestry(&self, commit: &CommitId) -> BTreeSet<CommitId> {
        let mut seen = BTreeSet::new();
        let mut next = vec![commit.clone()];
        while let Some(commit) = next.pop() {
            if let Some(change) = self.get(&commit)
                && seen.insert(commit)
            {
                next.extend(change.parents.iter().cloned());
            }
        }
        seen
    }
}
