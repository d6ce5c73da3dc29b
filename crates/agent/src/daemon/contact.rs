//! When the hub was last heard.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use backstay_agent_core::{OUTAGE, Reach};

/// Shared by all that ask the hub: whoever gets an answer says so, and all pause by how long there was none.
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    started: Instant,
    /// Milliseconds after `started`.
    last: Arc<AtomicU64>,
    outage: Duration,
    airgapped: bool,
}

impl Contact {
    pub(crate) fn new(outage: Duration, airgapped: bool) -> Self {
        Self { started: Instant::now(), last: Arc::default(), outage, airgapped }
    }

    /// The hub answered.
    pub(crate) fn heard(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now.max(1), Ordering::Relaxed);
    }

    /// Whether it has answered at all since this agent was started.
    pub(crate) fn has_heard(&self) -> bool {
        self.last.load(Ordering::Relaxed) > 0
    }

    /// For how long it has not.
    pub(crate) fn silent(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// How far away the hub is.
    pub(crate) fn reach(&self) -> Reach {
        Reach::of(self.silent(), self.outage, self.airgapped)
    }
}

impl Default for Contact {
    fn default() -> Self {
        Self::new(OUTAGE, false)
    }
}
