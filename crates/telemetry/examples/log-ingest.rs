//! Measures how fast lines of logs are taken in, as the hub does behind its HTTP: OTLP in protobuf read, secrets looked
//! for, written to the log and synced, then to Parquet with its indexes, merged. `--mb N` says how much OTLP. Making the
//! requests is not counted. The last line is one JSON object.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring program"
)]

mod lines;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backstay_telemetry::{
    ingest::otlp::Encoding,
    logs::{Field, LogOptions, LogRecord, LogStore, ingest::otlp},
};
use backstay_types::{FixedClock, SeededEntropy, Timestamp, World};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord as Wire, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;
use serde_json::json;

/// Lines of a request, as a collector sends them.
const BATCH: usize = 2000;
/// Requests that are made before they are taken in together.
const ROUND: usize = 100;
const START: i64 = 1_767_268_800_000;
/// Between two lines, in nanoseconds: 5 million lines an hour and 12 GB a day.
const EVERY: i64 = 700_000;
const MEMORY: u64 = 256 << 20;

fn main() {
    let mb = argument("--mb").unwrap_or(1000);
    let folder = tempfile::tempdir_in(std::env::current_dir().expect("a folder")).expect("a folder");
    let clock = Arc::new(FixedClock::new(at(START)));
    let world = World::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
    let options =
        LogOptions { keep_free_bytes: 0, memory_bytes: MEMORY, ..LogOptions::in_folder(folder.path()) };
    let store = LogStore::open(options, world).expect("a store");
    let mut numbers = lines::Numbers::new(7);
    let (mut bytes, mut count, mut n) = (0_u64, 0_u64, 0_i64);
    let (mut durable, mut behind, mut cpu) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut most_memory = 0;
    while bytes < mb * 1_000_000 {
        let requests: Vec<Vec<u8>> = (0..ROUND).map(|_| request(&mut numbers, &mut n)).collect();
        bytes += requests.iter().map(|request| request.len() as u64).sum::<u64>();
        clock.set(at(START + n * EVERY / 1_000_000));
        let (began, before) = (Instant::now(), processor());
        for request in &requests {
            let incoming = otlp::read(request, Encoding::Protobuf).expect("a request");
            count += store.append(incoming.records).expect("an acknowledgement").new.len() as u64;
        }
        durable += began.elapsed();
        most_memory = most_memory.max(store.status().memory_bytes);
        let began = Instant::now();
        store.maintain().expect("upkeep");
        behind += began.elapsed();
        cpu += processor() - before;
    }
    let (began, before) = (Instant::now(), processor());
    store.flush().expect("parts");
    // The day is over: all of it is merged.
    clock.set(at(START + n * EVERY / 1_000_000 + 48 * 3_600_000));
    store.maintain().expect("upkeep");
    behind += began.elapsed();
    cpu += processor() - before;
    let status = store.status();
    assert_eq!(status.counts.stored, count);
    assert_eq!(status.memory_rows, 0);
    let raw = bytes as f64 / 1e6;
    let figures = json!({
        "value": cpu.as_secs_f64() * 1000.0 / raw,
        "baseline": null,
        "more": {
            "otlp_mb": raw,
            "lines": count,
            "mb_per_second_until_durable": raw / durable.as_secs_f64(),
            "mb_per_second_until_all_is_done": raw / (durable + behind).as_secs_f64(),
            "durable_ms_per_mb": durable.as_secs_f64() * 1000.0 / raw,
            "bytes_on_disk_per_byte": status.part_bytes as f64 / bytes as f64,
            "bytes_per_line": status.part_bytes as f64 / count as f64,
            "memory_of_ceiling": most_memory as f64 / MEMORY as f64,
            "secrets_hidden": status.counts.hidden_known + status.counts.hidden_pattern + status.counts.hidden_entropy,
            "parts": status.parts,
        },
    });
    println!("{figures}");
}

fn request(numbers: &mut lines::Numbers, n: &mut i64) -> Vec<u8> {
    let records: Vec<LogRecord> = (0..BATCH)
        .map(|_| {
            *n += 1;
            lines::line(numbers, START * 1_000_000 + *n * EVERY)
        })
        .collect();
    // A collector sends lines of one resource together.
    let mut by_service: std::collections::BTreeMap<(String, String), Vec<Wire>> =
        std::collections::BTreeMap::new();
    for record in records {
        let about = (record.field(Field::Service).to_owned(), record.field(Field::Node).to_owned());
        by_service.entry(about).or_default().push(wire(&record));
    }
    let resource_logs = by_service
        .into_iter()
        .map(|((service, node), log_records)| ResourceLogs {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", &service),
                    text("host.name", &node),
                    text("os.type", "linux"),
                ],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        })
        .collect();
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn wire(record: &LogRecord) -> Wire {
    let id = |field| {
        let text = record.field(field).as_bytes();
        text.chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let mut attributes = vec![
        text("backstay.stack", record.field(Field::Stack)),
        text("backstay.deployment", record.field(Field::Deployment)),
    ];
    if !record.field(Field::Conversation).is_empty() {
        attributes.push(text("session.id", record.field(Field::Conversation)));
    }
    if !record.attributes.is_empty() {
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&record.attributes).unwrap();
        attributes.extend(map.iter().map(|(name, value)| text(name, &value.to_string())));
    }
    Wire {
        time_unix_nano: record.time.cast_unsigned(),
        observed_time_unix_nano: record.observed.cast_unsigned(),
        severity_number: i32::from(record.severity),
        body: Some(AnyValue { value: Some(Value::StringValue(record.body.clone())) }),
        attributes,
        trace_id: id(Field::Trace),
        span_id: id(Field::Span),
        ..Wire::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).expect("a time")
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next()?.parse().ok()
}

/// Processor time of this process, all threads.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|n| fields[*n].parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
