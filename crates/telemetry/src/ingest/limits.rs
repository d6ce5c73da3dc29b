//! Unpacking what others packed, up to a limit.

use std::io::Read as _;

use super::Unreadable;

/// What to unpack, and how large it may become.
#[derive(Debug, Clone, Copy)]
pub struct Limited {
    /// Bytes at most.
    pub most: usize,
}

impl Limited {
    /// Snappy's block format, as remote-write uses it. How large it becomes is known before anything is unpacked.
    ///
    /// # Errors
    /// When it would be too large, or is damaged.
    pub fn snappy(self, packed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let malformed = |error: snap::Error| Unreadable::Malformed(format!("snappy: {error}"));
        if snap::raw::decompress_len(packed).map_err(malformed)? > self.most {
            return Err(Unreadable::TooLarge(self.most));
        }
        snap::raw::Decoder::new().decompress_vec(packed).map_err(malformed)
    }
}

/// Unpacks gzip.
///
/// # Errors
/// When it becomes larger than `most` bytes, or is damaged.
pub fn inflate(packed: &[u8], most: usize) -> Result<Vec<u8>, Unreadable> {
    let mut plain = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(packed).take(most as u64 + 1);
    reader.read_to_end(&mut plain).map_err(|error| Unreadable::Malformed(format!("gzip: {error}")))?;
    if plain.len() > most { Err(Unreadable::TooLarge(most)) } else { Ok(plain) }
}
