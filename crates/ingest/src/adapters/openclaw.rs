//! Our plugin for OpenClaw: batches of `{id, hook, at, event, context}`.
//!
//! `event` and `context` are what OpenClaw gives a plugin's hook, unchanged. The session key decides
//! the conversation: it outlives session ids.

use backstay_types::{ForeignId, ToolEventKind};
use serde_json::Value;

use crate::{
    ConversationRef, Normalised, SessionEvent, What, commits,
    json::{id, kind, text, time},
    summary,
};

const TOOL: &str = "openclaw";

pub(super) fn normalise(body: &Value) -> Vec<Normalised> {
    match body.get("events") {
        Some(Value::Array(events)) => events.iter().map(event).chain(dropped(body)).collect(),
        Some(other) => {
            vec![Normalised::unrecognised(format!("`events` is {}: expected a list", kind(other)))]
        }
        None => vec![Normalised::unrecognised("no `events`: expected a batch of the Backstay plugin")],
    }
}

/// The plugin had to let events go before the hub had them. That must be seen.
fn dropped(body: &Value) -> Option<Normalised> {
    let count = body.get("dropped")?.as_u64().filter(|count| *count > 0)?;
    Some(Normalised::unrecognised(format!(
        "the plugin's spool was full: {count} events before these are lost"
    )))
}

fn event(entry: &Value) -> Normalised {
    let what = understand(entry).unwrap_or_else(|reason| What::Unrecognised { reason });
    Normalised { key: id(entry, "id").map(str::to_owned), at: entry.get("at").and_then(time), what }
}

fn understand(entry: &Value) -> Result<What, String> {
    let hook = text(entry, "hook").ok_or("an entry without `hook`")?;
    let event = entry.get("event").unwrap_or(&Value::Null);
    let context = entry.get("context").unwrap_or(&Value::Null);
    let conversation = conversation(event, context)
        .ok_or_else(|| format!("`{hook}` without sessionKey and sessionId: it belongs to no conversation"))?;
    let (kind, summary, commits) = match hook {
        "session_start" => {
            let resumed = conversation.resumed_from.is_some();
            let said = if resumed { "session resumed" } else { "session started" };
            (ToolEventKind::SessionStarted, said.to_owned(), Vec::new())
        }
        "session_end" => {
            let reason = text(event, "reason").unwrap_or("unknown");
            (ToolEventKind::SessionEnded, summary::line(&format!("session ended: {reason}")), Vec::new())
        }
        "agent_end" => (ToolEventKind::TurnEnded, "turn ended".to_owned(), Vec::new()),
        "after_tool_call" => tool_call(event)?,
        other => return Err(format!("the hook `{}` is not known", summary::line(other))),
    };
    Ok(What::Session(SessionEvent { conversation, kind, summary, commits, folder: folder(event) }))
}

fn tool_call(event: &Value) -> Result<(ToolEventKind, String, Vec<String>), String> {
    let tool = text(event, "toolName").ok_or("`after_tool_call` without toolName")?;
    let params = event.get("params");
    let error = match event.get("error") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(text(other, "message").map_or_else(|| other.to_string(), str::to_owned)),
    };
    let kind = if error.is_some() { ToolEventKind::ToolCallFailed } else { ToolEventKind::ToolCall };
    let commits = commits::made_by(params, event.get("result"));
    Ok((kind, summary::tool_call(tool, params, error.as_deref()), commits))
}

fn folder(event: &Value) -> Option<String> {
    let params = event.get("params")?;
    ["workdir", "cwd"].iter().find_map(|key| text(params, key)).map(str::to_owned)
}

fn conversation(event: &Value, context: &Value) -> Option<ConversationRef> {
    let both = |key: &str| id(context, key).or_else(|| id(event, key));
    let foreign = |kind: &str, value: &str| ForeignId {
        tool: TOOL.to_owned(),
        kind: kind.to_owned(),
        value: value.to_owned(),
    };
    let named = [("session_key", "sessionKey"), ("session_id", "sessionId"), ("run_id", "runId")];
    let foreign_ids: Vec<ForeignId> =
        named.iter().filter_map(|(kind, key)| Some(foreign(kind, both(key)?))).collect();
    // A run alone is too short-lived to be a conversation.
    let key = foreign_ids.iter().find(|id| id.kind != "run_id")?.clone();
    let resumed_from = id(event, "resumedFrom").map(|value| foreign("session_id", value));
    Some(ConversationRef { key, foreign_ids, resumed_from })
}
