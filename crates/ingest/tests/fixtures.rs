//! Replays recorded payloads: what each becomes is a snapshot.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{fs, path::Path};

use backstay_ingest::{Incoming, Normalised, Source, What, delivery_key, normalise};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Fixture {
    name: String,
    source: Source,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Fixture {
    fn normalise(&self) -> Vec<Normalised> {
        normalise(self.source, &Incoming { headers: &self.headers, body: &self.body })
    }
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut found = Vec::new();
    for source in Source::ALL {
        let files = fs::read_dir(root.join(source.name())).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "no fixtures of {}", source.name());
        for path in paths {
            let fixture: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let headers = fixture["headers"].as_object().unwrap();
            found.push(Fixture {
                name: format!("{}-{}", source.name(), path.file_stem().unwrap().to_str().unwrap()),
                source,
                headers: headers.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect(),
                body: serde_json::to_vec(&fixture["body"]).unwrap(),
            });
        }
    }
    found
}

#[test]
fn recorded_payloads_become_these_events() {
    for fixture in fixtures() {
        let incoming = Incoming { headers: &fixture.headers, body: &fixture.body };
        let events = fixture.normalise();
        let key = delivery_key(fixture.source, &incoming);
        insta::assert_json_snapshot!(fixture.name.as_str(), json!({ "delivery": key, "events": events }));
    }
}

#[test]
fn secrets_do_not_pass() {
    for fixture in fixtures() {
        let text = serde_json::to_string(&fixture.normalise()).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("zq81Hh2k"), "{}: {text}", fixture.name);
    }
}

#[test]
fn bodies_that_are_not_json_are_kept_as_unrecognised() {
    for source in Source::ALL {
        for body in [&b""[..], b"{", b"\xff\xfe", b"null", b"[]", b"\"x\"", &b"[".repeat(100_000)] {
            let events = normalise(source, &Incoming { headers: &[], body });
            assert!(!events.is_empty());
            for event in events {
                assert!(matches!(event.what, What::Unrecognised { .. }), "{source:?} {event:?}");
            }
        }
    }
}

/// Any JSON value of modest size.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// The value at one place of a document replaced.
fn replace(value: &mut Value, mut at: usize, new: &Value) -> Result<(), usize> {
    if at == 0 {
        *value = new.clone();
        return Ok(());
    }
    at -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        match replace(child, at, new) {
            Ok(()) => return Ok(()),
            Err(left) => at = left,
        }
    }
    Err(at)
}

proptest! {
    #[test]
    fn arbitrary_bytes_give_events_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for fixture in fixtures() {
            let incoming = Incoming { headers: &fixture.headers, body: &bytes };
            prop_assert!(!normalise(fixture.source, &incoming).is_empty());
            prop_assert!(!delivery_key(fixture.source, &incoming).is_empty());
        }
    }

    #[test]
    fn recorded_payloads_with_anything_anywhere_never_panic(at in 0..60usize, new in any_json()) {
        for fixture in fixtures() {
            let mut body: Value = serde_json::from_slice(&fixture.body).unwrap();
            let _ = replace(&mut body, at, &new);
            let body = serde_json::to_vec(&body).unwrap();
            let events = normalise(fixture.source, &Incoming { headers: &fixture.headers, body: &body });
            prop_assert!(!events.is_empty());
        }
    }
}
