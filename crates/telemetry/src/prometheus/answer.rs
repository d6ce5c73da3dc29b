//! Answers and errors in Prometheus' form.

use serde_json::json;

use crate::{
    ReadError,
    promql::{EvalError, ParseError},
};

/// A status and a body in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answered {
    /// An answer whose data is JSON already.
    pub(super) fn success(data: &str, warnings: &[String], infos: &[String]) -> Self {
        let mut body = format!("{{\"status\":\"success\",\"data\":{data}");
        for (name, notes) in [("warnings", warnings), ("infos", infos)] {
            if !notes.is_empty() {
                body.push_str(&format!(",\"{name}\":{}", json!(notes)));
            }
        }
        body.push('}');
        Self { status: 200, body }
    }

    pub(super) fn data(data: &impl serde::Serialize, warnings: &[String]) -> Self {
        match serde_json::to_string(data) {
            Ok(data) => Self::success(&data, warnings, &[]),
            Err(e) => ApiError { kind: ErrorKind::Internal, what: e.to_string() }.answered(),
        }
    }
}

/// The kinds of errors that Prometheus tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong.
    BadData,
    /// The query cannot be evaluated.
    Execution,
    /// Its time was over.
    Timeout,
    /// Nobody waited for the answer.
    Canceled,
    /// The store could not be read.
    Internal,
    /// There is no room for another query.
    Unavailable,
}

impl ErrorKind {
    /// As the body names it, and the HTTP status.
    pub const fn told(self) -> (&'static str, u16) {
        match self {
            Self::BadData => ("bad_data", 400),
            Self::Execution => ("execution", 422),
            Self::Timeout => ("timeout", 503),
            Self::Canceled => ("canceled", 499),
            Self::Internal => ("internal", 500),
            Self::Unavailable => ("unavailable", 503),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ApiError {
    /// Which kind.
    pub kind: ErrorKind,
    /// For people.
    pub what: String,
}

impl ApiError {
    pub(super) fn bad_data(what: impl Into<String>) -> Self {
        Self { kind: ErrorKind::BadData, what: what.into() }
    }

    pub(super) fn parameter(name: &str, what: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {what}"))
    }

    /// As an answer.
    pub fn answered(&self) -> Answered {
        let (kind, status) = self.kind.told();
        let body = json!({"status": "error", "errorType": kind, "error": self.what});
        Answered { status, body: body.to_string() }
    }
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        Self::parameter("query", error)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::TooManySeries { .. } | ReadError::TooManySamples { .. } => ErrorKind::Execution,
            ReadError::Deadline { .. } => ErrorKind::Timeout,
            ReadError::Cancelled => ErrorKind::Canceled,
            ReadError::Damaged { .. } | ReadError::Io { .. } => ErrorKind::Internal,
        };
        Self { kind, what: error.to_string() }
    }
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Read(error) => error.into(),
            EvalError::Execution(_) | EvalError::Unsupported(_) => {
                Self { kind: ErrorKind::Execution, what: error.to_string() }
            }
        }
    }
}
