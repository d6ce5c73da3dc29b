//! Repositories that the hub mirrors.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CommitId, RepositoryId, RepositoryName};

/// A fleet repository and the state of its mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repository {
    /// Its id.
    pub id: RepositoryId,
    /// Its name, unique in the hub.
    pub name: RepositoryName,
    /// Git addresses, in order of preference; pushes go to the first. Never with a password inside.
    pub endpoints: Vec<String>,
    /// The deployed branch.
    pub branch: String,
    /// Where stacks are, relative to the root; `stacks` and `roles` when empty.
    pub stacks_path: Option<String>,
    /// The newest commit of the branch that was read whole and accepted.
    pub tip: Option<CommitId>,
    /// The state of the mirror.
    pub health: RepositoryHealth,
    /// When the branch was last fetched successfully.
    pub fetched_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// The state of a mirror. Nothing but `Ok` ever changes what nodes run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RepositoryHealth {
    /// Not fetched yet.
    New,
    /// The last fetch worked.
    Ok,
    /// No endpoint could be fetched.
    Unreachable {
        /// Error code.
        code: String,
        /// What each endpoint said.
        message: String,
    },
    /// Fetched, but its content cannot be used.
    Invalid {
        /// Error code.
        code: String,
        /// What is wrong, with file and line.
        message: String,
    },
    /// The branch no longer contains the deployed commit; a person must accept it.
    Rewritten {
        /// The tip that was found upstream.
        found: CommitId,
    },
}
