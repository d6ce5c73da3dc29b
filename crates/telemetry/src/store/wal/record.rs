//! What a record of the log holds: new series and samples, as bytes.
//!
//! A frame is `length: u32, CRC-32 of the payload: u32, payload`, little-endian; the payload is compressed with Snappy:
//! `series: n, (ref, pairs: n, (name, value)…)…, samples: n, (ref, n, (time since the one before, value)…)…`, integers
//! as LEB128, times zigzag, values as 8 bytes. A series is described once in each file of the log, so that each can be
//! read, and removed, without the others.

use std::sync::Arc;

use crate::{Labels, Sample};

/// Bytes before a payload.
pub(super) const FRAME: usize = 8;
/// The largest payload, compressed or not: what is larger was not written by this program.
pub(super) const LARGEST: usize = 256 << 20;

/// A series of a batch, with its samples.
#[derive(Debug, Clone)]
pub(in crate::store) struct Line {
    /// Its number in this process.
    pub(in crate::store) series: u32,
    /// Its labels.
    pub(in crate::store) labels: Labels,
    /// What is to be stored.
    pub(in crate::store) samples: Vec<Sample>,
}

/// A record as it was read: series that are described, and samples by number of series.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) series: Vec<(u32, Labels)>,
    pub(super) samples: Vec<(u32, Vec<Sample>)>,
}

/// A frame. `describe` says whether the series of a line, by its place, has to be described in it.
pub(super) fn encode(lines: &[Line], describe: impl Fn(usize) -> bool) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let new: Vec<_> = lines.iter().enumerate().filter(|(n, _)| describe(*n)).map(|(_, line)| line).collect();
    number(&mut plain, new.len() as u64);
    for line in new {
        number(&mut plain, u64::from(line.series));
        number(&mut plain, line.labels.len() as u64);
        for (name, value) in line.labels.iter() {
            text(&mut plain, name);
            text(&mut plain, value);
        }
    }
    number(&mut plain, lines.len() as u64);
    for line in lines {
        number(&mut plain, u64::from(line.series));
        number(&mut plain, line.samples.len() as u64);
        let mut before = 0;
        for sample in &line.samples {
            signed(&mut plain, sample.at.wrapping_sub(before));
            before = sample.at;
            plain.extend_from_slice(&sample.value.to_bits().to_le_bytes());
        }
    }
    if plain.len() > LARGEST {
        return Err(format!("a batch of {} bytes is more than a record holds", plain.len()));
    }
    let mut frame = vec![0; FRAME + snap::raw::max_compress_len(plain.len())];
    let written = snap::raw::Encoder::new().compress(&plain, &mut frame[FRAME..]);
    let length = written.map_err(|error| error.to_string())?;
    frame.truncate(FRAME + length);
    let sum = crc32fast::hash(&frame[FRAME..]);
    frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    frame[4..FRAME].copy_from_slice(&sum.to_le_bytes());
    Ok(frame)
}

/// A payload whose sum was right.
pub(super) fn decode(payload: &[u8]) -> Option<Record> {
    if snap::raw::decompress_len(payload).ok()? > LARGEST {
        return None;
    }
    let plain = snap::raw::Decoder::new().decompress_vec(payload).ok()?;
    let mut bytes = Bytes(&plain);
    let mut record = Record::default();
    for _ in 0..bytes.number()? {
        let series = u32::try_from(bytes.number()?).ok()?;
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for _ in 0..bytes.number()? {
            pairs.push((bytes.text()?.into(), bytes.text()?.into()));
        }
        record.series.push((series, Labels::from_pairs(pairs)));
    }
    for _ in 0..bytes.number()? {
        let series = u32::try_from(bytes.number()?).ok()?;
        let mut samples = Vec::new();
        let mut before = 0_i64;
        for _ in 0..bytes.number()? {
            before = before.wrapping_add(bytes.signed()?);
            samples.push(Sample { at: before, value: f64::from_bits(u64::from_le_bytes(bytes.array()?)) });
        }
        record.samples.push((series, samples));
    }
    bytes.0.is_empty().then_some(record)
}

fn number(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn signed(into: &mut Vec<u8>, value: i64) {
    number(into, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn text(into: &mut Vec<u8>, text: &str) {
    number(into, text.len() as u64);
    into.extend_from_slice(text.as_bytes());
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
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

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_what_was_changed_is_seen() {
        let lines = [
            Line {
                series: 7,
                labels: Labels::from_pairs([("__name__", "up"), ("job", "é")]),
                samples: vec![Sample { at: 5, value: 1.0 }, Sample { at: 3, value: crate::STALE }],
            },
            Line {
                series: 300,
                labels: Labels::from_pairs([("__name__", "x")]),
                samples: vec![Sample { at: i64::MIN, value: -0.0 }],
            },
        ];
        let frame = encode(&lines, |n| n == 0).unwrap();
        let record = decode(&frame[FRAME..]).unwrap();
        assert_eq!(record.series, [(7, lines[0].labels.clone())]);
        let bits = |samples: &[Sample]| samples.iter().map(|s| (s.at, s.value.to_bits())).collect::<Vec<_>>();
        for (line, (series, samples)) in lines.iter().zip(&record.samples) {
            assert_eq!((line.series, bits(&line.samples)), (*series, bits(samples)));
        }
        for at in FRAME..frame.len() {
            // Nothing panics, whatever is in it.
            let mut damaged = frame[FRAME..].to_vec();
            damaged[at - FRAME] ^= 0x55;
            let _ = decode(&damaged);
            let _ = decode(&damaged[..at - FRAME]);
        }
    }
}
