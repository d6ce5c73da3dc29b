//! OpenTelemetry's protocol (OTLP 1.x) for logs: protobuf or JSON.

use std::fmt::Write as _;

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, KeyValue},
    logs::v1::{LogRecord as Wire, ResourceLogs},
};
use prost::Message as _;
use serde_json::Value;

use super::{IncomingLogs, Said, Shared};
use crate::{
    ingest::{
        Unreadable,
        otlp::{Encoding, attributes},
    },
    logs::{Field, Level, LogRecord},
};

/// Reads a request's body, which is unpacked already.
///
/// # Errors
/// When it is no `ExportLogsServiceRequest`.
pub fn read(body: &[u8], encoding: Encoding) -> Result<IncomingLogs, Unreadable> {
    let request = match encoding {
        Encoding::Protobuf => ExportLogsServiceRequest::decode(body).map_err(|error| error.to_string()),
        Encoding::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
    };
    let request: ExportLogsServiceRequest =
        request.map_err(|error| Unreadable::Malformed(format!("ExportLogsServiceRequest: {error}")))?;
    let (mut incoming, mut shared) = (IncomingLogs::default(), Shared::default());
    for of_resource in request.resource_logs {
        resource(of_resource, &mut incoming, &mut shared);
    }
    Ok(incoming)
}

fn resource(of_resource: ResourceLogs, incoming: &mut IncomingLogs, shared: &mut Shared) {
    let attributes = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
    let mut about = Said::new();
    add(&mut about, attributes);
    for scope in of_resource.scope_logs {
        let mut about = about.clone();
        if let Some(scope) = scope.scope.filter(|scope| !scope.name.is_empty()) {
            about.insert("otel.scope.name".to_owned(), scope.name.into());
        }
        for wire in scope.log_records {
            match record(wire, &about, shared) {
                Ok(record) => incoming.records.push(record),
                Err(reason) => incoming.rejected.add(1, reason),
            }
        }
    }
}

fn record(wire: Wire, about: &Said, shared: &mut Shared) -> Result<LogRecord, &'static str> {
    let time = |nanos: u64| i64::try_from(nanos).map_err(|_| "a time after 2262");
    let severity = match wire.severity_number {
        number @ 1..=24 => u8::try_from(number).unwrap_or(0),
        0 => Level::parse(&wire.severity_text).map_or(0, Level::severity),
        _ => return Err("a severity_number that is not 0 to 24"),
    };
    let mut record = LogRecord {
        time: time(wire.time_unix_nano)?,
        observed: time(wire.observed_time_unix_nano)?,
        severity,
        body: attributes::text(wire.body.as_ref()),
        ..LogRecord::default()
    };
    record.set(Field::Trace, &hex(&wire.trace_id, 16)?.into());
    record.set(Field::Span, &hex(&wire.span_id, 8)?.into());
    let mut said = about.clone();
    add(&mut said, wire.attributes);
    if !wire.event_name.is_empty() {
        said.insert("event.name".to_owned(), wire.event_name.into());
    }
    shared.fill(&mut record, said);
    Ok(record)
}

/// What is nearer to the line counts.
fn add(said: &mut Said, attributes: Vec<KeyValue>) {
    let value = |value: Option<AnyValue>| {
        value.and_then(|value| value.value).map_or(Value::Null, |value| attributes::json(&value))
    };
    said.extend(attributes.into_iter().map(|pair| (pair.key, value(pair.value))));
}

/// An id as text; one of nothing but zeros is none.
fn hex(id: &[u8], length: usize) -> Result<String, &'static str> {
    if id.iter().all(|byte| *byte == 0) {
        return Ok(String::new());
    }
    if id.len() != length {
        return Err("a trace_id that is not 16 bytes, or a span_id that is not 8");
    }
    let mut text = String::with_capacity(length * 2);
    for byte in id {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The answer to a request of which something was taken: what was rejected, and why.
pub fn answer(encoding: Encoding, rejected: u64, message: Option<String>) -> Vec<u8> {
    let rejected_log_records = i64::try_from(rejected).unwrap_or(i64::MAX);
    match encoding {
        Encoding::Protobuf => {
            let partial_success =
                message.map(|error_message| ExportLogsPartialSuccess { rejected_log_records, error_message });
            ExportLogsServiceResponse { partial_success }.encode_to_vec()
        }
        // Numbers of 64 bits are texts in protobuf's JSON.
        Encoding::Json => {
            let said = message.map(|message| {
                serde_json::json!({
                    "rejectedLogRecords": rejected_log_records.to_string(), "errorMessage": message,
                })
            });
            let answer = said
                .map_or_else(|| serde_json::json!({}), |said| serde_json::json!({ "partialSuccess": said }));
            answer.to_string().into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn request() -> Value {
        let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        json!({ "resourceLogs": [{
            "resource": { "attributes": [
                text("service.name", "shop"), text("host.name", "web-1"), text("backstay.deployment", "d-1"),
                text("session.id", "outer"), text("cloud.region", "eu"),
            ]},
            "scopeLogs": [{ "scope": { "name": "app" }, "logRecords": [
                {
                    "timeUnixNano": "1700000000000000001", "severityNumber": 17, "body": { "stringValue": "no" },
                    "traceId": "4BF92F3577B34DA6A3CE929D0E0E4736", "spanId": "00f067aa0ba902b7",
                    "attributes": [text("session.id", "c-7"), { "key": "n", "value": { "intValue": "5" } }],
                },
                { "observedTimeUnixNano": "5", "severityText": "WARN", "body": { "kvlistValue": { "values": [text("a", "b")] } } },
                { "timeUnixNano": "7", "severityNumber": 99 },
                { "timeUnixNano": "7", "traceId": "abcd" },
            ]}],
        }]})
    }

    #[test]
    fn lines_are_read_with_what_is_known_of_them_and_what_cannot_be_is_said() {
        let bytes = request().to_string().into_bytes();
        let incoming = read(&bytes, Encoding::Json).unwrap();
        assert_eq!((incoming.records.len(), incoming.rejected.count), (2, 2));
        let message = incoming.rejected.message().unwrap();
        assert!(message.contains("severity_number") && message.contains("trace_id"), "{message}");
        let first = &incoming.records[0];
        let fields = Field::ALL.map(|field| first.field(field).to_owned());
        let expected =
            ["web-1", "", "shop", "", "d-1", "c-7", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
        assert_eq!(fields, expected);
        assert_eq!((first.time, first.severity, &*first.body), (1_700_000_000_000_000_001, 17, "no"));
        let attributes: Value = serde_json::from_str(&first.attributes).unwrap();
        assert_eq!(attributes, json!({ "cloud.region": "eu", "n": 5, "otel.scope.name": "app" }));
        let second = &incoming.records[1];
        assert_eq!((second.severity, second.time, second.observed), (13, 0, 5));
        assert_eq!((&*second.body, second.field(Field::Conversation)), (r#"{"a":"b"}"#, "outer"));
        // The same in protobuf.
        let wire: ExportLogsServiceRequest = serde_json::from_slice(&bytes).unwrap();
        let same = read(&wire.encode_to_vec(), Encoding::Protobuf).unwrap();
        assert_eq!(same.records, incoming.records);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
            let _ = read(&bytes, Encoding::Protobuf);
            let _ = read(&bytes, Encoding::Json);
            let text = request().to_string().into_bytes();
            let wire: ExportLogsServiceRequest = serde_json::from_slice(&text).unwrap();
            let mut wire = wire.encode_to_vec();
            let at = at.index(wire.len());
            wire[at] ^= 0x55;
            let _ = read(&wire, Encoding::Protobuf);
        }
    }
}
