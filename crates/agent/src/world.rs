//! The system's clock and randomness, for the outermost shell.

use std::sync::Arc;

use backstay_types::{Clock, Entropy, Timestamp, World};

/// The machine's own time and random numbers.
#[allow(clippy::disallowed_methods, reason = "this is where the world comes from")]
pub fn system() -> World {
    struct System;
    impl Clock for System {
        fn now(&self) -> Timestamp {
            Timestamp::now()
        }
    }
    impl Entropy for System {
        fn fill(&self, bytes: &mut [u8]) {
            // Without random numbers there are no ids, and nothing may go on.
            if let Err(error) = getrandom::fill(bytes) {
                tracing::error!(%error, "the system gives no random numbers");
                std::process::abort();
            }
        }
    }
    World::new(Arc::new(System), Arc::new(System))
}
