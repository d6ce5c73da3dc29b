//! So many bytes a second, and no more.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Shared by all that send and fetch. Nothing is limited without a rate.
#[derive(Debug, Clone)]
pub(super) struct Limit(Option<Arc<Rate>>);

#[derive(Debug)]
struct Rate {
    bytes_per_second: u64,
    /// When what was let through so far has had its time.
    free_at: Mutex<Instant>,
}

impl Limit {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        let rate = bytes_per_second.filter(|rate| *rate > 0);
        Self(
            rate.map(|bytes_per_second| {
                Arc::new(Rate { bytes_per_second, free_at: Mutex::new(Instant::now()) })
            }),
        )
    }

    /// Books these bytes, and says how long to wait before they may go.
    pub(super) fn book(&self, bytes: u64) -> Duration {
        let Some(rate) = &self.0 else { return Duration::ZERO };
        let takes = Duration::from_secs_f64(bytes as f64 / rate.bytes_per_second as f64);
        let now = Instant::now();
        let mut free_at = rate.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let starts = (*free_at).max(now);
        *free_at = starts + takes;
        starts + takes - now
    }

    /// Waits for these bytes.
    pub(super) fn wait(&self, bytes: u64) {
        let wait = self.book(bytes);
        if !wait.is_zero() {
            thread::sleep(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_those_before_them() {
        let limit = Limit::new(Some(1_000));
        let first = limit.book(500);
        let second = limit.book(1_000);
        assert!(first <= Duration::from_millis(500));
        assert!(
            second > Duration::from_millis(1_400) && second <= Duration::from_millis(1_500),
            "{second:?}"
        );
        assert_eq!(Limit::new(None).book(u64::MAX), Duration::ZERO);
    }
}
