//! Undo.

use std::collections::BTreeMap;

use backstay_types::{StackName, Undo, UndoId, UndoPlan, UndoScope, UndoSelector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Page, Paging};
use crate::endpoint::endpoints;

endpoints! {
    /// What an undo would come to. Changes nothing.
    PlanUndo = Post "/api/v1/undos/plan" Viewer (body: UndoRequest) -> UndoPlan;
    /// Undoes. With conflicts it stops at `conflicted` and waits for a resolution.
    CreateUndo = Post "/api/v1/undos" Operator (body: UndoRequest) -> Undo;
    /// Undos, newest first.
    ListUndos = Get "/api/v1/undos" Viewer (query: Paging) -> Page<Undo>;
    /// One undo.
    GetUndo = Get "/api/v1/undos/{undo}" Viewer (path: UndoPath) -> Undo;
    /// What a conflicted undo would come to with these contents of its conflicting files. Changes nothing.
    PlanResolvedUndo = Post "/api/v1/undos/{undo}/resolve/plan" Viewer (path: UndoPath, body: ResolveUndoRequest) -> UndoPlan;
    /// Gives the contents of conflicting files, and goes on.
    ResolveUndo = Post "/api/v1/undos/{undo}/resolve" Operator (path: UndoPath, body: ResolveUndoRequest) -> Undo;
}

/// What to undo, for whom.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UndoRequest {
    /// The id that the undo gets; the hub's choice when absent. Who asks again under the same id, because no
    /// answer came, gets the undo that is there and does not undo twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<UndoId>,
    /// What.
    pub selector: SelectorRequest,
    /// For whom.
    #[serde(default)]
    pub scope: UndoScope,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Commits whose link to the conversation is only a guess, to be taken back all the same.
    #[serde(default)]
    pub include_guesses: Vec<String>,
    /// Data goes back too: on each node from the snapshot made just before what is taken back came there, together with the
    /// code.
    #[serde(default)]
    pub with_data: bool,
    /// With `with_data`: `NODE/STACK` whose code goes back alone, since there is no data to go back to; `all` for all such.
    #[serde(default)]
    pub without_data: Vec<String>,
    /// With `with_data`: other stacks that use the same data, for which it goes back too.
    #[serde(default)]
    pub shared_data: Vec<StackName>,
    /// With `with_data`: `NODE/STACK`, typed by a person, where older data could make a validator sign twice.
    #[serde(default)]
    pub confirm: Vec<String>,
}

/// A selector as people write it: a commit may be named by its first digits, without its repository.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SelectorRequest {
    /// Whole.
    Exact(UndoSelector),
    /// By a commit's first digits.
    Commit {
        /// The commit to return to.
        to_commit: String,
    },
}

/// Which undo.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UndoPath {
    /// Its id.
    pub undo: UndoId,
}

/// How to resolve conflicts. Only then is it known for whom an undo is, so what has to be said of data may be said here,
/// beside what was said when it was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResolveUndoRequest {
    /// For each conflicting path (`repository-name:path`) the whole text that it should have; null removes the file.
    pub files: BTreeMap<String, Option<String>>,
    /// As in [`UndoRequest`]: `NODE/STACK` whose code goes back alone; `all` for all such.
    #[serde(default)]
    pub without_data: Vec<String>,
    /// As in [`UndoRequest`]: other stacks for which the data goes back too.
    #[serde(default)]
    pub shared_data: Vec<StackName>,
    /// As in [`UndoRequest`]: `NODE/STACK`, typed by a person, where older data could make a validator sign twice.
    #[serde(default)]
    pub confirm: Vec<String>,
}
