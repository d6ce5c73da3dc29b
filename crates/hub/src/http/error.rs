//! From the errors of the parts to the problem that a caller reads.

use std::{fmt, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use backstay_api::Problem;
use backstay_engine::EngineError;
use backstay_store::StoreError;
use backstay_types::ErrorCode;
use http::{HeaderValue, StatusCode, header};

use super::gate::RequestId;

/// Why a call is refused or failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    problem: Box<Problem>,
    /// What the log gets and the caller does not.
    cause: Option<String>,
    /// How long to wait before the next try.
    retry_after: Option<Duration>,
}

impl ApiError {
    /// A refusal.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// There is no such thing.
    pub(crate) fn missing(what: &str, id: impl fmt::Display) -> Self {
        Self::new(ErrorCode::BS4004, format!("there is no {what} `{id}`"))
    }

    /// A parameter is wrong.
    pub(crate) fn invalid(name: &str, message: impl fmt::Display) -> Self {
        Self::new(ErrorCode::BS4007, format!("{name}: {message}"))
    }

    /// Something inside failed; the caller learns that, the log learns why.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let problem = Problem::new(ErrorCode::BS7001, "the hub's log has the cause under this request's id");
        Self { problem: Box::new(problem), cause: Some(cause.to_string()), retry_after: None }
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    /// Adds how long to wait before the next try.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The problem.
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The response; what failed inside is logged here, once.
    pub(crate) fn into_response(self, request: &RequestId) -> Response {
        let mut problem = *self.problem;
        if problem.status >= 500 {
            let cause = self.cause.unwrap_or_else(|| problem.detail.clone());
            tracing::error!(request = %request, code = %problem.code, cause, "request failed");
            problem.hint.get_or_insert_with(|| format!("request {request}"));
        }
        let mut response = respond(&problem);
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause.as_deref().unwrap_or(&self.problem.detail))
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None, retry_after: None }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error.code() {
            ErrorCode::BS7001 => Self::internal(error),
            ErrorCode::BS7002 => {
                let problem =
                    Problem::new(ErrorCode::BS7002, "the hub's database does not answer; try again shortly");
                Self { problem: Box::new(problem), cause: Some(error.to_string()), retry_after: None }
            }
            code => Self::new(code, error.to_string()),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let code = error.code();
        if code == ErrorCode::BS7001 {
            return Self::internal(error);
        }
        let mut problem = Problem::new(code, error.to_string());
        problem.hint = error.hint().map(str::to_owned);
        problem.into()
    }
}

/// A problem as a response.
pub(crate) fn respond(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = (status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}
