//! Repositories that the hub mirrors.

use std::fmt;

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
    /// What someone should look at in the accepted tip, though it is deployed; by file and line.
    #[serde(default)]
    pub warnings: Vec<RepositoryWarning>,
}

/// Something in a repository that someone should look at. It keeps nothing from being deployed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryWarning {
    /// The file, relative to the repository's root; empty when all of it is meant.
    pub file: String,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The field, such as `pin.until`.
    pub field: Option<String>,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Error code.
    pub code: String,
}

impl fmt::Display for RepositoryWarning {
    /// `file:line: field: message (CODE)`, without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.file.is_empty() {
            f.write_str(": ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        write!(f, "{} ({})", self.message, self.code)
    }
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
