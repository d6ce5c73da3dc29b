//! Commits that an undo leaves alone, and what selection needs to know of a commit.

use std::fmt;

use backstay_types::CommitId;

/// What selection needs to know of a commit of the deployed branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The commit.
    pub commit: CommitId,
    /// Commits that it took back, as far as that can be relied on.
    pub reverts: Vec<CommitId>,
    /// It takes them back and does nothing else ([`crate::Mirror::history_entry`]).
    pub exact: bool,
}

/// Why a commit of the selection is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipReason {
    /// The deployed branch does not contain it.
    NotDeployed,
    /// Nothing of it is left to take back.
    NothingLeft,
    /// A merge whose own side is part of the selection: its commits are taken back one by one.
    MergeOfSelected,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotDeployed => "the deployed branch does not contain it",
            Self::NothingLeft => "nothing of it is left to take back",
            Self::MergeOfSelected => "a merge; the commits that it brought are taken back one by one",
        })
    }
}

/// A commit that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The commit.
    pub commit: CommitId,
    /// Why.
    pub reason: SkipReason,
}
