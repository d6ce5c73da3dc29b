//! Lints: what can be used, but is likely a mistake.

use std::time::Duration;

use backstay_types::{
    Labels, NodeName, Timestamp,
    redact::{self, Certainty},
    tree::in_folder,
};

use crate::{
    Entry, Fleet, FleetManifest, ProbeKind, Problem, ReadFile, Runtime, Stack, code,
    compose::{ImageRef, Pinning},
};

/// Files larger than this are not searched for secrets, in bytes.
const MAX_SEARCHED: u64 = 1 << 20;

/// Everything worth a look in a repository that [`crate::discover`] could read. With `nodes` also what
/// matches none of them.
pub fn check(
    fleet: &Fleet,
    entries: &[Entry],
    read: ReadFile<'_>,
    nodes: Option<&[(NodeName, Labels)]>,
    now: Timestamp,
) -> Vec<Problem> {
    let mut problems = fleet.warnings.clone();
    problems.extend(plans(&fleet.manifest, now));
    for stack in fleet.stacks.values() {
        problems.extend(images(stack));
        problems.extend(health(stack));
    }
    if let Some(nodes) = nodes {
        problems.extend(selectors(fleet, nodes));
    }
    problems.extend(secrets(entries, read));
    problems
}

/// Secrets in tracked text files. The values are never in the result.
pub fn secrets(entries: &[Entry], read: ReadFile<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in
        entries.iter().filter(|entry| entry.size <= MAX_SEARCHED && entry.mode & 0o170_000 == 0o100_000)
    {
        let Some(bytes) = read(&entry.path) else {
            problems.push(Problem::error(code::MISSING_FILE, &entry.path, "cannot be read"));
            continue;
        };
        if let Ok(text) = std::str::from_utf8(&bytes) {
            problems.extend(secrets_in(&entry.path, text));
        }
    }
    problems
}

fn secrets_in(file: &str, text: &str) -> Vec<Problem> {
    const HINT: &str = "take it out of Git, replace it where it is used, and let the node supply it: `NAME=` in .env.template";
    redact::find(text)
        .into_iter()
        .filter_map(|finding| {
            let problem = match finding.certainty {
                Certainty::Certain => {
                    Problem::error(code::SECRET_IN_GIT, file, format!("holds {}", finding.what))
                }
                Certainty::Likely => {
                    let message = format!("holds what looks like a secret ({})", finding.what);
                    Problem::warning(code::SECRET_IN_GIT, file, message)
                }
                Certainty::Named => return None,
            };
            Some(problem.at_span(text, Some(finding.range)).hint(HINT))
        })
        .collect()
}

fn images(stack: &Stack) -> Vec<Problem> {
    let Some(compose) = &stack.compose else { return Vec::new() };
    let mut problems = Vec::new();
    for (name, service) in &compose.services {
        let Some(image) = service.image.as_ref().filter(|image| !service.build && !image.value.contains('$'))
        else {
            continue;
        };
        if ImageRef::parse(&image.value).pinning() == Pinning::Floating {
            let message =
                format!("`{}` can mean another image tomorrow: expected a version or a digest", image.value);
            problems.push(
                Problem::warning(code::FLOATING_IMAGE, &compose.file, message)
                    .at(image.line, image.column)
                    .field(format!("services.{name}.image"))
                    .hint("going back uses the image that ran; a new node gets whatever the tag means then"),
            );
        }
    }
    problems
}

/// A stack whose deployment cannot fail for being unhealthy.
fn health(stack: &Stack) -> Option<Problem> {
    let (file, message, hint) = match (&stack.manifest.runtime, &stack.compose) {
        (Runtime::Compose(_), Some(compose)) => {
            let only_containers =
                stack.manifest.probes.iter().all(|probe| probe.kind == ProbeKind::Container);
            if !only_containers || compose.services.values().any(|service| service.healthcheck) {
                return None;
            }
            let message = "no service has a `healthcheck`: unless its image brings one, a container counts as healthy as soon as it runs";
            (compose.file.clone(), message, "add a `healthcheck`, or a [[probe]] in stack.toml")
        }
        (Runtime::Process { .. }, _) if stack.manifest.probes.is_empty() => {
            let message = "no [[probe]]: processes count as healthy as long as they run";
            (in_folder(&stack.path, "stack.toml"), message, "add a [[probe]] with http, tcp, command or log")
        }
        (Runtime::Systemd { .. }, _) if stack.manifest.probes.is_empty() => {
            let message = "no [[probe]]: units count as healthy as long as they are active";
            (in_folder(&stack.path, "stack.toml"), message, "add a [[probe]] with http, tcp, command or log")
        }
        _ => return None,
    };
    Some(Problem::warning(code::NO_PROBE, &file, message).hint(hint))
}

fn selectors(fleet: &Fleet, nodes: &[(NodeName, Labels)]) -> Vec<Problem> {
    const FILE: &str = "fleet.toml";
    let matches =
        |selector: &crate::Selector| nodes.iter().any(|(name, labels)| selector.matches(name, labels));
    let mut problems = Vec::new();
    for assignment in fleet.manifest.assignments.iter().filter(|a| !matches(&a.nodes)) {
        let message = format!("`{}` matches none of {} nodes", assignment.nodes, nodes.len());
        let problem = Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message);
        problems.push(problem.at(assignment.line, 0).field("assign.nodes"));
    }
    for pin in fleet.manifest.pins.iter().filter(|pin| !matches(&pin.nodes)) {
        let message = format!("`{}` matches none of {} nodes", pin.nodes, nodes.len());
        problems.push(Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message).field("pin.nodes"));
    }
    let windows = fleet.manifest.windows.iter().map(|w| (&w.nodes, w.line, "window.nodes"));
    let freezes = fleet.manifest.freezes.iter().map(|f| (&f.nodes, f.line, "freeze.nodes"));
    for (selector, line, field) in windows.chain(freezes).filter(|(selector, ..)| !matches(selector)) {
        let message = format!("`{selector}` matches none of {} nodes", nodes.len());
        problems
            .push(Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message).at(line, 0).field(field));
    }
    for wave in &fleet.manifest.rollout.strategy.waves {
        let Ok(crate::Wave::Nodes(selector)) = wave.parse() else { continue };
        if !matches(&selector) {
            let message =
                format!("the wave `{selector}` matches none of {} nodes and is passed", nodes.len());
            problems
                .push(Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message).field("rollout.waves"));
        }
    }
    problems.extend(environments(fleet, nodes));
    for stack in fleet.stacks.keys() {
        if !nodes.iter().any(|(name, labels)| fleet.manifest.is_assigned(stack, name, labels)) {
            let message = format!("no node runs `{stack}`");
            problems.push(Problem::warning(code::UNASSIGNED_STACK, FILE, message).field("assign"));
        }
    }
    problems
}

/// Environments that have no node, which nothing could ever pass, and nodes that are in none or in two.
fn environments(fleet: &Fleet, nodes: &[(NodeName, Labels)]) -> Vec<Problem> {
    const FILE: &str = "fleet.toml";
    let mut problems = Vec::new();
    let all = &fleet.manifest.environments;
    for environment in all {
        if !nodes.iter().any(|(name, labels)| environment.nodes.matches(name, labels)) {
            let message = format!(
                "`{}` matches none of {} nodes: nothing passes the environment `{}`",
                environment.nodes,
                nodes.len(),
                environment.name
            );
            let problem = Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message);
            problems.push(problem.at(environment.line, 0).field("environment.nodes"));
        }
    }
    for (name, labels) in nodes.iter().filter(|_| !all.is_empty()) {
        let of: Vec<_> = all.iter().filter(|one| one.nodes.matches(name, labels)).collect();
        let message = match &of[..] {
            [] => format!("{name} is in no environment, and gets nothing new"),
            [_] => continue,
            [first, second, ..] => {
                format!("{name} is in `{}` and in `{}`: the first counts", first.name, second.name)
            }
        };
        problems.push(Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message).field("environment"));
    }
    problems
}

/// Windows, freezes and pins that contradict each other or the clock.
fn plans(manifest: &FleetManifest, now: Timestamp) -> Vec<Problem> {
    const FILE: &str = "fleet.toml";
    let mut problems = Vec::new();
    let pins = manifest.pins.iter().map(|pin| (pin.until, pin.line, "pin"));
    let freezes = manifest.freezes.iter().map(|freeze| (freeze.until, freeze.line, "freeze"));
    for (until, line, what) in pins.chain(freezes) {
        if let Some(until) = until.filter(|until| *until <= now) {
            let problem = Problem::warning(code::RUN_OUT, FILE, format!("this {what} ran out at {until}"));
            problems.push(problem.at(line, 0).field(format!("{what}.until")).hint("take it out"));
        }
    }
    let soak = Duration::from_secs(manifest.rollout.strategy.soak_seconds);
    for window in &manifest.windows {
        let (message, hint) = if !window.is_open(now) && window.changes_at(now).is_none() {
            let message =
                "this window does not open within five years: dates of blackout cover every opening";
            (message.to_owned(), "take out dates of `blackout`")
        } else if soak > window.lasts {
            let text = crate::format_duration;
            let message = format!(
                "it is open for {}, and a wave is watched for {}: each wave waits for a window of its own",
                text(window.lasts),
                text(soak)
            );
            (message, "a shorter `soak`, or a longer window")
        } else {
            continue;
        };
        let problem = Problem::warning(code::WINDOW_DOES_NOT_FIT, FILE, message);
        problems.push(problem.at(window.line, 0).field("window").hint(hint));
    }
    problems
}

#[cfg(test)]
mod tests {
    use backstay_types::ErrorCode;

    use super::*;
    use crate::{Listing, discover};

    fn run(files: &[(&str, String)], nodes: Option<&[(NodeName, Labels)]>) -> Vec<Problem> {
        let entries: Vec<Entry> = files
            .iter()
            .map(|(path, text)| Entry { path: (*path).to_owned(), mode: 0o100_644, size: text.len() as u64 })
            .collect();
        let read = |wanted: &str| {
            files.iter().find(|(path, _)| *path == wanted).map(|(_, text)| text.clone().into_bytes())
        };
        let repository = "r".parse().unwrap();
        let fleet =
            discover(Listing { repository: &repository, stacks_path: None, entries: &entries }, &read);
        check(&fleet.unwrap(), &entries, &read, nodes, "2026-11-21T10:00:00Z".parse().unwrap())
    }

    fn codes(problems: &[Problem]) -> Vec<ErrorCode> {
        problems.iter().map(|problem| problem.code).collect()
    }

    const GOOD: &str = "services:\n  web:\n    image: nginx:1.27\n    healthcheck: {test: [CMD, 'true']}\n";

    #[test]
    fn a_good_repository_has_nothing() {
        assert!(run(&[("stacks/web/compose.yaml", GOOD.to_owned())], None).is_empty());
    }

    #[test]
    fn floating_images_and_missing_health_checks() {
        let text = "services:\n  web:\n    image: nginx\n  api:\n    build: .\n    image: api\n  v:\n    image: 'x:${TAG}'\n";
        let problems = run(&[("stacks/web/compose.yaml", text.to_owned())], None);
        assert_eq!(codes(&problems), [code::FLOATING_IMAGE, code::NO_PROBE]);
        assert_eq!(problems[0].line, Some(3));
    }

    #[test]
    fn secrets_are_found_and_never_shown() {
        let token = format!("ghp{}{}", "_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
        let random = "q8Zr3Lk0Wm5Tx7Vb2Nc9";
        let problems = run(
            &[
                ("stacks/web/compose.yaml", GOOD.to_owned()),
                (
                    "stacks/web/.env.template",
                    format!("# x\nGH_TOKEN={token}\nDB_PASSWORD={random}\nOK=\nPASSWORD=changeme\n"),
                ),
            ],
            None,
        );
        assert_eq!(codes(&problems), [code::SECRET_IN_GIT, code::SECRET_IN_GIT]);
        assert_eq!((problems[0].line, problems[0].is_error()), (Some(2), true));
        assert_eq!((problems[1].line, problems[1].is_error()), (Some(3), false));
        let shown = format!("{problems:?}");
        assert!(!shown.contains(&token) && !shown.contains(random), "{shown}");
    }

    #[test]
    fn plans_that_contradict_themselves() {
        let fleet = format!(
            "[rollout]\nwaves = [\"5%\", \"100%\"]\nsoak = \"6h\"\n\
             [[window]]\nopens = \"0 2 * * Sun#2\"\nfor = \"4h\"\n\
             [[window]]\nopens = \"0 2 24 12 *\"\nfor = \"8h\"\nblackout = [\"2020-01-01..2040-01-01\"]\n\
             [[freeze]]\nuntil = 2026-11-01T00:00:00Z\nreason = \"the fair\"\n\
             [[pin]]\nstack = \"web\"\nnodes = \"\"\ncommit = \"{}\"\nreason = \"r\"\nuntil = 2026-11-20T00:00:00Z\n",
            "a".repeat(40)
        );
        let problems = run(&[("fleet.toml", fleet), ("stacks/web/compose.yaml", GOOD.to_owned())], None);
        let seen: Vec<_> = problems.iter().map(|one| (one.code, one.line)).collect();
        assert_eq!(
            seen,
            [
                (code::RUN_OUT, Some(14)),
                (code::RUN_OUT, Some(11)),
                (code::WINDOW_DOES_NOT_FIT, Some(4)),
                (code::WINDOW_DOES_NOT_FIT, Some(7)),
            ],
            "{problems:?}"
        );
        assert!(problems[2].message.contains("watched for 6h"), "{}", problems[2]);
        assert!(problems[3].message.contains("does not open within five years"), "{}", problems[3]);
    }

    #[test]
    fn selectors_that_match_nothing() {
        let fleet = "[[assign]]\nstack = \"web\"\nnodes = \"role=web\"\n".to_owned();
        let files = [("fleet.toml", fleet), ("stacks/web/compose.yaml", GOOD.to_owned())];
        let node = |role: &str| {
            vec![(
                "n1".parse::<NodeName>().unwrap(),
                Labels::parse([format!("role={role}").as_str()]).unwrap(),
            )]
        };
        assert!(run(&files, Some(&node("web"))).is_empty());
        let problems = run(&files, Some(&node("db")));
        assert_eq!(codes(&problems), [code::SELECTOR_MATCHES_NOTHING, code::UNASSIGNED_STACK]);
        assert_eq!(problems[0].line, Some(1));
        let waves = "[rollout]\nwaves = [\"role=db\", \"100%\"]\n".to_owned();
        let files = [("fleet.toml", waves), ("stacks/web/compose.yaml", GOOD.to_owned())];
        assert!(run(&files, Some(&node("db"))).is_empty());
        assert_eq!(codes(&run(&files, Some(&node("web")))), [code::SELECTOR_MATCHES_NOTHING]);
    }
}
