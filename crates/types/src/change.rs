//! Changes: commits in fleet repositories, with provenance.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CommitId, ConversationId, RepositoryId, StackName};

/// A commit with what is known of its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The repository.
    pub repository: RepositoryId,
    /// The commit.
    pub commit: CommitId,
    /// Its parents, first parent first.
    pub parents: Vec<CommitId>,
    /// Who wrote it, as Git says.
    pub author: Person,
    /// When it was written, as Git says.
    pub authored_at: Timestamp,
    /// When it was committed, as Git says.
    pub committed_at: Timestamp,
    /// When the hub first saw it.
    pub seen_at: Timestamp,
    /// First line of the message.
    pub subject: String,
    /// Stacks whose folder it touches.
    pub stacks: Vec<StackName>,
    /// Conversations that caused it. More than one after a squash.
    pub links: Vec<Link>,
    /// Commits that it reverts, by `Backstay-Reverts` trailers or Git's own revert message.
    pub reverts: Vec<CommitId>,
}

/// A name and an address from a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
}

/// That a conversation caused a commit, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The conversation.
    pub conversation: ConversationId,
    /// How it is known.
    pub source: LinkSource,
}

/// How a link between commit and conversation is known, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkSource {
    /// Our own trailer, `Backstay-Conversation`.
    Trailer,
    /// A trailer that another tool wrote.
    ForeignTrailer,
    /// A note under `refs/notes/ai`.
    Note,
    /// The tool named the commit in an event.
    Event,
    /// The same diff as a commit seen earlier under another id (squash, rebase).
    Derived,
    /// Same author at about the same time. Shown, never acted on.
    Guess,
}

impl LinkSource {
    /// Whether decisions may rest on it.
    pub fn is_certain(self) -> bool {
        self != Self::Guess
    }
}
