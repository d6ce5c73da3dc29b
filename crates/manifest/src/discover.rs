//! Finding the stacks of a repository, with or without manifests.

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{
    Digest, Labels, NodeName, RepositoryName, StackName,
    tree::{Mode, below, check_path, in_folder},
};

use crate::{
    Channel, Compose, EnvTemplate, FleetManifest, Parts, ProbeKind, Problem, ProcessSpec, Runtime,
    StackManifest, UnitSpec, Variables, code,
    compose::{self, TreeEntry, classify},
    part_check,
    problem::nearest,
    strategy::unknown_figure,
};

/// Folders whose sub-folders are stacks, when no other is named.
const PARENTS: [&str; 2] = ["stacks", "roles"];
const FLEET: &str = "fleet.toml";
const STACK: &str = "stack.toml";

/// A file of a repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path from the repository's root.
    pub path: String,
    /// Git's mode, such as `0o100644`.
    pub mode: u32,
    /// Its size in bytes.
    pub size: u64,
}

/// All files of a repository at a commit.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// The repository's name; a stack at its root is called so.
    pub repository: &'a RepositoryName,
    /// Where stacks are, when the usual places do not hold: a folder of stacks, or one stack's folder.
    pub stacks_path: Option<&'a str>,
    /// The files.
    pub entries: &'a [Entry],
}

/// A repository's stacks and what is to become of them.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The stacks by name; never empty.
    pub stacks: BTreeMap<StackName, Stack>,
    /// What `fleet.toml` says, or its defaults.
    pub manifest: FleetManifest,
    /// What someone should look at, though the repository can be used.
    pub warnings: Vec<Problem>,
}

/// A stack, read whole.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Its name.
    pub name: StackName,
    /// Its folder in the repository; empty for the root.
    pub path: String,
    /// How it runs.
    pub manifest: StackManifest,
    /// Its Compose file, for the Compose runtime; references to the node's values are still in it.
    pub compose: Option<Compose>,
    /// Its variables.
    pub env: Option<EnvTemplate>,
    /// Its own check, an executable relative to the stack's folder.
    pub validate: Option<String>,
    /// The newest manifest schema that it needs.
    pub schema: u32,
}

impl Fleet {
    /// The stacks that a node runs.
    pub fn assigned<'a>(&'a self, node: &'a NodeName, labels: &'a Labels) -> impl Iterator<Item = &'a Stack> {
        self.stacks.values().filter(move |stack| self.manifest.is_assigned(&stack.name, node, labels))
    }
}

/// How a file's content is had; `None` when it cannot be read, which is never taken for "not there".
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// Finds and reads the stacks of a repository.
///
/// # Errors
/// Everything that is wrong, over all files. A repository in which no stack is found is an error of
/// its own: it must never be read as "remove them all".
pub fn discover(listing: Listing<'_>, read: ReadFile<'_>) -> Result<Fleet, Vec<Problem>> {
    let mut problems = Vec::new();
    let manifest = fleet_manifest(listing, read, &mut problems);
    let mut stacks = BTreeMap::new();
    let mut folders: BTreeMap<StackName, String> = BTreeMap::new();
    for folder in stack_folders(listing) {
        let name = match stack_name(listing, &folder) {
            Ok(name) => name,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if let Some(other) = folders.get(&name) {
            let message = format!("`{folder}` and `{other}` both give a stack called `{name}`: expected one");
            problems.push(Problem::error(code::DUPLICATE_STACK, &folder, message));
            continue;
        }
        folders.insert(name.clone(), folder.clone());
        match load_stack(&name, &folder, listing.entries, read) {
            Ok(stack) => {
                stacks.insert(name, stack);
            }
            Err(found) => problems.extend(found),
        }
    }
    if folders.is_empty() && problems.is_empty() {
        problems.push(nothing_found(listing));
    }
    let mut warnings = Vec::new();
    named_stacks(&manifest, &folders, &mut problems, &mut warnings);
    // What could not be read may declare any figure.
    if problems.is_empty() {
        named_figures(&manifest, &stacks, &mut problems);
        named_channels(&manifest, &stacks, &mut warnings);
    }
    if problems.is_empty() { Ok(Fleet { stacks, manifest, warnings }) } else { Err(problems) }
}

/// Reads one stack from its files. `folder` is where it is in `entries` (empty: at their root, as in a
/// release on a node).
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_stack(
    name: &StackName,
    folder: &str,
    entries: &[Entry],
    read: ReadFile<'_>,
) -> Result<Stack, Vec<Problem>> {
    let files = files_of(folder, entries);
    let mut loader = Loader { folder, files, read, problems: Vec::new() };
    loader.modes();
    let stack = loader.stack(name);
    match stack {
        Some(stack) if loader.problems.is_empty() => Ok(stack),
        _ => Err(loader.problems),
    }
}

fn fleet_manifest(listing: Listing<'_>, read: ReadFile<'_>, problems: &mut Vec<Problem>) -> FleetManifest {
    if !listing.entries.iter().any(|entry| entry.path == FLEET) {
        return FleetManifest::default();
    }
    let parsed = match read(FLEET) {
        Some(bytes) => FleetManifest::parse(FLEET, &bytes),
        None => Err(vec![unreadable(FLEET)]),
    };
    parsed.unwrap_or_else(|found| {
        problems.extend(found);
        FleetManifest::default()
    })
}

/// The folders that hold a Compose file or a `stack.toml`, sorted.
fn stack_folders(listing: Listing<'_>) -> Vec<String> {
    let marked: BTreeSet<&str> = listing
        .entries
        .iter()
        .filter_map(|entry| {
            let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
            (name == STACK || compose::FILE_NAMES.contains(&name)).then_some(folder)
        })
        .collect();
    let children = |parent: &str| -> Vec<String> {
        let is_child = |folder: &&&str| folder.rsplit_once('/').is_some_and(|(above, _)| above == parent);
        marked.iter().filter(is_child).map(|folder| (*folder).to_owned()).collect()
    };
    if let Some(path) = listing.stacks_path.map(|path| path.trim_matches('/')).filter(|path| *path != ".") {
        if marked.contains(path) {
            return vec![path.to_owned()];
        }
        if path.is_empty() {
            return marked.iter().filter(|folder| !folder.contains('/')).map(|f| (*f).to_owned()).collect();
        }
        return children(path);
    }
    let mut found: Vec<String> = PARENTS.iter().flat_map(|parent| children(parent)).collect();
    if found.is_empty() && marked.contains("") {
        found.push(String::new());
    }
    found.sort();
    found
}

fn stack_name(listing: Listing<'_>, folder: &str) -> Result<StackName, Problem> {
    let name = match folder.rsplit('/').next() {
        Some("") | None => listing.repository.as_str(),
        Some(name) => name,
    };
    name.parse().map_err(|error: backstay_types::NameError| {
        Problem::error(code::BAD_STACK_NAME, folder, error.to_string()).hint("rename the folder")
    })
}

fn nothing_found(listing: Listing<'_>) -> Problem {
    let place = match listing.stacks_path {
        Some(path) => format!("`{path}/*/`"),
        None => "`stacks/*/`, `roles/*/` and the root".to_owned(),
    };
    let message = format!(
        "no stack found: looked in {place} for {} and {STACK}, among {} files",
        compose::FILE_NAMES.join(", "),
        listing.entries.len()
    );
    Problem::error(code::NO_STACKS, "", message)
        .hint("nothing is changed or removed because of this; say where the stacks are, or add one")
}

/// `fleet.toml` must name stacks that are there. A pin for one that is gone does no harm.
fn named_stacks(
    manifest: &FleetManifest,
    folders: &BTreeMap<StackName, String>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let known = || folders.keys().map(StackName::as_str);
    let message =
        |stack: &StackName| format!("no stack is called `{stack}`: expected one of {}", list(known()));
    for assignment in manifest.assignments.iter().filter(|a| !folders.contains_key(&a.stack)) {
        let mut problem = Problem::error(code::UNKNOWN_STACK, FLEET, message(&assignment.stack))
            .at(assignment.line, 0)
            .field("assign.stack");
        if let Some(near) = nearest(assignment.stack.as_str(), known()) {
            problem = problem.hint(format!("did you mean `{near}`?"));
        }
        problems.push(problem);
    }
    let windows =
        manifest.windows.iter().flat_map(|w| w.stacks.iter().map(|stack| (stack, w.line, "window.stacks")));
    let freezes = manifest.freezes.iter().filter_map(|f| Some((f.stack.as_ref()?, f.line, "freeze.stack")));
    for (stack, line, field) in windows.chain(freezes).filter(|(stack, ..)| !folders.contains_key(*stack)) {
        problems.push(Problem::error(code::UNKNOWN_STACK, FLEET, message(stack)).at(line, 0).field(field));
    }
    for pin in manifest.pins.iter().filter(|pin| !folders.contains_key(&pin.stack)) {
        let warning = Problem::warning(code::UNKNOWN_STACK, FLEET, message(&pin.stack));
        warnings.push(warning.at(pin.line, 0).field("pin.stack"));
    }
}

/// Figures that rules go by and that no stack reports.
fn named_figures(manifest: &FleetManifest, stacks: &BTreeMap<StackName, Stack>, problems: &mut Vec<Problem>) {
    let declared = stacks.values().flat_map(|stack| &stack.manifest.figures);
    let declared: BTreeSet<_> = declared.map(|figure| figure.name.as_str()).collect();
    let declared: Vec<_> = declared.into_iter().collect();
    for (name, line) in
        manifest.rollout.reported.iter().filter(|(name, _)| !declared.contains(&name.as_str()))
    {
        let (message, hint) = unknown_figure(name, &declared);
        let problem =
            Problem::error(code::WRONG_VALUE, FLEET, message).at(*line, 0).field("rollout.stop.when");
        problems.push(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }
}

/// Channels that no stack and no part goes by, and parts that go by one that `fleet.toml`, which has others, does not have.
fn named_channels(
    manifest: &FleetManifest,
    stacks: &BTreeMap<StackName, Stack>,
    warnings: &mut Vec<Problem>,
) {
    let used = || {
        let parts =
            stacks.values().flat_map(|stack| stack.manifest.parts.iter().map(move |part| (stack, part)));
        parts.filter_map(|(stack, part)| Some((stack, part, part.channel.as_deref()?)))
    };
    let assigned = |name: &str| manifest.assignments.iter().any(|one| one.channel.as_deref() == Some(name));
    let is_used =
        |channel: &&Channel| assigned(&channel.name) || used().any(|(.., name)| name == channel.name);
    for channel in manifest.channels.iter().filter(|channel| !is_used(channel)) {
        let message = format!("no stack and no part of one goes by channel `{}`", channel.name);
        let warning = Problem::warning(code::WRONG_VALUE, FLEET, message).at(channel.line, 0);
        warnings.push(warning.field("channel.name"));
    }
    for (stack, part, name) in used().filter(|_| !manifest.channels.is_empty()) {
        if manifest.channel(name).is_none() {
            let message = format!("fleet.toml has no channel `{name}`: the part rolls out as its stack does");
            let file = in_folder(&stack.path, STACK);
            let warning =
                Problem::warning(code::WRONG_VALUE, &file, message).at(part.line, 0).field("part.channel");
            warnings.push(
                match nearest(name, manifest.channels.iter().map(|channel| channel.name.as_str())) {
                    Some(near) => warning.hint(format!("did you mean `{near}`?")),
                    None => warning,
                },
            );
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "(none found)".to_owned() } else { names.join(", ") }
}

fn unreadable(path: &str) -> Problem {
    Problem::error(code::MISSING_FILE, path, "cannot be read")
        .hint("nothing is changed because of this; try again when the repository can be read whole")
}

/// The files of a folder, by path relative to it.
fn files_of<'e>(folder: &str, entries: &'e [Entry]) -> BTreeMap<&'e str, &'e Entry> {
    entries.iter().filter_map(|entry| Some((below(folder, &entry.path)?, entry))).collect()
}

struct Loader<'a> {
    folder: &'a str,
    files: BTreeMap<&'a str, &'a Entry>,
    read: ReadFile<'a>,
    problems: Vec<Problem>,
}

impl Loader<'_> {
    fn modes(&mut self) {
        for (path, entry) in &self.files {
            let bad = match Mode::from_number(entry.mode) {
                None => format!("mode {:o}: links and submodules are not allowed in a release", entry.mode),
                Some(_) => match check_path(path) {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                },
            };
            self.problems.push(Problem::error(code::BAD_PATH, &entry.path, bad));
        }
    }

    fn stack(&mut self, name: &StackName) -> Option<Stack> {
        let default = compose::FILE_NAMES.into_iter().find(|file| self.files.contains_key(file));
        let manifest = self.manifest(default)?;
        let env = self.env();
        let compose = match &manifest.runtime {
            Runtime::Compose(settings) => {
                let literals = env.as_ref().map(EnvTemplate::literals).unwrap_or_default();
                Some(self.compose(&settings.file, &Variables::partial(literals), &manifest.parts)?)
            }
            Runtime::Process { processes } => {
                self.programs(processes);
                None
            }
            Runtime::Systemd { units } => {
                self.units(name, units);
                None
            }
        };
        self.probes(&manifest, compose.as_ref());
        self.parts(&manifest, compose.as_ref());
        let validate = self.validate();
        let path = self.folder.to_owned();
        let schema = manifest.schema();
        Some(Stack { name: name.clone(), path, manifest, compose, env, validate, schema })
    }

    /// Units that are not there, or that could not be told from another stack's.
    fn units(&mut self, stack: &StackName, units: &[UnitSpec]) {
        let file = self.path(STACK);
        for unit in units {
            if !self.files.contains_key(unit.file.as_str()) {
                let message = format!("`{}` is not in the stack's folder", unit.file);
                self.problems.push(Problem::error(code::MISSING_FILE, &file, message).field("unit.file"));
            } else if !unit.belongs_to(stack) {
                let message = format!(
                    "unit `{}` does not belong to stack `{stack}`: expected a name that is `{stack}` or begins with `{stack}-`",
                    unit.name()
                );
                self.problems.push(Problem::error(code::WRONG_VALUE, &file, message).field("unit.file"));
            }
        }
    }

    fn manifest(&mut self, compose: Option<&str>) -> Option<StackManifest> {
        if !self.files.contains_key(STACK) {
            return compose.map(StackManifest::of_compose);
        }
        let path = self.path(STACK);
        let bytes = self.bytes(STACK)?;
        self.keep(StackManifest::parse(&path, &bytes, compose))
    }

    fn env(&mut self) -> Option<EnvTemplate> {
        let file = [".env.template", ".env"].into_iter().find(|file| self.files.contains_key(file))?;
        let bytes = self.bytes(file)?;
        let path = self.path(file);
        self.keep(EnvTemplate::parse(&path, &bytes))
    }

    fn compose(&mut self, file: &str, variables: &Variables, parts: &Parts) -> Option<Compose> {
        let path = self.path(file);
        if !self.files.contains_key(file) {
            let message = format!("`{file}` is not in the stack's folder");
            let problem = Problem::error(code::MISSING_FILE, &self.path(STACK), message);
            self.problems.push(problem.field("compose_file"));
            return None;
        }
        let bytes = self.bytes(file)?;
        let compose = self.keep(Compose::parse(&path, &bytes, variables))?;
        for include in &compose.includes {
            let message = format!(
                "takes in `{}`: relative paths in there could not be kept apart from state",
                include.value
            );
            self.problems.push(
                Problem::error(code::INCLUDED_FILE, &path, message)
                    .at(include.line, include.column)
                    .hint("put the services into this file (`docker compose config` prints them merged)"),
            );
        }
        // Only the places matter here; the node classifies again with the contents' digests.
        let tree: Vec<TreeEntry> = self
            .files
            .iter()
            .filter_map(|(path, entry)| {
                let mode = Mode::from_number(entry.mode)?;
                Some(TreeEntry { path: (*path).to_owned(), mode, content: Digest::of(b""), len: 0 })
            })
            .collect();
        if let Err(found) = classify(&compose, &tree, parts) {
            self.problems.extend(found);
        }
        Some(compose)
    }

    /// Programs that are given by a path inside the release must be there and executable.
    fn programs(&mut self, processes: &[ProcessSpec]) {
        for process in processes {
            self.program(&process.command, "process.command");
        }
    }

    fn program(&mut self, command: &[String], field: &str) {
        let Some(program) = command.first().filter(|p| p.contains('/') && !p.starts_with('/')) else {
            return;
        };
        if program.contains('$') {
            return;
        }
        let path = compose::normalise(program).unwrap_or_default();
        let found = self.files.get(path.as_str()).map(|entry| Mode::from_number(entry.mode));
        let message = match found {
            Some(Some(Mode::Executable)) => return,
            Some(_) => format!("`{program}` is not executable"),
            None => format!("`{program}` is not in the stack's folder"),
        };
        let problem = Problem::error(code::NOT_EXECUTABLE, &self.path(STACK), message);
        self.problems.push(problem.field(field).hint("git add --chmod=+x makes a file executable"));
    }

    /// Parts that overlap, or that could not be applied as they say.
    fn parts(&mut self, manifest: &StackManifest, compose: Option<&Compose>) {
        let paths: Vec<_> = self.files.keys().copied().collect();
        self.problems.extend(part_check::check(manifest, compose, &paths, &self.path(STACK)));
        let read =
            |path: &str| self.files.contains_key(path).then(|| (self.read)(&self.path(path))).flatten();
        let found = part_check::versions(&manifest.parts, &read, &self.path(STACK));
        self.problems.extend(found);
        for part in manifest.parts.iter() {
            if part.reload_in.is_none() {
                self.program(&part.reload, "part.reload");
            }
            self.program(&part.preflight, "part.preflight");
        }
    }

    fn probes(&mut self, manifest: &StackManifest, compose: Option<&Compose>) {
        let Some(compose) = compose else { return };
        for probe in &manifest.probes {
            if let ProbeKind::Log { service: Some(service), .. } = &probe.kind
                && !compose.services.contains_key(service)
            {
                let known = list(compose.services.keys().map(String::as_str));
                let message = format!("no service is called `{service}`: expected one of {known}");
                let problem = Problem::error(code::WRONG_VALUE, &self.path(STACK), message);
                self.problems.push(problem.field("probe.service"));
            }
        }
    }

    fn validate(&mut self) -> Option<String> {
        let file = ["validate", "validate.sh"].into_iter().find(|file| self.files.contains_key(file))?;
        if self.files.get(file).is_some_and(|entry| Mode::from_number(entry.mode) != Some(Mode::Executable)) {
            let problem = Problem::error(
                code::NOT_EXECUTABLE,
                &self.path(file),
                "is not executable, so it cannot check anything",
            );
            self.problems.push(problem.hint("git add --chmod=+x makes a file executable"));
        }
        Some(file.to_owned())
    }

    fn bytes(&mut self, file: &str) -> Option<Vec<u8>> {
        let path = self.path(file);
        let bytes = (self.read)(&path);
        if bytes.is_none() {
            self.problems.push(unreadable(&path));
        }
        bytes
    }

    fn keep<T>(&mut self, result: Result<T, Vec<Problem>>) -> Option<T> {
        result.map_err(|found| self.problems.extend(found)).ok()
    }

    fn path(&self, file: &str) -> String {
        in_folder(self.folder, file)
    }
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
