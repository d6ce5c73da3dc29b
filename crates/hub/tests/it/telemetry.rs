//! Metrics: what senders bring is there afterwards, whoever sends it, and nothing else depends on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::Command,
    sync::Arc,
    time::Duration,
};

use backstay_api::{
    Empty, Role,
    agent::CheckInRequest,
    v1::{GetHub, GetTelemetry, TelemetryView},
};
use backstay_hub::Hub;
use backstay_testkit::{Prometheus, Senders};
use backstay_types::{Clock, Secret, SeededEntropy, Timestamp, World};
use prost::Message;
use serde_json::{Value, json};

use crate::harness::{TestHub, hello, http};

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    at: i64,
}

fn write_request(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
    let samples = samples.iter().map(|(at, value)| Sample { value: *value, at: *at }).collect();
    let series = Series { labels: labels.iter().map(label).collect(), samples };
    let bytes = WriteRequest { series: vec![series] }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&bytes).unwrap()
}

const REMOTE_WRITE: [(&str, &str); 2] =
    [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
pub(crate) const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Sends to the hub; status, when to come again, and body.
pub(crate) async fn send(
    hub: &TestHub,
    path: &str,
    token: Option<&Secret>,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Option<String>, String) {
    let mut request = http().post(format!("{}{path}", hub.hub.url())).body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let again = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), again, response.text().await.unwrap())
}

async fn write(hub: &TestHub, token: &Secret, body: Vec<u8>) -> (u16, Option<String>, String) {
    send(hub, "/prometheus/api/v1/write", Some(token), &REMOTE_WRITE, body).await
}

/// What is stored, by labels as JSON.
async fn export(url: &str, token: &Secret, query: &str) -> BTreeMap<String, Vec<(i64, f64)>> {
    let request = http().get(format!("{url}/api/v1/telemetry/export?{query}")).bearer_auth(token.expose());
    let text = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
    let line = |line: &str| -> (String, Vec<(i64, f64)>) {
        let line: Value = serde_json::from_str(line).unwrap();
        let sample = |pair: &Value| (pair[0].as_i64().unwrap(), pair[1].as_str().unwrap().parse().unwrap());
        (line["labels"].to_string(), line["samples"].as_array().unwrap().iter().map(sample).collect())
    };
    text.lines().map(line).collect()
}

async fn status(hub: &TestHub) -> TelemetryView {
    hub.admin().call::<GetTelemetry>(&Empty {}, &Empty {}, &Empty {}).await.unwrap()
}

fn now(hub: &TestHub) -> i64 {
    hub.clock.now().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_writes_and_what_it_is_told_is_right() {
    let hub = TestHub::with(|settings| settings.telemetry.own_every = Duration::ZERO).await;
    let operator = hub.token(Role::Operator).await;
    let at = now(&hub);
    let up = [("__name__", "up"), ("job", "a")];
    let good = || write_request(&up, &[(at, 1.0), (at + 1, 2.0)]);
    assert_eq!(send(&hub, "/prometheus/api/v1/write", None, &REMOTE_WRITE, good()).await.0, 401);
    let viewer = hub.token(Role::Viewer).await;
    assert_eq!(write(&hub, &viewer, good()).await.0, 403);
    // Who it is comes before what it is.
    assert_eq!(send(&hub, "/prometheus/api/v1/write", None, &[], b"x".to_vec()).await.0, 401);
    assert_eq!(write(&hub, &operator, good()).await.0, 204);
    assert_eq!(write(&hub, &operator, good()).await.0, 204, "again changes nothing");
    let other = write(&hub, &operator, write_request(&up, &[(at, 7.0), (at + 2, 3.0)])).await;
    assert_eq!(other.0, 400, "not to be repeated");
    assert!(
        other.2.contains("BS0034") && other.2.contains("1 samples of the batch are stored"),
        "{}",
        other.2
    );
    let v2 =
        [("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), REMOTE_WRITE[1]];
    assert_eq!(send(&hub, "/prometheus/api/v1/write", Some(&operator), &v2, good()).await.0, 415);
    let malformed = write(&hub, &operator, b"\x05nonsense".to_vec()).await;
    assert!(malformed.0 == 400 && malformed.2.contains("BS0033"), "{malformed:?}");
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 100 << 20]).unwrap();
    assert_eq!(write(&hub, &operator, bomb).await.0, 413);

    let agent = hub.join("web-1").await.joined.credential;
    let claims = write_request(&[("__name__", "load"), ("node", "another")], &[(at, 0.5)]);
    assert_eq!(write(&hub, &agent, claims).await.0, 204);
    let all = export(&hub.hub.url(), &viewer, "").await;
    let expected = BTreeMap::from([
        (json!({ "__name__": "up", "job": "a" }).to_string(), vec![(at, 1.0), (at + 1, 2.0), (at + 2, 3.0)]),
        (json!({ "__name__": "load", "node": "web-1" }).to_string(), vec![(at, 0.5)]),
    ]);
    assert_eq!(all, expected);
    let view = status(&hub).await;
    assert_eq!((view.stored, view.duplicates, view.refused.conflicts), (4, 2, 1));
    let hub = hub.restart().await;
    assert_eq!(export(&hub.hub.url(), &viewer, "").await, expected, "after a start");
    assert_eq!(export(&hub.hub.url(), &viewer, "metric=up&labels=job%3Da").await.len(), 1);
    assert_eq!(export(&hub.hub.url(), &viewer, "labels=job%3Db").await.len(), 0);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_is_taken_and_answers_as_its_specification_says() {
    let hub = TestHub::with(|settings| settings.telemetry.own_every = Duration::ZERO).await;
    let operator = hub.token(Role::Operator).await;
    let nanos = (now(&hub) * 1_000_000).to_string();
    let point = json!([{ "timeUnixNano": nanos, "asInt": "5" }]);
    let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
        { "name": "queue.depth", "gauge": { "dataPoints": point } },
        { "name": "sent", "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": point } },
    ]}]}]})
    .to_string()
    .into_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&body).unwrap();
    let packed = gzip.finish().unwrap();
    let path = "/otlp/v1/metrics";
    assert_eq!(send(&hub, path, None, &JSON, body.clone()).await.0, 401);
    let headers = [JSON[0], ("content-encoding", "gzip")];
    for (headers, body) in [(&headers[..], packed), (&JSON[..], body.clone())] {
        let (status, _, answer) = send(&hub, path, Some(&operator), headers, body).await;
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "1");
        assert!(
            answer["partialSuccess"]["errorMessage"].as_str().unwrap().contains("cumulative"),
            "{answer}"
        );
    }
    let (status, _, answer) = send(&hub, path, Some(&operator), &JSON, b"{".to_vec()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["code"]), (400, &json!(3)), "{answer}");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    bomb.write_all(&vec![b' '; 64 << 20]).unwrap();
    assert_eq!(send(&hub, path, Some(&operator), &headers, bomb.finish().unwrap()).await.0, 413);
    assert_eq!(send(&hub, path, Some(&operator), &[("content-type", "text/plain")], body).await.0, 415);
    let all = export(&hub.hub.url(), &operator, "").await;
    assert_eq!(all.keys().collect::<Vec<_>>(), [&json!({ "__name__": "queue_depth" }).to_string()]);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_told_to_come_again_and_nothing_else_depends_on_it() {
    // As on a disk that others need.
    let hub = TestHub::with(|settings| settings.telemetry.keep_free_bytes = u64::MAX).await;
    let operator = hub.token(Role::Operator).await;
    let body = || write_request(&[("__name__", "up")], &[(now(&hub), 1.0)]);
    let (status_code, again, said) = write(&hub, &operator, body()).await;
    assert_eq!((status_code, again.as_deref()), (503, Some("5")), "{said}");
    assert!(said.contains("BS0031") && said.contains("free bytes"), "{said}");
    let (status_code, again, _) =
        send(&hub, "/otlp/v1/metrics", Some(&operator), &JSON, otlp_body(&hub)).await;
    assert_eq!((status_code, again.as_deref()), (503, Some("5")));
    everything_else_works(&hub).await;
    hub.hub.stop().await;

    // A folder that cannot be one.
    let file = tempfile::NamedTempFile::new().unwrap();
    let hub = TestHub::with(|settings| settings.telemetry.folder = Some(file.path().to_owned())).await;
    let operator = hub.token(Role::Operator).await;
    let (status_code, _, said) = write(&hub, &operator, write_request(&[("__name__", "up")], &[])).await;
    assert!(status_code == 503 && said.contains("BS0032"), "{said}");
    assert!(status(&hub).await.problem.is_some());
    everything_else_works(&hub).await;
    hub.hub.stop().await;
}

fn otlp_body(hub: &TestHub) -> Vec<u8> {
    let point = json!([{ "timeUnixNano": (now(hub) * 1_000_000).to_string(), "asInt": "5" }]);
    let metrics = json!([{ "name": "x", "gauge": { "dataPoints": point } }]);
    json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": metrics }] }] }).to_string().into_bytes()
}

/// A repository is read, a node joins and is told what to run.
pub(crate) async fn everything_else_works(hub: &TestHub) {
    let (_git, _repository) = hub.repository().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(15_000) }).await;
    assert!(answer.statement.is_some(), "a deployment goes on");
    hub.admin().call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_keeps_its_own_metrics() {
    let hub = TestHub::with(|settings| settings.telemetry.own_every = Duration::from_secs(1)).await;
    let viewer = hub.token(Role::Viewer).await;
    let mut found = BTreeMap::new();
    for _ in 0..100 {
        found = export(&hub.hub.url(), &viewer, "labels=job%3Dbackstay-hub").await;
        if found.values().any(|samples| samples.len() >= 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let names: Vec<String> = found
        .keys()
        .map(|labels| serde_json::from_str::<Value>(labels).unwrap()["__name__"].to_string())
        .collect();
    for name in ["up", "backstay_ledger_head", "backstay_telemetry_active_series"] {
        assert!(names.contains(&format!("\"{name}\"")), "{name}: {names:?}");
    }
    hub.hub.stop().await;
}

/// The machine's clock, for real senders.
#[derive(Debug)]
struct RealClock;

impl Clock for RealClock {
    #[allow(clippy::disallowed_methods, reason = "real senders send what the machine's clock says")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

pub(crate) async fn real_hub() -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = backstay_config::Settings::default();
    settings.hub.listen = "127.0.0.1:0".parse().unwrap();
    settings.hub.data_dir = folder.path().join("hub");
    settings.telemetry.own_every = Duration::ZERO;
    let world = World::new(Arc::new(RealClock), Arc::new(SeededEntropy::new(7)));
    (Hub::start(settings, world).await.unwrap(), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_writes_and_the_hub_has_what_it_has() {
    let (hub, _folder) = real_hub().await;
    let token = hub.admin_token().clone();
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: itself\n    static_configs:\n      - targets: \
         ['SELF']\nremote_write:\n  - url: {}/prometheus/api/v1/write\n    authorization:\n      credentials: {}\n    \
         queue_config:\n      batch_send_deadline: 1s\n    metadata_config:\n      send_interval: 2s\n",
        hub.url(),
        token.expose()
    );
    let Some(prometheus) = Prometheus::require_with(&config) else { return };
    // Ten scrapes, and time to send them.
    tokio::time::sleep(Duration::from_secs(14)).await;
    #[allow(clippy::disallowed_methods, reason = "Prometheus goes by the machine's clock")]
    let until = Timestamp::now().as_millisecond() - 3000;
    let at = (until as f64 / 1000.0).to_string();
    let form = [("query", r#"{job="itself"}[1h]"#), ("time", &*at)];
    let theirs = prometheus.ask("query", &form);
    let mut expected: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    for series in theirs["data"]["result"].as_array().unwrap() {
        let sample = |pair: &Value| {
            let at = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            (at, pair[1].as_str().unwrap().replace("Inf", "inf").parse::<f64>().unwrap())
        };
        let samples = series["values"].as_array().unwrap().iter().map(sample).collect();
        expected.insert(series["metric"].to_string(), samples);
    }
    let to = Timestamp::from_millisecond(until).unwrap();
    // A mark of staleness is no number, and neither is the quantile of nothing: where there is nothing else, what was
    // exported does not say which it is.
    let stale = |samples: &Vec<(i64, f64)>| samples.iter().all(|(_, value)| value.is_nan());
    expected.retain(|_, samples| !stale(samples));
    let count = |all: &BTreeMap<String, Vec<(i64, f64)>>| all.values().map(Vec::len).sum::<usize>();
    // On a busy machine the last of them come later.
    let mut ours = BTreeMap::new();
    for _ in 0..60 {
        let found = export(&hub.url(), &token, &format!("labels=job%3Ditself&to={to}")).await;
        ours = found.into_iter().filter(|(_, samples)| !stale(samples)).collect();
        if count(&ours) >= count(&expected) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(expected.len() > 300, "{} series", expected.len());
    let names = |all: &BTreeMap<String, Vec<(i64, f64)>>| all.keys().cloned().collect::<BTreeSet<_>>();
    let (had, has) = (names(&expected), names(&ours));
    assert_eq!(had.symmetric_difference(&has).collect::<Vec<_>>(), Vec::<&String>::new());
    let mut compared = 0;
    for (labels, samples) in &expected {
        let bits =
            |samples: &[(i64, f64)]| samples.iter().map(|(at, v)| (*at, v.to_string())).collect::<Vec<_>>();
        assert_eq!(bits(&ours[labels]), bits(samples), "{labels}");
        compared += samples.len();
    }
    assert!(compared > 3000, "{compared} samples");
    println!(
        "{} series and {compared} samples are the same as Prometheus {} has",
        expected.len(),
        prometheus.version()
    );
    hub.stop().await;
}

const SENDER: &str = r#"
import sys
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

url, token = sys.argv[1:]
exporter = OTLPMetricExporter(endpoint=url + "/otlp/v1/metrics", headers={"Authorization": "Bearer " + token})
resource = Resource({"service.name": "shop", "service.instance.id": "i-1", "host.name": "h"})
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3600000)
provider = MeterProvider(metric_readers=[reader], resource=resource)
meter = provider.get_meter("test")
requests = meter.create_counter("http.requests", unit="1", description="What came")
requests.add(3, {"http.method": "GET"})
requests.add(4, {"http.method": "GET"})
wait = meter.create_histogram("wait", unit="ms")
wait.record(7.5)
meter.create_observable_gauge("temperature", [lambda options: [Observation(21.5)]], unit="Cel")
assert provider.force_flush()
provider.shutdown()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetrys_own_sdk_sends() {
    let Some(senders) = Senders::require() else { return };
    let (hub, _folder) = real_hub().await;
    let token = hub.admin_token().clone();
    let (url, secret) = (hub.url(), token.expose().to_owned());
    let output = tokio::task::spawn_blocking(move || {
        Command::new(senders.python()).args(["-c", SENDER, &url, &secret]).output().unwrap()
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("Failed"), "{said}");
    let all = export(&hub.url(), &token, "").await;
    let last = |labels: Value| {
        let samples = all.get(&labels.to_string()).unwrap_or_else(|| panic!("{labels} in {:#?}", all.keys()));
        samples.last().unwrap().1
    };
    let (job, instance) = ("shop", "i-1");
    assert_eq!(
        last(
            json!({ "__name__": "http_requests_total", "http_method": "GET", "instance": instance, "job": job })
        ),
        7.0
    );
    assert_eq!(last(json!({ "__name__": "temperature_celsius", "instance": instance, "job": job })), 21.5);
    let bucket = |le: &str| json!({ "__name__": "wait_milliseconds_bucket", "instance": instance, "job": job, "le": le });
    assert_eq!((last(bucket("5")), last(bucket("10")), last(bucket("+Inf"))), (0.0, 1.0, 1.0));
    assert!(
        all.keys().any(|labels| labels.contains("target_info") && labels.contains("\"host_name\":\"h\""))
    );
    hub.stop().await;
}
