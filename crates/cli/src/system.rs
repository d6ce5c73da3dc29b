//! The system's own clock and random numbers: the outermost shell asks for them, once.

use std::sync::Arc;

use backstay_types::{Clock, Entropy, Timestamp, World};

/// The world as it is.
pub(crate) fn world() -> World {
    World::new(Arc::new(SystemClock), Arc::new(SystemEntropy))
}

struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is where time comes in")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(
        clippy::disallowed_methods,
        clippy::expect_used,
        reason = "this is where randomness comes in; a system without it is not usable"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system gives random numbers");
    }
}
