//! Claude Code's hooks, as it posts them (type `http`), and as our command for `SessionStart` does.
//!
//! The session id decides the conversation.

use backstay_types::{ForeignId, ToolEventKind};
use serde_json::Value;

use crate::{
    ConversationRef, Normalised, SessionEvent, What, commits,
    json::{id, kind, text},
    summary,
};

const TOOL: &str = "claude-code";

pub(super) fn normalise(body: &Value) -> Normalised {
    let what = understand(body).unwrap_or_else(|reason| What::Unrecognised { reason });
    // A tool's use is reported once, so its id is the event's.
    let key = id(body, "tool_use_id")
        .zip(id(body, "session_id"))
        .map(|(call, session)| format!("{session}/{call}"));
    Normalised { key, at: None, what }
}

fn understand(body: &Value) -> Result<What, String> {
    if !body.is_object() {
        return Err(format!("the body is {}: expected an object", kind(body)));
    }
    let hook = text(body, "hook_event_name").ok_or("no `hook_event_name`")?;
    if hook == "BackstayTest" {
        return Ok(What::Ignored { reason: "a test of the address".to_owned() });
    }
    let session =
        id(body, "session_id").ok_or_else(|| format!("`{}` without session_id", summary::line(hook)))?;
    let foreign = |value: &str| ForeignId {
        tool: TOOL.to_owned(),
        kind: "session_id".to_owned(),
        value: value.to_owned(),
    };
    let conversation = ConversationRef {
        key: foreign(session),
        foreign_ids: vec![foreign(session)],
        resumed_from: id(body, "resumed_from").filter(|earlier| *earlier != session).map(foreign),
    };
    let (kind, summary, commits) = match hook {
        "SessionStart" => {
            let source = text(body, "source").unwrap_or("startup");
            (ToolEventKind::SessionStarted, summary::line(&format!("session started: {source}")), Vec::new())
        }
        "SessionEnd" => {
            let reason = text(body, "reason").unwrap_or("other");
            (ToolEventKind::SessionEnded, summary::line(&format!("session ended: {reason}")), Vec::new())
        }
        "Stop" => (ToolEventKind::TurnEnded, "turn ended".to_owned(), Vec::new()),
        "PostToolUse" | "PostToolUseFailure" => tool_use(body, hook == "PostToolUseFailure")?,
        other => return Err(format!("the hook `{}` is not known", summary::line(other))),
    };
    let folder = text(body, "cwd").map(str::to_owned);
    Ok(What::Session(SessionEvent { conversation, kind, summary, commits, folder }))
}

fn tool_use(body: &Value, failed: bool) -> Result<(ToolEventKind, String, Vec<String>), String> {
    let tool = text(body, "tool_name").ok_or("a tool's use without tool_name")?;
    let (input, response) = (body.get("tool_input"), body.get("tool_response"));
    let kind = if failed { ToolEventKind::ToolCallFailed } else { ToolEventKind::ToolCall };
    let error = text(body, "error").or_else(|| response.and_then(|response| text(response, "error")));
    let error = error.filter(|_| failed);
    Ok((kind, summary::tool_call(tool, input, error), commits::made_by(input, response)))
}
