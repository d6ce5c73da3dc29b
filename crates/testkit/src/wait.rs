//! Waiting for something to become so.

use std::{
    thread,
    time::{Duration, Instant},
};

/// [`eventually_within`] 90 seconds: as a machine that does much else may take; who waits in vain is told why.
///
/// # Panics
/// When it has not come by then.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(Duration::from_secs(90), what, look)
}

/// Asks `look` every 20 ms, later every 100 ms, until it gives `Ok`.
///
/// # Panics
/// When `limit` is over; with the last thing `look` said.
pub fn eventually_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        let last = match look() {
            Ok(value) => return value,
            Err(last) => last,
        };
        let waited = start.elapsed();
        assert!(waited < limit, "after {limit:?} still waiting for {what}: {last}");
        thread::sleep(Duration::from_millis(if waited < Duration::from_secs(1) { 20 } else { 100 }));
    }
}
