//! Whether parts can be what they say, among the files that are there.

use std::collections::BTreeSet;

use crate::{Compose, Part, Problem, Runtime, StackManifest, code, compose};

/// The manifest itself says what the parts are: it can be in none of them.
const STACK: &str = "stack.toml";
/// Files that are only read when something starts.
const READ_AT_START: [&str; 2] = [".env.template", ".env"];

/// Everything that is wrong with the parts of a stack. `files` are the paths in its folder, `file` is where `stack.toml`
/// is, for messages.
pub(crate) fn check(
    manifest: &StackManifest,
    compose: Option<&Compose>,
    files: &[&str],
    file: &str,
) -> Vec<Problem> {
    let parts: Vec<_> = manifest.parts.iter().collect();
    let error = |code, part: &Part, field: &str, message: String| {
        Problem::error(code, file, message).at(part.line, 0).field(format!("part.{field}"))
    };
    let mut problems = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        for other in &parts[..at] {
            if let Some(shared) = overlap(part, other, files) {
                let message = format!(
                    "`{shared}` is in part `{}` and in part `{}`: expected each file in one",
                    other.name, part.name
                );
                problems.push(error(code::BAD_PARTS, part, "paths", message));
            }
        }
        if part.holds(STACK) {
            let message = format!("`{STACK}` says what the parts are: expected paths without it");
            problems.push(error(code::BAD_PARTS, part, "paths", message));
        }
        if part.is_reloaded() {
            let found = not_reloadable(part, manifest, compose, files);
            problems.extend(
                found
                    .into_iter()
                    .map(|(field, message)| error(code::PART_NOT_RELOADABLE, part, field, message)),
            );
        }
    }
    problems
}

/// A file that is in both, or a path that both name.
fn overlap<'a>(part: &'a Part, other: &Part, files: &[&'a str]) -> Option<&'a str> {
    let file = files.iter().find(|path| part.holds(path) && other.holds(path)).copied();
    let named: BTreeSet<_> = other.paths.iter().map(|path| path.as_str()).collect();
    file.or_else(|| part.paths.iter().map(|path| path.as_str()).find(|path| named.contains(path)))
}

/// What keeps a part from being reloaded: the field, and why.
fn not_reloadable(
    part: &Part,
    manifest: &StackManifest,
    compose: Option<&Compose>,
    files: &[&str],
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut at_start: Vec<String> = READ_AT_START.iter().map(|path| (*path).to_owned()).collect();
    match &manifest.runtime {
        Runtime::Systemd { .. } => {
            let message = "units are installed with the files that they refer to: expected `restart`, and `ExecReload=` in the unit for what can reload";
            found.push(("apply", message.to_owned()));
        }
        Runtime::Process { processes } => {
            if part.reload_in.is_some() {
                found.push((
                    "reload_in",
                    "names a service of Compose: expected none for processes".to_owned(),
                ));
            }
            let programs = processes.iter().filter_map(|process| process.command.first());
            at_start.extend(programs.filter_map(|program| compose::normalise(program)));
        }
        Runtime::Compose(settings) => {
            at_start.push(settings.file.clone());
            let known = |service: &String| compose.is_none_or(|c| c.services.contains_key(service));
            if let Some(service) = part.reload_in.as_ref().filter(|service| !known(service)) {
                found.push(("reload_in", format!("no service is called `{service}`")));
            }
        }
    }
    for path in at_start.iter().filter(|path| files.contains(&path.as_str()) && part.holds(path)) {
        found.push((
            "paths",
            format!("`{path}` is only read at a start: expected it in a part that restarts"),
        ));
    }
    found
}
