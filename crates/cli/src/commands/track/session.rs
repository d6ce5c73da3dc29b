//! The conversation that a command runs in, as its environment tells it.

use backstay_types::{ConversationId, ForeignId};

/// What the environment says of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Session {
    /// Our own id.
    Known(ConversationId),
    /// A tool's own id.
    Foreign(ForeignId),
}

/// Reads the environment, strongest first: our own id, what a plugin set, what Claude Code sets.
pub(super) fn from_env(get: impl Fn(&str) -> Option<String>) -> Option<Session> {
    let set = |name: &str| get(name).filter(|value| is_usable(value));
    if let Some(id) = set("BACKSTAY_CONVERSATION").and_then(|text| text.parse().ok()) {
        return Some(Session::Known(id));
    }
    let foreign = |tool: String, kind: &str, value: String| {
        Session::Foreign(ForeignId { tool, kind: kind.to_owned(), value })
    };
    if let Some(tool) = set("BACKSTAY_SESSION_TOOL").filter(|tool| !tool.contains('/')) {
        // One key outlives many session ids, so it says more.
        if let Some(key) = set("BACKSTAY_SESSION_KEY") {
            return Some(foreign(tool, "session_key", key));
        }
        if let Some(id) = set("BACKSTAY_SESSION_ID") {
            return Some(foreign(tool, "session_id", id));
        }
    }
    set("CLAUDE_CODE_SESSION_ID").map(|id| foreign("claude-code".to_owned(), "session_id", id))
}

/// A value goes into a commit message: nothing that would break the line.
fn is_usable(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 512
        && !value.contains(|c: char| c.is_control())
        && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Option<Session> {
        from_env(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn foreign(tool: &str, kind: &str, value: &str) -> Option<Session> {
        Some(Session::Foreign(ForeignId { tool: tool.into(), kind: kind.into(), value: value.into() }))
    }

    #[test]
    fn the_strongest_wins() {
        let id = ("BACKSTAY_CONVERSATION", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b");
        let tool = ("BACKSTAY_SESSION_TOOL", "openclaw");
        let key = ("BACKSTAY_SESSION_KEY", "agent:main:main");
        let session = ("BACKSTAY_SESSION_ID", "s1");
        let claude = ("CLAUDE_CODE_SESSION_ID", "c1");
        assert_eq!(read(&[claude, tool, key, id]), Some(Session::Known(id.1.parse().unwrap())));
        assert_eq!(
            read(&[claude, tool, key, session]),
            foreign("openclaw", "session_key", "agent:main:main")
        );
        assert_eq!(read(&[claude, tool, session]), foreign("openclaw", "session_id", "s1"));
        assert_eq!(read(&[claude, tool]), foreign("claude-code", "session_id", "c1"));
        assert_eq!(read(&[key]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn nothing_that_would_break_a_commit_message() {
        for value in ["", "a\nb", " a", "a\u{1b}[2J", &"x".repeat(600)] {
            assert_eq!(read(&[("CLAUDE_CODE_SESSION_ID", value)]), None, "{value:?}");
        }
        assert_eq!(read(&[("BACKSTAY_CONVERSATION", "not an id")]), None);
        assert_eq!(read(&[("BACKSTAY_SESSION_TOOL", "a/b"), ("BACKSTAY_SESSION_ID", "1")]), None);
    }
}
