//! Held check-ins, woken by node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backstay_types::NodeId;
use tokio::sync::Notify;

/// Who waits. One entry for each node that does; nothing for the others.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<HashMap<NodeId, Arc<Notify>>>);

impl Waiters {
    /// Stands in line. Whoever is woken from now on has not missed anything:
    /// look at the state after this, then wait.
    pub(crate) fn join(&self, node: NodeId) -> Waiter<'_> {
        let notify = self.lock().entry(node).or_default().clone();
        Waiter { waiters: self, node, notify }
    }

    /// Wakes the check-ins of a node.
    pub(crate) fn wake(&self, node: NodeId) {
        if let Some(notify) = self.lock().get(&node) {
            notify.notify_waiters();
        }
    }

    /// Wakes everyone.
    pub(crate) fn wake_all(&self) {
        self.lock().values().for_each(|notify| notify.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in line.
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    waiters: &'a Waiters,
    node: NodeId,
    notify: Arc<Notify>,
}

impl Waiter<'_> {
    /// Ends at the next wake-up after this call.
    pub(crate) fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock();
        // The map's own and this one: nobody else stands in line.
        if Arc::strong_count(&self.notify) <= 2 {
            waiters.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backstay_types::Id as _;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn wakes_whom_it_should_and_forgets_who_left() {
        let waiters = Waiters::default();
        let (one, also_one, two) = (waiters.join(node(1)), waiters.join(node(1)), waiters.join(node(2)));
        let (woken, also_woken, other) = (one.woken(), also_one.woken(), two.woken());
        // A wake-up between standing in line and waiting is not lost.
        waiters.wake(node(1));
        woken.await;
        also_woken.await;
        assert!(tokio::time::timeout(Duration::from_millis(20), other).await.is_err());
        drop(one);
        assert!(waiters.lock().contains_key(&node(1)));
        drop(also_one);
        drop(two);
        assert!(waiters.lock().is_empty());
        waiters.wake(node(1));
    }
}
