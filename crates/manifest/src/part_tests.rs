use backstay_types::ErrorCode;
use proptest::prelude::*;

use super::*;
use crate::{Entry, Fleet, Listing, Problem, discover};

const COMPOSE: &str = "services:\n  gateway:\n    image: openclaw/openclaw:2026.4.1\n    volumes:\n      - ./policy:/policy:ro\n  cli:\n    image: openclaw/openclaw:2026.4.1\n";
const POLICY: &str = "[[part]]\nname = \"policy\"\npaths = [\"policy\"]\napply = \"reload\"\nreload = [\"kill\", \"-HUP\", \"1\"]\nreload_in = \"gateway\"\n";

/// A Compose stack with some files and a manifest.
fn run(compose: &str, stack: &str, files: &[&str]) -> Result<Fleet, Vec<Problem>> {
    let files: Vec<_> = files.iter().map(|path| format!("stacks/claw/{path}")).collect();
    let own = [("stacks/claw/compose.yaml", compose), ("stacks/claw/stack.toml", stack)];
    let all = own.into_iter().filter(|(_, text)| !text.is_empty());
    let all: Vec<_> = all.chain(files.iter().map(|path| (path.as_str(), ""))).collect();
    let entries: Vec<_> = all
        .iter()
        .map(|(path, text)| Entry { path: (*path).to_owned(), mode: 0o100_644, size: text.len() as u64 })
        .collect();
    let read =
        |wanted: &str| all.iter().find(|(path, _)| *path == wanted).map(|(_, text)| text.as_bytes().to_vec());
    let repository = "fleet".parse().unwrap();
    discover(Listing { repository: &repository, stacks_path: None, entries: &entries }, &read)
}

/// Of each problem its code and its line.
fn found(result: Result<Fleet, Vec<Problem>>) -> Vec<(ErrorCode, u32, String)> {
    result.unwrap_err().into_iter().map(|p| (p.code, p.line.unwrap_or(0), p.message)).collect()
}

#[test]
fn a_stack_says_what_its_parts_are() {
    let stack = format!(
        "{POLICY}\n[[part]]\nname = \"plugin\"\npaths = [\"plugins/**/*.js\"]\npreflight = [\"true\"]\n"
    );
    let fleet = run(COMPOSE, &stack, &["policy/a.json", "plugins/x/y/z.js", "notes.md"]).unwrap();
    let claw = &fleet.stacks[&"claw".parse().unwrap()];
    assert_eq!(claw.schema, 3, "agents that know no parts are not given it");
    let of = |path: &str| claw.manifest.parts.of(path).map_or("-", |part| part.name.as_str());
    assert_eq!(
        ["policy/a.json", "policy/deep/b", "plugins/x/y/z.js", "plugins/z.css", "compose.yaml", "policyx/a"]
            .map(of),
        ["policy", "policy", "plugin", "-", "-", "-"]
    );
    let is_of = |path: &str, part: &str| claw.manifest.parts.is_of(path, &part.parse().unwrap());
    assert!(is_of("policy/a.json", "policy") && !is_of("policy/a.json", BASE_PART));
    assert!(is_of("compose.yaml", BASE_PART) && !is_of("compose.yaml", "policy"));
    assert!(claw.manifest.parts.reloaded("policy/a.json").is_some());
    assert!(claw.manifest.parts.reloaded("plugins/z.js").is_none());
    let plan = crate::compose::classify(
        claw.compose.as_ref().unwrap(),
        &[crate::compose::TreeEntry {
            path: "policy/a.json".to_owned(),
            mode: backstay_types::tree::Mode::File,
            content: backstay_types::Digest::of(b"1"),
            len: 1,
        }],
        &claw.manifest.parts,
    )
    .unwrap();
    assert!(plan.tracked.is_empty());
    assert_eq!(plan.services_that_see(0), ["gateway"]);
    assert_eq!(plan.live[0].files, [("policy/a.json".to_owned(), "a.json".to_owned())]);
}

#[test]
fn parts_that_make_no_sense_are_refused_with_their_line() {
    let cases: [(&str, ErrorCode, u32, &str); 12] = [
        ("[[part]]\nname = \"a\"\npaths = []\n", ErrorCode::BS1004, 3, "at least one"),
        ("[[part]]\nname = \"a\"\npaths = [\"\"]\n", ErrorCode::BS1004, 3, "below the stack's folder"),
        ("[[part]]\nname = \"a\"\npaths = [\"../x\"]\n", ErrorCode::BS1004, 3, "below the stack's folder"),
        ("[[part]]\nname = \"a\"\n", ErrorCode::BS1005, 1, "which files"),
        ("[[part]]\nname = \"base\"\npaths = [\"x\"]\n", ErrorCode::BS1004, 2, "what no part names"),
        (
            "[[part]]\nname = \"a\"\npaths = [\"p\"]\napply = \"reload\"\n",
            ErrorCode::BS1005,
            1,
            "what tells the stack",
        ),
        (
            "[[part]]\nname = \"a\"\npaths = [\"p\"]\nreload = [\"x\"]\n",
            ErrorCode::BS1004,
            4,
            "only for a part",
        ),
        ("[[part]]\nname = \"a\"\npaths = [\"p\"]\npreflight = []\n", ErrorCode::BS1004, 4, "a program"),
        (
            "[[part]]\nname = \"a\"\npaths = [\"policy\"]\n\n[[part]]\nname = \"b\"\npaths = [\"policy/*.json\"]\n",
            ErrorCode::BS1018,
            5,
            "`policy/a.json` is in part `a` and in part `b`",
        ),
        ("[[part]]\nname = \"a\"\npaths = [\"*.toml\"]\n", ErrorCode::BS1018, 1, "says what the parts are"),
        (
            "[[part]]\nname = \"a\"\npaths = [\"p\"]\npreflight = [\"./no\"]\n",
            ErrorCode::BS1206,
            0,
            "not in the stack's folder",
        ),
        (
            "[[part]]\nname = \"a\"\npaths = [\"compose.yaml\"]\napply = \"reload\"\nreload = [\"x\"]\nreload_in = \"web\"\n",
            ErrorCode::BS1019,
            1,
            "no service is called `web`",
        ),
    ];
    for (stack, code, line, message) in cases {
        let all = found(run(COMPOSE, stack, &["policy/a.json"]));
        let (found_code, found_line, text) = &all[0];
        assert_eq!((*found_code, *found_line), (code, line), "{stack}: {all:?}");
        assert!(text.contains(message), "{text}");
    }
}

const OF_TWO: &str = "[[part]]\nname = \"upstream\"\npaths = [\"compose.yaml\"]\nversion = { file = \"compose.yaml\", after = \"openclaw:\" }\n\
    [[part]]\nname = \"plugin\"\npaths = [\"plugin\"]\n[[part.requires]]\npart = \"upstream\"\n";

#[test]
fn what_a_part_needs_is_checked_with_its_version() {
    let with = |rest: &str| run(COMPOSE, &format!("{OF_TWO}{rest}"), &["plugin/a"]);
    for fits in ["", "at_least = \"2026.4\"\n", "at_least = \"2026.4.1\"\n"] {
        assert!(with(fits).is_ok(), "{fits}: {:?}", with(fits).err());
    }
    let other = |text: &str| run(COMPOSE, &OF_TWO.replace("part = \"upstream\"\n", text), &["plugin/a"]);
    let cases = [
        (with("at_least = \"2026.5\"\n"), "needs `upstream` at least 2026.5, and here it is 2026.4.1"),
        (other("part = \"upstreem\"\n"), "did you mean `upstream`?"),
        (other("part = \"plugin\"\n"), "need each other"),
        (other("part = \"base\"\nat_least = \"1\"\n"), "does not say where its version stands"),
        (run(&COMPOSE.replace(":2026.4.1", ":latest"), OF_TWO, &[]), "no version stands in `compose.yaml`"),
        (
            run(COMPOSE, &OF_TWO.replace("{ file = \"compose.yaml\"", "{ file = \"plugin/a\""), &[]),
            "is not of the part",
        ),
    ];
    for (result, expected) in cases {
        let all = found(result);
        let (code, line, message) = &all[0];
        assert_eq!(*code, ErrorCode::BS1018, "{all:?}");
        assert!(*line > 0 && message.contains(expected), "{expected}: {all:?}");
    }
    let both = format!(
        "{OF_TWO}{}",
        "[[part]]\nname = \"third\"\npaths = [\"x\"]\n[[part.requires]]\npart = \"plugin\"\n"
    );
    let round = both.replace(
        "after = \"openclaw:\" }\n",
        "after = \"openclaw:\" }\n[[part.requires]]\npart = \"third\"\n",
    );
    assert!(run(COMPOSE, &both, &[]).is_ok(), "one after the other");
    assert_eq!(found(run(COMPOSE, &round, &[])).len(), 3, "each of the circle");
}

#[test]
fn versions_are_compared_by_their_numbers() {
    let version = |text: &str| Version::at_start(text);
    assert!(version("2026.10.1") > version("v2026.9.30-beta.1"));
    assert_eq!(version(" 1.2.0\n"), version("1.2"));
    assert_eq!((version("latest"), version(""), version("1..2")), (None, None, None));
    let place = VersionPlace { file: "c".to_owned(), after: "web:".to_owned() };
    assert_eq!(place.read(b"services:\n  web:\n    image: web:1.4\n"), version("1.4"));
    assert!("1.2-beta".parse::<Version>().is_err());
}

#[test]
fn channels_have_rules_of_their_own_and_odd_ones_are_told_of() {
    let files = [
        (
            "fleet.toml",
            "[rollout]\nmax_updating = 3\n[[channel]]\nname = \"policy\"\nwaves = [\"5%\", \"100%\"]\nsoak = \"1h\"\n",
        ),
        ("stacks/claw/compose.yaml", COMPOSE),
        ("stacks/claw/stack.toml", &POLICY.replace("apply", "channel = \"polcy\"\napply")),
        ("stacks/claw/policy/a", ""),
    ];
    let entries: Vec<_> = files
        .iter()
        .map(|(path, text)| Entry { path: (*path).to_owned(), mode: 0o100_644, size: text.len() as u64 })
        .collect();
    let read = |wanted: &str| {
        files.iter().find(|(path, _)| *path == wanted).map(|(_, text)| text.as_bytes().to_vec())
    };
    let repository = "fleet".parse().unwrap();
    let fleet =
        discover(Listing { repository: &repository, stacks_path: None, entries: &entries }, &read).unwrap();
    let policy = fleet.manifest.channel("policy").unwrap();
    assert_eq!(
        (policy.strategy.waves.len(), policy.strategy.soak_seconds, policy.max_updating),
        (2, 3600, None)
    );
    let warned: Vec<_> = fleet.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(warned[0].contains("no stack and no part of one goes by channel `policy`"), "{warned:?}");
    assert_eq!(fleet.warnings[1].hint.as_deref(), Some("did you mean `policy`?"));
    let twice =
        crate::FleetManifest::parse("fleet.toml", b"[[channel]]\nname = \"a\"\n[[channel]]\nname = \"a\"\n");
    let twice = twice.unwrap_err().remove(0);
    assert_eq!((twice.code, twice.line), (ErrorCode::BS1017, Some(4)), "{twice}");
    assert!(twice.message.contains("the other in line 1"), "{twice}");
}

#[test]
fn what_cannot_be_switched_under_a_container_is_refused() {
    let cases = [("./policy/a.json:/a.json:ro", "is in part `policy`"), (".:/all:ro", "and others")];
    for (volume, message) in cases {
        let compose = COMPOSE.replace("./policy:/policy:ro", volume);
        let all = found(run(&compose, POLICY, &["policy/a.json"]));
        assert_eq!(all[0].0, ErrorCode::BS1019, "{all:?}");
        assert_eq!(all[0].1, 5, "the line of the mount");
        assert!(all[0].2.contains(message), "{all:?}");
    }
    let env = COMPOSE.replace("    volumes:", "    env_file: policy/x.env\n    volumes:");
    assert_eq!(found(run(&env, POLICY, &["policy/x.env"]))[0].0, ErrorCode::BS1019);
    let unit = format!(
        "runtime = \"systemd\"\n[[unit]]\nfile = \"claw.service\"\n{}",
        POLICY.replace("reload_in", "#")
    );
    assert_eq!(found(run("", &unit, &["claw.service", "policy/a"]))[0].0, ErrorCode::BS1019);
}

proptest! {
    #[test]
    fn a_pattern_never_panics_and_means_itself(text in "[a-z*/]{1,12}", path in "[a-z]{1,4}(/[a-z]{1,4}){0,3}") {
        if let Ok(pattern) = PathPattern::new(&text) {
            let _ = pattern.matches(&path);
        }
        let own = PathPattern::new(&path).unwrap();
        prop_assert!(own.matches(&path));
        let below = format!("{path}/x");
        prop_assert!(own.matches(&below), "a folder means everything in it");
        prop_assert!(PathPattern::new("**").unwrap().matches(&path));
        let (folder, _) = path.rsplit_once('/').unwrap_or((&path, ""));
        let any = PathPattern::new(&format!("{folder}/*")).unwrap();
        prop_assert_eq!(any.matches(&path), path.contains('/'));
    }
}

#[test]
fn a_star_stays_in_its_folder() {
    let matches = |pattern: &str, path: &str| PathPattern::new(pattern).unwrap().matches(path);
    assert!(matches("config/*.json", "config/a.json"));
    assert!(!matches("config/*.json", "config/a/b.json"));
    assert!(matches("config/**/*.json", "config/a/b.json"));
    assert!(matches("config/**/*.json", "config/b.json"));
    assert!(matches("a*c*e", "abcde") && !matches("a*c*e", "abde"));
    assert!(matches("policy/", "policy/x") && !matches("policy", "policies"));
}
