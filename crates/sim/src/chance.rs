//! Chance that repeats: the same seed, the same numbers.

use std::time::Duration;

/// A stream of numbers that a seed determines (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream called `name` of a seed. Streams of different names have nothing to do with one another, so that what
    /// one part of a run draws does not change what the others meet.
    pub(crate) fn of(seed: u64, name: &str) -> Self {
        let mut state = seed ^ 0x5851_f42d_4c95_7f2d;
        for byte in name.bytes() {
            state = mixed(state ^ u64::from(byte)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        Self(state)
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number from 0 up to, not including, `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound.max(1)
    }

    /// An index into something of this length.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A number in a range, both ends included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times of a thousand.
    pub(crate) fn permille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// A coin.
    pub(crate) fn coin(&mut self) -> bool {
        self.any() & 1 == 1
    }

    /// A time in a range of milliseconds.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// A time in a range of seconds, to the millisecond.
    pub(crate) fn seconds(&mut self, low: u64, high: u64) -> Duration {
        self.millis(low * 1000, high * 1000)
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.index(of.len());
        &of[index]
    }
}

fn mixed(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_name_give_one_stream() {
        let draw = |seed, name| {
            let mut chance = Chance::of(seed, name);
            (0..8).map(|_| chance.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "net"), draw(1, "net"));
        assert_ne!(draw(1, "net"), draw(2, "net"));
        assert_ne!(draw(1, "net"), draw(1, "disk"));
        let mut chance = Chance::of(3, "");
        assert!((0..1000).all(|_| (5..=7).contains(&chance.between(5, 7))));
    }
}
