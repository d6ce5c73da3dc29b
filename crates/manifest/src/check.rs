//! Lints: what can be used, but is likely a mistake.

mod backups;
mod plans;
mod reach;

use backstay_types::{
    Labels, NodeName, Timestamp,
    redact::{self, Certainty},
    tree::in_folder,
};

use crate::{
    Entry, Fleet, FleetManifest, ProbeKind, Problem, ReadFile, Runtime, Stack, code,
    compose::{ImageRef, Pinning},
};

const FILE: &str = "fleet.toml";
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
    problems.extend(plans::contradictions(fleet, now));
    for stack in fleet.stacks.values() {
        problems.extend(images(stack));
        problems.extend(health(stack));
        problems.extend(backups::doubtful(stack));
    }
    problems.extend(backups::shared(fleet, nodes));
    if let Some(nodes) = nodes {
        problems.extend(reach::nothing(fleet, nodes));
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

/// The ways in which stacks go out, `[rollout]` and each channel: their waves, the line of these, and the field.
fn ways(manifest: &FleetManifest) -> impl Iterator<Item = (&[String], u32, &'static str)> {
    let rollout = &manifest.rollout;
    let rollout = (rollout.strategy.waves.as_slice(), rollout.waves_line, "rollout.waves");
    let channels = manifest.channels.iter();
    let channels = channels.map(|one| (one.strategy.waves.as_slice(), one.waves_line, "channel.waves"));
    std::iter::once(rollout).chain(channels)
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

    const PIN: &str = "[[pin]]\nstack = \"web\"\nnodes = \"role=db\"\ncommit = \"1234567890123456789012345678901234567890\"\nreason = \"r\"\n";

    fn web_nodes() -> Vec<(NodeName, Labels)> {
        let node = |name: &str, ring: &str| {
            let labels = ["role=web".to_owned(), format!("ring={ring}")];
            (name.parse().unwrap(), Labels::parse(labels.iter().map(String::as_str)).unwrap())
        };
        vec![node("n1", "one"), node("n2", "two")]
    }

    /// Each warning as a line of text, as `backstay check` shows it.
    fn told(fleet: &str, nodes: Option<&[(NodeName, Labels)]>) -> Vec<String> {
        let web = ("stacks/web/compose.yaml", GOOD.to_owned());
        let db = ("stacks/db/compose.yaml", GOOD.to_owned());
        run(&[("fleet.toml", fleet.to_owned()), web, db], nodes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_reaches_nobody_is_named_with_its_line() {
        let all =
            "[[assign]]\nstack = \"web\"\nnodes = \"\"\n[[assign]]\nstack = \"db\"\nnodes = \"role=db\"\n";
        let nodes = web_nodes();
        let told = |fleet: &str| told(fleet, Some(&nodes));
        assert_eq!(
            told(all),
            [
                "fleet.toml:4: assign.nodes: `role=db` matches none of 2 nodes (BS1203)",
                "fleet.toml:4: assign: no node runs `db` (BS1204)",
            ]
        );
        assert_eq!(
            told("\n[[assign]]\nstack = \"web\"\nnodes = \"\"\n"),
            ["fleet.toml:2: assign: no node runs `db`: no [[assign]] names it (BS1204)"]
        );
        assert_eq!(
            told(&format!("schema = 1\n{PIN}")),
            ["fleet.toml:2: pin.nodes: `role=db` matches none of 2 nodes (BS1203)"]
        );
        assert_eq!(
            told("[rollout]\nmax_updating = 1\nwaves = [\"role=db\", \"100%\"]\n"),
            [
                "fleet.toml:3: rollout.waves: the wave `role=db` matches none of 2 nodes and is passed (BS1203)"
            ]
        );
        let channel = "[[assign]]\nstack = \"web\"\nnodes = \"\"\nchannel = \"c\"\n[[assign]]\nstack = \"db\"\nnodes = \"\"\n\
            [[channel]]\nname = \"c\"\nwaves = [\"ring=one\", \"role=db\", \"ring in (one)\", \"100%\"]\n";
        assert_eq!(
            told(channel),
            [
                "fleet.toml:10: channel.waves: the wave `role=db` matches none of 2 nodes and is passed (BS1203)",
                "fleet.toml:10: channel.waves: the wave `ring in (one)` is passed: its nodes are all in waves before it (BS1203)",
            ]
        );
    }

    #[test]
    fn nodes_of_no_environment_and_of_two_are_named_with_a_line() {
        let environment =
            |name: &str, nodes: &str| format!("[[environment]]\nname = \"{name}\"\nnodes = \"{nodes}\"\n");
        let fleet = environment("a", "ring=one") + &environment("b", "ring=one");
        assert_eq!(
            told(&fleet, Some(&web_nodes())),
            [
                "fleet.toml:1: environment: n2 is in no environment, and nothing new comes there (BS1203)",
                "fleet.toml:4: environment: n1 is in `a` and in `b`: the first counts (BS1203)",
            ]
        );
    }

    #[test]
    fn many_nodes_of_no_environment_are_one_warning() {
        let nodes: Vec<_> = (0..9)
            .map(|n| (format!("n{n}").parse().unwrap(), Labels::parse(["ring=none"]).unwrap()))
            .collect();
        let fleet = "[[environment]]\nname = \"a\"\nnodes = \"ring=none,name=n8\"\n";
        assert_eq!(
            told(fleet, Some(&nodes)),
            [
                "fleet.toml:1: environment: n0, n1, n2 and 5 more are in no environment, and nothing new comes there (BS1203)"
            ]
        );
    }

    #[test]
    fn a_wave_that_stands_twice_is_named_with_its_line() {
        for (head, field) in [("[rollout]\n", "rollout"), ("[[channel]]\nname = \"c\"\n", "channel")] {
            let fleet = format!(
                "[[assign]]\nstack = \"web\"\nnodes = \"\"\n{}{head}waves = [\"ring=one\", \"5%\", \"ring = one\", \"100%\"]\n",
                if field == "channel" { "channel = \"c\"\n" } else { "" }
            );
            let line = fleet.lines().count();
            assert_eq!(
                told(&fleet, None),
                [format!(
                    "fleet.toml:{line}: {field}.waves: the wave `ring=one` stands twice and is passed: its nodes are in wave 1 (BS1203)"
                )]
            );
            assert_eq!(told(&fleet, Some(&web_nodes())).len(), 2, "once, beside the stack that nobody runs");
        }
    }

    #[test]
    fn the_soak_of_a_channel_is_held_against_the_windows_of_its_stacks() {
        let fleet = |stacks: &str| {
            format!(
                "[[assign]]\nstack = \"web\"\nnodes = \"\"\nchannel = \"slow\"\n[[assign]]\nstack = \"db\"\nnodes = \"\"\n\
                 [[channel]]\nname = \"slow\"\nwaves = [\"5%\", \"100%\"]\nsoak = \"6h\"\n\
                 [[window]]\nopens = \"0 2 * * Sun#2\"\nfor = \"4h\"\n{stacks}"
            )
        };
        let expected = "fleet.toml:12: window: it is open for 4h, and a wave of channel `slow` is watched for 6h: each wave waits for a window of its own (BS1208)";
        assert_eq!(told(&fleet(""), None), [expected]);
        assert_eq!(told(&fleet("stacks = [\"web\"]\n"), None), [expected]);
        assert!(told(&fleet("stacks = [\"db\"]\n"), None).is_empty());
        // What everybody goes out by does not count where nobody does.
        let rollout = "[rollout]\nwaves = [\"5%\", \"100%\"]\nsoak = \"9h\"\n";
        let both = told(&(fleet("") + rollout), None);
        assert_eq!(both.len(), 2, "{both:?}");
        assert_eq!(told(&(fleet("stacks = [\"web\"]\n") + rollout), None), [expected]);
    }

    #[test]
    fn a_parts_channel_beside_environments_is_named_with_its_line() {
        let stack = "schema = 4\n[[part]]\nname = \"rules\"\npaths = [\"rules/**\"]\nchannel = \"policy\"\n\n[[part]]\nname = \"wrapper\"\npaths = [\"wrapper/**\"]\n";
        let found = |fleet: &str| {
            let files = [
                ("fleet.toml", fleet.to_owned()),
                ("stacks/web/compose.yaml", GOOD.to_owned()),
                ("stacks/web/stack.toml", stack.to_owned()),
                ("stacks/web/rules/a.toml", "a = 1\n".to_owned()),
                ("stacks/web/wrapper/b.toml", "b = 1\n".to_owned()),
            ];
            run(&files, None).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let channel = "[[channel]]\nname = \"policy\"\n";
        assert!(found(channel).is_empty(), "{:?}", found(channel));
        // The one that names none goes by the rules of the stack anyway.
        let environment = format!("{channel}[[environment]]\nname = \"prod\"\nnodes = \"\"\n");
        assert_eq!(
            found(&environment),
            [
                "stacks/web/stack.toml:2: part.channel: the channel `policy` of the part `rules` counts for nothing: the fleet \
                 has environments, and a stack goes through them as a whole (BS1209)"
            ]
        );
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
