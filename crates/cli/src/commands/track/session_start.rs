//! What Claude Code's `SessionStart` hook runs: it takes commands only, so this posts for it,
//! and tells the commands of the session which conversation they belong to.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_api::{
    Binary, Empty,
    v1::{ReceiveWebhook, WebhookPath},
};
use backstay_types::ForeignId;
use clap::Args;
use serde_json::Value;

use super::{claude::Claude, commit_msg, webhook};
use crate::{api::Api, context::Context};

/// How long the hub may take to accept the event.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest event that is read, in bytes.
const MAX_EVENT: u64 = 1 << 20;

/// Reads the event from standard input.
#[derive(Debug, Args)]
pub(crate) struct SessionStart {}

impl SessionStart {
    /// Reports the session. A session never waits long for it, and never fails because of it.
    pub(crate) async fn run(self, cx: &Context) {
        let mut event = Vec::new();
        if std::io::stdin().take(MAX_EVENT).read_to_end(&mut event).is_err() {
            return;
        }
        let Ok(value) = serde_json::from_slice::<Value>(&event) else { return };
        let cwd = value["cwd"].as_str().map(PathBuf::from);
        deliver(event, cwd.as_deref()).await;
        let Some(session) = value["session_id"].as_str().filter(|id| is_plain(id)) else { return };
        let Some(env_file) = std::env::var_os("CLAUDE_ENV_FILE").map(PathBuf::from) else { return };
        let id = ForeignId {
            tool: webhook::CLAUDE_CODE.to_owned(),
            kind: "session_id".to_owned(),
            value: session.to_owned(),
        };
        let conversation = commit_msg::resolve(&id, cx).await;
        let mut lines =
            format!("export BACKSTAY_SESSION_TOOL={}\nexport BACKSTAY_SESSION_ID={session}\n", id.tool);
        if let Some(conversation) = conversation {
            lines.push_str(&format!("export BACKSTAY_CONVERSATION={conversation}\n"));
        }
        append(&env_file, &lines);
    }
}

/// Posts the event as the other hooks do, with their address and secret.
async fn deliver(event: Vec<u8>, cwd: Option<&Path>) {
    let found = [cwd, None].into_iter().find_map(|project| Claude::find(project).delivery().ok().flatten());
    let Some((url, secret)) = found else { return };
    let base = url.trim_end_matches(&format!("/hooks/{}", webhook::CLAUDE_CODE)).to_owned();
    let Ok(api) = Api::new(&base, Some(secret), PATIENCE) else { return };
    let path = WebhookPath { source: webhook::CLAUDE_CODE.to_owned() };
    // A hub that is away learns of the session from its first tool call.
    let _ = api.call::<ReceiveWebhook>(path, Empty {}, Binary(event)).await;
}

/// Goes into a file that a shell reads: nothing that a shell would see as more than a word.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn append(path: &Path, lines: &str) {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    // Without the file commits still know the session by the tool's own variable.
    let _ = file.and_then(|mut file| file.write_all(lines.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_reach_the_shell() {
        assert!(is_plain("0a1b-2c.d_e"));
        for text in ["", "a b", "a;b", "$(x)", "a\nb", "`x`"] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
