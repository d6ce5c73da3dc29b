//! Attempts of nodes to change or delete what is in a repository: recorded once an hour for each node.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backstay_types::NodeId;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(3600);
/// So many nodes are told apart.
const MOST: usize = 10_000;

/// What was refused lately.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<NodeId, (Option<Instant>, u64)>>);

impl Refusals {
    /// Counts an attempt. Gives how many there were since it was recorded last, when it should be recorded now.
    pub(crate) fn count(&self, node: NodeId) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&node) {
            return None;
        }
        let (recorded, times) = all.entry(node).or_default();
        *times += 1;
        if recorded.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        *recorded = Some(Instant::now());
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn once_an_hour_and_none_is_lost() {
        let (refusals, node) = (Refusals::default(), NodeId::from_uuid(uuid::Uuid::from_u128(1)));
        assert_eq!(refusals.count(node), Some(1));
        assert_eq!((refusals.count(node), refusals.count(node)), (None, None));
        tokio::time::advance(EVERY).await;
        assert_eq!(refusals.count(node), Some(3));
    }
}
