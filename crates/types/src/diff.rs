//! What differs between two states of files, line by line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What changed. Values that look like secrets are hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The files, by path.
    pub files: Vec<FileDiff>,
    /// Whether there are more files than are shown.
    pub truncated: bool,
}

/// A file that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDiff {
    /// Its path; in a diff over several repositories with the repository's name and a `:` in front.
    pub path: String,
    /// What became of it.
    pub status: FileStatus,
    /// Whether it is not text.
    pub binary: bool,
    /// Whether it is too large to be shown.
    pub truncated: bool,
    /// Lines added.
    pub additions: u64,
    /// Lines removed.
    pub deletions: u64,
    /// What changed, in order.
    pub hunks: Vec<Hunk>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its content changed.
    Changed,
    /// Only its mode changed.
    Mode,
}

/// Lines that changed, with some around them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hunk {
    /// The first line in the old file, from 1.
    pub old_start: u64,
    /// The first line in the new file, from 1.
    pub new_start: u64,
    /// The lines.
    pub lines: Vec<DiffLine>,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffLine {
    /// What became of it.
    pub kind: LineKind,
    /// Its text, without its end.
    pub text: String,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// It is in both.
    Same,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}
