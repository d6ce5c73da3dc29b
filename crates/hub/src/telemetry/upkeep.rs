//! Looking after a store until the hub stops: blocks or parts, merges, retention, damage.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backstay_telemetry::store::StoreError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often upkeep looks for what is due.
const LOOK: Duration = Duration::from_secs(10);
/// How often all that is stored is read through, to find damage; the first time soon after the start.
const VERIFY: Duration = Duration::from_secs(24 * 3600);
const FIRST_VERIFY: Duration = Duration::from_secs(15 * 60);

/// The upkeep of one store.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// What is stored, for people.
    what: &'static str,
    /// What could not be done the last time.
    problem: Mutex<Option<String>>,
}

impl Upkeep {
    pub(super) const fn of(what: &'static str) -> Self {
        Self { what, problem: Mutex::new(None) }
    }

    /// What could not be done the last time.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `tend` do what is due until the hub stops; it is told whether to read all through as well.
    pub(super) async fn run<S: Send + Sync + 'static>(
        &self,
        stopping: &CancellationToken,
        store: &Arc<S>,
        tend: fn(&S, bool) -> Result<(), StoreError>,
    ) {
        let mut until_verified = FIRST_VERIFY;
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stopping.cancelled() => return,
            }
            until_verified = until_verified.saturating_sub(LOOK);
            let verify = until_verified.is_zero();
            if verify {
                until_verified = VERIFY;
            }
            let kept = store.clone();
            self.note(match tokio::task::spawn_blocking(move || tend(&kept, verify)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(panic.to_string()),
            });
        }
    }

    /// Says once what cannot be done, and once that it can again.
    fn note(&self, problem: Option<String>) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &problem) {
            (before, Some(now)) if before.as_ref() != Some(now) => {
                tracing::warn!(problem = now, "{} cannot be kept in order; trying again", self.what);
            }
            (Some(_), None) => tracing::info!("{} are kept in order again", self.what),
            _ => {}
        }
        *known = problem;
    }
}
