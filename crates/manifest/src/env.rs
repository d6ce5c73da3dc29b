//! `.env.template`: which values a stack needs, and where they come from.
//!
//! A line is `KEY=` (the node must supply `KEY`), `KEY=${REF}` (the node must supply `REF`),
//! `KEY=literal`, a comment (`# …`) or empty. Values may stand in `'…'` (as they are) or
//! `"…"` (with `\n`, `\t`, `\r`, `\"`, `\\`, `\$`). `KEY=""` is an empty literal.
//!
//! The same syntax without references is that of the node's own values.

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{ErrorCode, Secret};

use crate::{
    Problem, Variables, code,
    interpolate::{expand, references},
    read::text,
};

/// A parsed `.env.template`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvTemplate {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    value: Value,
}

#[derive(Clone, PartialEq, Eq)]
enum Value {
    /// The node supplies a value under the same name.
    FromNode,
    /// Text with references.
    Template(String),
    /// Text as it is.
    Literal(Secret),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FromNode => "FromNode",
            Self::Template(_) => "Template",
            Self::Literal(_) => "Literal",
        })
    }
}

/// Values that a stack needs and its node does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no value for {}", names.join(", "))]
pub struct MissingValues {
    /// Their names, sorted.
    pub names: Vec<String>,
}

impl MissingValues {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        code::MISSING_VALUE
    }
}

impl EnvTemplate {
    /// Reads a template. `file` is its path, for messages.
    ///
    /// # Errors
    /// Every line that cannot be read.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut entries = Vec::new();
        for line in lines(file, bytes, true, &mut problems) {
            let value = match line.value {
                Raw::None => Value::FromNode,
                Raw::Literal(text) => Value::Literal(Secret::new(text)),
                Raw::Text(text) => match references(&text) {
                    Ok(found) if found.is_empty() => Value::Literal(Secret::new(text.replace("$$", "$"))),
                    Ok(_) => Value::Template(text),
                    Err(error) => {
                        problems.push(
                            Problem::error(code::INTERPOLATION, file, error.to_string())
                                .at(line.number, 0)
                                .field(&line.name),
                        );
                        continue;
                    }
                },
            };
            entries.push(Entry { name: line.name, value });
        }
        if problems.is_empty() { Ok(Self { entries }) } else { Err(problems) }
    }

    /// The variables that it sets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The values that a node must supply, sorted.
    pub fn needed(&self) -> Vec<String> {
        let mut needed = BTreeSet::new();
        let mut set = BTreeSet::new();
        for entry in &self.entries {
            match &entry.value {
                Value::FromNode => {
                    needed.insert(entry.name.clone());
                }
                Value::Template(text) => {
                    // Parsed before, so there is nothing to refuse here.
                    let found = references(text).unwrap_or_default();
                    let new = found.into_iter().filter(|r| r.needed && !set.contains(&r.name));
                    needed.extend(new.map(|r| r.name));
                }
                Value::Literal(_) => {}
            }
            set.insert(entry.name.clone());
        }
        needed.into_iter().collect()
    }

    /// The stack's variables from the node's values. A reference sees the node's values first, then
    /// what stands above it in the template.
    ///
    /// # Errors
    /// The names of all values that are not there.
    pub fn render(&self, node: &BTreeMap<String, Secret>) -> Result<BTreeMap<String, Secret>, MissingValues> {
        let names: Vec<_> = self.needed().into_iter().filter(|name| !node.contains_key(name)).collect();
        if !names.is_empty() {
            return Err(MissingValues { names });
        }
        let mut seen = node.clone();
        let mut rendered = BTreeMap::new();
        for entry in &self.entries {
            let value = match &entry.value {
                Value::FromNode => node.get(&entry.name).cloned().unwrap_or_else(|| Secret::new("")),
                Value::Literal(text) => text.clone(),
                Value::Template(text) => {
                    let all = Variables::complete(seen.clone());
                    Secret::new(
                        expand(text, &all).map_err(|_| MissingValues { names: vec![entry.name.clone()] })?,
                    )
                }
            };
            if !node.contains_key(&entry.name) {
                seen.insert(entry.name.clone(), value.clone());
            }
            rendered.insert(entry.name.clone(), value);
        }
        Ok(rendered)
    }

    /// The variables whose values are the same on every node.
    pub fn literals(&self) -> BTreeMap<String, Secret> {
        let literal = |entry: &Entry| match &entry.value {
            Value::Literal(text) => Some((entry.name.clone(), text.clone())),
            _ => None,
        };
        self.entries.iter().filter_map(literal).collect()
    }
}

/// Reads a node's own values: `KEY=value` lines; nothing in a value is a reference.
///
/// # Errors
/// Every line that cannot be read. Values are never in the messages.
pub fn parse_values(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Secret>, Vec<Problem>> {
    let mut problems = Vec::new();
    let values = lines(file, bytes, false, &mut problems)
        .into_iter()
        .map(|line| {
            let value = match line.value {
                Raw::None => String::new(),
                Raw::Text(text) | Raw::Literal(text) => text,
            };
            (line.name, Secret::new(value))
        })
        .collect();
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

/// Writes values as an environment file that Compose (`--env-file`) reads back exactly.
pub fn write_values(values: &BTreeMap<String, Secret>) -> Secret {
    let mut text = String::new();
    for (name, value) in values {
        text.push_str(name);
        text.push('=');
        text.push_str(&quoted(value.expose()));
        text.push('\n');
    }
    Secret::new(text)
}

/// Single quotes take everything as it is but quotes and backslashes; those go into double quotes,
/// where `$$` is a dollar sign.
fn quoted(value: &str) -> String {
    if !value.contains(['\'', '\\', '\n', '\r']) {
        return format!("'{value}'");
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '$' => text.push_str("$$"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Whether a text can be a variable's name.
pub(crate) fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

struct Line {
    number: u32,
    name: String,
    value: Raw,
}

enum Raw {
    None,
    /// May hold references.
    Text(String),
    Literal(String),
}

fn lines(file: &str, bytes: &[u8], references: bool, problems: &mut Vec<Problem>) -> Vec<Line> {
    let text = match text(file, bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    let mut found: Vec<Line> = Vec::new();
    let mut scanner = Scanner { rest: text, number: 1, references };
    while !scanner.rest.is_empty() {
        let number = scanner.number;
        match scanner.line() {
            Ok(None) => {}
            Ok(Some((name, _))) if found.iter().any(|line| line.name == name) => {
                let message = format!("`{name}` is set twice");
                problems.push(Problem::error(code::DUPLICATE_NAME, file, message).at(number, 1).field(name));
            }
            Ok(Some((name, value))) => found.push(Line { number, name, value }),
            Err(message) => problems.push(Problem::error(code::ENV_SYNTAX, file, message).at(number, 1)),
        }
    }
    found
}

struct Scanner<'a> {
    rest: &'a str,
    number: u32,
    /// Whether values may hold references, so that an escaped dollar sign must stay one.
    references: bool,
}

impl Scanner<'_> {
    /// The next line; a quoted value may go over several.
    fn line(&mut self) -> Result<Option<(String, Raw)>, &'static str> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = self.rest[..end].trim();
        if line.is_empty() || line.starts_with('#') {
            self.skip(end);
            return Ok(None);
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        let name = name.trim();
        if !is_name(name) {
            self.skip(end);
            return Err("expected `NAME=value`, the name of letters, digits and `_`");
        }
        let name = name.to_owned();
        let Some(value) = value.map(str::trim_start) else {
            self.skip(end);
            return Ok(Some((name, Raw::None)));
        };
        match value.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                // From the quote on in the whole text: it may end on a later line.
                let at = self.rest.find(quote).map_or(end, |at| at + 1);
                self.quoted(at, quote).map(|value| Some((name, value)))
            }
            _ => {
                let value = without_comment(value).to_owned();
                self.skip(end);
                Ok(Some((name, if value.is_empty() { Raw::None } else { Raw::Text(value) })))
            }
        }
    }

    fn quoted(&mut self, from: usize, quote: char) -> Result<Raw, &'static str> {
        let mut value = String::new();
        let mut chars = self.rest[from..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => return self.after_quote(from + at + 1, quote, value),
                '\\' if quote == '"' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, '$')) => value.push_str(if self.references { "$$" } else { "$" }),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    Some((_, c)) => value.extend(['\\', c]),
                    None => break,
                },
                c => value.push(c),
            }
        }
        self.skip(self.rest.len());
        Err("the quote that begins here does not end")
    }

    fn after_quote(&mut self, from: usize, quote: char, value: String) -> Result<Raw, &'static str> {
        let end = self.rest[from..].find('\n').map_or(self.rest.len(), |at| from + at);
        let tail = self.rest[from..end].trim();
        let clean = tail.is_empty() || tail.starts_with('#');
        self.skip(end);
        match (clean, quote) {
            (false, _) => Err("expected nothing but a comment behind the closing quote"),
            (true, '\'') => Ok(Raw::Literal(value)),
            (true, _) if value.is_empty() => Ok(Raw::Literal(value)),
            (true, _) => Ok(Raw::Text(value)),
        }
    }

    fn skip(&mut self, end: usize) {
        let end = (end + 1).min(self.rest.len());
        let count = self.rest[..end].bytes().filter(|&b| b == b'\n').count();
        self.number = self.number.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        self.rest = &self.rest[end..];
    }
}

/// An unquoted value ends at ` #`.
fn without_comment(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let end = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t'])).map(|(at, _)| at);
    value[..end.unwrap_or(value.len())].trim_end()
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
