//! `backstay track commit-msg`: the conversation's trailer, written into a commit message.
//!
//! Runs inside Git's hooks. Whatever happens, the commit goes on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use backstay_api::{
    Empty,
    v1::{ResolveConversation, ResolveConversationRequest},
};
use backstay_types::{ConversationId, ForeignId};
use clap::Args;

use super::session::{Session, from_env};
use crate::context::Context;

/// Our own trailer.
const CONVERSATION: &str = "Backstay-Conversation";
/// What is written while the hub cannot be asked; it links the commit when it sees it.
const SESSION: &str = "Backstay-Session";
/// How long the hub may take altogether.
const PATIENCE: Duration = Duration::from_millis(500);
/// From here on Git cuts the message off.
const SCISSORS: &str = " ------------------------ >8 ------------------------";

/// What Git gives its hooks.
#[derive(Debug, Args)]
pub(crate) struct CommitMsg {
    /// The file with the message
    file: PathBuf,
    /// Where the message comes from: message, template, merge, squash or commit
    source: Option<String>,
    /// With `commit`: the commit that is amended
    #[arg(value_name = "SHA")]
    amended: Option<String>,
    /// The message is as the author wants it; an earlier hook has had its turn
    #[arg(long = "final")]
    last: bool,
}

impl CommitMsg {
    /// Adds the trailer. Errors go to standard error and nowhere else.
    pub(crate) async fn run(self, cx: &Context) {
        let Some(session) = from_env(|name| std::env::var(name).ok()) else { return };
        let Ok(message) = fs::read_to_string(&self.file) else { return };
        // A message that is still empty is how a person calls a commit off.
        if is_empty(&message) || (self.last && has_any(&message)) {
            return;
        }
        let amends = self.source.as_deref() == Some("commit");
        let trailer = match session {
            Session::Known(id) => (CONVERSATION, id.to_string()),
            Session::Foreign(id) => match resolve(&id, cx).await {
                Some(conversation) => (CONVERSATION, conversation.to_string()),
                // Amended while the hub is away: the trailer that is there may well be this one.
                None if amends && has(&message, CONVERSATION) => return,
                None => (SESSION, format!("{}/{}/{}", id.tool, id.kind, id.value)),
            },
        };
        if let Err(reason) = add(&self.file, trailer.0, &trailer.1) {
            cx.ui.note(format!("backstay: the commit goes on without its conversation: {reason}"));
        }
    }
}

/// Asks the hub which conversation this is; none when it does not answer at once.
pub(super) async fn resolve(id: &ForeignId, cx: &Context) -> Option<ConversationId> {
    let api = cx.api_within(PATIENCE).ok()?;
    let request = ResolveConversationRequest { id: id.clone() };
    let call = api.call::<ResolveConversation>(Empty {}, Empty {}, request);
    let conversation = tokio::time::timeout(PATIENCE, call).await.ok()?.ok()?;
    Some(conversation.id)
}

/// The message above Git's scissors.
fn body(message: &str) -> impl Iterator<Item = &str> {
    message.lines().take_while(|line| !line.ends_with(SCISSORS))
}

/// Whether there is nothing but comments. Git's comment sign may be another one: such a line is taken for
/// text, and the trailer is written, which does no harm.
fn is_empty(message: &str) -> bool {
    body(message).all(|line| line.trim().is_empty() || line.starts_with('#'))
}

fn has(message: &str, key: &str) -> bool {
    body(message).any(|line| line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case(key)))
}

fn has_any(message: &str) -> bool {
    has(message, CONVERSATION) || has(message, SESSION)
}

/// Git itself knows where trailers go: before comments and scissors, in the last paragraph.
fn add(file: &Path, key: &str, value: &str) -> Result<(), String> {
    let status = Command::new("git")
        .args(["interpret-trailers", "--in-place", "--if-exists", "addIfDifferent", "--if-missing", "add"])
        .args(["--trailer", &format!("{key}: {value}")])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("git cannot be run: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("git interpret-trailers ended with {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_an_empty_message() {
        assert!(is_empty("\n# Please enter the commit message\n"));
        let verbose = format!("\n# Please\n#{SCISSORS}\ndiff --git a/x b/x\n+x\n");
        assert!(is_empty(&verbose));
        assert!(!is_empty("Subject\n"));
    }

    #[test]
    fn sees_trailers_only_where_they_are() {
        assert!(has_any("S\n\nBackstay-Session: a/b/c\n"));
        assert!(has("S\n\nbackstay-conversation: x\n", CONVERSATION));
        assert!(!has_any("S\n\nbackstay is good\n"));
        assert!(!has_any(&format!("S\n#{SCISSORS}\nBackstay-Session: a\n")));
    }
}
