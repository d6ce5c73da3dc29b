//! Logs that the hub keeps: what senders bring is found, once and without secrets, and nothing else depends on it.

use std::{io::Write as _, process::Command, time::Duration};

use backstay_api::{
    Empty, Role,
    v1::{CountLogs, GetTelemetry, LogCount, LogLevel, LogOrder, LogSearch, Page, SearchLogs, StoredLine},
};
use backstay_testkit::Senders;
use backstay_types::{Clock as _, Secret};
use serde_json::{Value, json};

use crate::{
    harness::{TestHub, http},
    telemetry::{JSON, everything_else_works, real_hub, send},
};

const OTLP: &str = "/otlp/v1/logs";
const LOKI: &str = "/loki/api/v1/push";

fn nanos(hub: &TestHub) -> i128 {
    hub.clock.now().as_nanosecond()
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A request with some lines: how long ago in seconds, how severe, what.
fn request(hub: &TestHub, service: &str, lines: &[(i128, u8, &str)]) -> Vec<u8> {
    let record = |(ago, severity, body): &(i128, u8, &str)| {
        json!({
            "timeUnixNano": (nanos(hub) - ago * 1_000_000_000).to_string(),
            "severityNumber": severity, "body": { "stringValue": body },
        })
    };
    let records: Vec<_> = lines.iter().map(record).collect();
    let about = [
        attribute("service.name", service),
        attribute("host.name", "claimed"),
        attribute("session.id", "c-7"),
    ];
    json!({ "resourceLogs": [{ "resource": { "attributes": about }, "scopeLogs": [{ "logRecords": records }] }] })
        .to_string()
        .into_bytes()
}

async fn search(hub: &TestHub, search: LogSearch) -> Page<StoredLine> {
    hub.admin().call::<SearchLogs>(&Empty {}, &search, &Empty {}).await.unwrap()
}

async fn texts(hub: &TestHub, wanted: LogSearch) -> Vec<String> {
    search(hub, wanted).await.items.into_iter().map(|line| line.text).collect()
}

fn wanted() -> LogSearch {
    LogSearch { order: Some(LogOrder::Oldest), ..LogSearch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_in_by_otlp_and_are_found() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await.joined.credential;
    let operator = hub.token(Role::Operator).await;
    let lines = [(30, 9, "started"), (20, 17, "DB_PASSWORD=hunter2hunter refused"), (10, 9, "went on")];
    let body = request(&hub, "shop", &lines);
    assert_eq!(send(&hub, OTLP, None, &JSON, body.clone()).await.0, 401);
    let viewer = hub.token(Role::Viewer).await;
    assert_eq!(send(&hub, OTLP, Some(&viewer), &JSON, body.clone()).await.0, 403);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&body).unwrap();
    let packed = [JSON[0], ("content-encoding", "gzip")];
    let sent = send(&hub, OTLP, Some(&agent), &packed, gzip.finish().unwrap()).await;
    assert_eq!((sent.0, &*sent.2), (200, "{}"), "{sent:?}");
    assert_eq!(send(&hub, OTLP, Some(&agent), &JSON, body).await.0, 200, "again changes nothing");
    let other = request(&hub, "mail", &[(5, 13, "slow")]);
    assert_eq!(send(&hub, OTLP, Some(&operator), &JSON, other).await.0, 200);

    let all = ["started", "DB_PASSWORD=[hidden] refused", "went on", "slow"];
    assert_eq!(texts(&hub, wanted()).await, all);
    let of_node = LogSearch { node: Some("web-1".into()), ..wanted() };
    assert_eq!(texts(&hub, of_node).await, all[..3], "by what the hub knows of the sender");
    let conversation =
        LogSearch { conversation: Some("c-7".into()), service: Some("mail".into()), ..wanted() };
    assert_eq!(texts(&hub, conversation).await, ["slow"]);
    let refused = LogSearch { text: Some("refused".into()), level: Some(LogLevel::Warn), ..wanted() };
    assert_eq!(texts(&hub, refused).await, all[1..2]);
    let first = search(&hub, LogSearch { limit: Some(3), ..LogSearch::default() }).await;
    assert_eq!(first.items.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["slow", "went on", all[1]]);
    let rest = LogSearch { limit: Some(3), cursor: first.next, ..LogSearch::default() };
    let rest = search(&hub, rest).await;
    assert_eq!((rest.items.len(), rest.next), (1, None));

    let counted = LogCount { step: Some(3600), ..LogCount::default() };
    let counted = hub.admin().call::<CountLogs>(&Empty {}, &counted, &Empty {}).await.unwrap();
    let sum = |level| counted.buckets.iter().filter_map(|bucket| bucket.counts.get(&level)).sum::<u64>();
    assert_eq!([LogLevel::Info, LogLevel::Warn, LogLevel::Error].map(sum), [2, 1, 1]);
    let view = hub.admin().call::<GetTelemetry>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().logs;
    assert_eq!((view.stored, view.duplicates, view.hidden.pattern), (4, 3, 2));
    let hub = hub.restart().await;
    assert_eq!(texts(&hub, wanted()).await, all, "after a start");
    let url = format!("{}/api/v1/logs/export?service=shop", hub.hub.url());
    let exported = http().get(url).bearer_auth(operator.expose()).send().await.unwrap().text().await.unwrap();
    let exported: Vec<StoredLine> =
        exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(exported.iter().map(|line| &*line.text).collect::<Vec<_>>(), all[..3]);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_answered_as_otlp_says() {
    let hub = TestHub::start().await;
    let operator = hub.token(Role::Operator).await;
    let far = [(0, 9, "now"), (-7200, 9, "to come"), (200 * 86_400, 9, "long ago")];
    let (status, _, answer) = send(&hub, OTLP, Some(&operator), &JSON, request(&hub, "a", &far)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["partialSuccess"]["rejectedLogRecords"]), (200, &json!("2")));
    let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("1 from the future"), "{message}");
    let (status, _, answer) = send(&hub, OTLP, Some(&operator), &JSON, b"{".to_vec()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["code"]), (400, &json!(3)), "{answer}");
    let text = [("content-type", "text/plain")];
    assert_eq!(send(&hub, OTLP, Some(&operator), &text, b"x".to_vec()).await.0, 415);
    hub.hub.stop().await;

    // As on a disk that others need.
    let hub = TestHub::with(|settings| settings.telemetry.keep_free_bytes = u64::MAX).await;
    let operator = hub.token(Role::Operator).await;
    let (status, again, said) = send(&hub, OTLP, Some(&operator), &JSON, request(&hub, "a", &far[..1])).await;
    assert_eq!((status, again.as_deref()), (503, Some("5")), "{said}");
    everything_else_works(&hub).await;
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loki_pushes() {
    let hub = TestHub::start().await;
    let operator = hub.token(Role::Operator).await;
    let push = |body: Value| {
        let hub = &hub;
        let operator = operator.clone();
        async move { send(hub, LOKI, Some(&operator), &JSON, body.to_string().into_bytes()).await }
    };
    let at = nanos(&hub).to_string();
    let stream = json!({ "service_name": "shop", "level": "error" });
    let body = json!({ "streams": [{ "stream": stream, "values": [[at, "no", { "trace_id": "AB12" }]] }] });
    let sent = push(body).await;
    assert_eq!(sent.0, 204, "{sent:?}");
    let found = search(&hub, LogSearch { trace: Some("ab12".into()), ..wanted() }).await.items;
    assert_eq!((found.len(), &*found[0].text, found[0].level), (1, "no", LogLevel::Error));
    let old = json!({ "streams": [{ "stream": {}, "values": [["1000", "old"], [at, "new"]] }] });
    let (status, _, said) = push(old).await;
    assert!(status == 400 && said.contains("BS0036") && said.contains("1 older"), "{said}");
    assert_eq!(texts(&hub, wanted()).await.len(), 2, "the rest is stored");
    let (status, _, said) = push(json!({ "streams": 5 })).await;
    assert!(status == 400 && said.contains("BS0033"), "{said}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_one_sender_is_held_off_and_the_others_go_on() {
    let hub = TestHub::with(|settings| settings.telemetry.logs_bytes_per_second = 1024).await;
    let noisy = hub.join("noisy").await.joined.credential;
    let quiet = hub.join("quiet").await.joined.credential;
    let long = "x".repeat(60_000);
    let send_as = async |who: &Secret, n: u8| {
        let body = request(&hub, "a", &[(i128::from(n), 9, &long)]);
        send(&hub, OTLP, Some(who), &JSON, body).await
    };
    let mut taken = 0;
    let held = loop {
        let answer = send_as(&noisy, taken).await;
        if answer.0 != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken < 10);
    };
    assert_eq!(held.0, 429);
    assert!(held.1.is_some() && held.2.contains("BS0035") && held.2.contains("node noisy"), "{held:?}");
    assert_eq!(send_as(&quiet, 0).await.0, 200);
    hub.clock.advance(Duration::from_secs(120));
    assert_eq!(send_as(&noisy, 100).await.0, 200, "later");
    let view = hub.admin().call::<GetTelemetry>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().logs;
    assert_eq!(view.held_off, 1);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_along_sees_what_was_there_and_what_comes() {
    let hub = TestHub::start().await;
    let operator = hub.token(Role::Operator).await;
    let early = request(&hub, "shop", &[(20, 9, "one"), (10, 9, "two")]);
    assert_eq!(send(&hub, OTLP, Some(&operator), &JSON, early).await.0, 200);
    let url = format!("{}/api/v1/logs/tail?service=shop&limit=1", hub.hub.url());
    let mut stream = http().get(url).bearer_auth(operator.expose()).send().await.unwrap();
    let mut text = String::new();
    // What was there says that the stream listens.
    while !text.contains("\"two\"") {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(
        send(&hub, OTLP, Some(&operator), &JSON, request(&hub, "mail", &[(6, 9, "other")])).await.0,
        200
    );
    assert_eq!(
        send(&hub, OTLP, Some(&operator), &JSON, request(&hub, "shop", &[(5, 9, "three")])).await.0,
        200
    );
    while !text.contains("\"three\"") {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("\"one\"") && !text.contains("\"other\""), "{text}");
    hub.hub.stop().await;
}

const SENDER: &str = r#"
import logging, sys
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

url, token = sys.argv[1:]
provider = LoggerProvider(resource=Resource({"service.name": "shop", "session.id": "c-9"}))
exporter = OTLPLogExporter(endpoint=url + "/otlp/v1/logs", headers={"Authorization": "Bearer " + token})
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
logger = logging.getLogger("cart")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=provider))
logger.info("started")
logger.error("no answer from %s", "db-1", extra={"attempt": 3})
assert provider.force_flush()
provider.shutdown()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetrys_own_sdk_sends() {
    let Some(senders) = Senders::require() else { return };
    let (hub, _folder) = real_hub().await;
    let (url, token) = (hub.url(), hub.admin_token().clone());
    let output = tokio::task::spawn_blocking({
        let (url, secret) = (url.clone(), token.expose().to_owned());
        move || Command::new(senders.python()).args(["-c", SENDER, &url, &secret]).output().unwrap()
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("Failed"), "{said}");
    let asked = http().get(format!("{url}/api/v1/logs?order=oldest&conversation=c-9&service=shop"));
    let found = asked.bearer_auth(token.expose()).send().await.unwrap().text().await.unwrap();
    let found: Page<StoredLine> = serde_json::from_str(&found).unwrap_or_else(|_| panic!("{found}"));
    let lines: Vec<_> = found.items.iter().map(|line| (&*line.text, line.level)).collect();
    assert_eq!(lines, [("started", LogLevel::Info), ("no answer from db-1", LogLevel::Error)]);
    assert_eq!(found.items[1].attributes["attempt"], 3);
    hub.stop().await;
}
