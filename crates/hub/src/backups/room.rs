//! Room on the hub's own disk, on which its live database is: what comes in, and what is staged, leaves some of it.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use backstay_types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many files of one node come in at once.
const OF_ONE: usize = 8;
/// So much of the disk stays free for the hub itself: a part in twenty, this at most.
const RESERVE: u64 = 1 << 30;
const PART: u64 = 20;

/// Whether a disk has room for `bytes` more, and for what the hub itself needs.
///
/// # Errors
/// When it has not; what is missing is said.
pub(crate) fn check(place: &Path, bytes: u64) -> io::Result<()> {
    let stat = rustix::fs::statvfs(place)?;
    let (free, total) =
        (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    enough(free, total, bytes).map_err(|why| io::Error::new(io::ErrorKind::StorageFull, why))
}

fn enough(free: u64, total: u64, bytes: u64) -> Result<(), String> {
    let reserve = (total / PART).min(RESERVE);
    if free >= bytes.saturating_add(reserve) {
        return Ok(());
    }
    Err(format!(
        "{bytes} bytes are wanted, {free} are free, and {reserve} of them stay free for the hub: make room on its disk"
    ))
}

/// What each node has coming in.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<HashMap<NodeId, Arc<Semaphore>>>);

impl Rooms {
    /// Waits until the node has one less coming in than it may.
    pub(crate) async fn of(&self, node: NodeId) -> Option<OwnedSemaphorePermit> {
        let own = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, one| Arc::strong_count(one) > 1);
            all.entry(node).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE))).clone()
        };
        own.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    #[test]
    fn some_of_a_disk_stays_free() {
        let gib = 1 << 30;
        assert!(enough(10 * gib, 100 * gib, 9 * gib).is_ok());
        let why = enough(10 * gib, 100 * gib, 9 * gib + 1).unwrap_err();
        assert!(why.contains("make room"), "{why}");
        assert!(enough(100, 1000, 50).is_ok() && enough(100, 1000, 51).is_err(), "of a small one, a part");
    }

    #[tokio::test]
    async fn one_node_takes_no_room_of_others() {
        let rooms = Rooms::default();
        let node = |number| NodeId::from_uuid(uuid::Uuid::from_u128(number));
        let mut held = Vec::new();
        for _ in 0..OF_ONE {
            held.push(rooms.of(node(1)).await.unwrap());
        }
        let waits = rooms.of(node(1));
        let at_once = rooms.of(node(2));
        tokio::select! {
            biased;
            _ = waits => panic!("it has too many"),
            other = at_once => assert!(other.is_some()),
        }
        held.pop();
        assert!(rooms.of(node(1)).await.is_some());
    }
}
