//! Whether parts can be what they say, among the files that are there.

use std::collections::BTreeSet;

use backstay_types::PartName;

use crate::{
    BASE_PART, Compose, Part, Parts, Problem, Requirement, Runtime, StackManifest, code, compose,
    problem::nearest,
};

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
        if let Some(place) = part.version.as_ref().filter(|place| !part.holds(&place.file)) {
            let message = format!("`{}` is not of the part: expected a file of it", place.file);
            problems.push(error(code::BAD_PARTS, part, "version.file", message));
        }
        for required in &part.requires {
            if let Some(message) = wrong_requirement(part, required, &manifest.parts) {
                problems.push(error(code::BAD_PARTS, part, "requires", message));
            }
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

/// What a part cannot need of another.
fn wrong_requirement(part: &Part, required: &Requirement, parts: &Parts) -> Option<String> {
    let name = &required.part;
    let known = || parts.iter().map(|part| part.name.as_str()).chain([BASE_PART]);
    if !known().any(|known| known == name.as_str()) {
        let near = nearest(name.as_str(), known()).map(|near| format!("; did you mean `{near}`?"));
        return Some(format!("no part is called `{name}`{}", near.unwrap_or_default()));
    }
    if leads_to(parts, name, &part.name, parts.0.len()) {
        return Some(format!("`{}` and `{name}` need each other: neither could go first", part.name));
    }
    let has_version = parts.named(name).is_some_and(|other| other.version.is_some());
    (required.at_least.is_some() && !has_version)
        .then(|| format!("part `{name}` does not say where its version stands (`version`)"))
}

/// Whether a part is another or needs it, over at most so many others.
fn leads_to(parts: &Parts, from: &PartName, to: &PartName, left: usize) -> bool {
    from == to
        || (left > 0
            && parts.named(from).is_some_and(|part| {
                part.requires.iter().any(|required| leads_to(parts, &required.part, to, left - 1))
            }))
}

/// Versions that cannot be read, and those that are too low for what needs them. `read` gives the content of a file.
pub(crate) fn versions(parts: &Parts, read: &dyn Fn(&str) -> Option<Vec<u8>>, file: &str) -> Vec<Problem> {
    let error = |part: &Part, field: &str, message: String| {
        Problem::error(code::BAD_PARTS, file, message).at(part.line, 0).field(format!("part.{field}"))
    };
    let version = |part: &Part| {
        let place = part.version.as_ref()?;
        place.read(&read(&place.file)?)
    };
    let mut problems = Vec::new();
    for part in parts.iter() {
        if let Some(place) = part.version.as_ref().filter(|_| version(part).is_none()) {
            let message = format!(
                "no version stands in `{}` after `{}`: expected such as 2026.4.1",
                place.file, place.after
            );
            problems.push(error(part, "version", message));
        }
        for required in &part.requires {
            let Some(least) = &required.at_least else { continue };
            let found = parts.named(&required.part).and_then(version);
            if let Some(found) = found.filter(|found| found < least) {
                let message = format!(
                    "part `{}` needs `{}` at least {least}, and here it is {found}",
                    part.name, required.part
                );
                problems.push(error(part, "requires", message));
            }
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
