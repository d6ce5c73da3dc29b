//! What the journal says, for people and scripts on the node.

use backstay_types::StackName;
use serde_json::{Value, json};

use crate::{
    AgentError, Identity,
    disk::{JournalDb, Layout, read_links},
};

/// The agent's state as one JSON value. Works while the agent runs and while it does not.
pub(crate) fn status(layout: &Layout) -> Result<Value, AgentError> {
    let identity = Identity::load(layout)?;
    let path = layout.journal();
    let (journal, spooled) = match path.exists() {
        true => JournalDb::read(&path)?,
        false => Default::default(),
    };
    let links = |stack: &StackName| read_links(&layout.stack(stack)).unwrap_or_default();
    let stacks: serde_json::Map<_, _> = journal
        .stacks
        .iter()
        .map(|(stack, record)| {
            let value = json!({
                "committed": record.committed.as_ref().map(|c| c.tree),
                "deployment": record.committed.as_ref().and_then(|c| c.deployment),
                "previous": record.previous.as_ref().map(|c| c.tree),
                "ended": record.ended,
                "failures": record.trouble.failures,
                "stopped": record.trouble.stopped,
                "releases": record.validated.keys().collect::<Vec<_>>(),
                "links": links(stack),
            });
            (stack.to_string(), value)
        })
        .collect();
    Ok(json!({
        "hub": identity.hub,
        "node": identity.node,
        "name": identity.name,
        "epoch": journal.held.as_ref().map(|held| held.epoch),
        "generation": journal.held.as_ref().map(|held| held.generation),
        "expires_at": journal.held.as_ref().map(|held| held.expires_at),
        "operation": journal.operation.as_ref().map(|o| json!({
            "stack": o.target.stack, "deployment": o.target.deployment, "tree": o.target.tree,
            "phase": o.phase.word(), "since": o.started_at,
        })),
        "safe_mode": journal.safety.safe_mode,
        "outage": journal.safety.outage,
        "stacks": stacks,
        "unsent_reports": spooled,
        "backup": backup(layout),
    }))
}

/// How far a backup or a restore is, while there is one.
fn backup(layout: &Layout) -> Value {
    let read = std::fs::read(crate::backup::progress_file(layout)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// The same in a few lines.
pub(crate) fn text(status: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let short = |value: &Value| word(value).chars().take(12).collect::<String>();
    let mut text = format!(
        "{} at {}\nstatement: epoch {}, generation {}, until {}\nunsent reports: {}\n",
        word(&status["name"]),
        word(&status["hub"]),
        word(&status["epoch"]),
        word(&status["generation"]),
        word(&status["expires_at"]),
        word(&status["unsent_reports"]),
    );
    if status["operation"].is_object() {
        let operation = &status["operation"];
        text.push_str(&format!(
            "{}: {} {}\n",
            word(&operation["phase"]),
            word(&operation["stack"]),
            short(&operation["tree"])
        ));
    }
    if status["backup"].is_object() {
        let progress = &status["backup"]["progress"];
        text.push_str(&format!(
            "backup: {} {}, {} files, {} bytes\n",
            word(&progress["phase"]),
            word(&progress["stack"]),
            word(&progress["files"]),
            word(&progress["bytes"])
        ));
    }
    for (stack, reason) in status["safe_mode"]["stacks"].as_object().into_iter().flatten() {
        text.push_str(&format!("IN SAFE MODE for {stack}: {}\n", word(reason)));
    }
    for (stack, record) in status["stacks"].as_object().into_iter().flatten() {
        text.push_str(&format!(
            "stack {stack}: {} (before: {})\n",
            short(&record["committed"]),
            short(&record["previous"])
        ));
    }
    text
}
