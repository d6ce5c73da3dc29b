//! Samples in memory, compressed as in Facebook's Gorilla paper (section 4.1): times as differences of differences,
//! values as what differs in their bits. A scraped series takes 1 to 3 bytes a sample.

use crate::Sample;

use super::options::{BLOCK, span_of};

/// A chunk ends with so many samples: few enough to look one up, enough to compress well.
const MOST: u16 = 120;
/// Bits that a difference of differences may take, with the bits that say so; 64 for all others.
const TIME_STEPS: [(u64, u8, u8); 3] = [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)];

/// Samples of one series, by time, each time once, all in one span of [`BLOCK`].
#[derive(Debug)]
pub(super) struct Chunk {
    /// Time of the first sample.
    pub(super) first: i64,
    /// Time of the last.
    pub(super) last: i64,
    /// How many.
    pub(super) count: u16,
    bytes: Box<[u8]>,
}

impl Chunk {
    /// The span that it lies in.
    pub(super) fn span(&self) -> i64 {
        span_of(self.first, BLOCK)
    }

    /// What it takes in memory.
    pub(super) fn size(&self) -> u64 {
        (size_of::<Self>() + self.bytes.len() + 16) as u64
    }

    /// Its samples.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        Decoder::new(&self.bytes, self.count)
    }

    /// Chunks of samples that are sorted by time.
    pub(super) fn of_sorted(samples: &[Sample]) -> Vec<Self> {
        let mut chunks = Vec::new();
        let mut open: Option<Open> = None;
        for sample in samples {
            if open.as_ref().is_some_and(|open| !open.takes(sample.at)) {
                chunks.extend(open.take().map(Open::close));
            }
            match &mut open {
                Some(open) => open.push(*sample),
                None => open = Some(Open::new(*sample)),
            }
        }
        chunks.extend(open.map(Open::close));
        chunks
    }
}

/// A chunk that is still written.
#[derive(Debug, Clone)]
pub(super) struct Open {
    bits: Bits,
    first: i64,
    count: u16,
    at: i64,
    delta: i64,
    value: u64,
    leading: u8,
    trailing: u8,
}

/// No window of bits has been said yet.
const NO_WINDOW: u8 = u8::MAX;

impl Open {
    pub(super) fn new(sample: Sample) -> Self {
        let mut bits = Bits::default();
        bits.push(sample.at.cast_unsigned(), 64);
        bits.push(sample.value.to_bits(), 64);
        Self {
            bits,
            first: sample.at,
            count: 1,
            at: sample.at,
            delta: 0,
            value: sample.value.to_bits(),
            leading: NO_WINDOW,
            trailing: 0,
        }
    }

    /// Whether a later sample belongs in here, or begins the next chunk.
    pub(super) fn takes(&self, at: i64) -> bool {
        self.count < MOST && span_of(at, BLOCK) == span_of(self.first, BLOCK)
    }

    /// Adds a sample that is later than all in here.
    pub(super) fn push(&mut self, sample: Sample) {
        let delta = sample.at.wrapping_sub(self.at);
        self.push_time(delta.wrapping_sub(self.delta));
        self.push_value(sample.value.to_bits());
        self.at = sample.at;
        self.delta = delta;
        self.count += 1;
    }

    fn push_time(&mut self, change: i64) {
        if change == 0 {
            return self.bits.push(0, 1);
        }
        for (prefix, length, width) in TIME_STEPS {
            let half = 1_i64 << (width - 1);
            if (-half..half).contains(&change) {
                self.bits.push(prefix, length);
                return self.bits.push(change.cast_unsigned() & ((1 << width) - 1), width);
            }
        }
        self.bits.push(0b1111, 4);
        self.bits.push(change.cast_unsigned(), 64);
    }

    fn push_value(&mut self, value: u64) {
        let differs = value ^ self.value;
        self.value = value;
        if differs == 0 {
            return self.bits.push(0, 1);
        }
        // Five bits say how many leading zeros there are.
        let leading = u8::try_from(differs.leading_zeros()).unwrap_or(31).min(31);
        let trailing = u8::try_from(differs.trailing_zeros()).unwrap_or(0);
        if self.leading != NO_WINDOW && leading >= self.leading && trailing >= self.trailing {
            self.bits.push(0b10, 2);
            return self.bits.push(differs >> self.trailing, 64 - self.leading - self.trailing);
        }
        (self.leading, self.trailing) = (leading, trailing);
        let width = 64 - leading - trailing;
        self.bits.push(0b11, 2);
        self.bits.push(u64::from(leading), 5);
        // 64 does not fit in six bits; 0 never comes.
        self.bits.push(u64::from(width & 63), 6);
        self.bits.push(differs >> trailing, width);
    }

    /// The span that it lies in.
    pub(super) fn span(&self) -> i64 {
        span_of(self.first, BLOCK)
    }

    /// Times of the first and the last sample.
    pub(super) fn bounds(&self) -> (i64, i64) {
        (self.first, self.at)
    }

    /// What it takes in memory.
    pub(super) fn size(&self) -> u64 {
        self.bits.bytes.capacity() as u64
    }

    /// The chunk.
    pub(super) fn close(self) -> Chunk {
        Chunk { first: self.first, last: self.at, count: self.count, bytes: self.bits.bytes.into() }
    }
}

/// Bits, from the highest of each byte on.
#[derive(Debug, Clone, Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Free bits of the last byte.
    free: u8,
}

impl Bits {
    /// Adds the lowest `count` bits of `value`.
    fn push(&mut self, value: u64, mut count: u8) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = self.free.min(count);
            let part = (value >> (count - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free - take)) as u8;
            }
            self.free -= take;
            count -= take;
        }
    }
}

/// Reads a chunk. It stops where bits are missing, which does not happen: chunks are made in this process only.
struct Decoder<'a> {
    bytes: &'a [u8],
    bit: usize,
    left: u16,
    before: Option<(i64, i64, u64)>,
    leading: u8,
    width: u8,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], count: u16) -> Self {
        Self { bytes, bit: 0, left: count, before: None, leading: 0, width: 0 }
    }

    fn take(&mut self, mut count: u8) -> Option<u64> {
        let mut value = 0;
        while count > 0 {
            let byte = *self.bytes.get(self.bit / 8)?;
            let free = 8 - (self.bit % 8) as u8;
            let take = free.min(count);
            let part = (byte >> (free - take)) & (((1_u16 << take) - 1) as u8);
            value = (value << take) | u64::from(part);
            self.bit += usize::from(take);
            count -= take;
        }
        Some(value)
    }

    fn change(&mut self) -> Option<i64> {
        if self.take(1)? == 0 {
            return Some(0);
        }
        for (_, _, width) in TIME_STEPS {
            if self.take(1)? == 0 {
                let shift = 64 - width;
                return Some((self.take(width)? << shift).cast_signed() >> shift);
            }
        }
        Some(self.take(64)?.cast_signed())
    }

    fn value(&mut self, before: u64) -> Option<u64> {
        if self.take(1)? == 0 {
            return Some(before);
        }
        if self.take(1)? == 1 {
            self.leading = self.take(5)? as u8;
            self.width = match self.take(6)? as u8 {
                0 => 64,
                width => width,
            };
        }
        let trailing = 64 - self.leading - self.width;
        Some(before ^ (self.take(self.width)? << trailing))
    }

    fn read(&mut self) -> Option<(i64, i64, u64)> {
        match self.before {
            None => Some((self.take(64)?.cast_signed(), 0, self.take(64)?)),
            Some((at, delta, value)) => {
                let delta = delta.wrapping_add(self.change()?);
                Some((at.wrapping_add(delta), delta, self.value(value)?))
            }
        }
    }
}

impl Iterator for Decoder<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        self.left = self.left.checked_sub(1)?;
        let (at, delta, value) = self.read()?;
        self.before = Some((at, delta, value));
        Some(Sample { at, value: f64::from_bits(value) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::STALE_BITS;

    fn through(samples: &[Sample]) -> Vec<(i64, u64)> {
        let chunks = Chunk::of_sorted(samples);
        for chunk in &chunks {
            assert!(chunk.count <= MOST);
            assert_eq!(span_of(chunk.first, BLOCK), span_of(chunk.last, BLOCK));
        }
        chunks.iter().flat_map(Chunk::samples).map(|s| (s.at, s.value.to_bits())).collect()
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_to_the_bit(
            start in -1_i64 << 40..1_i64 << 45,
            steps in prop::collection::vec((1_i64..1 << 22, any::<u64>(), 0_u8..4), 1..400),
        ) {
            let mut at = start;
            let mut value = 0_u64;
            let samples: Vec<_> = steps.into_iter().map(|(step, bits, kind)| {
                at += step;
                value = match kind {
                    0 => value,
                    1 => (f64::from_bits(value) + 1.0).to_bits(),
                    2 => STALE_BITS,
                    _ => bits,
                };
                Sample { at, value: f64::from_bits(value) }
            }).collect();
            let expected: Vec<_> = samples.iter().map(|s| (s.at, s.value.to_bits())).collect();
            prop_assert_eq!(through(&samples), expected);
        }
    }

    #[test]
    fn a_scraped_counter_takes_few_bytes() {
        let samples: Vec<_> =
            (0..120).map(|n| Sample { at: 1_700_000_000_000 + n * 15_000, value: n as f64 * 3.0 }).collect();
        let chunks = Chunk::of_sorted(&samples);
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        assert!(bytes < 400, "{bytes} bytes for 120 samples");
    }
}
