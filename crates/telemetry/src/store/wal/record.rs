//! What a record of the log holds: new series and samples, as bytes.
//!
//! The payload of a frame is `series: n, (ref, pairs: n, (name, value)…)…, samples: n, (ref, n, (time since the one before, value)…)…`, integers
//! as LEB128, times zigzag, values as 8 bytes. A series is described once in each file of the log, so that each can be
//! read, and removed, without the others.

use std::sync::Arc;

use super::frame::{self, Bytes, number, signed, text};
use crate::{Labels, Sample};

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
    frame::pack(&plain)
}

/// A payload whose sum was right.
pub(super) fn decode(payload: &[u8]) -> Option<Record> {
    let plain = frame::unpack(payload)?;
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

#[cfg(test)]
mod tests {
    use super::{frame::FRAME, *};

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
