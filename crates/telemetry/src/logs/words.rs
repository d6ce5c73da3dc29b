//! Which words are in a group of lines: so that a search for something rare leaves out groups that cannot have it.
//!
//! For each group of rows: the whole words (runs of letters, digits and what is not ASCII) as a bloom filter, and every four
//! letters that stand together as a Roaring bitmap, which is exact and small, since words come from a vocabulary. A text
//! that is searched for surely contains its inner words whole, and the letters of all of it. What it may lack is a probe:
//! digits at its edges may be a part of something longer, so all groups are read for those.

use std::collections::HashSet;

use parquet::bloom_filter::Sbbf;
use roaring::RoaringBitmap;
use twox_hash::XxHash64;

/// How many combinations of four letters there are.
const COMBINATIONS: usize = 26 * 26 * 26 * 26;
/// How often a filter says yes to a word that is not there.
const FALSE_POSITIVES: f64 = 0.01;

/// Words of a group that is written.
#[derive(Debug)]
pub(super) struct Words {
    words: HashSet<u64, foldhash::fast::FixedState>,
    letters: Vec<u64>,
}

impl Default for Words {
    fn default() -> Self {
        Self { words: HashSet::default(), letters: vec![0; COMBINATIONS.div_ceil(64)] }
    }
}

impl Words {
    /// Adds a line's text.
    pub(super) fn add(&mut self, text: &str) {
        for word in words(text.as_bytes()) {
            self.words.insert(hash(word));
            for combination in combinations(word) {
                let place = combination as usize;
                self.letters[place / 64] |= 1 << (place % 64);
            }
        }
    }

    /// Appends what is known of the group, and begins the next.
    pub(super) fn finish(&mut self, into: &mut Vec<u8>) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let count = self.words.len().max(1) as u64;
        let mut filter = Sbbf::new_with_ndv_fpp(count, FALSE_POSITIVES).map_err(|error| failed(&error))?;
        self.words.drain().for_each(|word| filter.insert(&word.cast_signed()));
        let mut bits = Vec::new();
        filter.write_bitset(&mut bits).map_err(|error| failed(&error))?;
        let set = |place: &usize| self.letters[place / 64] & (1 << (place % 64)) != 0;
        let mut letters: RoaringBitmap = (0..COMBINATIONS).filter(set).map(|place| place as u32).collect();
        letters.optimize();
        let mut bitmap = Vec::with_capacity(letters.serialized_size());
        letters.serialize_into(&mut bitmap).map_err(|error| failed(&error))?;
        self.letters.fill(0);
        for bytes in [bits, bitmap] {
            into.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            into.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

/// What a group surely has if it has a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    words: Vec<u64>,
    letters: RoaringBitmap,
}

impl Probe {
    /// The one of a text; none when the text says nothing of words.
    pub(super) fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (start, end) = (bytes.as_ptr() as usize, bytes.as_ptr() as usize + bytes.len());
        let mut probe = Self { words: Vec::new(), letters: RoaringBitmap::new() };
        for word in words(bytes) {
            let at = word.as_ptr() as usize;
            // At an edge it may go on in the line.
            if at > start && at + word.len() < end {
                probe.words.push(hash(word));
            }
            probe.letters.extend(combinations(word));
        }
        (!probe.words.is_empty() || !probe.letters.is_empty()).then_some(probe)
    }

    /// Whether a group may have the text, by what [`Words::finish`] wrote of it. What cannot be understood may.
    pub(super) fn may_be_in(&self, group: &[u8]) -> bool {
        let Some((bits, rest)) = part(group) else { return true };
        let Some((bitmap, _)) = part(rest) else { return true };
        let letters = RoaringBitmap::deserialize_from(bitmap);
        if letters.is_ok_and(|letters| !self.letters.is_subset(&letters)) {
            return false;
        }
        // A filter is made of blocks of 32 bytes.
        if self.words.is_empty() || bits.is_empty() || !bits.len().is_multiple_of(32) {
            return true;
        }
        let filter = Sbbf::new(bits);
        self.words.iter().all(|word| filter.check(&word.cast_signed()))
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| !byte.is_ascii_alphanumeric() && byte.is_ascii()).filter(|word| !word.is_empty())
}

/// On disk: it may never change.
fn hash(word: &[u8]) -> u64 {
    XxHash64::oneshot(0, word)
}

/// Every four letters that stand together, without case, as a number.
fn combinations(word: &[u8]) -> impl Iterator<Item = u32> + '_ {
    word.windows(4).filter_map(|four| {
        four.iter().try_fold(0_u32, |number, byte| {
            let letter = byte.to_ascii_lowercase();
            letter.is_ascii_lowercase().then(|| number * 26 + u32::from(letter - b'a'))
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(lines: &[String]) -> Vec<u8> {
        let mut words = Words::default();
        lines.iter().for_each(|line| words.add(line));
        let mut bytes = Vec::new();
        words.finish(&mut bytes).unwrap();
        bytes
    }

    fn may(group: &[u8], text: &str) -> bool {
        Probe::of(text).is_none_or(|probe| probe.may_be_in(group))
    }

    #[test]
    fn what_is_rare_leaves_groups_out() {
        let lines: Vec<_> = (0..2000).map(|n| format!("GET /cart/{n} took {n} ms, ok")).collect();
        let group = group(&lines);
        for there in ["GET /cart/77", "took", "oo", "cart/1999 took 1999 ms", "art/1", "7"] {
            assert!(may(&group, there), "{there}");
        }
        for gone in ["OutOfMemory", " refused ", "cart/1999 failed", "took 3000 ms", "panicked"] {
            assert!(!may(&group, gone), "{gone}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_part_of_a_line_may_be_there(
            lines in proptest::collection::vec("[a-zA-Z0-9 ./é-]{0,30}", 1..6),
            pick in any::<prop::sample::Index>(),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let group = group(&lines);
            let chars: Vec<char> = pick.get(&lines).chars().collect();
            let (a, b) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
            let text: String = chars[a.min(b)..a.max(b)].iter().collect();
            prop_assert!(may(&group, &text), "{text:?} of {lines:?}");
        }

        #[test]
        fn damage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = may(&bytes, "some words here");
        }
    }
}
