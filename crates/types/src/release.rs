//! Releases: one stack's tree, immutable.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CommitId, Digest, PartName, ReleaseId, RepositoryId, StackName, TreeDigest};

/// One stack's tree. The same tree is the same release, whichever commits carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// The stack.
    pub stack: StackName,
    /// The digest of its tree.
    pub tree: TreeDigest,
    /// The repository that it came from.
    pub repository: RepositoryId,
    /// The first commit seen with this tree.
    pub commit: CommitId,
    /// The stack's folder in the repository.
    pub path: String,
    /// The size of its files in bytes.
    pub bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The part whose files alone it holds; absent for a whole stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartName>,
    /// Stands for how the stack is divided into parts; absent where it moves as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Digest>,
    /// The releases of its parts, which together are its tree; none for a part, or where the stack moves as one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<PartName, ReleaseId>,
}

/// Whether a release may be planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum ReleaseStanding {
    /// It may.
    Eligible,
    /// It contains a held change without its undo.
    Held {
        /// Why.
        reason: String,
    },
    /// Its tree is banned for this stack.
    Banned {
        /// Why.
        reason: String,
    },
}
