//! Events, whichever tool they came from.

use backstay_types::{CommitId, ForeignId, Timestamp, ToolEventKind};
use serde::{Deserialize, Serialize};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalised {
    /// The sender's own id of the event, when there is one: the same event in another delivery has the
    /// same one.
    pub key: Option<String>,
    /// When it happened by the sender's clock; when absent, the time of arrival.
    pub at: Option<Timestamp>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Something in a conversation.
    Session(SessionEvent),
    /// A branch or tag moved.
    Pushed(RepositoryPushed),
    /// Understood, and nothing follows from it, such as a Git host's test of the address.
    Ignored {
        /// Why.
        reason: String,
    },
    /// Not understood. Kept and shown, never dropped.
    Unrecognised {
        /// Why not.
        reason: String,
    },
}

/// Something in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// Which conversation.
    pub conversation: ConversationRef,
    /// What kind of event.
    pub kind: ToolEventKind,
    /// One line for people, secrets taken out, at most 200 characters.
    pub summary: String,
    /// Commits that it made, full ids or abbreviations of at least 7 digits.
    pub commits: Vec<String>,
    /// Where the tool was working, when it says so.
    pub folder: Option<String>,
}

/// Which conversation an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationRef {
    /// The id that decides: events with the same one are of the same conversation.
    pub key: ForeignId,
    /// All ids that the event names, `key` among them.
    pub foreign_ids: Vec<ForeignId>,
    /// The id under which an earlier part of the conversation is known, when this one continues it.
    pub resumed_from: Option<ForeignId>,
}

/// A branch or tag of a repository moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryPushed {
    /// Addresses under which the repository can be cloned or seen.
    pub urls: Vec<String>,
    /// The full name of what moved, such as `refs/heads/main`.
    pub reference: String,
    /// Where it was; absent when it is new.
    pub before: Option<CommitId>,
    /// Where it is; absent when it was deleted.
    pub after: Option<CommitId>,
}

impl Normalised {
    /// An event that was not understood.
    pub fn unrecognised(reason: impl Into<String>) -> Self {
        Self { key: None, at: None, what: What::Unrecognised { reason: reason.into() } }
    }

    /// An event from which nothing follows.
    pub(crate) fn ignored(reason: impl Into<String>) -> Self {
        Self { key: None, at: None, what: What::Ignored { reason: reason.into() } }
    }
}

impl RepositoryPushed {
    /// Whether one of its addresses is the same repository as `endpoint`.
    pub fn concerns(&self, endpoint: &str) -> bool {
        let wanted = canonical_url(endpoint);
        self.urls.iter().any(|url| canonical_url(url) == wanted)
    }
}

/// The host and path of a Git address, so that `https://host/a/b.git`, `ssh://git@host:22/a/b` and
/// `git@host:a/b.git` compare equal. Host names in lower case; user, password and port left out.
pub fn canonical_url(url: &str) -> String {
    let url = url.trim();
    let (authority, path) = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        // The short form of SSH; a slash before the colon makes it a local path.
        None => match url.split_once(':') {
            Some((authority, path)) if !authority.contains('/') => (authority, path),
            _ => ("", url),
        },
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_matches('/');
    format!("{}/{path}", host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_repository_by_any_address() {
        for url in [
            "https://Git.Example.org/team/fleet.git",
            "https://git.example.org/team/fleet",
            "https://user:pw@git.example.org:8443/team/fleet.git/",
            "git@git.example.org:team/fleet.git",
            "ssh://git@git.example.org:2222/team/fleet.git",
            "git://git.example.org/team/fleet",
        ] {
            assert_eq!(canonical_url(url), "git.example.org/team/fleet", "{url}");
        }
        assert_eq!(canonical_url("file:///srv/git/fleet.git"), canonical_url("/srv/git/fleet"));
        assert_ne!(canonical_url("https://a/b"), canonical_url("https://a/B"));
    }

    proptest! {
        #[test]
        fn never_panics(url in ".*") {
            let _ = canonical_url(&url);
        }
    }
}
