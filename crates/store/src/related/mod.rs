//! Correlation: from any one id, everything that hangs together with it, by indexed columns alone.

mod items;
mod walk;

use backstay_types::{
    CommitId, ConversationId, DeploymentId, NodeId, Refs, ReleaseId, RepositoryId, RolloutId, Timestamp,
    UndoId,
};

use crate::{Result, db::Executor};

/// The id to start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// A conversation.
    Conversation(ConversationId),
    /// A commit.
    Commit(RepositoryId, CommitId),
    /// A release.
    Release(ReleaseId),
    /// A rollout.
    Rollout(RolloutId),
    /// A deployment.
    Deployment(DeploymentId),
    /// A node.
    Node(NodeId),
    /// A container, by the runtime's whole id.
    Container(String),
    /// An undo.
    Undo(UndoId),
}

/// One thing that hangs together with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// When it came to be.
    pub at: Timestamp,
    /// `conversation`, `commit`, `release`, `rollout`, `deployment`, `node`, `container`, `undo`.
    pub kind: &'static str,
    /// Its id, as that kind writes it.
    pub id: String,
    /// One line for people.
    pub summary: String,
    /// The ids that it carries itself.
    pub refs: Refs,
}

/// Everything that hangs together with `anchor`, itself too, oldest first: where it came from (up to the
/// conversation) and where it went (down to the containers), and undos of the commits on the way. Links that are
/// only guesses are not followed. At most the newest `limit` deployments are followed.
///
/// # Errors
/// When the database cannot be read.
pub async fn related(ex: &mut impl Executor, anchor: &Anchor, limit: u32) -> Result<Vec<Item>> {
    let found = walk::walk(ex, anchor, limit).await?;
    let mut items = items::items(ex, &found).await?;
    items.sort_by(|a, b| (a.at, rank(a.kind), &a.id).cmp(&(b.at, rank(b.kind), &b.id)));
    Ok(items)
}

/// Causes before effects where times are equal.
fn rank(kind: &str) -> usize {
    const ORDER: [&str; 8] =
        ["node", "conversation", "commit", "release", "undo", "rollout", "deployment", "container"];
    ORDER.iter().position(|k| *k == kind).unwrap_or(ORDER.len())
}
