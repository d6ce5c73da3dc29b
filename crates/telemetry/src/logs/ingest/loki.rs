//! Loki's push: `logproto.PushRequest` packed with Snappy, or JSON.

use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;

use super::{IncomingLogs, Said, Shared};
use crate::{
    ingest::{Limited, Unreadable},
    logs::LogRecord,
};

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Deserialize)]
struct JsonRequest {
    streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
struct JsonStream {
    stream: BTreeMap<String, String>,
    values: Vec<JsonEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonEntry {
    Plain(String, String),
    Described(String, String, BTreeMap<String, String>),
}

/// Reads a request in protobuf; `most` bytes unpacked.
///
/// # Errors
/// When it cannot be unpacked or is no such message.
pub fn read_protobuf(body: &[u8], most: usize) -> Result<IncomingLogs, Unreadable> {
    let plain = Limited { most }.snappy(body)?;
    let request = PushRequest::decode(plain.as_slice())
        .map_err(|error| Unreadable::Malformed(format!("logproto.PushRequest: {error}")))?;
    let (mut incoming, mut shared) = (IncomingLogs::default(), Shared::default());
    for stream in request.streams {
        let about = labels(&stream.labels)
            .ok_or_else(|| Unreadable::Malformed(format!("labels of a stream: `{}`", stream.labels)))?;
        for entry in stream.entries {
            let at = entry.timestamp.unwrap_or_default();
            let time = at.seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(at.nanos.into()));
            let Some(time) = time else {
                incoming.rejected.add(1, "a time after 2262");
                continue;
            };
            let mut said = about.clone();
            said.extend(entry.metadata.into_iter().map(|pair| (pair.name, pair.value.into())));
            push(&mut incoming, &mut shared, time, entry.line, said);
        }
    }
    Ok(incoming)
}

/// Reads a request in JSON, which is unpacked already.
///
/// # Errors
/// When it is no such document.
pub fn read_json(body: &[u8]) -> Result<IncomingLogs, Unreadable> {
    let request: JsonRequest = serde_json::from_slice(body)
        .map_err(|error| Unreadable::Malformed(format!("Loki's push: {error}")))?;
    let (mut incoming, mut shared) = (IncomingLogs::default(), Shared::default());
    for stream in request.streams {
        let about: Said = stream.stream.into_iter().map(|(name, value)| (name, value.into())).collect();
        for entry in stream.values {
            let (at, line, metadata) = match entry {
                JsonEntry::Plain(at, line) => (at, line, BTreeMap::new()),
                JsonEntry::Described(at, line, metadata) => (at, line, metadata),
            };
            let Ok(time) = at.parse() else {
                incoming
                    .rejected
                    .add(1, format!("`{}` is no time in nanoseconds", at.get(..40).unwrap_or(&at)));
                continue;
            };
            let mut said = about.clone();
            said.extend(metadata.into_iter().map(|(name, value)| (name, value.into())));
            push(&mut incoming, &mut shared, time, line, said);
        }
    }
    Ok(incoming)
}

fn push(incoming: &mut IncomingLogs, shared: &mut Shared, time: i64, body: String, said: Said) {
    let mut record = LogRecord { time, body, ..LogRecord::default() };
    shared.fill(&mut record, said);
    incoming.records.push(record);
}

/// `{name="value", …}`, with values as in Go's quotes.
fn labels(text: &str) -> Option<Said> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut said = Said::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let quoted = after.trim_start().strip_prefix('"')?;
        let (value, after) = unquote(quoted)?;
        said.insert(name.trim().to_owned(), value.into());
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(said)
}

/// A text up to its closing quote, and what follows.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                escape @ ('x' | 'u' | 'U') => {
                    let digits = match escape {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let mut code = 0_u32;
                    for _ in 0..digits {
                        code = code.checked_mul(16)? + chars.next()?.1.to_digit(16)?;
                    }
                    value.push(char::from_u32(code)?);
                }
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logs::Field;

    fn packed(request: &PushRequest) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
    }

    #[test]
    fn both_ways_of_writing_bring_the_same_lines() {
        let json = r#"{"streams": [{"stream": {"service_name": "shop", "host": "web-1", "env": "a\"b"}, "values": [
            ["1700000000000000001", "level=error msg=no", {"trace_id": "4BF9", "n": "5"}],
            ["1700000000000000002", "plain"], ["soon", "x"]
        ]}]}"#;
        let json = read_json(json.as_bytes()).unwrap();
        let entry = |nanos, line: &str, metadata| Entry {
            timestamp: Some(Time { seconds: 1_700_000_000, nanos }),
            line: line.to_owned(),
            metadata,
        };
        let pair = |name: &str, value: &str| Pair { name: name.into(), value: value.into() };
        let described = vec![pair("trace_id", "4BF9"), pair("n", "5")];
        let stream = Stream {
            labels: r#"{service_name="shop", host="web-1",env="a\"b"}"#.into(),
            entries: vec![entry(1, "level=error msg=no", described), entry(2, "plain", Vec::new())],
        };
        let protobuf = read_protobuf(&packed(&PushRequest { streams: vec![stream] }), 1 << 20).unwrap();
        assert_eq!((json.rejected.count, protobuf.rejected.count), (1, 0));
        assert_eq!(json.records, protobuf.records);
        let first = &json.records[0];
        assert_eq!((first.field(Field::Service), first.field(Field::Node)), ("shop", "web-1"));
        assert_eq!((first.field(Field::Trace), first.severity), ("4bf9", 17));
        assert_eq!(first.attributes, r#"{"env":"a\"b","n":"5"}"#);
        assert_eq!((json.records[1].severity, json.records[1].time), (0, 1_700_000_000_000_000_002));
    }

    #[test]
    fn what_is_no_push_is_malformed_and_a_bomb_is_too_large() {
        let wrong = Stream { labels: "{a=b}".into(), entries: Vec::new() };
        let request = packed(&PushRequest { streams: vec![wrong] });
        assert!(matches!(read_protobuf(&request, 1000), Err(Unreadable::Malformed(_))));
        assert!(matches!(read_json(b"{}"), Err(Unreadable::Malformed(_))));
        let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 10_000_000]).unwrap();
        assert_eq!(read_protobuf(&bomb, 1 << 20).unwrap_err(), Unreadable::TooLarge(1 << 20));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[{}a=\"\\\\xu0,é ]{0,30}") {
            let _ = read_protobuf(&snap::raw::Encoder::new().compress_vec(&bytes).unwrap(), 1 << 20);
            let _ = read_json(&bytes);
            let _ = labels(&text);
        }
    }
}
