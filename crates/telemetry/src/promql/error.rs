//! Why a query has no answer.

use std::fmt;

use super::ast::Span;
use crate::ReadError;

/// A query that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Where in the query, in bytes.
    pub span: Span,
    /// What is wrong, and what was expected.
    pub what: String,
    line: usize,
    column: usize,
}

impl ParseError {
    pub(super) fn new(start: usize, end: usize, what: impl Into<String>) -> Self {
        Self::at(Span::new(start, end), what)
    }

    pub(super) fn at(span: Span, what: impl Into<String>) -> Self {
        Self { span, what: what.into(), line: 0, column: 0 }
    }

    /// With line and column, which only the whole query tells.
    pub(super) fn within(mut self, query: &str) -> Self {
        (self.line, self.column) = self.span.line_and_column(query);
        self
    }
}

/// As Prometheus says it: `1:5: parse error: …`.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: parse error: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for ParseError {}

/// Why a query that was understood could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Series could not be read, or the query's limits are used up.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The data does not allow it, such as two series that would be one.
    #[error("{0}")]
    Execution(String),
    /// Prometheus can do it and this cannot.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl EvalError {
    pub(super) fn execution(what: impl Into<String>) -> Self {
        Self::Execution(what.into())
    }

    /// Two series of an instant vector would have the same labels.
    pub(super) fn same_labels() -> Self {
        Self::execution("vector cannot contain metrics with the same labelset")
    }
}
