//! What is wrong with a file, said so that it can be mended.

use std::{fmt, ops::Range};

use backstay_types::ErrorCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The repository cannot be used like this; what runs stays as it is.
    Error,
    /// It can be used, but someone should look.
    Warning,
}

/// One thing wrong with one place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of problem; stable.
    pub code: ErrorCode,
    /// The file, relative to the repository's root; empty when the repository as a whole is meant.
    pub file: String,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column in characters, from 1.
    pub column: Option<u32>,
    /// The field, such as `probe.every`.
    pub field: Option<String>,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// An error in `file`.
    pub fn error(code: ErrorCode, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            file: file.to_owned(),
            line: None,
            column: None,
            field: None,
            message: message.into(),
            hint: None,
        }
    }

    /// A warning about `file`.
    pub fn warning(code: ErrorCode, file: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, message) }
    }

    /// With a line and column, both from 1; zeroes mean unknown.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        self.line = (line > 0).then_some(line);
        self.column = (column > 0).then_some(column);
        self
    }

    /// With the place of a byte range in `text`.
    #[must_use]
    pub(crate) fn at_span(self, text: &str, span: Option<Range<usize>>) -> Self {
        let Some(span) = span else { return self };
        let (line, column) = line_column(text, span.start);
        self.at(line, column)
    }

    /// With the field that is meant.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it keeps the repository from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// `file:line:column: field: message (CODE)`, without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, ":{number}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Problem {}

/// Line and column (in characters), both from 1, of a byte offset.
fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// The known key nearest to `wrong`, when one is near enough to be meant.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long keys are not compared: the distance costs time by the product of lengths.
    if wrong.len() > 64 {
        return None;
    }
    known
        .into_iter()
        .map(|key| (strsim::damerau_levenshtein(wrong, key), key))
        .filter(|(distance, key)| *distance <= key.len().max(wrong.len()).div_ceil(2).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code;

    #[test]
    fn places_count_characters_from_one() {
        assert_eq!(line_column("ab\ncd", 0), (1, 1));
        assert_eq!(line_column("ab\ncd", 4), (2, 2));
        assert_eq!(line_column("äö\nü", 4), (1, 3));
        assert_eq!(line_column("ä", 1), (1, 1), "inside a character");
        assert_eq!(line_column("", 99), (1, 1));
    }

    #[test]
    fn nearest_key_is_near() {
        assert_eq!(nearest("evry", ["every", "within"]), Some("every"));
        assert_eq!(nearest("soak", ["every", "within"]), None);
    }

    #[test]
    fn reads_like_a_compiler() {
        let problem =
            Problem::error(code::UNKNOWN_KEY, "fleet.toml", "unknown key `x`").at(3, 1).field("assign.x");
        assert_eq!(problem.to_string(), "fleet.toml:3:1: assign.x: unknown key `x` (BS1002)");
    }
}
