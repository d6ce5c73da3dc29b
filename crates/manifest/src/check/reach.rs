//! What of `fleet.toml` reaches none of the nodes that there are.

use std::collections::BTreeMap;

use backstay_types::{Labels, NodeName};

use super::FILE;
use crate::{Fleet, FleetManifest, Problem, Selector, Wave, code};

/// Selectors that match no node, waves that bring nobody, stacks that nobody runs, and nodes that get nothing.
pub(super) fn nothing(fleet: &Fleet, nodes: &[(NodeName, Labels)]) -> Vec<Problem> {
    let matches = |selector: &Selector| nodes.iter().any(|(name, labels)| selector.matches(name, labels));
    let manifest = &fleet.manifest;
    let assignments = manifest.assignments.iter().map(|one| (&one.nodes, one.line, "assign.nodes"));
    let pins = manifest.pins.iter().map(|one| (&one.nodes, one.line, "pin.nodes"));
    let windows = manifest.windows.iter().map(|one| (&one.nodes, one.line, "window.nodes"));
    let freezes = manifest.freezes.iter().map(|one| (&one.nodes, one.line, "freeze.nodes"));
    let mut problems = Vec::new();
    for (selector, line, field) in assignments.chain(pins).chain(windows).chain(freezes) {
        if !matches(selector) {
            let message = format!("`{selector}` matches none of {} nodes", nodes.len());
            let problem = Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message);
            problems.push(problem.at(line, 0).field(field));
        }
    }
    problems.extend(waves(manifest, nodes));
    problems.extend(environments(fleet, nodes));
    problems.extend(fleet.stacks.keys().filter_map(|stack| {
        let runs = nodes.iter().any(|(name, labels)| manifest.is_assigned(stack, name, labels));
        let own = manifest.assignments.iter().find(|one| one.stack == *stack);
        let message = match own {
            _ if runs => return None,
            Some(_) => format!("no node runs `{stack}`"),
            None => format!("no node runs `{stack}`: no [[assign]] names it"),
        };
        let line = own.or(manifest.assignments.first()).map_or(0, |one| one.line);
        Some(Problem::warning(code::UNASSIGNED_STACK, FILE, message).at(line, 0).field("assign"))
    }));
    problems
}

/// Waves of `[rollout]` and of channels that have no node which is in none before.
fn waves(manifest: &FleetManifest, nodes: &[(NodeName, Labels)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (waves, line, field) in super::ways(manifest) {
        let mut before: Vec<Selector> = Vec::new();
        for wave in waves {
            let Ok(Wave::Nodes(selector)) = wave.parse() else { continue };
            let of: Vec<_> = nodes.iter().filter(|(name, labels)| selector.matches(name, labels)).collect();
            let taken =
                |(name, labels): &&(NodeName, Labels)| before.iter().any(|one| one.matches(name, labels));
            let message = match of.len() {
                0 => format!("the wave `{selector}` matches none of {} nodes and is passed", nodes.len()),
                _ if !before.contains(&selector) && of.iter().all(taken) => {
                    format!("the wave `{selector}` is passed: its nodes are all in waves before it")
                }
                _ => String::new(),
            };
            if !message.is_empty() {
                let problem = Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message);
                problems.push(problem.at(line, 0).field(field));
            }
            before.push(selector);
        }
    }
    problems
}

/// Environments that have no node, which nothing could ever pass, and nodes that are in none or in two.
fn environments(fleet: &Fleet, nodes: &[(NodeName, Labels)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let all = &fleet.manifest.environments;
    let warning = |line: u32, message: String| {
        Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message).at(line, 0)
    };
    for environment in all {
        if !nodes.iter().any(|(name, labels)| environment.nodes.matches(name, labels)) {
            let message = format!(
                "`{}` matches none of {} nodes: nothing passes the environment `{}`",
                environment.nodes,
                nodes.len(),
                environment.name
            );
            problems.push(warning(environment.line, message).field("environment.nodes"));
        }
    }
    let Some(first) = all.first() else { return problems };
    let mut odd: BTreeMap<(u32, String), Vec<&NodeName>> = BTreeMap::new();
    for (name, labels) in nodes {
        let of: Vec<_> = all.iter().filter(|one| one.nodes.matches(name, labels)).collect();
        let said = match &of[..] {
            [] => (first.line, "in no environment, and nothing new comes there".to_owned()),
            [_] => continue,
            [one, other, ..] => {
                (other.line, format!("in `{}` and in `{}`: the first counts", one.name, other.name))
            }
        };
        odd.entry(said).or_default().push(name);
    }
    for ((line, what), names) in odd {
        problems.push(warning(line, format!("{} {what}", some(&names))).field("environment"));
    }
    problems
}

/// The first few names, and how many more there are, with the verb.
fn some(names: &[&NodeName]) -> String {
    const NAMED: usize = 3;
    let shown = names.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match names.len() {
        1 => format!("{shown} is"),
        count if count <= NAMED => format!("{shown} are"),
        count => format!("{shown} and {} more are", count - NAMED),
    }
}
