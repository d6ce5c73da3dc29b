//! What the engine asks the hub about its surroundings.

use std::fmt;

use backstay_types::{Figures, NodeId, Secret, StackName, Timestamp, TreeDigest};

/// The hub's soft state and secrets, as far as decisions need them.
pub trait Presence: fmt::Debug + Send + Sync {
    /// Whether a node is heard from.
    fn is_online(&self, node: NodeId) -> bool;

    /// Whether a node has fallen silent, or never said a word. Not the same as not online: a hub that has just started
    /// cannot say either.
    fn is_silent(&self, node: NodeId) -> bool;

    /// When a node turned unhealthy, if it is: something of it does not run as it should, or it fell silent.
    fn unhealthy_since(&self, node: NodeId) -> Option<Timestamp> {
        let _ = node;
        None
    }

    /// What a node says about itself as far as a stack goes, and the tree that it runs meanwhile.
    fn figures(&self, node: NodeId, stack: &StackName) -> Option<(TreeDigest, Figures)> {
        let _ = (node, stack);
        None
    }

    /// What a node said last of a stack, and when it was last heard from.
    fn said(&self, node: NodeId, stack: &StackName) -> Option<Said> {
        let _ = (node, stack);
        None
    }

    /// Opens a secret that the hub sealed, such as a repository's token.
    fn unseal(&self, sealed: &str) -> Option<Secret>;
}

/// What a node said last of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// When the node was last heard from.
    pub heard_at: Timestamp,
    /// The tree that it runs.
    pub current: Option<TreeDigest>,
    /// Whether it was in the middle of a deployment.
    pub deploying: bool,
}
