//! Label selectors, as in Kubernetes.
//!
//! `a=b`, `a==b`, `a!=b`, `a in (x,y)`, `a notin (x,y)`, `a` (is there), `!a` (is not
//! there), joined by commas, all of which must hold. `!=` and `notin` also hold when the
//! label is not there. The pseudo-label `name` is the node's name. An empty selector
//! matches every node.

use std::{collections::BTreeSet, fmt, str::FromStr};

use backstay_types::{Labels, NodeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The label that stands for the node's name.
const NAME: &str = "name";

/// A text that is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the selector `{text}` at column {column}: expected {expected}, found {found}")]
pub struct SelectorError {
    /// The whole text.
    pub text: String,
    /// The column in characters, from 1, at which reading stopped.
    pub column: usize,
    /// What would have been right there.
    pub expected: &'static str,
    /// What was there.
    pub found: String,
}

/// A selector of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Test {
    Equals(String),
    Differs(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
}

impl Selector {
    /// The selector that matches every node.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The selector that matches the one node of that name.
    pub fn node(name: &NodeName) -> Self {
        Self(vec![Requirement { key: NAME.to_owned(), test: Test::Equals(name.to_string()) }])
    }

    /// The selector that matches the nodes of these names; none of them gives a selector that matches nothing.
    pub fn nodes<'a>(names: impl IntoIterator<Item = &'a NodeName>) -> Self {
        let names: BTreeSet<_> = names.into_iter().map(ToString::to_string).collect();
        if names.is_empty() {
            return Self(vec![Requirement { key: NAME.to_owned(), test: Test::Absent }]);
        }
        Self(vec![Requirement { key: NAME.to_owned(), test: Test::In(names) }])
    }

    /// Whether it asks for the node's name.
    pub fn asks_for_name(&self) -> bool {
        self.0.iter().any(|requirement| requirement.key == NAME)
    }

    /// The names of which a node must have one; none when it may be called anything else too.
    pub fn names(&self) -> Option<Vec<&str>> {
        self.0.iter().filter(|requirement| requirement.key == NAME).find_map(|requirement| match &requirement
            .test
        {
            Test::Equals(name) => Some(vec![name.as_str()]),
            Test::In(names) => Some(names.iter().map(String::as_str).collect()),
            _ => None,
        })
    }

    /// Whether it matches every node, whatever its labels.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it matches a node.
    pub fn matches(&self, name: &NodeName, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value =
                if requirement.key == NAME { Some(name.as_str()) } else { labels.get(&requirement.key) };
            requirement.test.holds(value)
        })
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::Equals(wanted) => value == Some(wanted),
            Self::Differs(unwanted) => value != Some(unwanted),
            Self::In(wanted) => value.is_some_and(|value| wanted.contains(value)),
            Self::NotIn(unwanted) => !value.is_some_and(|value| unwanted.contains(value)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        for (index, Requirement { key, test }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::Equals(value) => write!(f, "{key}={value}")?,
                Test::Differs(value) => write!(f, "{key}!={value}")?,
                Test::In(values) => write!(f, "{key} in ({})", list(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", list(values))?,
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;
    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.space();
        if parser.rest().is_empty() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            if !parser.take(",") {
                break;
            }
        }
        if parser.rest().is_empty() { Ok(Self(requirements)) } else { Err(parser.error("`,` or the end")) }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.take("!") {
            return Ok(Requirement { key: self.key()?, test: Test::Absent });
        }
        let key = self.key()?;
        let test = if self.take("!=") {
            Test::Differs(self.value()?)
        } else if self.take("==") || self.take("=") {
            Test::Equals(self.value()?)
        } else if self.take_word("in") {
            Test::In(self.values()?)
        } else if self.take_word("notin") {
            Test::NotIn(self.values()?)
        } else if self.rest().is_empty() || self.rest().starts_with(',') {
            Test::Exists
        } else {
            return Err(self.error("`=`, `!=`, `in (…)`, `notin (…)`, `,` or the end"));
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        match self.word("/") {
            "" => Err(self.error("a label's key")),
            word => Ok(word.to_owned()),
        }
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        let value = self.word("").to_owned();
        if self.rest().is_empty() || self.rest().starts_with([',', ')']) {
            Ok(value)
        } else {
            Err(self.error("a label's value (A-Z, a-z, 0-9, `-`, `_`, `.`, at most 63)"))
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if !self.take("(") {
            return Err(self.error("`(`"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.error("`,` or `)`"));
            }
        }
    }

    /// The characters of a label from here, and the space behind them. Empty when too long or none.
    fn word(&mut self, extra: &str) -> &'a str {
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || extra.contains(c);
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if len > 63 {
            return "";
        }
        self.at += len;
        self.space();
        &rest[..len]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
            self.space();
        }
        found
    }

    fn take_word(&mut self, token: &str) -> bool {
        let ends = |rest: &str| rest[token.len()..].starts_with([' ', '\t', '(']);
        self.rest().starts_with(token) && ends(self.rest()) && self.take(token)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn error(&self, expected: &'static str) -> SelectorError {
        let found = match self.rest().chars().next() {
            None => "the end".to_owned(),
            Some(c) => format!("`{}`", c.escape_debug()),
        };
        let column = self.text[..self.at].chars().count() + 1;
        SelectorError { text: self.text.to_owned(), column, expected, found }
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
