//! Which series are meant.

use std::fmt;

use crate::{
    labels::{Labels, quoted},
    pattern::Pattern,
};

pub use crate::pattern::PatternError;

/// How a label's value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// A condition on one label. A label that is not there has the empty value: `x=""` and `x!~".+"` find series without
/// `x`, as in Prometheus.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: Box<str>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(Box<str>),
    NotEqual(Box<str>),
    Regex(Pattern),
    NotRegex(Pattern),
}

impl Matcher {
    /// `name = value`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), test: Test::Equal(value.into()) }
    }

    /// A condition. `value` is a regular expression in RE2's syntax when `op` is one of the two that take one; it has
    /// to match the whole value.
    ///
    /// # Errors
    /// When the regular expression cannot be read.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, PatternError> {
        let test = match op {
            MatchOp::Equal => Test::Equal(value.into()),
            MatchOp::NotEqual => Test::NotEqual(value.into()),
            MatchOp::Regex => Test::Regex(Pattern::new(value)?),
            MatchOp::NotRegex => Test::NotRegex(Pattern::new(value)?),
        };
        Ok(Self { name: name.into(), test })
    }

    /// The label that it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        match self.test {
            Test::Equal(_) => MatchOp::Equal,
            Test::NotEqual(_) => MatchOp::NotEqual,
            Test::Regex(_) => MatchOp::Regex,
            Test::NotRegex(_) => MatchOp::NotRegex,
        }
    }

    /// The value or regular expression as it was written.
    pub fn value(&self) -> &str {
        match &self.test {
            Test::Equal(value) | Test::NotEqual(value) => value,
            Test::Regex(pattern) | Test::NotRegex(pattern) => pattern.as_str(),
        }
    }

    /// Whether a value fits; the empty text stands for "no such label".
    pub fn matches(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => **wanted == *value,
            Test::NotEqual(unwanted) => **unwanted != *value,
            Test::Regex(pattern) => pattern.matches(value),
            Test::NotRegex(pattern) => !pattern.matches(value),
        }
    }

    /// Whether a label set fits.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }

    /// Whether series without the label fit: such a matcher cannot be looked up in an index of the values that are
    /// there, it only takes away.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The only values that can fit, when these are few and known: `a`, or `a|b|c` as a regular expression. An index
    /// looks these up and tries no others.
    pub fn fixed_values(&self) -> Option<Vec<&str>> {
        match &self.test {
            Test::Equal(value) => Some(vec![value]),
            Test::Regex(pattern) => pattern.fixed_values(),
            Test::NotEqual(_) | Test::NotRegex(_) => None,
        }
    }
}

/// As PromQL writes it.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op() {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let plain = self.name.chars().all(word) && !self.name.starts_with(|c: char| c.is_ascii_digit());
        let name = if plain { self.name.to_string() } else { quoted(&self.name) };
        write!(f, "{name}{op}{}", quoted(self.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_label_has_the_empty_value() {
        let labels = Labels::from_pairs([("a", "1")]);
        let fits = |op, value| Matcher::new("b", op, value).unwrap().matches_labels(&labels);
        assert!(fits(MatchOp::Equal, ""));
        assert!(fits(MatchOp::NotEqual, "x"));
        assert!(fits(MatchOp::Regex, ".*"));
        assert!(!fits(MatchOp::Regex, ".+"));
        assert!(fits(MatchOp::NotRegex, ".+"));
    }

    #[test]
    fn a_regular_expression_matches_the_whole_value() {
        let matcher = Matcher::new("a", MatchOp::Regex, "foo|bar").unwrap();
        assert!(matcher.matches("foo"));
        assert!(matcher.matches("bar"));
        assert!(!matcher.matches("foobar"));
        assert!(!matcher.matches("xfoo"));
        assert_eq!(matcher.fixed_values(), Some(vec!["foo", "bar"]));
        assert_eq!(Matcher::new("a", MatchOp::Regex, "fo+").unwrap().fixed_values(), None);
    }
}
