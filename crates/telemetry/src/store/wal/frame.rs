//! Frames, and how integers and texts stand in them.
//!
//! A frame is `length: u32, CRC-32 of the payload: u32, payload`, little-endian; the payload is compressed with Snappy.
//! Integers are LEB128, texts have their length before them.

/// Bytes before a payload.
pub(crate) const FRAME: usize = 8;
/// The largest payload, compressed or not: what is larger was not written by this program.
pub(super) const LARGEST: usize = 256 << 20;

/// A frame around a payload.
pub(crate) fn pack(plain: &[u8]) -> Result<Vec<u8>, String> {
    if plain.len() > LARGEST {
        return Err(format!("a batch of {} bytes is more than a record holds", plain.len()));
    }
    let mut frame = vec![0; FRAME + snap::raw::max_compress_len(plain.len())];
    let written = snap::raw::Encoder::new().compress(plain, &mut frame[FRAME..]);
    let length = written.map_err(|error| error.to_string())?;
    frame.truncate(FRAME + length);
    let sum = crc32fast::hash(&frame[FRAME..]);
    frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    frame[4..FRAME].copy_from_slice(&sum.to_le_bytes());
    Ok(frame)
}

/// What a payload was packed from, if it was.
pub(crate) fn unpack(payload: &[u8]) -> Option<Vec<u8>> {
    if snap::raw::decompress_len(payload).ok()? > LARGEST {
        return None;
    }
    snap::raw::Decoder::new().decompress_vec(payload).ok()
}

pub(crate) fn number(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

pub(crate) fn signed(into: &mut Vec<u8>, value: i64) {
    number(into, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

pub(crate) fn text(into: &mut Vec<u8>, text: &str) {
    number(into, text.len() as u64);
    into.extend_from_slice(text.as_bytes());
}

/// A payload that is read from its beginning.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}
