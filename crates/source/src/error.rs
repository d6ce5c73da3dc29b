//! What can go wrong with Git, each with a stable code.

use std::{fmt, io, path::PathBuf, time::Duration};

use backstay_types::{CommitId, ErrorCode, tree::TreeError};

/// Why an operation on a repository failed. None of them changes anything that was accepted before.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Every endpoint failed, in the order in which they were tried.
    #[error("the repository could not be fetched: {}", list(.0))]
    Fetch(Vec<EndpointFailure>),
    /// An address that Backstay does not use.
    #[error("`{endpoint}` cannot be used as the address of a repository: {reason}")]
    Endpoint {
        /// The address, without anything that may be a secret.
        endpoint: String,
        /// What is wrong with it and what to write instead.
        reason: String,
    },
    /// A text that cannot name a branch.
    #[error(
        "`{0}` cannot be the name of a branch: expected a name that `git check-ref-format --branch` accepts"
    )]
    Branch(String),
    /// The mirror on disk cannot be read or written.
    #[error("the mirror in {} cannot be used while {doing}: {message}", dir.display())]
    Mirror {
        /// The mirror's folder.
        dir: PathBuf,
        /// What was being done.
        doing: String,
        /// What went wrong.
        message: String,
    },
    /// The mirror does not hold this commit, or it is not a commit.
    #[error("{0} is not a commit in the mirror")]
    NoCommit(CommitId),
    /// No such path at this commit.
    #[error("there is no `{path}` at {at}")]
    NoPath {
        /// The path.
        path: String,
        /// The commit or draft.
        at: String,
    },
    /// The file has fewer lines.
    #[error("`{path}` has no line {line}")]
    NoLine {
        /// The path.
        path: String,
        /// The line that was asked for, counted from 1.
        line: u32,
    },
    /// A path that is not text, leaves the folder, or is a link or a submodule.
    #[error("{0}")]
    Path(String),
    /// A file or a tree over the limits.
    #[error("`{path}` is too large: {bytes} bytes, at most {limit} are read")]
    TooLarge {
        /// The path.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A stack's tree that is refused as a release.
    #[error("`{path}` cannot be a release: {source}")]
    Tree {
        /// The stack's folder.
        path: String,
        /// Why.
        source: TreeError,
    },
    /// A resolution that does not settle a conflict.
    #[error("the resolution for `{path}` cannot be used: {reason}")]
    Resolution {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Git ran longer than it may.
    #[error("`git {command}` was stopped after {} s", after.as_secs())]
    TimedOut {
        /// The Git command.
        command: String,
        /// How long it ran.
        after: Duration,
    },
    /// Another operation holds the mirror.
    #[error("the mirror is busy with another {0}; try again")]
    Busy(&'static str),
    /// Git could not be started, or failed in a way that has no name of its own.
    #[error("`git {command}` failed: {message}")]
    Git {
        /// The Git command.
        command: String,
        /// What it said.
        message: String,
    },
}

impl SourceError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Fetch(failures) => failures.first().map_or(ErrorCode::BS2001, |first| first.kind.code()),
            Self::Endpoint { .. } | Self::Branch(_) => ErrorCode::BS2004,
            Self::Mirror { .. } => ErrorCode::BS2006,
            Self::NoCommit(_) => ErrorCode::BS2007,
            Self::NoPath { .. } | Self::NoLine { .. } => ErrorCode::BS2008,
            Self::TooLarge { .. } | Self::Tree { source: TreeError::TooLarge, .. } => ErrorCode::BS2010,
            Self::Path(_) | Self::Tree { .. } => ErrorCode::BS2009,
            Self::TimedOut { .. } => ErrorCode::BS2011,
            Self::Resolution { .. } => ErrorCode::BS2014,
            Self::Busy(_) => ErrorCode::BS2012,
            Self::Git { .. } => ErrorCode::BS2013,
        }
    }

    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Fetch(failures) => failures.first().and_then(|first| first.kind.hint()),
            Self::Mirror { .. } => {
                Some("check the disk; a mirror that is moved away is fetched again from upstream")
            }
            Self::Path(_) | Self::Tree { .. } => {
                Some("remove or rename it in the repository, or move it out of the stack")
            }
            _ => None,
        }
    }

    pub(crate) fn mirror(
        dir: impl Into<PathBuf>,
        doing: impl Into<String>,
        error: impl fmt::Display,
    ) -> Self {
        Self::Mirror { dir: dir.into(), doing: doing.into(), message: error.to_string() }
    }

    pub(crate) fn io(dir: impl Into<PathBuf>, doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let (dir, doing) = (dir.into(), doing.into());
        move |error| Self::mirror(dir, doing, error)
    }
}

/// What one endpoint said when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFailure {
    /// The endpoint.
    pub endpoint: String,
    /// What kind of failure.
    pub kind: FailureKind,
    /// What Git or the other side said, cleaned.
    pub message: String,
}

/// Kinds of failure of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It could not be reached, or the connection broke.
    Unreachable,
    /// It said nothing for too long.
    TimedOut,
    /// It answered that there is no such repository.
    NoRepository,
    /// The repository is there, the branch is not, or the repository is empty.
    NoBranch,
    /// It refused access.
    Denied,
    /// Over ssh, it showed another key than before.
    HostKey,
    /// The folder belongs to another user, and Git does not trust it.
    Owner,
    /// It sent objects that Git refuses.
    Harmful,
    /// It sent more than is taken.
    TooLarge,
    /// It uses an object format that Backstay does not read.
    Format,
    /// Anything else.
    Other,
}

impl FailureKind {
    /// The stable code.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Unreachable | Self::Other => ErrorCode::BS2001,
            Self::TimedOut => ErrorCode::BS2011,
            Self::NoRepository | Self::NoBranch => ErrorCode::BS2002,
            Self::Denied | Self::HostKey | Self::Owner => ErrorCode::BS2003,
            Self::Harmful | Self::Format => ErrorCode::BS2005,
            Self::TooLarge => ErrorCode::BS2010,
        }
    }

    /// What a person can do about it, where that is known.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::NoBranch => Some("push the branch, or name another with `backstay init --branch`"),
            Self::NoRepository => {
                Some("check the address; a private repository looks missing without a token")
            }
            Self::Denied => Some("give the hub a token, or give its ssh key (`backstay repos key`) access"),
            Self::HostKey => Some(
                "if the host really has a new key, take its line out of ssh/known_hosts in the hub's data folder",
            ),
            Self::Owner => Some("give the folder to the user that runs the hub, or reach it by ssh or https"),
            Self::Format => Some("use a repository with SHA-1 object ids"),
            Self::Unreachable | Self::TimedOut | Self::Harmful | Self::TooLarge | Self::Other => None,
        }
    }
}

fn list(failures: &[EndpointFailure]) -> String {
    if failures.is_empty() {
        return "it has no endpoint".to_owned();
    }
    failures.iter().map(|f| format!("{}: {}", f.endpoint, f.message)).collect::<Vec<_>>().join("; ")
}
