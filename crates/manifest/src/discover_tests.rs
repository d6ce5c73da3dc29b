use backstay_types::ErrorCode;
use proptest::prelude::*;

use super::*;

const WEB: &str = "services:\n  web:\n    image: nginx:1.27\n";

/// Files with content; a name ending in `*` is executable.
fn run(files: &[(&str, &str)], stacks_path: Option<&str>) -> Result<Fleet, Vec<Problem>> {
    let entries: Vec<Entry> = files
        .iter()
        .map(|(path, content)| Entry {
            path: path.trim_end_matches('*').to_owned(),
            mode: if path.ends_with('*') { 0o100_755 } else { 0o100_644 },
            size: content.len() as u64,
        })
        .collect();
    let read = |wanted: &str| {
        let found = files.iter().find(|(path, _)| path.trim_end_matches('*') == wanted);
        found.map(|(_, content)| content.as_bytes().to_vec())
    };
    let repository = "my-fleet".parse().unwrap();
    discover(Listing { repository: &repository, stacks_path, entries: &entries }, &read)
}

fn names(fleet: &Fleet) -> Vec<&str> {
    fleet.stacks.keys().map(StackName::as_str).collect()
}

fn codes(result: Result<Fleet, Vec<Problem>>) -> Vec<ErrorCode> {
    result.unwrap_err().iter().map(|problem| problem.code).collect()
}

#[test]
fn stacks_are_found_without_any_manifest() {
    let fleet = run(
        &[
            ("README.md", ""),
            ("stacks/web/compose.yaml", WEB),
            ("stacks/db/docker-compose.yml", WEB),
            ("stacks/notes/README.md", ""),
            ("stacks/web/inner/compose.yaml", WEB),
            ("roles/proxy/compose.yml", WEB),
            ("compose.yaml", WEB),
        ],
        None,
    )
    .unwrap();
    assert_eq!(names(&fleet), ["db", "proxy", "web"]);
    let web = &fleet.stacks[&"web".parse().unwrap()];
    assert_eq!((web.path.as_str(), web.manifest.runtime.name()), ("stacks/web", "compose"));
    assert_eq!(web.manifest.probes[0].kind, ProbeKind::Container);
}

#[test]
fn the_root_or_a_named_path_can_be_a_stack() {
    assert_eq!(names(&run(&[("compose.yaml", WEB), ("x", "")], None).unwrap()), ["my-fleet"]);
    let files =
        [("infra/apps/web/compose.yaml", WEB), ("one/compose.yaml", WEB), ("stacks/no/compose.yaml", WEB)];
    assert_eq!(names(&run(&files, Some("infra/apps/")).unwrap()), ["web"]);
    assert_eq!(names(&run(&files, Some("one")).unwrap()), ["one"]);
    assert_eq!(codes(run(&files, Some("else"))), [code::NO_STACKS]);
}

#[test]
fn nothing_found_is_an_error_of_its_own() {
    assert_eq!(codes(run(&[], None)), [code::NO_STACKS]);
    assert_eq!(codes(run(&[("README.md", "x")], None)), [code::NO_STACKS]);
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_absent() {
    let repository = "r".parse().unwrap();
    let entries = ["stacks/web/compose.yaml", "fleet.toml"].map(|path| Entry {
        path: path.to_owned(),
        mode: 0o100_644,
        size: 1,
    });
    let listing = Listing { repository: &repository, stacks_path: None, entries: &entries };
    let problems = discover(listing, &|_| None).unwrap_err();
    assert!(problems.iter().all(|p| p.code == code::MISSING_FILE) && problems.len() == 2, "{problems:?}");
}

#[test]
fn everything_wrong_is_told_with_its_file() {
    let problems = run(
        &[
            ("fleet.toml", "[[assign]]\nstack = \"wbe\"\nnodes = \"\"\n"),
            ("stacks/web/compose.yaml", WEB),
            ("stacks/val/stack.toml", "[[probe]]\nlog = \"up\"\nservice = \"nope\"\n"),
            ("stacks/bad/compose.yaml", "services: [\n"),
            ("stacks/Bad Name/compose.yaml", WEB),
            ("roles/web/compose.yaml", WEB),
            ("stacks/missing/stack.toml", "compose_file = \"other.yaml\"\n"),
            ("stacks/inc/compose.yaml", "include: [x.yaml]\nservices: {a: {image: x}}\n"),
            ("stacks/val/compose.yaml", WEB),
            ("stacks/val/validate", "#!/bin/sh\n"),
            ("stacks/rw/compose.yaml", "services: {a: {image: x, volumes: ['./c:/c']}}\n"),
            ("stacks/rw/c/file", ""),
        ],
        None,
    )
    .unwrap_err();
    let found: Vec<_> = problems.iter().map(|p| (p.file.as_str(), p.code)).collect();
    for expected in [
        ("fleet.toml", code::UNKNOWN_STACK),
        ("stacks/val/stack.toml", code::WRONG_VALUE),
        ("stacks/bad/compose.yaml", code::YAML_SYNTAX),
        ("stacks/Bad Name", code::BAD_STACK_NAME),
        ("stacks/web", code::DUPLICATE_STACK),
        ("stacks/missing/stack.toml", code::MISSING_FILE),
        ("stacks/inc/compose.yaml", code::INCLUDED_FILE),
        ("stacks/val/validate", code::NOT_EXECUTABLE),
        ("stacks/rw/compose.yaml", code::WRITABLE_TRACKED),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
    assert_eq!(found.len(), 9);
    assert_eq!(
        problems.iter().find(|p| p.code == code::UNKNOWN_STACK).unwrap().hint.as_deref(),
        Some("did you mean `web`?")
    );
}

#[test]
fn links_and_submodules_are_refused_inside_stacks_only() {
    let repository = "r".parse().unwrap();
    let entry = |path: &str, mode| Entry { path: path.to_owned(), mode, size: 1 };
    let check = |extra: Entry| {
        let entries = [entry("stacks/web/compose.yaml", 0o100_644), extra];
        let listing = Listing { repository: &repository, stacks_path: None, entries: &entries };
        discover(listing, &|_| Some(WEB.as_bytes().to_vec()))
    };
    assert_eq!(codes(check(entry("stacks/web/link", 0o120_000))), [code::BAD_PATH]);
    assert_eq!(codes(check(entry("stacks/web/module", 0o160_000))), [code::BAD_PATH]);
    assert_eq!(codes(check(entry("stacks/web/a\nb", 0o100_644))), [code::BAD_PATH]);
    assert!(check(entry("link", 0o120_000)).is_ok());
}

#[test]
fn process_stacks_and_environment() {
    let manifest =
        "runtime = \"process\"\n[[process]]\nname = \"api\"\ncommand = [\"./serve\", \"${PORT}\"]\n";
    let fleet = run(
        &[
            ("stacks/api/stack.toml", manifest),
            ("stacks/api/serve*", ""),
            ("stacks/api/.env.template", "PORT=80\nKEY=\n"),
        ],
        None,
    )
    .unwrap();
    let api = &fleet.stacks[&"api".parse().unwrap()];
    assert_eq!(api.env.as_ref().unwrap().needed(), ["KEY"]);
    assert_eq!(api.manifest.processes()[0].name, "api");
    assert_eq!(
        codes(run(&[("stacks/api/stack.toml", manifest), ("stacks/api/serve", "")], None)),
        [code::NOT_EXECUTABLE]
    );
}

#[test]
fn a_pin_for_a_stack_that_is_gone_only_warns() {
    let pin =
        format!("[[pin]]\nstack = \"old\"\nnodes = \"\"\ncommit = \"{}\"\nreason = \"r\"\n", "a".repeat(40));
    let fleet = run(&[("fleet.toml", &pin), ("stacks/web/compose.yaml", WEB)], None).unwrap();
    assert_eq!(fleet.warnings[0].code, code::UNKNOWN_STACK);
}

proptest! {
    #[test]
    fn any_repository_gives_stacks_or_problems(
        files in prop::collection::vec(
            (
                "(stacks/|roles/)?([a-c]/)?(compose.yaml|stack.toml|fleet.toml|.env.template|validate|x)",
                prop::collection::vec(any::<u8>(), 0..60),
            ),
            0..6,
        ),
        path in prop::option::of("[a-c./]{0,4}"),
    ) {
        let entries: Vec<Entry> =
            files.iter().map(|(path, c)| Entry { path: path.clone(), mode: 0o100_644, size: c.len() as u64 }).collect();
        let read = |wanted: &str| files.iter().find(|(path, _)| path == wanted).map(|(_, c)| c.clone());
        let repository = "r".parse().unwrap();
        match discover(Listing { repository: &repository, stacks_path: path.as_deref(), entries: &entries }, &read) {
            Ok(fleet) => prop_assert!(!fleet.stacks.is_empty()),
            Err(problems) => prop_assert!(problems.iter().any(Problem::is_error)),
        }
    }
}

#[test]
fn figures_that_rules_go_by_are_declared_by_a_stack() {
    let stack = "[[figure]]\nname = \"approval_failures\"\ncommand = [\"./failures\"]\n\n[[figure]]\nname = \"selftest_failed\"\nfile = \"data/selftest\"\n";
    let fleet = |rule: &str| {
        let text = format!("[rollout]\nmin_sample = 3\n\n[[rollout.stop]]\nwhen = \"{rule}\"\n");
        run(
            &[("fleet.toml", &text), ("stacks/web/compose.yaml", WEB), ("stacks/web/stack.toml", stack)],
            None,
        )
    };
    let read = fleet("max(approval_failures)>=0.01").unwrap();
    assert_eq!(read.manifest.rollout.strategy.stop, ["max(approval_failures) >= 0.01"]);
    let figures = &read.stacks.values().next().unwrap().manifest.figures;
    assert_eq!(
        figures.iter().map(|figure| figure.name.as_str()).collect::<Vec<_>>(),
        ["approval_failures", "selftest_failed"]
    );
    assert!(fleet("selftest_failed > 0").is_ok() && fleet("heartbeat_drop > 0.1").is_ok());
    for (rule, near) in
        [("aproval_failures > 0.01", "approval_failures"), ("failed_ration > 0.1", "failed_ratio")]
    {
        let problems = fleet(rule).unwrap_err();
        assert_eq!((problems[0].code, problems[0].line), (code::WRONG_VALUE, Some(4)), "{problems:?}");
        assert_eq!(problems[0].hint, Some(format!("did you mean `{near}`?")));
    }
    for (text, expected) in [
        ("name = \"failed\"\nfile = \"x\"", "figure of every rollout"),
        ("name = \"Bad\"\nfile = \"x\"", "a-z, 0-9"),
        ("name = \"x\"", "where the number is from"),
        ("name = \"x\"\nfile = \"../x\"", "without `..`"),
        ("name = \"x\"\nfile = \"x\"\ncommand = [\"y\"]", "not both"),
    ] {
        let text = format!("[[figure]]\n{text}\n");
        let problems =
            run(&[("stacks/web/compose.yaml", WEB), ("stacks/web/stack.toml", &text)], None).unwrap_err();
        assert!(problems[0].message.contains(expected), "{text}: {problems:?}");
    }
}

#[test]
fn windows_and_freezes_name_stacks_that_are_there() {
    let text = "[[window]]\nstacks = [\"web\", \"wbe\"]\nopens = \"0 2 * * *\"\nfor = \"1h\"\n\n[[freeze]]\nstack = \"other\"\nreason = \"r\"\n";
    let problems = run(&[("fleet.toml", text), ("stacks/web/compose.yaml", WEB)], None).unwrap_err();
    let seen: Vec<_> = problems.iter().map(|one| (one.code, one.line)).collect();
    assert_eq!(seen, [(code::UNKNOWN_STACK, Some(1)), (code::UNKNOWN_STACK, Some(6))]);
    for (text, expected) in [
        ("[[window]]\nopens = \"0 2 31 2 *\"\nfor = \"1h\"\n", "never comes"),
        ("[[window]]\nopens = \"0 2 * * *\"\nfor = \"9d\"\n", "at most a week"),
        ("[[window]]\nopens = \"0 2 * * *\"\n", "how long it stays open"),
        ("[[window]]\nopens = \"0 2 * * *\"\nfor = \"1h\"\ntime_zone = \"Mars/Base\"\n", "no time zone"),
        ("[[window]]\nopens = \"0 2 * * *\"\nfor = \"1h\"\nblackout = [\"soon\"]\n", "no date"),
        (
            "[[freeze]]\nfrom = 2027-01-02T00:00:00Z\nuntil = 2027-01-01T00:00:00Z\nreason = \"r\"\n",
            "ends before",
        ),
        ("[[freeze]]\n", "why nothing is to change"),
    ] {
        let problems = run(&[("fleet.toml", text), ("stacks/web/compose.yaml", WEB)], None).unwrap_err();
        assert!(problems[0].message.contains(expected) && problems[0].line.is_some(), "{text}: {problems:?}");
    }
}
