//! What agents and hubs said to each other when the protocol was first written down, kept as it was: hubs and agents of
//! later versions still understand it, whatever has been added since, and whatever a newer one adds.
//!
//! A frame in `earlier` is never changed once a version with it was released. What a later version must also understand
//! gets a frame of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, fs, path::Path};

use backstay_api::{
    Declaration, Endpoint, Role,
    agent::{
        AgentRequest, CheckIn, CheckInResponse, FinishBackup, JoinNode, NextBackup, Question, ReportBody,
        ReportsRequest, SendAnswer, SendBackupProgress, SendReports,
    },
    declarations,
    statement::{SignedStatement, Statement},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// Reads a message as the program does, and says it again.
type Understand = fn(Value) -> Result<Value, serde_json::Error>;

/// Every frame: whose message it is, and who reads it.
fn frames() -> Vec<(&'static str, &'static str, Understand)> {
    fn asked<E: Endpoint>(file: &'static str) -> (&'static str, &'static str, Understand)
    where
        E::Request: Serialize + DeserializeOwned,
    {
        (E::NAME, file, understand::<E::Request>)
    }
    fn answered<E: Endpoint>(file: &'static str) -> (&'static str, &'static str, Understand)
    where
        E::Response: Serialize + DeserializeOwned,
    {
        (E::NAME, file, understand::<E::Response>)
    }
    vec![
        asked::<JoinNode>("join-request"),
        answered::<JoinNode>("join-response"),
        asked::<CheckIn>("check-in-request"),
        asked::<CheckIn>("check-in-request-quiet"),
        answered::<CheckIn>("check-in-response"),
        asked::<SendReports>("reports-request"),
        answered::<SendReports>("reports-response"),
        asked::<SendAnswer>("answer-logs"),
        asked::<SendAnswer>("answer-new-logs"),
        asked::<SendAnswer>("answer-failed"),
        asked::<NextBackup>("next-backup-request"),
        answered::<NextBackup>("next-backup-response"),
        asked::<SendBackupProgress>("backup-progress"),
        answered::<SendBackupProgress>("backup-go-on"),
        asked::<FinishBackup>("backup-outcome"),
        ("the statement", "statement", understand::<Statement>),
    ]
}

fn understand<T: Serialize + DeserializeOwned>(message: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(message)?)
}

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/earlier/{file}.json"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn frame(file: &str) -> Value {
    serde_json::from_str(&text(file)).unwrap()
}

/// Whether all that is said in `said` is in `kept` too. Nothing and null are the same.
fn holds(kept: &Value, said: &Value) -> bool {
    match (kept, said) {
        (_, Value::Null) => true,
        (Value::Object(kept), Value::Object(said)) => {
            said.iter().all(|(key, value)| holds(kept.get(key).unwrap_or(&Value::Null), value))
        }
        (Value::Array(kept), Value::Array(said)) => {
            kept.len() == said.len() && kept.iter().zip(said).all(|(kept, said)| holds(kept, said))
        }
        _ => kept == said,
    }
}

/// The same message with a field in each object that nobody knows. Labels are what people wrote: there everything counts.
fn with_more(message: Value) -> Value {
    match message {
        Value::Object(fields) => {
            let more = |(key, value)| {
                let value = if key == "labels" { value } else { with_more(value) };
                (key, value)
            };
            let mut fields: Map<_, _> = fields.into_iter().map(more).collect();
            fields.insert("of_a_later_version".to_owned(), json!({ "some": ["thing", 1] }));
            Value::Object(fields)
        }
        Value::Array(all) => all.into_iter().map(with_more).collect(),
        other => other,
    }
}

#[test]
fn what_an_earlier_one_said_is_understood_and_nothing_of_it_is_lost() {
    for (name, file, understand) in frames() {
        let said = frame(file);
        let kept = understand(said.clone()).unwrap_or_else(|error| panic!("{name}, {file}: {error}"));
        // A secret is not said again as it is: it stays one.
        if !text(file).contains("secret") {
            assert!(holds(&kept, &said), "{name}, {file}: {kept:#}");
        }
    }
}

#[test]
fn what_a_later_one_adds_is_left_aside() {
    for (name, file, understand) in frames() {
        let said = frame(file);
        let more = with_more(said.clone());
        assert_ne!(more, said);
        let kept = understand(more).unwrap_or_else(|error| panic!("{name}, {file}: {error}"));
        assert_eq!(kept, understand(said).unwrap(), "{name}, {file}");
    }
}

#[test]
fn every_message_of_the_protocol_has_its_frame() {
    let of_agents = |one: &Declaration| one.path.starts_with("/agent/v1/") || one.role == Role::Agent;
    // These carry bytes, named by their digest.
    let bytes = ["GetPack", "GetAgentBuild"];
    let there: BTreeSet<_> = frames().iter().map(|(name, ..)| *name).collect();
    let all: Vec<_> = declarations().into_iter().filter(of_agents).collect();
    assert!(all.len() >= 9, "{}", all.len());
    for one in all.iter().filter(|one| !bytes.contains(&one.name)) {
        assert!(there.contains(one.name), "tests/earlier has no frame of {}", one.name);
    }
    // Each kind of report stands in its frame.
    let reports: ReportsRequest = serde_json::from_value(frame("reports-request")).unwrap();
    assert!(reports.reports.iter().all(|report| report.body != ReportBody::Unknown));
    let there: BTreeSet<_> = frame("reports-request")["reports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["report"].clone().to_string())
        .collect();
    let schema = schemars::schema_for!(ReportBody).to_value();
    let kinds = schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["properties"]["report"]["const"].to_string());
    let kinds: BTreeSet<_> = kinds.filter(|kind| kind != "\"unknown\"").collect();
    assert_eq!(there, kinds, "kinds of reports");
}

#[test]
fn a_statement_of_an_earlier_hub_opens_by_its_signature() {
    // As it was signed: these bytes, behind these words, with the digest that was computed then.
    let payload = text("statement").trim_end().to_owned().into_bytes();
    let key = SigningKey::from_bytes(&[7; 32]);
    let signature = key.sign(&[b"backstay-statement-1\0".as_slice(), &payload].concat());
    let signed = SignedStatement {
        payload: BASE64_STANDARD.encode(&payload),
        signature: BASE64_STANDARD.encode(signature.to_bytes()),
    };
    let statement = signed.open(&key.verifying_key()).unwrap();
    assert_eq!((statement.generation, statement.stacks.len()), (7, 1));
    assert_eq!((statement.leave_safe_mode, statement.agent), (None, None));
    assert_eq!((statement.stacks[0].data, statement.stacks[0].sources.len()), (None, 0));
}

#[test]
fn what_a_newer_one_reports_or_asks_keeps_nothing_else_from_being_understood() {
    let mut reports = frame("reports-request");
    reports["reports"][0] = json!({
        "id": "0192a0c1-0000-7000-8000-000000000011", "at": "2026-11-21T01:11:25Z",
        "report": "something_new", "detail": 3,
    });
    let all: ReportsRequest = serde_json::from_value(reports).unwrap();
    assert_eq!(all.reports[0].body, ReportBody::Unknown);
    assert_eq!(all.reports.len(), 10);

    let mut answer = frame("check-in-response");
    answer["requests"][0] =
        json!({ "id": "0192a0c1-0000-7000-8000-000000000008", "ask": "something_new", "of": "shop" });
    let answer: CheckInResponse = serde_json::from_value(answer).unwrap();
    assert!(answer.statement.is_some(), "what it should run comes all the same");
    let [AgentRequest { question: Question::Unknown, .. }] = answer.requests[..] else {
        panic!("{:?}", answer.requests);
    };
}
