//! From text and environment to settings.

use std::{fs, path::Path};

use serde_json::Value;
use toml::{
    Table,
    de::{DeTable, DeValue},
};

use crate::{Complaint, ConfigError, Settings, document, environment, error::Place};

/// Reads the settings file, when there is one, and the environment.
///
/// # Errors
/// When the file cannot be read, or something in it or in the environment is wrong.
pub fn load(
    path: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let Some(path) = path else { return parse("", "", variables) };
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text, variables)
}

/// Reads settings from text; `file` is its name in errors.
///
/// # Errors
/// When something in the text or the environment is wrong.
pub fn parse(
    file: &str,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let wrong =
        |offset, message: String| ConfigError::Wrong { place: Place::at(file, text, offset), message };
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    let document = DeTable::parse(text).map_err(|e| wrong(start(&e), e.message().to_owned()))?;
    let schema = document::schema();
    if let Some((offset, message)) = unknown_key(document.get_ref(), &schema) {
        return Err(wrong(offset, message));
    }
    toml::from_str::<Settings>(text).map_err(|e| wrong(start(&e), e.message().to_owned()))?;
    if let Some(offset) = password(document.get_ref()) {
        let message =
            "a password does not belong in the settings: use hub.database_url_file, or the environment";
        return Err(wrong(offset, message.to_owned()));
    }
    let mut table: Table =
        text.parse().map_err(|e: toml::de::Error| wrong(start(&e), e.message().to_owned()))?;
    let set = environment::apply(&mut table, &schema, variables)?;
    let settings: Settings =
        table.try_into().map_err(|e: toml::de::Error| wrong(0, e.message().to_owned()))?;
    settings.check().map_err(|complaint| {
        let Complaint { section, key, message } = complaint;
        let name = environment::name(section, key);
        let place = if set.contains(&name) {
            Place::Environment(name)
        } else {
            let offset = offset_of(document.get_ref(), section, key);
            offset.map_or_else(|| Place::Key(format!("{section}.{key}")), |at| Place::at(file, text, at))
        };
        ConfigError::Wrong { place, message: format!("{key}: {message}") }
    })?;
    Ok(settings)
}

/// The first key that the schema does not know, and what to say about it.
fn unknown_key(table: &DeTable<'_>, schema: &Value) -> Option<(usize, String)> {
    let known = document::properties(schema);
    table.iter().find_map(|(key, value)| match known.get(key.get_ref().as_ref()) {
        None => Some((key.span().start, unknown(key.get_ref(), known.keys()))),
        Some(below) if below["properties"].is_object() => {
            value.get_ref().as_table().and_then(|t| unknown_key(t, below))
        }
        Some(_) => None,
    })
}

/// What to say about a key that nobody knows.
pub(crate) fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => format!("unknown key `{key}`; did you mean `{name}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// Where the database's address stands, when it has a password in it.
fn password(table: &DeTable<'_>) -> Option<usize> {
    let value = table.get("hub")?.get_ref().as_table()?.get("database_url")?;
    let url = url::Url::parse(value.get_ref().as_str()?).ok()?;
    url.password().map(|_| value.span().start)
}

fn offset_of(table: &DeTable<'_>, section: &str, key: &str) -> Option<usize> {
    let value: &toml::Spanned<DeValue<'_>> = table.get(section)?.get_ref().as_table()?.get(key)?;
    Some(value.span().start)
}
