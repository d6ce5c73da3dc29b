//! What the engine asks the hub about its surroundings.

use std::fmt;

use backstay_types::{NodeId, Secret};

/// The hub's soft state and secrets, as far as decisions need them.
pub trait Presence: fmt::Debug + Send + Sync {
    /// Whether a node is heard from.
    fn is_online(&self, node: NodeId) -> bool;

    /// Whether a node has fallen silent, or never said a word. Not the same as not online: a hub that has just started
    /// cannot say either.
    fn is_silent(&self, node: NodeId) -> bool;

    /// Opens a secret that the hub sealed, such as a repository's token.
    fn unseal(&self, sealed: &str) -> Option<Secret>;
}
