//! Reading TOML tables so that every problem in a file is found at once, each with its place.

use std::{cell::RefCell, collections::BTreeMap, fmt::Display, ops::Range, str::FromStr, time::Duration};

use backstay_types::ErrorCode;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{MANIFEST_SCHEMA, Problem, code, duration::parse_duration, problem::nearest};

type Item<'t> = Spanned<DeValue<'t>>;

/// The largest manifest that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// A file being read, and what was wrong with it so far.
pub(crate) struct Doc<'t> {
    file: &'t str,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

/// Reads a whole TOML file with `body`; keys that `body` did not ask for are problems.
pub(crate) fn read<T>(
    file: &str,
    bytes: &[u8],
    body: impl FnOnce(&mut Table<'_, '_>) -> T,
) -> Result<T, Vec<Problem>> {
    let text = text(file, bytes).map_err(|problem| vec![problem])?;
    let root = DeTable::parse(text).map_err(|error| {
        vec![
            Problem::error(code::TOML_SYNTAX, file, format!("not valid TOML: {}", error.message()))
                .at_span(text, error.span()),
        ]
    })?;
    let doc = Doc { file, text, problems: RefCell::default() };
    let mut table = Table::new(&doc, root.get_ref(), String::new(), 0..0);
    table.schema();
    let value = body(&mut table);
    table.finish();
    let problems = doc.problems.into_inner();
    if problems.is_empty() { Ok(value) } else { Err(problems) }
}

/// The file as text, if it is text of a size that a manifest may have.
pub(crate) fn text<'t>(file: &str, bytes: &'t [u8]) -> Result<&'t str, Problem> {
    if bytes.len() > MAX_BYTES {
        let message = format!("{} bytes: expected at most {MAX_BYTES}", bytes.len());
        return Err(Problem::error(code::NOT_TEXT, file, message));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        Problem::error(code::NOT_TEXT, file, "not UTF-8: expected text")
            .at(u32::try_from(line).unwrap_or(0), 0)
    })
}

/// One table of the file.
pub(crate) struct Table<'d, 't> {
    doc: &'d Doc<'t>,
    table: &'d DeTable<'t>,
    path: String,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'d, 't> Table<'d, 't> {
    fn new(doc: &'d Doc<'t>, table: &'d DeTable<'t>, path: String, span: Range<usize>) -> Self {
        Self { doc, table, path, span, known: Vec::new() }
    }

    /// A text, when there.
    pub(crate) fn string(&mut self, key: &'static str) -> Option<String> {
        let item = self.get(key)?;
        match item.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            other => self.wrong_type(key, item, "a string", other),
        }
    }

    /// Whether a key is there at all.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, key: &'static str, expected: &str) -> Option<String> {
        if !self.has(key) {
            self.missing(key, expected);
            return None;
        }
        self.string(key)
    }

    /// A text that must parse, when there.
    pub(crate) fn parsed<T>(&mut self, key: &'static str, code: ErrorCode) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.string(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => self.wrong(key, code, error.to_string()),
        }
    }

    /// A text that must be there and parse.
    pub(crate) fn required_parsed<T>(
        &mut self,
        key: &'static str,
        code: ErrorCode,
        expected: &str,
    ) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        if !self.has(key) {
            self.missing(key, expected);
            return None;
        }
        self.parsed(key, code)
    }

    /// One of a few words, when there.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words = choices.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let mut problem = self.problem(key, code::WRONG_VALUE, format!("`{text}`: expected one of {words}"));
        if let Some(word) = nearest(&text, choices.iter().map(|(word, _)| *word)) {
            problem = problem.hint(format!("did you mean `{word}`?"));
        }
        self.report(problem);
        None
    }

    /// A duration such as `2s`, when there.
    pub(crate) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.string(key)?;
        parse_duration(&text).or_else(|| {
            let message =
                format!("`{text}` is not a duration: expected a text such as \"2s\", \"500ms\" or \"1h30m\"");
            self.wrong(key, code::WRONG_VALUE, message)
        })
    }

    /// A whole number within bounds, when there.
    pub(crate) fn number(&mut self, key: &'static str, bounds: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let item = self.get(key)?;
        let DeValue::Integer(number) = item.get_ref() else {
            return self.wrong_type(key, item, "a whole number", item.get_ref());
        };
        u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| bounds.contains(n)).or_else(
            || {
                let (low, high) = (bounds.start(), bounds.end());
                let message = format!("{}: expected a whole number from {low} to {high}", number.as_str());
                self.wrong(key, code::WRONG_VALUE, message)
            },
        )
    }

    /// True or false, when there.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let item = self.get(key)?;
        match item.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => self.wrong_type(key, item, "true or false", other),
        }
    }

    /// A list of texts, when there.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        let item = self.get(key)?;
        let DeValue::Array(array) = item.get_ref() else {
            return self.wrong_type(key, item, "a list of strings", item.get_ref());
        };
        array
            .iter()
            .map(|part| match part.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                other => self.wrong_type(key, part, "a list of strings", other),
            })
            .collect()
    }

    /// A table of texts under any keys, when there.
    pub(crate) fn string_map(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        let item = self.get(key)?;
        let DeValue::Table(table) = item.get_ref() else {
            return self.wrong_type(key, item, "a table of strings", item.get_ref());
        };
        table
            .iter()
            .map(|(name, value)| match value.get_ref() {
                DeValue::String(text) => Some((name.get_ref().to_string(), text.to_string())),
                other => self.wrong_type(key, value, "a string for each key", other),
            })
            .collect()
    }

    /// A date and time, as TOML's own or as a string in RFC 3339, when there.
    pub(crate) fn timestamp(&mut self, key: &'static str) -> Option<backstay_types::Timestamp> {
        let item = self.get(key)?;
        let text = match item.get_ref() {
            DeValue::Datetime(value) => value.to_string(),
            DeValue::String(text) => text.to_string(),
            other => return self.wrong_type(key, item, "a date and time", other),
        };
        text.parse().ok().or_else(|| {
            let message = format!(
                "`{text}` is not a time: expected date, time and offset such as 2027-01-31T12:00:00Z"
            );
            self.wrong(key, code::WRONG_VALUE, message)
        })
    }

    /// A sub-table, when there.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Table<'d, 't>> {
        let item = self.get(key)?;
        match item.get_ref() {
            DeValue::Table(table) => Some(Table::new(self.doc, table, self.path_of(key), self.span_of(key))),
            other => self.wrong_type(key, item, &format!("a table `[{key}]`"), other),
        }
    }

    /// The tables of `[[key]]`, in order.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Table<'d, 't>> {
        let Some(item) = self.get(key) else { return Vec::new() };
        let expected = format!("a list of tables `[[{key}]]`");
        let DeValue::Array(array) = item.get_ref() else {
            let _: Option<()> = self.wrong_type(key, item, &expected, item.get_ref());
            return Vec::new();
        };
        let mut tables = Vec::new();
        for part in array.iter() {
            match part.get_ref() {
                DeValue::Table(table) => {
                    tables.push(Table::new(self.doc, table, self.path_of(key), part.span()));
                }
                other => {
                    let _: Option<()> = self.wrong_type(key, part, &expected, other);
                }
            }
        }
        tables
    }

    /// The raw item, for values of more than one type.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'d Item<'t>> {
        self.known.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, item)| item)
    }

    /// Reports a value; always `None`, so that it can end a chain.
    pub(crate) fn wrong<T>(&self, key: &str, code: ErrorCode, message: impl Into<String>) -> Option<T> {
        self.report(self.problem(key, code, message));
        None
    }

    /// Reports a key that is not there.
    pub(crate) fn missing(&self, key: &str, expected: &str) {
        let problem =
            Problem::error(code::MISSING_KEY, self.doc.file, format!("missing: expected {expected}"));
        self.report(problem.field(self.path_of(key)).at_span(self.doc.text, Some(self.span.clone())));
    }

    /// A problem with the value under `key`.
    pub(crate) fn problem(&self, key: &str, code: ErrorCode, message: impl Into<String>) -> Problem {
        let span = self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, item)| item.span());
        Problem::error(code, self.doc.file, message)
            .field(self.path_of(key))
            .at_span(self.doc.text, Some(span.unwrap_or_else(|| self.span.clone())))
    }

    /// Records a problem.
    pub(crate) fn report(&self, problem: Problem) {
        self.doc.problems.borrow_mut().push(problem);
    }

    /// The line of this table's start.
    pub(crate) fn line(&self) -> u32 {
        Problem::error(code::TOML_SYNTAX, "", "")
            .at_span(self.doc.text, Some(self.span.clone()))
            .line
            .unwrap_or(0)
    }

    /// The line of the value under `key`; this table's where there is none.
    pub(crate) fn line_of(&self, key: &str) -> u32 {
        self.problem(key, code::WRONG_VALUE, "").line.unwrap_or(0)
    }

    /// Ends the reading: keys that were not asked for are reported.
    pub(crate) fn finish(self) {
        for (name, _) in self.table {
            let name_text: &str = name.get_ref();
            if self.known.contains(&name_text) {
                continue;
            }
            let mut problem =
                Problem::error(code::UNKNOWN_KEY, self.doc.file, format!("unknown key `{name_text}`"))
                    .field(self.path_of(name_text))
                    .at_span(self.doc.text, Some(name.span()));
            problem = match nearest(name_text, self.known.iter().copied()) {
                Some(key) => problem.hint(format!("did you mean `{key}`?")),
                None => problem.hint(format!("known here: {}", self.known_list())),
            };
            self.report(problem);
        }
    }

    fn known_list(&self) -> String {
        let mut known = self.known.clone();
        known.sort_unstable();
        known.dedup();
        known.join(", ")
    }

    fn schema(&mut self) {
        let Some(number) = self.number("schema", 1..=u32::MAX) else { return };
        if number > MANIFEST_SCHEMA {
            let message =
                format!("schema {number} is newer than this build knows: expected at most {MANIFEST_SCHEMA}");
            self.wrong::<()>("schema", code::SCHEMA_TOO_NEW, message);
        }
    }

    fn wrong_type<T>(&self, key: &str, item: &Item<'_>, expected: &str, found: &DeValue<'_>) -> Option<T> {
        let message = format!("expected {expected}, found {}", kind(found));
        let problem = Problem::error(code::WRONG_TYPE, self.doc.file, message)
            .field(self.path_of(key))
            .at_span(self.doc.text, Some(item.span()));
        self.report(problem);
        None
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn span_of(&self, key: &str) -> Range<usize> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map_or(0..0, |(name, _)| name.span())
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
