//! `BACKSTAY_<SECTION>_<KEY>` goes before the file. A table is written as in the file, in one line: `{ key = "value" }`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use toml::{Table, Value as Toml};

use crate::{ConfigError, Settings, document::properties, error::Place, load::unknown};

/// The variable of a key.
pub(crate) fn name(section: &str, key: &str) -> String {
    format!("BACKSTAY_{section}_{key}").to_ascii_uppercase()
}

/// Puts variables into the table; returns the names of those that were used.
/// A variable with a section's prefix and an unknown key is an error: a typing mistake must not pass unseen.
pub(crate) fn apply(
    table: &mut Table,
    schema: &Value,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeSet<String>, ConfigError> {
    let sections = properties(schema);
    let mut used = BTreeSet::new();
    for (name, text) in variables {
        let Some((section, key, keys)) = find(&name, &sections) else { continue };
        let wrong = |message| ConfigError::Wrong { place: Place::Environment(name.clone()), message };
        let Some(schema) = keys.get(&key) else {
            return Err(wrong(unknown(&key, keys.keys())));
        };
        let value = value(&text, schema).ok_or_else(|| wrong(format!("expected {}", expected(schema))))?;
        if let Some(section) =
            table.entry(section).or_insert_with(|| Toml::Table(Table::new())).as_table_mut()
        {
            section.insert(key, value);
        }
        table.clone().try_into::<Settings>().map_err(|e| wrong(e.message().to_owned()))?;
        used.insert(name);
    }
    Ok(used)
}

/// Section, key, and all keys of the section.
fn find(name: &str, sections: &Map<String, Value>) -> Option<(String, String, Map<String, Value>)> {
    let rest = name.strip_prefix("BACKSTAY_")?.to_ascii_lowercase();
    sections.iter().find_map(|(section, schema)| {
        let key = rest.strip_prefix(section.as_str())?.strip_prefix('_')?;
        Some((section.clone(), key.to_owned(), properties(schema)))
    })
}

fn value(text: &str, schema: &Value) -> Option<Toml> {
    let is = |kind: &str| {
        schema["type"] == kind
            || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind))
    };
    if is("boolean") {
        text.parse().ok().map(Toml::Boolean)
    } else if is("integer") {
        text.parse().ok().map(Toml::Integer)
    } else if is("array") {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Some(Toml::Array(items.map(|item| Toml::String(item.to_owned())).collect()))
    } else if !is("string") && text.trim_start().starts_with('{') {
        let table: Table = toml::from_str(&format!("value = {}", text.trim())).ok()?;
        table.get("value").cloned()
    } else {
        Some(Toml::String(text.to_owned()))
    }
}

fn expected(schema: &Value) -> &'static str {
    match schema["type"].as_str() {
        Some("boolean") => "true or false",
        Some("integer") => "a whole number",
        _ => "a table in one line, such as { key = \"value\" }",
    }
}
