//! Patterns for log lines.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pattern that a log line is searched for: plain text, in which `*` stands for any run of
/// characters. Regular expressions are left out on purpose: the agent stays small, and no
/// pattern can be slow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LogPattern(String);

impl LogPattern {
    /// A pattern from its text; `None` when it holds nothing to search for.
    pub fn new(text: &str) -> Option<Self> {
        text.chars().any(|c| c != '*').then(|| Self(text.to_owned()))
    }

    /// Whether the line contains the pattern.
    pub fn matches(&self, line: &str) -> bool {
        let mut rest = line;
        for part in self.0.split('*') {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_parts_in_order() {
        let pattern = LogPattern::new("listening on *:8080").unwrap();
        assert!(pattern.matches("INFO listening on 0.0.0.0:8080 now"));
        assert!(!pattern.matches(":8080 listening on nothing"));
        assert!(LogPattern::new("**").is_none());
        assert!(LogPattern::new("").is_none());
    }
}
