//! What changed, line by line.

use backstay_types::{CommitId, diff::Diff};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{UndoPath, UndoRequest};
use crate::endpoint::endpoints;

endpoints! {
    /// What a commit changed.
    GetChangeDiff = Get "/api/v1/repositories/{repository}/commits/{commit}/diff" Viewer (path: ChangePath) -> Diff;
    /// What differs between two releases of a stack.
    GetReleaseDiff = Get "/api/v1/stacks/{stack}/diff" Viewer (path: super::StackPath, query: ReleaseDiffQuery) -> Diff;
    /// What an undo would change in the files. Changes nothing.
    PlanUndoDiff = Post "/api/v1/undos/plan/diff" Viewer (body: UndoRequest) -> Diff;
    /// What an undo changed in the files.
    GetUndoDiff = Get "/api/v1/undos/{undo}/diff" Viewer (path: UndoPath) -> Diff;
}

/// Which commit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChangePath {
    /// The repository's name or id.
    pub repository: String,
    /// The commit.
    pub commit: CommitId,
}

/// Which two releases.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseDiffQuery {
    /// The older tree, whole or its first digits.
    pub from: String,
    /// The newer tree, whole or its first digits.
    pub to: String,
}
