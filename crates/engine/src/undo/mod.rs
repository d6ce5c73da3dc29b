//! Undo: from what was asked to commits, pins and moves, and on to verified.
//!
//! `select` finds the commits, `draft` takes them back on a draft of the tree,
//! `compute` says who would move, `data` which snapshots come with it, `act` makes it so, `push` brings it upstream, `settle` watches it through,
//! `undone` knows which releases contain what was taken back, `waves` who gets what it goes back to in waves only.

mod act;
mod compute;
pub(crate) mod data;
mod declared;
mod diff;
mod draft;
mod push;
mod select;
mod settle;
mod target;
mod undone;
mod upstream;
mod waves;

use std::collections::BTreeMap;

use backstay_types::{CommitId, RepositoryId, StackName, UndoScope, UndoSelector};

pub use data::double_sign_why;
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError};

/// What someone wants undone. Kept with the undo, so that it can be computed again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WantedUndo {
    /// What.
    pub selector: UndoSelector,
    /// For whom.
    #[serde(default)]
    pub scope: UndoScope,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Commits whose link to the conversation is only a guess, and that are meant all the same.
    #[serde(default)]
    pub include_guesses: Vec<CommitId>,
    /// For each conflicting path (`repository-name:path`) the whole text that it should have; `None` removes it.
    #[serde(default)]
    pub resolutions: BTreeMap<String, Option<String>>,
    /// Data goes back too.
    #[serde(default)]
    pub with_data: bool,
    /// Places (`NODE/STACK`, or `all`) whose code goes back alone where there is no data to go back to.
    #[serde(default)]
    pub without_data: Vec<String>,
    /// Other stacks whose data goes back too, since they use the same.
    #[serde(default)]
    pub shared_data: Vec<StackName>,
    /// Places (`NODE/STACK`) of which somebody confirmed that older data makes no validator sign twice.
    #[serde(default)]
    pub confirm: Vec<String>,
}

/// What a person says once an undo has stopped at conflicts.
#[derive(Debug, Clone, Default)]
pub struct Resolution {
    /// As [`WantedUndo::resolutions`].
    pub files: BTreeMap<String, Option<String>>,
    /// As [`WantedUndo::without_data`], beside what was said before.
    pub without_data: Vec<String>,
    /// As [`WantedUndo::shared_data`], beside what was said before.
    pub shared_data: Vec<StackName>,
    /// As [`WantedUndo::confirm`], beside what was said before.
    pub confirm: Vec<String>,
}

impl WantedUndo {
    /// The same with what was said later.
    fn resolved(mut self, by: Resolution) -> Self {
        self.resolutions.extend(by.files);
        self.without_data.extend(by.without_data);
        self.shared_data.extend(by.shared_data);
        self.confirm.extend(by.confirm);
        self
    }
}

impl Engine {
    /// The commit that begins with these digits, on any repository.
    ///
    /// # Errors
    /// When there is none, or several.
    pub async fn find_commit(&self, prefix: &str) -> Result<(RepositoryId, CommitId), EngineError> {
        let hex = prefix.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex || prefix.len() < 4 || prefix.len() > 64 {
            let message = format!("`{prefix}` is not a commit: expected 4 to 64 hexadecimal digits");
            return Err(EngineError::Invalid(message));
        }
        let prefix = prefix.to_ascii_lowercase();
        let found = backstay_store::changes::by_prefix(&mut self.inner.store.read(), &prefix, 5).await?;
        match &found[..] {
            [] => Err(EngineError::not_found("commit", prefix)),
            [one] => Ok((one.change.repository, one.change.commit.clone())),
            several => Err(EngineError::Ambiguous {
                prefix,
                candidates: several.iter().map(|k| k.change.commit.short().to_owned()).collect(),
            }),
        }
    }
}
