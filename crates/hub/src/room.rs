//! How many connections the hub has open at once, and what it does when nearly all are taken.

use std::{io, sync::Arc};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many files are kept free of connections: the database, Git and packs need some.
const KEPT: u64 = 512;

/// Room for connections.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    total: usize,
}

impl Room {
    /// Room for `wanted` connections, or for as many as the system lets this process open.
    pub(crate) fn new(wanted: u32) -> Self {
        let files = open_files();
        let total = connections(wanted, files);
        if total < wanted {
            tracing::info!(
                files,
                connections = total,
                wanted,
                "the system lets this hub open fewer files than hub.max_connections asks for; LimitNOFILE= of its service, or \
                 ulimit -n, raises that"
            );
        }
        let total = total as usize;
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// A place for a connection, once there is one.
    ///
    /// # Errors
    /// Never; the semaphore is not closed.
    pub(crate) async fn enter(&self) -> io::Result<OwnedSemaphorePermit> {
        self.free.clone().acquire_owned().await.map_err(io::Error::other)
    }

    /// Whether all places are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// Whether less than a quarter is left: then a connection is closed after an answer, and not kept for the next request.
    pub(crate) fn is_tight(&self) -> bool {
        self.free.available_permits() < self.total / 4
    }
}

/// How many connections there is room for, when so many files may be open.
fn connections(wanted: u32, files: u64) -> u32 {
    let left = files - KEPT.min(files / 4);
    wanted.min(u32::try_from(left).unwrap_or(u32::MAX))
}

/// How many files this process may have open, once it has asked for as many as it may.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, most) {
            tracing::debug!(%error, "the limit of open files could not be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_what_is_no_connection() {
        assert_eq!(connections(20_000, u64::MAX), 20_000);
        assert_eq!(connections(20_000, 20_000), 19_488);
        assert_eq!(connections(20_000, 1_024), 768);
        assert_eq!(connections(64, 1_024), 64);
    }

    #[tokio::test]
    async fn it_is_tight_before_it_is_full() {
        let room = Room { free: Arc::new(Semaphore::new(8)), total: 8 };
        let mut inside = Vec::new();
        for taken in 0..8 {
            assert_eq!((room.is_tight(), room.is_full()), (taken > 6, false), "{taken}");
            inside.push(room.enter().await.unwrap());
        }
        assert!(room.is_full());
        inside.clear();
        assert!(!room.is_tight());
    }
}
