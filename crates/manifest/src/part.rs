//! Parts of a stack: disjoint sets of its files, each with an own way to the nodes.

use std::collections::BTreeSet;

use backstay_types::PartName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{code, read::Table};

/// The name of the part that holds what no other part names.
pub const BASE_PART: &str = "base";

/// The parts that a stack declares, in the order of `stack.toml`; none is a stack that moves as one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Parts(pub Vec<Part>);

/// `[[part]]`: files of the stack that are released, rolled out and taken back by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Its name.
    pub name: PartName,
    /// Which files it holds.
    pub paths: Vec<PathPattern>,
    /// The channel by whose rules it rolls out; the stack's own rules when absent, or when `fleet.toml` says nothing of it.
    #[serde(default)]
    pub channel: Option<String>,
    /// Where its version stands.
    #[serde(default)]
    pub version: Option<VersionPlace>,
    /// What it needs of other parts.
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// What a change of it takes.
    pub apply: Apply,
    /// What tells the stack that files of a part that is reloaded have changed: a program and its arguments.
    pub reload: Vec<String>,
    /// The Compose service in which `reload` is run; on the node when absent.
    pub reload_in: Option<String>,
    /// What is asked before a change of the part touches anything: a program and its arguments. Never a shell's line.
    pub preflight: Vec<String>,
    /// The line in `stack.toml`.
    #[serde(default)]
    pub line: u32,
}

/// Where the version of a part stands: the first number with dots that follows a text at once, in a file of the part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionPlace {
    /// The file, relative to the stack's folder.
    pub file: String,
    /// The text before it; the beginning of the file when empty.
    pub after: String,
}

/// What a part needs of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// The other part.
    pub part: PartName,
    /// The lowest version of it that will do; when absent, it has to be as the branch has it.
    pub at_least: Option<Version>,
}

/// A version: numbers with dots between them, compared one by one. What follows the numbers (`-beta.1`) does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Version(Vec<u64>);

impl Version {
    /// The version at the beginning of a text, a `v` and spaces left aside.
    pub fn at_start(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let numbers = text[..end].trim_end_matches('.').split('.').map(|number| number.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
        while numbers.len() > 1 && numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self(numbers))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
    }
}

impl std::str::FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let read = Self::at_start(text).filter(|_| whole);
        read.ok_or_else(|| format!("`{text}`: expected a version such as \"2026.4.1\""))
    }
}

impl TryFrom<String> for Version {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl VersionPlace {
    /// The version that a file's content says.
    pub fn read(&self, content: &[u8]) -> Option<Version> {
        let text = std::str::from_utf8(content).ok()?;
        if self.after.is_empty() {
            return Version::at_start(text);
        }
        text.match_indices(&self.after).find_map(|(at, found)| Version::at_start(&text[at + found.len()..]))
    }
}

/// What a change of a part takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    /// What has changed is started anew.
    #[default]
    Restart,
    /// The files are switched under what runs, which is told so. Nothing is started anew.
    Reload,
}

/// Files by their paths from the stack's folder. `*` stands for anything but `/`, `**` for any number of folders. A
/// folder means everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PathPattern(String);

impl PathPattern {
    /// A pattern from its text.
    ///
    /// # Errors
    /// When it is empty, absolute, or leaves the stack's folder.
    pub fn new(text: &str) -> Result<Self, String> {
        let pattern = text.strip_suffix('/').unwrap_or(text);
        let wrong = |segment: &str| matches!(segment, "" | "." | "..");
        if pattern.split('/').any(wrong) || pattern.contains(['\\', '\0']) {
            return Err(format!(
                "`{}`: expected a path below the stack's folder, such as \"policy\" or \"config/*.json\"",
                text.escape_debug()
            ));
        }
        Ok(Self(pattern.to_owned()))
    }

    /// Whether a file is meant.
    pub fn matches(&self, path: &str) -> bool {
        let pattern: Vec<_> = self.0.split('/').collect();
        let path: Vec<_> = path.split('/').collect();
        below(&pattern, &path)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a path, or a folder above it, fits.
fn below(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, _) => true,
        (Some((&"**", rest)), Some((_, deeper))) => below(rest, path) || below(pattern, deeper),
        (Some((segment, rest)), Some((name, deeper))) => fits(segment, name) && below(rest, deeper),
        (Some(_), None) => false,
    }
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head) else { return false };
    let mut middle: Vec<_> = tail.split('*').collect();
    let last = middle.pop().unwrap_or_default();
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Part {
    /// Whether a file belongs to it. Paths are relative to the stack's folder.
    pub fn holds(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether files of it are switched under what runs.
    pub fn is_reloaded(&self) -> bool {
        self.apply == Apply::Reload
    }
}

impl Parts {
    /// Whether the stack moves as one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }

    /// The part that a file belongs to; none where no part names it.
    pub fn of(&self, path: &str) -> Option<&Part> {
        self.0.iter().find(|part| part.holds(path))
    }

    /// Whether a file is of the part with this name: what no part names is of [`BASE_PART`].
    pub fn is_of(&self, path: &str, name: &PartName) -> bool {
        self.of(path).map_or(name.as_str() == BASE_PART, |part| part.name == *name)
    }

    /// The part that is reloaded which a file belongs to.
    pub fn reloaded(&self, path: &str) -> Option<&Part> {
        self.of(path).filter(|part| part.is_reloaded())
    }

    /// One by name.
    pub fn named(&self, name: &PartName) -> Option<&Part> {
        self.0.iter().find(|part| part.name == *name)
    }

    /// Whether two stacks are divided alike: the same parts with the same paths and places of versions.
    pub fn divide_as(&self, other: &Self) -> bool {
        let same = |(a, b): (&Part, &Part)| a.name == b.name && a.paths == b.paths && a.version == b.version;
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

/// Reads the `[[part]]` tables of a stack.
pub(crate) fn read(root: &mut Table<'_, '_>) -> Parts {
    let mut all: Vec<Part> = Vec::new();
    for table in root.tables("part") {
        let Some(part) = read_one(table) else { continue };
        if all.iter().any(|known| known.name == part.name) {
            let message = format!("two parts are called `{}`: expected different names", part.name);
            root.wrong::<()>("part", code::DUPLICATE_NAME, message);
        }
        all.push(part);
    }
    Parts(all)
}

fn read_one(mut table: Table<'_, '_>) -> Option<Part> {
    let name = table.required_parsed::<PartName>("name", code::WRONG_VALUE, "the part's name");
    if name.as_ref().is_some_and(|name| name.as_str() == BASE_PART) {
        let message = format!("`{BASE_PART}` is what no part names: expected another name");
        table.wrong::<()>("name", code::WRONG_VALUE, message);
    }
    let paths = read_paths(&mut table);
    let apply = table.choice("apply", &[("restart", Apply::Restart), ("reload", Apply::Reload)]);
    let apply = apply.unwrap_or_default();
    let reload = read_command(&mut table, "reload");
    let reload_in = table.string("reload_in");
    if apply == Apply::Reload && reload.is_empty() && !table.has("reload") {
        table.missing(
            "reload",
            "what tells the stack that its files have changed: a program and its arguments",
        );
    }
    for key in ["reload", "reload_in"] {
        if apply == Apply::Restart && table.has(key) {
            table.wrong::<()>(key, code::WRONG_VALUE, "only for a part with `apply = \"reload\"`");
        }
    }
    let preflight = read_command(&mut table, "preflight");
    let channel = table.string("channel");
    if channel.as_deref().is_some_and(|channel| channel.parse::<PartName>().is_err()) {
        let message = "expected a word of a-z, 0-9, `-`, `_` and `.`";
        table.wrong::<()>("channel", code::WRONG_VALUE, message);
    }
    let version = table.table("version").and_then(read_version);
    let requires = table.tables("requires").into_iter().filter_map(read_requirement).collect();
    let line = table.line();
    table.finish();
    Some(Part {
        name: name?,
        paths: paths?,
        channel,
        version,
        requires,
        apply,
        reload,
        reload_in,
        preflight,
        line,
    })
}

fn read_paths(table: &mut Table<'_, '_>) -> Option<Vec<PathPattern>> {
    if !table.has("paths") {
        table.missing("paths", "which files it holds, such as [\"policy\"]");
        return None;
    }
    let texts = table.strings("paths")?;
    if texts.is_empty() {
        return table.wrong("paths", code::WRONG_VALUE, "expected at least one path");
    }
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    for text in &texts {
        match PathPattern::new(text) {
            Ok(path) if seen.insert(path.0.clone()) => paths.push(path),
            Ok(path) => {
                table.wrong::<()>("paths", code::DUPLICATE_NAME, format!("`{}` is there twice", path.0));
            }
            Err(message) => {
                table.wrong::<()>("paths", code::WRONG_VALUE, message);
            }
        }
    }
    Some(paths)
}

fn read_version(mut table: Table<'_, '_>) -> Option<VersionPlace> {
    let file = table.required("file", "the file of the part in which it stands");
    let after = table.string("after").unwrap_or_default();
    table.finish();
    Some(VersionPlace { file: file?, after })
}

fn read_requirement(mut table: Table<'_, '_>) -> Option<Requirement> {
    let part = table.required_parsed("part", code::WRONG_VALUE, "the name of another part");
    let at_least = table.parsed("at_least", code::WRONG_VALUE);
    table.finish();
    Some(Requirement { part: part?, at_least })
}

fn read_command(table: &mut Table<'_, '_>, key: &'static str) -> Vec<String> {
    let command = table.strings(key);
    if command.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
        table.wrong::<()>(key, code::WRONG_VALUE, "expected a program and its arguments");
    }
    command.unwrap_or_default()
}

#[cfg(test)]
#[path = "part_tests.rs"]
mod tests;
