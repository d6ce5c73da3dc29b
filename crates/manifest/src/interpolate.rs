//! `${NAME}` references, as Compose reads them.
//!
//! `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`,
//! `${NAME?message}`, `${NAME:+other}`, `${NAME+other}`; `$$` is a dollar sign.
//! With a colon an empty value counts as not set. Defaults may hold references.

use std::{collections::BTreeMap, fmt};

use backstay_types::Secret;

/// How deep defaults may nest.
const MAX_DEPTH: usize = 16;

/// A reference that cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// `$` with something behind it that is no reference.
    #[error("cannot read the reference at column {column}: expected `${{NAME}}`, or `$$` for a dollar sign")]
    Syntax {
        /// The column in characters, from 1.
        column: usize,
    },
    /// `${NAME:?message}` and there is no value.
    #[error("`{name}` has no value: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the author of the file says about it.
        message: String,
    },
}

/// The values of variables. `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, Secret>,
    complete: bool,
}

impl Variables {
    /// All that there is: what is not in it is not set, and stands for an empty text. On a node.
    pub fn complete(values: BTreeMap<String, Secret>) -> Self {
        Self { values, complete: true }
    }

    /// Only some: references to others stay in the text as they are. Where the node's values are unknown.
    pub fn partial(values: BTreeMap<String, Secret>) -> Self {
        Self { values, complete: false }
    }

    /// Whether what is not in it is not set.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.values.get(name)
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables")
            .field("names", &self.values.keys().collect::<Vec<_>>())
            .field("complete", &self.complete)
            .finish()
    }
}

/// A variable that a text refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Whether there is no default for it.
    pub needed: bool,
}

/// The text with its references replaced.
///
/// # Errors
/// When a reference cannot be read, or a required value is not there.
pub fn expand(text: &str, variables: &Variables) -> Result<String, InterpolationError> {
    let lookup = |name: &str| variables.get(name).map(|value| value.expose().to_owned());
    let mut expander =
        Expander { text, at: 0, lookup: &lookup, complete: variables.complete, seen: Vec::new() };
    expander.until(None, 0)
}

/// The variables that a text refers to, in order, with repetitions.
///
/// # Errors
/// When a reference cannot be read.
pub fn references(text: &str) -> Result<Vec<Reference>, InterpolationError> {
    let mut expander = Expander { text, at: 0, lookup: &|_| None, complete: false, seen: Vec::new() };
    expander.until(None, 0)?;
    Ok(expander.seen)
}

struct Expander<'a> {
    text: &'a str,
    at: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    complete: bool,
    seen: Vec<Reference>,
}

impl<'a> Expander<'a> {
    /// Expands up to `end`, which is taken too.
    fn until(&mut self, end: Option<char>, depth: usize) -> Result<String, InterpolationError> {
        let mut out = String::new();
        loop {
            let start = self.at;
            match self.next() {
                c if c == end => return Ok(out),
                None => return Err(self.syntax(start)),
                Some('$') => self.reference(start, depth, &mut out)?,
                Some(c) => out.push(c),
            }
        }
    }

    fn reference(&mut self, start: usize, depth: usize, out: &mut String) -> Result<(), InterpolationError> {
        if self.take('$') {
            // Unknown values leave the text to be expanded again later.
            out.push_str(if self.complete { "$" } else { "$$" });
            return Ok(());
        }
        let braced = self.take('{');
        let name = self.name();
        if name.is_empty() || depth >= MAX_DEPTH {
            return Err(self.syntax(start));
        }
        let value = (self.lookup)(name);
        if !braced || self.take('}') {
            self.seen.push(Reference { name: name.to_owned(), needed: true });
            match value {
                Some(value) => out.push_str(&value),
                None if self.complete => {}
                None => out.push_str(&self.text[start..self.at]),
            }
            return Ok(());
        }
        let colon = self.take(':');
        let operator = self.next().filter(|c| "-?+".contains(*c)).ok_or_else(|| self.syntax(start))?;
        let value = value.filter(|value| !colon || !value.is_empty());
        self.operated(start, operator, name, value, depth, out)
    }

    fn operated(
        &mut self,
        start: usize,
        operator: char,
        name: &'a str,
        value: Option<String>,
        depth: usize,
        out: &mut String,
    ) -> Result<(), InterpolationError> {
        let needed = operator == '?';
        self.seen.push(Reference { name: name.to_owned(), needed });
        if needed {
            let message = self.message(start)?;
            match value {
                Some(value) => out.push_str(&value),
                None if self.complete => {
                    return Err(InterpolationError::Required { name: name.to_owned(), message });
                }
                None => out.push_str(&self.text[start..self.at]),
            }
            return Ok(());
        }
        let other = self.until(Some('}'), depth + 1)?;
        match (operator, value) {
            ('-', Some(value)) => out.push_str(&value),
            ('-', None) | ('+', Some(_)) => out.push_str(&other),
            _ => {}
        }
        Ok(())
    }

    /// The text up to the closing brace, as it is.
    fn message(&mut self, start: usize) -> Result<String, InterpolationError> {
        let rest = &self.text[self.at..];
        let len = rest.find('}').ok_or_else(|| self.syntax(start))?;
        self.at += len + 1;
        let message = rest[..len].trim();
        Ok(if message.is_empty() { "it is required".to_owned() } else { message.to_owned() })
    }

    fn name(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let is_part =
            |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
        let len = rest.char_indices().find(|&pair| !is_part(pair)).map_or(rest.len(), |(at, _)| at);
        self.at += len;
        &rest[..len]
    }

    fn next(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn syntax(&self, at: usize) -> InterpolationError {
        InterpolationError::Syntax { column: self.text[..at].chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect()
    }

    #[test]
    fn every_form() {
        let node = Variables::complete(variables(&[("A", "1"), ("EMPTY", "")]));
        for (text, expected) in [
            ("plain", "plain"),
            ("$A${A}", "11"),
            ("$$A", "$A"),
            ("${NONE}", ""),
            ("$NONE!", "!"),
            ("${A:-x}", "1"),
            ("${NONE:-x}", "x"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${NONE-x}", "x"),
            ("${A:+x}", "x"),
            ("${EMPTY:+x}", ""),
            ("${EMPTY+x}", "x"),
            ("${NONE+x}", ""),
            ("${NONE:-${A}b}", "1b"),
            ("${NONE:-a:b}", "a:b"),
            ("${A:?no}", "1"),
            ("${A_B-ö}", "ö"),
        ] {
            assert_eq!(expand(text, &node).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_unreadable_is_said() {
        let node = Variables::complete(BTreeMap::new());
        let error = expand("${DB:?set it}", &node).unwrap_err();
        assert_eq!(error.to_string(), "`DB` has no value: set it");
        for (text, column) in
            [("ab$", 3), ("$1", 1), ("${", 1), ("${}", 1), ("ö${A", 2), ("${A!x}", 1), ("${A:-", 6)]
        {
            assert_eq!(expand(text, &node), Err(InterpolationError::Syntax { column }), "{text}");
        }
        assert!(expand(&"${A:-".repeat(500), &node).is_err());
    }

    #[test]
    fn unknown_values_stay_references() {
        let hub = Variables::partial(variables(&[("A", "1")]));
        assert_eq!(expand("$A ${B} $B $$ ${C:?x} ${D:-d}", &hub).unwrap(), "1 ${B} $B $$ ${C:?x} d");
    }

    #[test]
    fn references_say_what_is_needed() {
        let found = references("${A} ${B:-${C}} ${D:?x}").unwrap();
        let pairs: Vec<_> = found.iter().map(|r| (r.name.as_str(), r.needed)).collect();
        assert_eq!(pairs, [("A", true), ("B", false), ("C", true), ("D", true)]);
    }

    #[test]
    fn debug_hides_values() {
        let text = format!("{:?}", Variables::complete(variables(&[("TOKEN", "hunter2")])));
        assert!(text.contains("TOKEN") && !text.contains("hunter2"), "{text}");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*", braces in "[${}A:?+-]*") {
            let node = Variables::complete(variables(&[("A", "1")]));
            let _ = expand(&text, &node);
            let _ = expand(&braces, &node);
            let _ = references(&braces);
        }

        #[test]
        fn text_without_dollars_is_itself(text in "[^$]*") {
            prop_assert_eq!(expand(&text, &Variables::complete(BTreeMap::new())).unwrap(), text);
        }
    }
}
