//! A snapshot, and how far it is proven.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ConversationId, DeploymentId, Digest, DigestError, NodeId, NodeName, StackName, Timestamp, TreeDigest,
};

/// The id of a snapshot in its repository: SHA-256 of its file, as restic names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SnapshotId(Digest);

impl SnapshotId {
    /// Wraps the digest.
    pub const fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest inside.
    pub const fn digest(self) -> Digest {
        self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SnapshotId {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

/// How far a snapshot is proven. Each state includes those before it; only from `Verified` on is a snapshot
/// restored or counted by retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It was written.
    Created,
    /// It holds what was to be saved: every file of the manifest with its size.
    Matched,
    /// All data that it needs was read back from the target and is right.
    Verified,
    /// The second target has it too, read back there.
    Replicated,
    /// It was restored to scratch, compared, and what it holds was started and probed where that is allowed.
    Drilled,
}

/// A snapshot of one stack's data on one node, or of the hub itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// When it was begun, by the hub's clock.
    pub at: Timestamp,
    /// Whose it is.
    #[serde(flatten)]
    pub tags: SnapshotTags,
    /// How far it is proven.
    pub proof: Proof,
    /// Files and folders in it.
    pub files: u64,
    /// Bytes of content in it.
    pub bytes: u64,
    /// Bytes that it added to the repository, compressed and encrypted.
    pub added_bytes: u64,
    /// Content of its manifest: SHA-256 over path, size and kind of all that was to be saved.
    pub manifest: Digest,
}

/// Whose a snapshot is and why it was made. In the repository they are tags `backstay:<key>=<value>`, so that restic
/// shows them too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotTags {
    /// The node; absent for the hub's own state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The node's name then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<NodeName>,
    /// The stack; absent for the hub's own state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// The release that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeDigest>,
    /// The deployment before which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// The conversation that caused that deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// Why it was made.
    pub reason: super::BackupReason,
}
