//! Nodes and what they should run, as the database has them: kept in memory, since tables and overviews need all of
//! them, and read again once the ledger says that they changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backstay_store::{Reader, Result, desired, nodes};
use backstay_types::{Event, Node, NodeId, StackName, TreeDigest};

/// The tree that each node should run of each stack.
pub(crate) type Trees = HashMap<(NodeId, StackName), TreeDigest>;

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    nodes: Kept<Vec<Node>>,
    trees: Kept<Trees>,
}

impl Roster {
    /// All nodes by name, revoked ones too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn nodes(&self, store: &mut Reader) -> Result<Arc<Vec<Node>>> {
        match self.nodes.get() {
            Ok(kept) => Ok(kept),
            Err(age) => Ok(self.nodes.keep(age, nodes::list(store, None, u32::MAX).await?)),
        }
    }

    /// What each node should run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn trees(&self, store: &mut Reader) -> Result<Arc<Trees>> {
        match self.trees.get() {
            Ok(kept) => Ok(kept),
            Err(age) => Ok(self.trees.keep(age, desired::trees(store).await?)),
        }
    }

    /// Nodes have changed.
    pub(crate) fn forget_nodes(&self) {
        self.nodes.forget();
    }

    /// Takes note of what the ledger says, whichever hub did it.
    pub(crate) fn heard(&self, event: &Event) {
        match event {
            Event::NodeJoined { .. } | Event::NodeLabelled { .. } | Event::NodeRevoked { .. } => {
                self.nodes.forget();
            }
            Event::DesiredChanged { .. } => self.trees.forget(),
            _ => {}
        }
    }
}

/// A value, until it is forgotten.
#[derive(Debug)]
struct Kept<T>(Mutex<(u64, Option<Arc<T>>)>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new((0, None)))
    }
}

impl<T> Kept<T> {
    /// The value; else the age under which a new one may be kept.
    fn get(&self) -> std::result::Result<Arc<T>, u64> {
        let kept = self.lock();
        kept.1.clone().ok_or(kept.0)
    }

    /// Keeps a value that was read at this age; not one from before something changed.
    fn keep(&self, age: u64, value: T) -> Arc<T> {
        let value = Arc::new(value);
        let mut kept = self.lock();
        if kept.0 == age {
            kept.1 = Some(Arc::clone(&value));
        }
        value
    }

    fn forget(&self) {
        let mut kept = self.lock();
        *kept = (kept.0 + 1, None);
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Option<Arc<T>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let kept = Kept::default();
        let age = kept.get().unwrap_err();
        assert_eq!(*kept.keep(age, 1), 1);
        assert_eq!(kept.get().map(|value| *value), Ok(1));
        kept.forget();
        let age = kept.get().unwrap_err();
        kept.forget();
        assert_eq!(*kept.keep(age, 2), 2, "who asked gets what was read");
        assert!(kept.get().is_err(), "nobody else does");
    }
}
