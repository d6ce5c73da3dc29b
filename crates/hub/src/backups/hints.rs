//! Which nodes have an order, so that check-ins need not ask the database.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstay_types::NodeId;
use tokio::time::Instant;

/// A node that was told and did not ask is told again after so long: the answer may have been lost, as when it asked anew
/// meanwhile.
const AGAIN: Duration = Duration::from_secs(15);

/// Nodes with an order, with when each was told of it last.
#[derive(Debug, Default)]
pub(crate) struct Hints(Mutex<HashMap<NodeId, Option<Instant>>>);

impl Hints {
    /// These nodes, and no others, have an order. Gives those that had none before.
    pub(crate) fn set(&self, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let mut known = self.lock();
        let mut next = HashMap::new();
        let mut new = Vec::new();
        for node in nodes {
            let told = known.remove(&node);
            if told.is_none() {
                new.push(node);
            }
            next.insert(node, told.flatten());
        }
        *known = next;
        new
    }

    /// Whether a node should be told now that it has an order: once, and again when it does not ask.
    pub(crate) fn tell(&self, node: NodeId) -> bool {
        match self.lock().get_mut(&node) {
            Some(told) if told.is_none_or(|at| at.elapsed() >= AGAIN) => {
                *told = Some(Instant::now());
                true
            }
            _ => false,
        }
    }

    /// A node has asked.
    pub(crate) fn asked(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_told_once_and_again_when_it_does_not_ask() {
        let node = |number| NodeId::from_uuid(uuid::Uuid::from_u128(number));
        let hints = Hints::default();
        assert_eq!(hints.set([node(1)]), [node(1)]);
        assert!(hints.tell(node(1)) && !hints.tell(node(1)) && !hints.tell(node(2)));
        assert!(hints.set([node(1), node(2)]).contains(&node(2)));
        assert!(!hints.tell(node(1)), "it was told");
        tokio::time::advance(AGAIN).await;
        assert!(hints.tell(node(1)));
        hints.asked(node(1));
        assert!(!hints.tell(node(1)));
        assert_eq!(hints.set([]), []);
        assert!(!hints.tell(node(2)));
    }
}
