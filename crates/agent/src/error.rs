//! What can keep the agent from working, for people.

use std::{io, path::PathBuf};

use backstay_client::ClientError;
use backstay_types::ErrorCode;

/// Why the agent cannot start or go on. Failures of deployments are reports, not errors.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two agents, one folder.
    #[error("another agent uses {}", .0.display())]
    InUse(PathBuf),
    /// There is no identity yet.
    #[error("this machine has not joined a hub: {} is not there", .0.display())]
    NotJoined(PathBuf),
    /// There is one already.
    #[error("this machine has joined {hub} as `{name}` already")]
    Joined {
        /// The hub.
        hub: String,
        /// The name there.
        name: String,
    },
    /// A file of ours that is not what we wrote.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Who joins again is another than who the folder belongs to.
    #[error("{reason}")]
    Another {
        /// How they differ.
        reason: String,
    },
    /// The journal.
    #[error("the journal cannot be used: {0}")]
    Journal(#[from] rusqlite::Error),
    /// A join token that is none.
    #[error("the join token cannot be read: expected bsj.<id>.<secret>.<fingerprint>")]
    Token,
    /// The hub is another than the token was made by.
    #[error("the hub's key has the fingerprint {found}, but the token pins {expected}")]
    Fingerprint {
        /// What the token says.
        expected: String,
        /// What the hub showed.
        found: String,
    },
    /// The hub.
    #[error(transparent)]
    Hub(#[from] ClientError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] backstay_config::ConfigError),
    /// A bundle that is refused.
    #[error("{reason}")]
    Bundle {
        /// Which kind of refusal.
        code: ErrorCode,
        /// Why.
        reason: String,
    },
    /// Something else from outside.
    #[error("{0}")]
    Other(String),
}

impl AgentError {
    /// An error about a file.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } | Self::Malformed { .. } => ErrorCode::BS3011,
            Self::InUse(_) => ErrorCode::BS3010,
            Self::NotJoined(_) | Self::Joined { .. } | Self::Another { .. } => ErrorCode::BS3013,
            Self::Journal(_) => ErrorCode::BS3012,
            Self::Token | Self::Fingerprint { .. } => ErrorCode::BS3014,
            Self::Hub(error) => error.problem().map_or(ErrorCode::BS8001, |problem| problem.code),
            Self::Settings(_) => ErrorCode::BS7003,
            Self::Bundle { code, .. } => *code,
            Self::Other(_) => ErrorCode::BS3015,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse(_) => {
                Some("stop the other agent, or give this one a folder of its own with --data-dir".into())
            }
            Self::NotJoined(_) => Some("run `backstay-agent join --hub URL --token TOKEN` first".into()),
            Self::Joined { .. } => Some(
                "where it was revoked there: stop the agent, and join with --replace to keep all that is here; to join \
                 another hub, use another --data-dir"
                    .into(),
            ),
            Self::Another { .. } => Some("to join as another, use another --data-dir".into()),
            Self::Token => Some("copy the whole token that `backstay nodes token` printed".into()),
            Self::Fingerprint { .. } => Some(
                "check --hub: something between this machine and the hub may be answering in its place"
                    .into(),
            ),
            Self::Bundle { code: ErrorCode::BS3016, .. } => {
                Some("copy it again, and compare its SHA-256 with the original's".into())
            }
            Self::Bundle { .. } => Some("make one with `backstay bundle export --node NODE -o FILE`".into()),
            Self::Journal(_) => Some("check free space and permissions of the data folder".into()),
            _ => None,
        }
    }
}
