use serde_json::{Value, json};

use super::*;
use crate::{Labels, MetricKind, STALE};

fn request(metrics: Value) -> Value {
    json!({ "resourceMetrics": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "shop" } },
            { "key": "service.namespace", "value": { "stringValue": "web" } },
            { "key": "service.instance.id", "value": { "stringValue": "i-1" } },
            { "key": "host.name", "value": { "stringValue": "h" } },
            { "key": "cpus", "value": { "intValue": "4" } },
            { "key": "tags", "value": { "arrayValue": { "values": [{ "stringValue": "a" }, { "boolValue": true }] } } },
        ]},
        "scopeMetrics": [{ "scope": { "name": "x" }, "metrics": metrics }],
    }]})
}

fn number(at: u64, value: Value, attributes: Value) -> Value {
    let mut point = json!({ "timeUnixNano": (at * 1_000_000).to_string(), "attributes": attributes });
    point.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    point
}

fn read_json(metrics: Value) -> Incoming {
    read(&serde_json::to_vec(&request(metrics)).unwrap(), Encoding::Json).unwrap()
}

/// Series as text with the values of their samples.
fn found(incoming: &Incoming) -> Vec<(String, Vec<(i64, f64)>)> {
    let text = |labels: &Labels| labels.to_string();
    let mut found: Vec<_> = incoming
        .batch
        .iter()
        .map(|(labels, samples)| (text(labels), samples.iter().map(|s| (s.at, s.value)).collect()))
        .collect();
    found.sort_by(|a: &(String, Vec<(i64, f64)>), b| a.0.cmp(&b.0));
    found
}

#[test]
fn metrics_become_series_as_prometheus_makes_them() {
    let attributes = json!([
        { "key": "http.method", "value": { "stringValue": "GET" } },
        { "key": "http_method", "value": { "stringValue": "get" } },
        { "key": "job", "value": { "stringValue": "mine" } },
    ]);
    let incoming = read_json(json!([
        { "name": "http.requests", "unit": "1", "description": "What came", "sum": {
            "aggregationTemporality": 2, "isMonotonic": true,
            "dataPoints": [number(1000, json!({ "asInt": "5" }), attributes)] } },
        { "name": "queue", "unit": "{jobs}", "sum": { "aggregationTemporality": 2,
            "dataPoints": [number(1000, json!({ "asDouble": -2.5 }), json!([]))] } },
        { "name": "temp", "unit": "Cel", "gauge": {
            "dataPoints": [number(1000, json!({ "flags": 1 }), json!([]))] } },
        { "name": "wait", "unit": "ms", "histogram": { "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": "1000000000", "count": "6", "sum": 9.5,
            "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 10.0] }] } },
        { "name": "rpc", "summary": { "dataPoints": [{
            "timeUnixNano": "1000000000", "count": "3", "sum": 4.0,
            "quantileValues": [{ "quantile": 0.99, "value": 2.0 }] }] } },
    ]));
    let target = r#"instance="i-1", job="web/shop""#;
    let expected = [
        (format!(r#"{{__name__="http_requests_total", http_method="GET;get", {target}}}"#), 5.0),
        (format!(r#"{{__name__="queue", {target}}}"#), -2.5),
        (format!(r#"{{__name__="rpc", {target}, quantile="0.99"}}"#), 2.0),
        (format!(r#"{{__name__="rpc_count", {target}}}"#), 3.0),
        (format!(r#"{{__name__="rpc_sum", {target}}}"#), 4.0),
        (
            format!(r#"{{__name__="target_info", cpus="4", host_name="h", {target}, tags="[\"a\",true]"}}"#),
            1.0,
        ),
        (format!(r#"{{__name__="temp_celsius", {target}}}"#), STALE),
        (format!(r#"{{__name__="wait_milliseconds_bucket", {target}, le="+Inf"}}"#), 6.0),
        (format!(r#"{{__name__="wait_milliseconds_bucket", {target}, le="0.5"}}"#), 1.0),
        (format!(r#"{{__name__="wait_milliseconds_bucket", {target}, le="10"}}"#), 3.0),
        (format!(r#"{{__name__="wait_milliseconds_count", {target}}}"#), 6.0),
        (format!(r#"{{__name__="wait_milliseconds_sum", {target}}}"#), 9.5),
    ];
    let found = found(&incoming);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((labels, samples), (name, value)) in found.iter().zip(expected) {
        assert_eq!(*labels, name);
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].0, samples[0].1.to_bits()), (1000, value.to_bits()), "{name}");
    }
    assert_eq!(incoming.rejected.count, 0);
    let kinds: Vec<_> = incoming.metadata.iter().map(|(name, said)| (name.as_str(), said.kind)).collect();
    assert_eq!(kinds[0], ("http_requests_total", MetricKind::Counter));
    assert_eq!(kinds[1], ("queue", MetricKind::Gauge));
    assert_eq!(kinds[3], ("wait_milliseconds", MetricKind::Histogram));
}

#[test]
fn what_prometheus_cannot_have_is_refused_by_name_and_the_rest_is_taken() {
    let point = || number(1000, json!({ "asInt": "5" }), json!([]));
    let incoming = read_json(json!([
        { "name": "delta", "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point(), point()] } },
        { "name": "nothing", "sum": { "dataPoints": [point()] } },
        { "name": "exp", "exponentialHistogram": { "aggregationTemporality": 2, "dataPoints": [{ "count": "1" }] } },
        { "name": "odd", "histogram": { "aggregationTemporality": 2, "dataPoints": [
            { "count": "1", "bucketCounts": ["1"], "explicitBounds": [1.0, 2.0] }] } },
        { "name": "empty", "gauge": { "dataPoints": [number(1000, json!({}), json!([]))] } },
        { "name": "none" },
        { "name": "good", "gauge": { "dataPoints": [point()] } },
    ]));
    assert_eq!(incoming.rejected.count, 7);
    let message = incoming.rejected.message().unwrap();
    for part in
        ["cumulative", "explicit_bucket_histogram", "without temporality", "2 bounds", "empty", "none"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    let names: Vec<_> = incoming.batch.iter().filter_map(|(labels, _)| labels.metric()).collect();
    assert_eq!(names, ["good", "target_info"]);
    let json = answer(Encoding::Json, incoming.rejected.count, Some(message));
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["partialSuccess"]["rejectedDataPoints"], "7");
}

#[test]
fn protobuf_is_read_and_malformed_bytes_are_said() {
    let request: ExportMetricsServiceRequest =
        serde_json::from_value(request(json!([{ "name": "g", "gauge": {
            "dataPoints": [number(7, json!({ "asDouble": 1.5 }), json!([]))] } }])))
        .unwrap();
    let bytes = request.encode_to_vec();
    let incoming = read(&bytes, Encoding::Protobuf).unwrap();
    assert_eq!(incoming.batch[0].1[0].value, 1.5);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let _ = read(&damaged, Encoding::Protobuf);
        let _ = read(&bytes[..at], Encoding::Protobuf);
    }
    assert!(matches!(read(b"{", Encoding::Json), Err(Unreadable::Malformed(_))));
    assert!(matches!(read(b"\xff", Encoding::Protobuf), Err(Unreadable::Malformed(_))));
}
