//! How many bytes nodes have written since they were last noted: what a repository takes is counted here and at each prune,
//! never told by a node.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use backstay_types::NodeId;

/// What was written, by node.
#[derive(Debug, Default)]
pub(crate) struct Growth(Mutex<HashMap<NodeId, u64>>);

impl Growth {
    /// A node has written so many bytes more.
    pub(crate) fn add(&self, node: NodeId, bytes: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = all.entry(node).or_default();
        *sum = sum.saturating_add(bytes);
    }

    /// What a node has written since this was asked last.
    pub(crate) fn take(&self, node: NodeId) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node).unwrap_or_default()
    }
}
