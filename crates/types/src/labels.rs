//! Labels on nodes, as in Kubernetes: `key=value` pairs that selectors match.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A label that cannot be stored or selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a label: expected key=value, each of at most 63 characters from A-Z, a-z, 0-9, `-`, `_`, `.` and (in keys) `/`"
)]
pub struct LabelsError {
    /// The text that was refused.
    pub text: String,
}

/// A node's labels, sorted by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Takes one off. Whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets one label.
    ///
    /// # Errors
    /// When key or value has a character or length that a label cannot have.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), LabelsError> {
        let word = |text: &str, extra: &str| {
            text.len() <= 63
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c) || extra.contains(c))
        };
        if key.is_empty() || !word(key, "/") || !word(value, "") {
            return Err(LabelsError { text: format!("{key}={value}") });
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Reads `key=value` texts, as the command line gives them.
    ///
    /// # Errors
    /// Names the first text that is not a label.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self, LabelsError> {
        let mut labels = Self::default();
        for pair in pairs {
            let (key, value) = pair.split_once('=').ok_or_else(|| LabelsError { text: pair.to_owned() })?;
            labels.insert(key, value)?;
        }
        Ok(labels)
    }
}
