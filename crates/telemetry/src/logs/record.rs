//! A line of a log, and how it stands in the write-ahead log.

use std::{collections::BTreeSet, sync::Arc};

use twox_hash::XxHash64;

use crate::store::wal::{
    self,
    frame::{self, Bytes, number, signed, text},
};

/// A day in nanoseconds: what a part of the store is about.
pub(super) const DAY: i64 = 86_400_000_000_000;

/// What a text field of a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The node that it comes from.
    Node,
    /// The stack there.
    Stack,
    /// What wrote it, such as a service of the stack.
    Service,
    /// The release that ran.
    Release,
    /// The deployment that put it there.
    Deployment,
    /// The conversation that it belongs to.
    Conversation,
    /// The trace, as 32 hexadecimal digits.
    Trace,
    /// The span, as 16 hexadecimal digits.
    Span,
}

impl Field {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 8] = [
        Self::Node,
        Self::Stack,
        Self::Service,
        Self::Release,
        Self::Deployment,
        Self::Conversation,
        Self::Trace,
        Self::Span,
    ];

    /// Its name: that of its column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Stack => "stack",
            Self::Service => "service",
            Self::Release => "release",
            Self::Deployment => "deployment",
            Self::Conversation => "conversation",
            Self::Trace => "trace_id",
            Self::Span => "span_id",
        }
    }
}

/// A line of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was written, in nanoseconds since 1970.
    pub time: i64,
    /// When it was seen first, in nanoseconds since 1970.
    pub observed: i64,
    /// As OTLP numbers it: 1 to 4 trace, 5 debug, 9 info, 13 warn, 17 error, 21 to 24 fatal; 0 when nobody said.
    pub severity: u8,
    /// By [`Field`]; empty where nothing is known.
    pub fields: [Arc<str>; 8],
    /// What it says.
    pub body: String,
    /// All else, as a JSON object; empty for nothing.
    pub attributes: String,
}

/// By what a record is known and sorted: its time, and a hash of all that it says. The same record sent twice has the same
/// key, so that it is there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Key {
    /// Its time.
    pub time: i64,
    /// Of its content.
    pub id: i64,
}

impl LogRecord {
    /// A field's text.
    pub fn field(&self, field: Field) -> &str {
        &self.fields[field as usize]
    }

    /// Sets a field.
    pub fn set(&mut self, field: Field, value: &Arc<str>) {
        self.fields[field as usize] = value.clone();
    }

    /// Its key. When it was seen does not count: that differs when it is sent again.
    pub fn key(&self) -> Key {
        use std::hash::Hasher as _;
        // On disk: neither the hash nor the order may ever change.
        let mut hash = XxHash64::with_seed(0);
        hash.write(&[self.severity]);
        for part in self.fields.iter().map(|field| &**field).chain([&*self.body, &*self.attributes]) {
            hash.write(&(part.len() as u64).to_le_bytes());
            hash.write(part.as_bytes());
        }
        Key { time: self.time, id: hash.finish().cast_signed() }
    }

    /// What it takes in memory, roughly, in bytes.
    pub(super) fn size(&self) -> u64 {
        // The record itself, its key, and its place in the tree; fields are mostly shared.
        (self.body.len() + self.attributes.len() + 320) as u64
    }
}

/// The first nanosecond of the day of a time.
pub(super) const fn day_of(time: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(DAY))
}

/// Records that are acknowledged together.
#[derive(Debug, Default)]
pub(super) struct Records(pub(super) Vec<(Key, Arc<LogRecord>)>);

impl wal::Batch for Records {
    /// Those that were new.
    type Applied = Vec<(Key, Arc<LogRecord>)>;

    fn spans(&self) -> BTreeSet<i64> {
        self.0.iter().map(|(key, _)| day_of(key.time)).collect()
    }
}

/// What files of the log of logs begin with.
pub(super) const LOGS: wal::Magic = *b"BSTLOG\x001";

/// The frame of records: texts of fields once each, then the records.
pub(super) fn encode(records: &Records) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let mut known = std::collections::HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for field in records.0.iter().flat_map(|(_, record)| &record.fields) {
        known.entry(&**field).or_insert_with(|| {
            texts.push(field);
            texts.len() as u64 - 1
        });
    }
    number(&mut plain, texts.len() as u64);
    texts.iter().for_each(|field| text(&mut plain, field));
    number(&mut plain, records.0.len() as u64);
    for (_, record) in &records.0 {
        signed(&mut plain, record.time);
        signed(&mut plain, record.observed.wrapping_sub(record.time));
        plain.push(record.severity);
        for field in &record.fields {
            number(&mut plain, known.get(&**field).copied().unwrap_or(0));
        }
        text(&mut plain, &record.body);
        text(&mut plain, &record.attributes);
    }
    frame::pack(&plain)
}

/// The records of a payload whose sum was right.
pub(super) fn decode(payload: &[u8]) -> Option<Vec<LogRecord>> {
    let plain = frame::unpack(payload)?;
    let mut bytes = Bytes(&plain);
    let mut texts: Vec<Arc<str>> = Vec::new();
    for _ in 0..bytes.number()? {
        texts.push(bytes.text()?.into());
    }
    let mut records = Vec::new();
    for _ in 0..bytes.number()? {
        let time = bytes.signed()?;
        let mut record = LogRecord {
            time,
            observed: time.wrapping_add(bytes.signed()?),
            severity: u8::from_le_bytes(bytes.array()?),
            ..LogRecord::default()
        };
        for field in &mut record.fields {
            *field = texts.get(usize::try_from(bytes.number()?).ok()?)?.clone();
        }
        record.body = bytes.text()?.to_owned();
        record.attributes = bytes.text()?.to_owned();
        records.push(record);
    }
    bytes.0.is_empty().then_some(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = LogRecord> {
        let fields = proptest::array::uniform8("(|a|web|é{3})".prop_map(Arc::<str>::from));
        (any::<i64>(), any::<i64>(), 0_u8..25, fields, ".{0,40}", ".{0,10}").prop_map(
            |(time, observed, severity, fields, body, attributes)| LogRecord {
                time,
                observed,
                severity,
                fields,
                body,
                attributes,
            },
        )
    }

    proptest! {
        #[test]
        fn records_come_back_and_damage_never_panics(records in proptest::collection::vec(any_record(), 0..8)) {
            let batch = Records(records.iter().map(|r| (r.key(), Arc::new(r.clone()))).collect());
            let frame = encode(&batch).unwrap();
            let payload = &frame[frame::FRAME..];
            prop_assert_eq!(decode(payload).unwrap(), records);
            for at in 0..payload.len() {
                let mut damaged = payload.to_vec();
                damaged[at] ^= 0x55;
                let _ = decode(&damaged);
                let _ = decode(&payload[..at]);
            }
        }
    }

    #[test]
    fn the_key_is_of_what_is_said_and_stays_the_same_for_ever() {
        let record = LogRecord { time: 5, severity: 9, body: "started".into(), ..LogRecord::default() };
        assert_eq!(record.key(), LogRecord { observed: 77, ..record.clone() }.key());
        for other in [
            LogRecord { severity: 10, ..record.clone() },
            LogRecord { body: "starte".into(), attributes: "d".into(), ..record.clone() },
        ] {
            assert_ne!(record.key(), other.key());
        }
        // On disk.
        assert_eq!(record.key().id, KNOWN);
    }

    const KNOWN: i64 = -6_851_610_427_258_816_712;
}
