//! Figures that a stack reports about itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a stack says about itself in numbers, by name: at most [`Figures::MOST`], all of them finite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "BTreeMap<String, f64>")]
pub struct Figures(BTreeMap<String, f64>);

// No value is NaN, so that each equals itself.
impl Eq for Figures {}

impl Figures {
    /// The most that a stack may have.
    pub const MOST: usize = 16;
    /// The longest name, in bytes.
    pub const LONGEST_NAME: usize = 64;

    /// Whether a text can be a figure's name: a-z, 0-9 and `_`, beginning with a letter.
    pub fn is_name(text: &str) -> bool {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && text.len() <= Self::LONGEST_NAME
    }

    /// Takes a figure in; whether it could be taken.
    pub fn insert(&mut self, name: &str, value: f64) -> bool {
        let room = self.0.len() < Self::MOST || self.0.contains_key(name);
        let good = room && value.is_finite() && Self::is_name(name);
        if good {
            self.0.insert(name.to_owned(), value);
        }
        good
    }

    /// A figure; none where it is not known.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl From<BTreeMap<String, f64>> for Figures {
    /// What cannot be a figure is left out.
    fn from(all: BTreeMap<String, f64>) -> Self {
        let mut figures = Self::default();
        for (name, value) in all {
            figures.insert(&name, value);
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_is_bounded() {
        let many = (0..40).map(|n| format!("\"f{n:02}\": {n}")).collect::<Vec<_>>().join(",");
        let figures: Figures = serde_json::from_str(&format!("{{{many}, \"Bad Name\": 1}}")).unwrap();
        assert_eq!(figures.iter().count(), Figures::MOST);
        assert_eq!((figures.get("f03"), figures.get("Bad Name")), (Some(3.0), None));
        let mut figures = Figures::default();
        assert!(!figures.insert("x", f64::NAN) && !figures.insert("9x", 1.0) && figures.insert("x9_", -1.5));
        assert_eq!(serde_json::to_string(&figures).unwrap(), "{\"x9_\":-1.5}");
    }
}
