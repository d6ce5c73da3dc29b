//! What is on a node's disk and what runs, as the guest says it, and what is wrong with that.

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{Digest, TreeDigest, tree::Mode};
use serde_json::Value;

use super::support::Stack;

/// What a look at a node found.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What the agent says that its journal says; nothing when there is no journal.
    pub(crate) status: Value,
    pub(crate) links: BTreeMap<String, Option<TreeDigest>>,
    /// Names of folders in `releases`, and of files in them with digest and mode.
    releases: BTreeSet<String>,
    files: BTreeMap<String, (String, u32)>,
    pub(crate) runs: Vec<String>,
    /// Lines that say that something is broken.
    broken: Vec<String>,
}

impl Seen {
    pub(crate) fn parse(lines: &[String]) -> Result<Self, String> {
        let mut seen = Self::default();
        for line in lines {
            seen.line(line).ok_or_else(|| format!("the guest said `{line}`"))?;
        }
        Ok(seen)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            // Without an agent that can read its journal this is empty.
            "status" => self.status = serde_json::from_str(rest).unwrap_or(Value::Bool(false)),
            "link" => {
                let (name, target) = rest.split_once(' ').unwrap_or((rest, ""));
                let tree = target.strip_prefix("releases/").and_then(|tree| tree.parse().ok());
                if tree.is_none() && !target.is_empty() {
                    self.broken.push(line.to_owned());
                }
                self.links.insert(name.to_owned(), tree);
            }
            "release" => drop(self.releases.insert(rest.to_owned())),
            "hash" => {
                let (digest, path) = rest.split_once("  ")?;
                self.files.entry(path.to_owned()).or_default().0 = digest.to_owned();
            }
            "mode" => {
                let (mode, path) = rest.split_once(' ')?;
                self.files.entry(path.to_owned()).or_default().1 = u32::from_str_radix(mode, 8).ok()?;
            }
            "runs" => self.runs.push(rest.to_owned()),
            "absent" | "damaged" => self.broken.push(line.to_owned()),
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn link(&self, name: &str) -> Option<TreeDigest> {
        self.links.get(name).copied().flatten()
    }

    /// A field of what the journal says of the stack.
    pub(crate) fn journal(&self, name: &str) -> &Value {
        &self.status["stacks"]["web"][name]
    }

    /// Whether nothing is under way, and nothing is left to tell.
    pub(crate) fn at_rest(&self) -> bool {
        self.status["operation"].is_null() && self.status["unsent_reports"] == 0
    }

    /// Whatever happened: what carries the name of a release is that release and all of it, and the journal can be read.
    pub(crate) fn whole(&self, known: &BTreeMap<TreeDigest, Stack>) -> Result<(), String> {
        if !self.broken.is_empty() {
            return Err(format!("{:?}", self.broken));
        }
        if !self.status.is_object() {
            return Err(format!("the journal cannot be read: {}", self.status));
        }
        for release in self.releases.iter().filter(|name| !name.starts_with('.')) {
            let stack = release.parse().ok().and_then(|tree: TreeDigest| known.get(&tree));
            let stack = stack.ok_or_else(|| format!("nobody deployed {release}"))?;
            let found = self.files_of(release);
            let expected = files(stack);
            if found != expected {
                return Err(format!("{release} is {found:?} instead of {expected:?}"));
            }
        }
        for (name, tree) in &self.links {
            if tree.is_some_and(|tree| !self.releases.contains(&tree.to_string())) {
                return Err(format!("{name} points to {tree:?}, which is not there"));
            }
        }
        Ok(())
    }

    /// What unfinished work left behind.
    pub(crate) fn leftovers(&self) -> Vec<&String> {
        self.releases.iter().filter(|name| name.starts_with('.')).collect()
    }

    fn files_of(&self, release: &str) -> BTreeMap<String, (String, bool)> {
        let inside = |path: &str| path.strip_prefix(release)?.strip_prefix('/').map(str::to_owned);
        let files =
            self.files.iter().filter_map(|(path, (digest, mode))| Some((inside(path)?, digest, mode)));
        files.map(|(path, digest, mode)| (path, (digest.clone(), mode & 0o100 != 0))).collect()
    }
}

/// The files of a stack: digest of the content, and whether it can be executed.
fn files(stack: &Stack) -> BTreeMap<String, (String, bool)> {
    let file = |file: &backstay_types::tree::TreeFile| {
        (file.path.clone(), (Digest::of(&file.content).to_string(), file.mode == Mode::Executable))
    };
    stack.files.iter().map(file).collect()
}
