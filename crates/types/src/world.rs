//! Time and random numbers, passed in.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Builder;

use crate::id::Id;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time now, UTC.
    fn now(&self) -> Timestamp;
}

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes fit for keys and tokens.
    fn fill(&self, bytes: &mut [u8]);
}

/// Time and random numbers as one thing to hand on.
#[derive(Clone)]
pub struct World {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// The first 60 bits of the newest id, its version left out: ids never go back, whatever the clock does.
    newest: Arc<AtomicU64>,
}

/// Bits of an id's random part that keep ids of one millisecond in order.
const COUNTER_BITS: u32 = 12;
const COUNTER: u64 = (1 << COUNTER_BITS) - 1;

impl World {
    /// A world from its two parts. The shells build it from the system's; tests from [`FixedClock`] and [`SeededEntropy`].
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, newest: Arc::default() }
    }

    /// The time now, UTC.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new id. Ids sort in the order in which they were minted: by the time, and also while the clock stands or was set
    /// back.
    pub fn mint<I: Id>(&self) -> I {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        let millis = u64::try_from(self.now().as_millisecond()).unwrap_or(0);
        let own =
            (millis << COUNTER_BITS) | (u64::from(u16::from_be_bytes([random[0], random[1]])) & COUNTER);
        let after = |newest: u64| own.max(newest.saturating_add(1));
        let before =
            self.newest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |newest| Some(after(newest)));
        let place = after(before.unwrap_or_else(|newest| newest));
        let [.., high, low] = (place & COUNTER).to_be_bytes();
        (random[0], random[1]) = (high, low);
        I::from_uuid(Builder::from_unix_timestamp_millis(place >> COUNTER_BITS, &random).into_uuid())
    }

    /// From now on ids come after this one, which another process, or this one in an earlier life, has minted.
    pub fn mint_after(&self, id: impl Id) {
        let (high, _) = id.uuid().as_u64_pair();
        // 48 bits of time, 4 of version, 12 of the rest.
        let place = ((high >> 16) << COUNTER_BITS) | (high & COUNTER);
        self.newest.fetch_max(place, Ordering::Relaxed);
    }

    /// Random bytes for a key, salt or token.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

/// A clock that stands until it is moved. For tests and simulations.
#[derive(Debug)]
pub struct FixedClock(Mutex<Timestamp>);

impl FixedClock {
    /// A clock that shows `at`.
    pub fn new(at: Timestamp) -> Self {
        Self(Mutex::new(at))
    }

    /// Moves the clock to `at`, backwards too.
    pub fn set(&self, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Repeatable bytes from a seed: SHA-256 in counter mode. For tests and simulations only.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<(u64, u64)>);

impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new((seed, 0)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            let (seed, count) = *state;
            let block =
                Sha256::new().chain_update(seed.to_le_bytes()).chain_update(count.to_le_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
            state.1 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::RolloutId;

    #[test]
    fn ids_come_one_after_the_other_whatever_the_clock_does() {
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let clock = Arc::new(FixedClock::new(now));
        let world = World::new(Arc::clone(&clock) as _, Arc::new(SeededEntropy::new(1)));
        let mut newest: RolloutId = world.mint();
        let mut next = |world: &World, what: &str| {
            for _ in 0..10_000 {
                let id = world.mint();
                assert!(id > newest, "{what}: {id} after {newest}");
                newest = id;
            }
            newest
        };
        next(&world, "it stands");
        clock.set(now.checked_sub(Duration::from_secs(3600)).unwrap());
        next(&world, "it was set back");
        let last = next(&world.clone(), "by another who has it");
        let restarted = World::new(Arc::clone(&clock) as _, Arc::new(SeededEntropy::new(2)));
        restarted.mint_after(last);
        next(&restarted, "in another life");
        clock.set(now.checked_add(Duration::from_secs(3600)).unwrap());
        let id: RolloutId = world.mint();
        let (seconds, _) = id.uuid().get_timestamp().unwrap().to_unix();
        assert_eq!(i64::try_from(seconds).unwrap(), now.as_second() + 3600, "it is the time again");
    }
}
