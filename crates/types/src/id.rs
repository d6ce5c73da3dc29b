//! Ids are UUID version 7 (RFC 9562, section 5.7): sortable by the time they were minted.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: expected a UUID such as 019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b")]
pub struct IdError {
    /// What kind of id was expected, in words.
    pub what: &'static str,
    /// What was found instead.
    pub text: String,
}

/// What all id newtypes have in common.
pub trait Id: Copy + Sized {
    /// The kind of id in words, such as `conversation id`.
    const WHAT: &'static str;
    /// Wraps a UUID.
    fn from_uuid(uuid: Uuid) -> Self;
    /// The UUID inside.
    fn uuid(self) -> Uuid;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl Id for $name {
            const WHAT: &'static str = $what;
            fn from_uuid(uuid: Uuid) -> Self { Self(uuid) }
            fn uuid(self) -> Uuid { self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text.trim())
                    .map(Self)
                    .map_err(|_| IdError { what: $what, text: text.to_owned() })
            }
        }
    )*};
}

ids! {
    /// A conversation with an AI assistant, minted by Backstay at first sight.
    ConversationId = "conversation id";
    /// A machine that runs an agent.
    NodeId = "node id";
    /// A Git repository that the hub mirrors.
    RepositoryId = "repository id";
    /// One stack's tree, immutable.
    ReleaseId = "release id";
    /// A movement of nodes to a release.
    RolloutId = "rollout id";
    /// One node's attempt at a release.
    DeploymentId = "deployment id";
    /// A pin, hold, ban and their like.
    ConstraintId = "constraint id";
    /// One undo over any number of repositories and stacks.
    UndoId = "undo id";
    /// A move of stacks from one node to another, with their data.
    MigrationId = "migration id";
    /// An entry of the ledger.
    EventId = "event id";
    /// A join token or an API token.
    TokenId = "token id";
    /// A received webhook.
    DeliveryId = "delivery id";
    /// A report of an agent; the key under which the hub takes it exactly once.
    ReportId = "report id";
    /// A question that the hub asks an agent through a check-in.
    RequestId = "request id";
    /// A time that a node spends in safe mode; who leads it out names it.
    SafeModeId = "safe mode id";
    /// A person with an account.
    UserId = "user id";
    /// Someone who is signed in, in one browser.
    SessionId = "session id";
    /// A new agent on its way to the nodes.
    AgentUpdateId = "agent update id";
    /// A link that signs in once.
    LinkId = "link id";
    /// One run of a backup, a restore or the upkeep of a repository.
    BackupJobId = "backup job id";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_text_names_what_was_expected() {
        let error = "nonsense".parse::<NodeId>().unwrap_err();
        assert!(error.to_string().contains("node id"), "{error}");
    }

    #[test]
    fn text_and_back() {
        let id = NodeId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
    }
}
