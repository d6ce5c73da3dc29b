//! What can go wrong between a client and its hub.

use backstay_api::Problem;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub's address cannot be used.
    #[error(
        "`{text}` is not a hub's address: expected http:// or https://, a host, and no password or query"
    )]
    Address {
        /// What was given.
        text: String,
    },
    /// The client could not be made.
    #[error("the HTTP client cannot be set up: {}", chain(.0))]
    Setup(#[source] reqwest::Error),
    /// No connection, or it broke before an answer came.
    #[error("the hub cannot be reached: {}", chain(.0))]
    Unreachable(#[source] reqwest::Error),
    /// Time ran out.
    #[error("the hub did not answer in time")]
    Timeout(#[source] reqwest::Error),
    /// Nothing came for too long, where a sign of life was due.
    #[error("the hub has said nothing for {} s", .after.as_secs())]
    Silent {
        /// For how long.
        after: std::time::Duration,
    },
    /// The answer stopped in the middle.
    #[error("the hub's answer was cut short: {}", chain(.0))]
    Interrupted(#[source] reqwest::Error),
    /// The hub said no.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// Something answered that is not a hub, or a proxy before it.
    #[error("status {status} without an explanation: {body}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// The answer is larger than it may be.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Request or answer are not of the declared form: different versions, or not a hub.
    #[error("{endpoint}: the answer is not of the expected form: {source}")]
    Malformed {
        /// The endpoint.
        endpoint: &'static str,
        /// What was wrong.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// The hub's own explanation, when it gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the same call may work later: the hub is away, busy or restarting.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout(_) | Self::Interrupted(_) | Self::Silent { .. } => true,
            Self::Problem(problem) => is_temporary(problem.status),
            Self::Unexpected { status, .. } => is_temporary(*status),
            _ => false,
        }
    }

    pub(crate) fn from_transport(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() {
            Self::Timeout(error)
        } else if error.is_body() || error.is_decode() {
            Self::Interrupted(error)
        } else {
            Self::Unreachable(error)
        }
    }
}

fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=504)
}

/// An error with all that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = source.source();
    }
    text
}

/// The beginning of an answer, fit for a terminal.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
