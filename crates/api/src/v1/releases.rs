//! A release and what is in it; a stack and who runs what of it.

use backstay_types::{
    Change, CommitId, Constraint, Conversation, ConversationId, NodeName, NodeState, PartName, Release,
    ReleaseId, ReleaseStanding, Rollout, StackHealth, Timestamp, TreeDigest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StackPath, StackView};
use crate::endpoint::endpoints;

endpoints! {
    /// One stack: who runs what, what was released, what limits it.
    GetStack = Get "/api/v1/stacks/{stack}" Viewer (path: StackPath) -> StackDetail;
    /// One release: where it came from, what is in it, who runs it.
    GetRelease = Get "/api/v1/releases/{release}" Viewer (path: ReleasePath) -> ReleaseDetail;
    /// A file of a release.
    GetReleaseFile = Get "/api/v1/releases/{release}/file" Viewer
        (path: ReleasePath, query: ReleaseFileQuery) -> ReleaseFile;
}

/// Which release.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleasePath {
    /// Its id.
    pub release: ReleaseId,
}

/// Which file of a release.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseFileQuery {
    /// Its path in the release.
    pub path: String,
}

/// All about a stack.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StackDetail {
    /// The stack.
    #[serde(flatten)]
    pub view: StackView,
    /// Its folder in the repository.
    pub path: String,
    /// Whether the branch still has it.
    pub present: bool,
    /// The channel by whose rules its rollouts go out; those of `[rollout]` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// For which nodes, in words.
    pub assignment: String,
    /// Pins, holds and bans in force that concern it.
    pub constraints: Vec<Constraint>,
    /// Who runs what, by node; 1000 at most.
    pub runs: Vec<StackRun>,
    /// How many nodes run it, or should.
    pub total: u64,
    /// Its releases, newest first; the newest 100.
    pub history: Vec<StackRelease>,
    /// Its parts, each with its own rollouts; none where it moves as one.
    #[serde(default)]
    pub parts: Vec<StackPart>,
}

/// A part of a stack.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StackPart {
    /// Its name; `base` is what no part names.
    pub name: PartName,
    /// The channel by whose rules it rolls out.
    pub channel: Option<String>,
    /// The release that the branch asks for.
    pub release: Release,
    /// Whether that may be planned.
    #[serde(flatten)]
    pub standing: ReleaseStanding,
    /// The newest commit that changed it.
    pub commit: CommitId,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// What it needs of other parts, in words.
    pub requires: Vec<String>,
    /// Its newest rollout.
    pub rollout: Option<Rollout>,
}

/// What a node runs of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackRun {
    /// The node.
    pub node: NodeName,
    /// Whether it is heard from.
    pub state: NodeState,
    /// What runs.
    pub tree: Option<TreeDigest>,
    /// What should.
    pub desired: Option<TreeDigest>,
    /// Its health.
    pub health: StackHealth,
    /// Why, when it is not healthy.
    pub detail: String,
}

/// A release in the history of a stack.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StackRelease {
    /// The release.
    #[serde(flatten)]
    pub release: Release,
    /// Whether it may be planned.
    #[serde(flatten)]
    pub standing: ReleaseStanding,
    /// First line of its commit's message.
    pub subject: String,
    /// Conversations that caused it.
    pub conversations: Vec<ConversationId>,
    /// How many nodes run it.
    pub nodes: u64,
}

/// All about a release.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseDetail {
    /// The release.
    #[serde(flatten)]
    pub release: Release,
    /// Whether it may be planned.
    #[serde(flatten)]
    pub standing: ReleaseStanding,
    /// The commits that carry this tree, newest first; the newest 50.
    pub changes: Vec<Change>,
    /// The conversations behind those.
    pub conversations: Vec<Conversation>,
    /// The release of the stack before this one.
    pub before: Option<Release>,
    /// The files in it, by path.
    pub files: Vec<ReleaseEntry>,
    /// The nodes that run it, by name; 1000 at most.
    pub nodes: Vec<NodeName>,
    /// How many nodes run it.
    pub total: u64,
    /// When it was first planned for a node.
    pub deployed_at: Option<Timestamp>,
}

/// A file in a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseEntry {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// `file`, `executable` or `link`.
    pub kind: String,
}

/// The content of a file. Values that look like secrets are hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseFile {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its text; absent when it is not text.
    pub text: Option<String>,
    /// Whether there is more than is shown.
    pub truncated: bool,
}
