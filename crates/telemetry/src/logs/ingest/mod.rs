//! What senders bring, as lines: pure, from bytes to a batch.
//!
//! [`otlp`] is OpenTelemetry's protocol, [`loki`] Loki's push. What both say of where a line comes from goes to the fields
//! of a record; all else stays in its attributes.

pub mod loki;
pub mod otlp;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use regex::Regex;
use serde_json::Value;

use super::{Field, Level, LogRecord};
use crate::ingest::Rejected;

/// What a request brings.
#[derive(Debug, Default)]
pub struct IncomingLogs {
    /// The lines.
    pub records: Vec<LogRecord>,
    /// What is not taken.
    pub rejected: Rejected,
}

impl IncomingLogs {
    /// Sets a field on every line, in the place of what the sender said: what the hub knows better.
    pub fn set_all(&mut self, field: Field, value: &str) {
        let value = Arc::<str>::from(value);
        self.records.iter_mut().for_each(|record| record.set(field, &value));
    }

    /// Bytes of text.
    pub fn bytes(&self) -> u64 {
        self.records.iter().map(|record| (record.body.len() + record.attributes.len()) as u64).sum()
    }
}

/// Names under which senders say where a line comes from, the best first; dots and underscores are the same.
const NAMES: [(Field, &[&str]); 8] = [
    (Field::Node, &["backstay_node", "dev_backstay_node", "node", "host_name", "host", "hostname"]),
    (
        Field::Stack,
        &["backstay_stack", "dev_backstay_stack", "stack", "compose_project", "service_namespace"],
    ),
    (Field::Service, &["service_name", "service", "compose_service", "app", "container", "job", "unit"]),
    (Field::Release, &["backstay_release", "dev_backstay_release", "release"]),
    (Field::Deployment, &["backstay_deployment", "dev_backstay_deployment", "deployment"]),
    (
        Field::Conversation,
        &[
            "backstay_conversation",
            "dev_backstay_conversation",
            "conversation",
            "conversation_id",
            "gen_ai_conversation_id",
            "session_id",
        ],
    ),
    (Field::Trace, &["trace_id", "traceid"]),
    (Field::Span, &["span_id", "spanid"]),
];

/// What is said of a line beside its text, by name.
pub(super) type Said = BTreeMap<String, Value>;

/// Texts that many lines share.
#[derive(Debug, Default)]
pub(super) struct Shared(HashMap<String, Arc<str>>);

impl Shared {
    fn text(&mut self, text: String) -> Arc<str> {
        self.0.entry(text).or_insert_with_key(|text| text.as_str().into()).clone()
    }

    /// Takes what is known of a line's origin out of what is said, and puts the rest to its attributes.
    pub(super) fn fill(&mut self, record: &mut LogRecord, mut said: Said) {
        for (field, names) in NAMES {
            let plain = |name: &str| name.replace('.', "_").to_ascii_lowercase();
            let found = names.iter().find_map(|wanted| {
                said.iter()
                    .find(|(name, value)| plain(name) == *wanted && value.is_string())
                    .map(|(name, _)| name)
            });
            let Some(name) = found.cloned() else { continue };
            let Some(Value::String(mut value)) = said.remove(&name) else { continue };
            if matches!(field, Field::Trace | Field::Span) {
                value.make_ascii_lowercase();
            }
            if record.field(field).is_empty() {
                record.set(field, &self.text(value));
            }
        }
        if record.severity == 0 {
            let names = ["level", "severity", "severity_text", "detected_level", "log.level"];
            let named = names.iter().find_map(|name| Level::parse(said.get(*name)?.as_str()?));
            record.severity = named.or_else(|| in_text(&record.body)).map_or(0, Level::severity);
        }
        if !said.is_empty() {
            record.attributes = serde_json::to_string(&said).unwrap_or_default();
        }
    }
}

/// `level=error` or `"level":"error"` near the beginning of a line.
static LEVEL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\b(?:level|lvl|severity)"?\s{0,2}[=:]\s{0,2}"?([a-z]{3,13})\b"#).ok());

fn in_text(body: &str) -> Option<Level> {
    let start = &body[..body.floor_char_boundary(400)];
    let found = LEVEL.as_ref()?.captures(start)?;
    Level::parse(found.get(1)?.as_str())
}
