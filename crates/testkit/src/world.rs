//! Worlds for tests: time stands until it is moved, randomness repeats.

use std::{sync::Arc, time::Duration};

use backstay_types::{Clock as _, FixedClock, SeededEntropy, Timestamp, World};

/// A world and the hand on its clock.
#[derive(Debug, Clone)]
pub struct TestWorld {
    clock: Arc<FixedClock>,
    world: World,
}

impl TestWorld {
    /// A world at `at` (RFC 3339) with the random numbers of `seed`.
    ///
    /// # Panics
    /// When `at` is not a time.
    pub fn new(at: &str, seed: u64) -> Self {
        let at: Timestamp = at.parse().unwrap_or_else(|error| panic!("{at}: {error}"));
        let clock = Arc::new(FixedClock::new(at));
        Self { world: World::new(clock.clone(), Arc::new(SeededEntropy::new(seed))), clock }
    }

    /// The world to hand to what is tested.
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// The time that its clock shows.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock on.
    ///
    /// # Panics
    /// When that leaves the range of times.
    pub fn advance(&self, by: Duration) {
        self.clock.set(self.clock.now().checked_add(by).expect("a time in range"));
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, at: Timestamp) {
        self.clock.set(at);
    }
}

impl Default for TestWorld {
    /// Noon on 2026-01-01, seed 1.
    fn default() -> Self {
        Self::new("2026-01-01T12:00:00Z", 1)
    }
}
