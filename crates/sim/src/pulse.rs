//! Time and random numbers as a hub gets them here: set from outside, and with a fuse. A hub whose fuse burns down
//! dies where it stands, in the middle of a transaction as well as between two.

use std::{
    panic::resume_unwind,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use backstay_types::{Clock, Entropy, FixedClock, SeededEntropy, Timestamp, World};

/// What unwinds through a hub that dies.
#[derive(Debug)]
pub(crate) struct Died;

/// The hand on a hub's clock, and the fuse.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: FixedClock,
    entropy: SeededEntropy,
    fuse: Mutex<Option<u32>>,
    dead: AtomicBool,
}

impl Pulse {
    /// A hub's pulse at a time, with the random numbers of a seed.
    pub(crate) fn new(at: Timestamp, seed: u64) -> Self {
        Self(Arc::new(Inner {
            clock: FixedClock::new(at),
            entropy: SeededEntropy::new(seed),
            fuse: Mutex::new(None),
            dead: AtomicBool::new(false),
        }))
    }

    /// As something that can be handed to the engine.
    pub(crate) fn world(&self) -> World {
        World::new(Arc::new(self.clone()), Arc::new(self.clone()))
    }

    /// Sets the clock, backwards too.
    pub(crate) fn set(&self, at: Timestamp) {
        self.0.clock.set(at);
    }

    /// Dies when the time or a random number is asked for `after` times more.
    pub(crate) fn light(&self, after: u32) {
        *self.fuse() = Some(after);
    }

    /// Does not die.
    pub(crate) fn spare(&self) {
        *self.fuse() = None;
    }

    /// Whether the hub has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::SeqCst)
    }

    fn fuse(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.0.fuse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        let out = match &mut *self.fuse() {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        };
        if out {
            self.0.dead.store(true, Ordering::SeqCst);
            // Not a panic that anybody should be told of: no hook runs.
            resume_unwind(Box::new(Died));
        }
    }
}

impl Clock for Pulse {
    fn now(&self) -> Timestamp {
        self.beat();
        self.0.clock.now()
    }
}

impl Entropy for Pulse {
    fn fill(&self, bytes: &mut [u8]) {
        self.beat();
        self.0.entropy.fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn it_ends_at_the_beat_that_was_said() {
        let pulse = Pulse::new(Timestamp::UNIX_EPOCH, 1);
        let world = pulse.world();
        world.now();
        pulse.light(2);
        world.now();
        world.random::<4>();
        assert!(!pulse.is_dead());
        assert!(catch_unwind(|| pulse.world().now()).is_err_and(|end| end.is::<Died>()));
        assert!(pulse.is_dead());
    }
}
