//! CloudEvents 1.0, for tools that have no adapter: structured, batched and binary mode.
//!
//! | type | `data` |
//! |---|---|
//! | `dev.backstay.session.started` | conversation, `resumed_from?`, `summary?` |
//! | `dev.backstay.session.ended` | conversation, `summary?` |
//! | `dev.backstay.tool.called` | conversation, `name`, `params?`, `result?`, `commits?` |
//! | `dev.backstay.tool.failed` | the same, `error?` |
//! | `dev.backstay.turn.ended` | conversation, `summary?` |
//! | `dev.backstay.commit.created` | conversation, `commits` |
//! | `dev.backstay.test` | nothing: the address is tested |
//! | `dev.backstay.repository.pushed` | `repository.clone_url`, `ref`, `before`, `after` |
//!
//! Conversation: `tool` (a name such as `my-assistant`), and `session_key` or `session_id`, of which
//! the key decides when both are there; `run_id?`, `folder?`.

use backstay_types::{ForeignId, ToolEventKind};
use serde_json::Value;

use super::git_hosts;
use crate::{
    ConversationRef, Incoming, Normalised, SessionEvent, What, commits,
    json::{id, kind, text, time},
    summary,
};

const PREFIX: &str = "dev.backstay.";

pub(super) fn normalise(incoming: &Incoming<'_>) -> Vec<Normalised> {
    let content_type = incoming.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let body = serde_json::from_slice::<Value>(incoming.body);
    if content_type.starts_with("application/cloudevents-batch+json") {
        return match body {
            Ok(Value::Array(events)) => events.iter().map(structured).collect(),
            Ok(other) => {
                vec![Normalised::unrecognised(format!("the batch is {}: expected a list", kind(&other)))]
            }
            Err(error) => vec![Normalised::unrecognised(format!("not JSON: {error}"))],
        };
    }
    if incoming.header("ce-specversion").is_some() && !content_type.starts_with("application/cloudevents") {
        let header = |name: &str| incoming.header(name).map(|value| Value::from(percent_decoded(value)));
        let attributes = ["specversion", "id", "source", "type", "time"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), header(&format!("ce-{name}"))?)));
        let mut event = Value::Object(attributes.collect());
        return match body {
            Ok(data) => {
                event["data"] = data;
                vec![structured(&event)]
            }
            Err(error) => vec![Normalised::unrecognised(format!("`data` is not JSON: {error}"))],
        };
    }
    match body {
        Ok(event) => vec![structured(&event)],
        Err(error) => vec![Normalised::unrecognised(format!("not JSON: {error}"))],
    }
}

fn structured(event: &Value) -> Normalised {
    let key = text(event, "source")
        .zip(text(event, "id"))
        .and_then(|(source, id)| serde_json::to_string(&[source, id]).ok());
    let at = event.get("time").and_then(time);
    match understand(event) {
        Ok(what) => Normalised { key, at, what },
        Err(reason) => Normalised { key, at, what: What::Unrecognised { reason } },
    }
}

fn understand(event: &Value) -> Result<What, String> {
    match text(event, "specversion") {
        Some(version) if version.starts_with("1.") => {}
        Some(_) => return Err("`specversion`: expected 1.0".to_owned()),
        None => return Err("no `specversion`: expected a CloudEvent 1.0".to_owned()),
    }
    for name in ["id", "source"] {
        text(event, name).ok_or_else(|| format!("no `{name}`"))?;
    }
    let full = text(event, "type").ok_or("no `type`")?;
    let unknown = || format!("the type `{}` is not known", summary::line(full));
    let name = full.strip_prefix(PREFIX).ok_or_else(unknown)?;
    if name == "test" {
        return Ok(What::Ignored { reason: "a test of the address".to_owned() });
    }
    let data = event.get("data").ok_or("no `data`")?;
    let kind = match name {
        "repository.pushed" => return Ok(git_hosts::push(data, "repository", &["clone_url", "ssh_url"]).what),
        "session.started" => ToolEventKind::SessionStarted,
        "session.ended" => ToolEventKind::SessionEnded,
        "tool.called" => ToolEventKind::ToolCall,
        "tool.failed" => ToolEventKind::ToolCallFailed,
        "turn.ended" => ToolEventKind::TurnEnded,
        "commit.created" => ToolEventKind::Other,
        _ => return Err(unknown()),
    };
    session(data, kind, name).map(What::Session)
}

fn session(data: &Value, kind: ToolEventKind, name: &str) -> Result<SessionEvent, String> {
    let conversation = conversation(data)?;
    let (params, result) = (data.get("params"), data.get("result"));
    let mut made = commits::made_by(params, result);
    if let Some(Value::Array(listed)) = data.get("commits") {
        let ids = listed.iter().filter_map(Value::as_str).filter(|id| commits::is_id(id));
        made.extend(ids.map(str::to_owned));
    }
    made.sort();
    made.dedup();
    let default = || name.replace('.', " ");
    let summary = match kind {
        ToolEventKind::ToolCall | ToolEventKind::ToolCallFailed => {
            let tool = text(data, "name").ok_or("a tool's call without `name`")?;
            summary::tool_call(tool, params, text(data, "error"))
        }
        _ => text(data, "summary").map_or_else(default, summary::line),
    };
    if name == "commit.created" && made.is_empty() {
        return Err("`commits` holds no commit's id".to_owned());
    }
    let folder = text(data, "folder").map(str::to_owned);
    Ok(SessionEvent { conversation, kind, summary, commits: made, folder })
}

fn conversation(data: &Value) -> Result<ConversationRef, String> {
    let tool = id(data, "tool").ok_or("`data` without `tool`")?;
    let foreign = |kind: &str, value: &str| ForeignId {
        tool: tool.to_owned(),
        kind: kind.to_owned(),
        value: value.to_owned(),
    };
    let named = ["session_key", "session_id", "run_id"];
    let foreign_ids: Vec<_> = named.iter().filter_map(|kind| Some(foreign(kind, id(data, kind)?))).collect();
    let key = foreign_ids.iter().find(|id| id.kind != "run_id");
    let key = key.ok_or("`data` without `session_key` and `session_id`")?.clone();
    let resumed_from = id(data, "resumed_from").map(|value| foreign("session_id", value));
    Ok(ConversationRef { key, foreign_ids, resumed_from })
}

/// Values of `ce-` headers are percent-encoded UTF-8 (HTTP binding 3.1.3.2).
pub(crate) fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|pair| hex::decode(pair).ok());
        match (first, digits) {
            (b'%', Some(byte)) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
