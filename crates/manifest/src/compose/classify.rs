//! Which relative paths of a Compose file come from Git and which are state.

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{
    Digest,
    tree::{Mode, TreeHasher, below},
};

use super::{Bind, Compose, FileSource, normalise};
use crate::{Parts, Problem, code};

/// Files that only keep an empty folder in Git; a folder of nothing else is state.
const PLACEHOLDERS: [&str; 4] = [".gitkeep", ".keep", ".gitignore", ".placeholder"];

/// A file of a stack's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its path relative to the stack's folder.
    pub path: String,
    /// Its mode.
    pub mode: Mode,
    /// SHA-256 of its content.
    pub content: Digest,
    /// Its size in bytes.
    pub len: u64,
}

/// What each relative path of a Compose file is to be replaced by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MountPlan {
    /// What to put under paths named by content, each digest once.
    pub tracked: Vec<TrackedMount>,
    /// Paths relative to the state folder, sorted, each once.
    pub state: Vec<String>,
    /// Folders whose content is switched under what runs, each path once.
    pub live: Vec<LiveMount>,
    pub(super) binds: BTreeMap<String, Vec<(Bind, Source)>>,
    pub(super) configs: BTreeMap<String, Source>,
    pub(super) secrets: BTreeMap<String, Source>,
    /// `env_file` paths as written that are not in the tree.
    pub(super) untracked_env: BTreeSet<String>,
}

impl MountPlan {
    /// The services' binds of state: service, target in its container, path as in [`MountPlan::state`].
    pub fn state_binds(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.binds.iter().flat_map(|(service, binds)| {
            binds.iter().filter_map(|(bind, source)| match source {
                Source::State(path) => Some((service.as_str(), bind.target.as_str(), path.as_str())),
                Source::Tracked(_) | Source::Live(_) => None,
            })
        })
    }

    /// The services that bind the tracked mount with this place in [`MountPlan::tracked`]. Configs and secrets are not
    /// counted: the file does not say here which services use them.
    pub fn services_that_bind(&self, tracked: usize) -> Vec<&str> {
        self.services_with(&Source::Tracked(tracked))
    }

    /// The services that bind the folder with this place in [`MountPlan::live`].
    pub fn services_that_see(&self, live: usize) -> Vec<&str> {
        self.services_with(&Source::Live(live))
    }

    fn services_with(&self, source: &Source) -> Vec<&str> {
        let binds = |all: &[(Bind, Source)]| all.iter().any(|(_, bound)| bound == source);
        self.binds.iter().filter(|(_, all)| binds(all)).map(|(service, _)| service.as_str()).collect()
    }
}

/// A folder of a part that is reloaded. It is mounted read-only from a path that stays, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMount {
    /// Its path in the stack's folder.
    pub path: String,
    /// The files to put there: path in the stack's folder, and path below [`LiveMount::name`].
    pub files: Vec<(String, String)>,
}

impl LiveMount {
    /// The folder's name among those of the stack.
    pub fn name(&self) -> String {
        Digest::of(self.path.as_bytes()).short()
    }
}

/// A file or folder of the tree that is mounted read-only from a path named by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedMount {
    /// Digest over mode, path and content of what is mounted, laid out as a tree of its own.
    pub digest: Digest,
    /// Its path in the stack's folder; empty for the folder itself.
    pub path: String,
    /// A file or a folder.
    pub content: MountContent,
    /// The files to put there: path in the stack's folder, and path below `MOUNTS/<digest>/`.
    pub files: Vec<(String, String)>,
}

/// Whether a file or a folder is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountContent {
    /// One file; it stands under its own name in the digest's folder.
    File,
    /// A folder; the digest's folder is it.
    Folder,
}

impl TrackedMount {
    /// The path to mount, when all of them are kept as `base/<digest>/…`.
    pub fn source(&self, base: &str) -> String {
        match (self.content, self.files.first()) {
            (MountContent::File, Some((_, name))) => format!("{base}/{}/{name}", self.digest),
            _ => format!("{base}/{}", self.digest),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Index into [`MountPlan::tracked`].
    Tracked(usize),
    /// Path relative to the state folder.
    State(String),
    /// Index into [`MountPlan::live`].
    Live(usize),
}

/// Says of each relative bind, file-based config and secret whether it comes from the tree or is state.
/// Absolute paths, named volumes and paths that depend on unknown variables are left alone.
///
/// # Errors
/// Tracked files that are mounted writable, paths that leave the stack's folder, and files of a part that is reloaded
/// where they could not be switched under what runs.
pub fn classify(compose: &Compose, tree: &[TreeEntry], parts: &Parts) -> Result<MountPlan, Vec<Problem>> {
    let mut classifier =
        Classifier { compose, tree, parts, plan: MountPlan::default(), problems: Vec::new() };
    for (name, service) in &compose.services {
        for bind in &service.binds {
            if let Some(source) = classifier.bind(name, bind) {
                classifier.plan.binds.entry(name.clone()).or_default().push((bind.clone(), source));
            }
        }
        for file in &service.env_files {
            let path = normalise(&file.path);
            let tracked = path.as_ref().is_some_and(|path| tree.iter().any(|entry| entry.path == *path));
            if let Some(part) = path.and_then(|path| parts.reloaded(&path)).filter(|_| tracked) {
                let field = format!("services.{name}.env_file");
                classifier.fixed(&file.path, part, (file.line, file.column), &field);
            }
            if !tracked && !file.path.starts_with('/') {
                classifier.plan.untracked_env.insert(file.path.clone());
            }
        }
    }
    classifier.plan.configs = classifier.file_sources("configs", &compose.configs);
    classifier.plan.secrets = classifier.file_sources("secrets", &compose.secrets);
    let Classifier { mut plan, problems, .. } = classifier;
    plan.state.sort();
    plan.state.dedup();
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

struct Classifier<'a> {
    compose: &'a Compose,
    tree: &'a [TreeEntry],
    parts: &'a Parts,
    plan: MountPlan,
    problems: Vec<Problem>,
}

impl Classifier<'_> {
    fn bind(&mut self, service: &str, bind: &Bind) -> Option<Source> {
        let field = format!("services.{service}.volumes");
        let path = self.relative(&bind.source, bind.line, bind.column, &field)?;
        let source = self.source(&path, bind.line, bind.column, &field)?;
        if !matches!(source, Source::State(_)) && !bind.read_only {
            let message = format!(
                "`{}` is in Git and is mounted writable: what the container writes there would be lost with the next release",
                bind.source
            );
            let problem = Problem::error(code::WRITABLE_TRACKED, &self.compose.file, message)
                .at(bind.line, bind.column)
                .field(field)
                .hint(format!("mount it read-only (`{}:{}:ro`), or take the files out of Git so that the path becomes state", bind.source, bind.target));
            self.problems.push(problem);
            return None;
        }
        Some(source)
    }

    fn file_sources(
        &mut self,
        key: &str,
        sources: &BTreeMap<String, FileSource>,
    ) -> BTreeMap<String, Source> {
        let mut found = BTreeMap::new();
        for (name, FileSource { path: place }) in sources {
            let field = format!("{key}.{name}.file");
            let source = self
                .relative(&place.value, place.line, place.column, &field)
                .and_then(|path| self.source(&path, place.line, place.column, &field));
            if let Some(source) = source {
                if matches!(source, Source::Live(_)) {
                    let message = format!("`{}` is a folder: expected a file", place.value);
                    let problem = Problem::error(code::COMPOSE_SHAPE, &self.compose.file, message);
                    self.problems.push(problem.at(place.line, place.column).field(field.as_str()));
                }
                found.insert(name.clone(), source);
            }
        }
        found
    }

    /// The path below the stack's folder; nothing for paths that are not ours to map.
    fn relative(&mut self, path: &str, line: u32, column: u32, field: &str) -> Option<String> {
        if path.starts_with(['/', '~']) || (path.contains('$') && !self.compose.complete) {
            return None;
        }
        let normal = normalise(path);
        if normal.is_none() {
            let message =
                format!("`{}` leaves the stack's folder: expected a path inside it", path.escape_debug());
            self.problems.push(
                Problem::error(code::OUTSIDE_STACK, &self.compose.file, message)
                    .at(line, column)
                    .field(field)
                    .hint("a release holds the stack's folder alone; move the file into it, or use an absolute path on the host"),
            );
        }
        normal
    }

    fn source(&mut self, path: &str, line: u32, column: u32, field: &str) -> Option<Source> {
        let file = self.tree.iter().find(|entry| entry.path == path);
        let inner: Vec<(&TreeEntry, &str)> =
            self.tree.iter().filter_map(|entry| Some((entry, below(path, &entry.path)?))).collect();
        let name_of = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (content, entries): (_, Vec<(&TreeEntry, String)>) = match file {
            Some(entry) => (MountContent::File, vec![(entry, name_of(path))]),
            None if inner.iter().all(|(entry, _)| PLACEHOLDERS.contains(&name_of(&entry.path).as_str())) => {
                self.plan.state.push(path.to_owned());
                return Some(Source::State(path.to_owned()));
            }
            None => {
                let inner = inner.into_iter().map(|(entry, path)| (entry, path.to_owned()));
                (MountContent::Folder, inner.collect())
            }
        };
        let reloaded: Vec<_> = entries.iter().map(|(e, _)| self.parts.reloaded(&e.path)).collect();
        if let Some(part) = reloaded.iter().flatten().next() {
            if content == MountContent::File {
                self.fixed(path, part, (line, column), field);
                return None;
            }
            if reloaded.iter().any(Option::is_none) {
                let message = format!(
                    "`{path}` holds files of part `{}`, which is reloaded, and others: expected a folder of such files alone",
                    part.name
                );
                let problem = Problem::error(code::PART_NOT_RELOADABLE, &self.compose.file, message);
                self.problems.push(problem.at(line, column).field(field));
                return None;
            }
            let files = entries.iter().map(|(entry, inner)| (entry.path.clone(), inner.clone())).collect();
            return Some(Source::Live(self.live(path, files)));
        }
        match digest(&entries) {
            Ok(digest) => Some(Source::Tracked(self.tracked(digest, path, content, &entries))),
            Err(error) => {
                self.problems.push(
                    Problem::error(code::BAD_PATH, &self.compose.file, error.to_string())
                        .at(line, column)
                        .field(field),
                );
                None
            }
        }
    }

    /// A file of a part that is reloaded cannot be switched here.
    fn fixed(&mut self, path: &str, part: &crate::Part, (line, column): (u32, u32), field: &str) {
        let message = format!(
            "`{path}` is in part `{}`, which is reloaded, and a container sees it as it was at its start",
            part.name
        );
        self.problems.push(
            Problem::error(code::PART_NOT_RELOADABLE, &self.compose.file, message)
                .at(line, column)
                .field(field)
                .hint("mount the folder that it is in, or take it out of the part"),
        );
    }

    fn live(&mut self, path: &str, files: Vec<(String, String)>) -> usize {
        let known = self.plan.live.iter().position(|mount| mount.path == path);
        known.unwrap_or_else(|| {
            self.plan.live.push(LiveMount { path: path.to_owned(), files });
            self.plan.live.len() - 1
        })
    }

    fn tracked(
        &mut self,
        digest: Digest,
        path: &str,
        content: MountContent,
        entries: &[(&TreeEntry, String)],
    ) -> usize {
        let known =
            self.plan.tracked.iter().position(|mount| mount.digest == digest && mount.content == content);
        known.unwrap_or_else(|| {
            let files = entries.iter().map(|(entry, inner)| (entry.path.clone(), inner.clone())).collect();
            self.plan.tracked.push(TrackedMount { digest, path: path.to_owned(), content, files });
            self.plan.tracked.len() - 1
        })
    }
}

fn digest(entries: &[(&TreeEntry, String)]) -> Result<Digest, backstay_types::tree::TreeError> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|a, b| a.1.cmp(&b.1));
    let mut hasher = TreeHasher::default();
    for (entry, inner) in sorted {
        hasher.add(entry.mode, inner, entry.content, entry.len)?;
    }
    Ok(hasher.finish())
}
