//! Which crate may depend on which. ARCHITECTURE.md says why; this holds it.

use std::collections::BTreeSet;

use crate::{
    metadata::{Name, Workspace},
    purity,
};

/// A crate, and the crates of ours that it may link to.
struct Rule {
    name: &'static str,
    may_use: &'static [&'static str],
    kind: Kind,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// Decides: no runtime, SQL, HTTP, file system or ambient clock.
    Pure,
    /// Acts.
    Shell,
    /// Never linked into a program.
    DevOnly,
}

const fn rule(name: &'static str, may_use: &'static [&'static str], kind: Kind) -> Rule {
    Rule { name, may_use, kind }
}

const RULES: &[Rule] = &[
    rule("types", &[], Kind::Pure),
    rule("manifest", &["types"], Kind::Pure),
    rule("ingest", &["types"], Kind::Pure),
    rule("plan", &["types", "manifest"], Kind::Pure),
    rule("api", &["types"], Kind::Pure),
    rule("agent-core", &["types", "api", "manifest"], Kind::Pure),
    rule("config", &["types"], Kind::Shell),
    rule("client", &["api"], Kind::Shell),
    rule("source", &["types", "manifest"], Kind::Shell),
    rule("store", &["types"], Kind::Shell),
    rule("engine", &["api", "plan", "store", "source", "manifest", "types"], Kind::Shell),
    rule("telemetry", &[], Kind::Shell),
    rule("page", &[], Kind::Shell),
    rule("objects", &["types"], Kind::Shell),
    rule("hub", &["engine", "ingest", "store", "api", "config", "objects", "page", "telemetry"], Kind::Shell),
    rule("loader", &[], Kind::Shell),
    rule("backup", &["types"], Kind::Shell),
    rule("agent", &["agent-core", "client", "config", "loader"], Kind::Shell),
    rule("cli", &["client", "api", "config", "manifest", "source", "hub"], Kind::Shell),
    rule("testkit", &["types"], Kind::DevOnly),
    rule("sim", &["agent-core", "api", "engine", "loader", "plan", "store", "types"], Kind::DevOnly),
    rule("e2e", &["testkit", "types", "api", "client", "agent", "store"], Kind::DevOnly),
    rule("xtask", &["api", "config", "types"], Kind::DevOnly),
];

/// Crates of others that a pure crate may not end up linking to, with what they would let it do.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "an asynchronous runtime"),
    ("async-std", "an asynchronous runtime"),
    ("mio", "sockets"),
    ("socket2", "sockets"),
    ("hyper", "HTTP"),
    ("reqwest", "HTTP"),
    ("ureq", "HTTP"),
    ("axum", "HTTP"),
    ("tower-http", "HTTP"),
    ("rustls", "TLS"),
    ("sqlx", "SQL"),
    ("sqlx-core", "SQL"),
    ("rusqlite", "SQL"),
    ("gix", "Git"),
    ("git2", "Git"),
    ("rustix", "system calls"),
    ("nix", "system calls"),
    ("tempfile", "the file system"),
    ("walkdir", "the file system"),
    ("fs-err", "the file system"),
];

/// What one crate alone may link to: it takes what memory it needs and panics on some damage, so it has a program of its
/// own.
const ALONE: &[(&str, &str)] = &[("rustic_core", "backup")];

/// Checks the whole workspace.
///
/// # Errors
/// With a line for every edge that may not be.
pub(crate) fn check() -> Result<(), String> {
    let workspace = Workspace::read()?;
    let mut wrong = unlisted(&workspace);
    wrong.extend(shared(&workspace));
    for rule in RULES {
        wrong.extend(forbidden_edges(rule, &workspace));
        if rule.kind == Kind::Pure {
            wrong.extend(impure_crates(rule, &workspace));
            wrong.extend(impure_code(rule, &workspace)?);
        }
    }
    if wrong.is_empty() {
        println!("{} crates keep to their edges", workspace.members.len());
        return Ok(());
    }
    Err(format!("crates do not keep to their edges (xtask/src/edges.rs):\n  {}", wrong.join("\n  ")))
}

fn unlisted(workspace: &Workspace) -> Vec<String> {
    let listed: BTreeSet<_> = RULES.iter().map(|rule| full(rule.name)).collect();
    let unlisted = workspace.members.keys().filter(|name| !listed.contains(*name));
    unlisted.map(|name| format!("{name} is not listed: say what it may depend on")).collect()
}

/// Crates that reach what another one alone may link to.
fn shared(workspace: &Workspace) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, alone) in ALONE {
        let others = workspace.members.keys().filter(|member| **member != full(alone));
        let found = others.filter_map(|member| workspace.below(member).remove(*name));
        wrong.extend(
            found.map(|path| format!("only {} may link to {name}: {}", full(alone), path.join(" → "))),
        );
    }
    wrong
}

/// What a crate uses beyond what is allowed. `types` is the language that every crate above it speaks.
fn forbidden_edges(rule: &Rule, workspace: &Workspace) -> Vec<String> {
    let name = full(rule.name);
    let allowed: BTreeSet<_> = rule.may_use.iter().map(|name| full(name)).chain(spoken(rule)).collect();
    let used = workspace.direct.get(&name).into_iter().flatten();
    let ours = used.filter(|used| workspace.members.contains_key(*used));
    ours.filter(|used| !allowed.contains(*used))
        .map(|used| format!("{name} must not depend on {used}"))
        .collect()
}

fn spoken(rule: &Rule) -> Vec<Name> {
    match rule.name {
        "types" => Vec::new(),
        // What comes in through an allowed crate's signatures may be named.
        "hub" => vec![full("types"), full("manifest"), full("source")],
        "agent" => vec![full("types"), full("api"), full("manifest")],
        _ => vec![full("types")],
    }
}

fn impure_crates(rule: &Rule, workspace: &Workspace) -> Vec<String> {
    let below = workspace.below(&full(rule.name));
    let found = IMPURE.iter().filter_map(|(name, what)| Some((below.get(*name)?, what)));
    found
        .map(|(path, what)| format!("{} is pure and reaches {what}: {}", rule.name, path.join(" → ")))
        .collect()
}

fn impure_code(rule: &Rule, workspace: &Workspace) -> Result<Vec<String>, String> {
    let Some(dir) = workspace.members.get(&full(rule.name)) else { return Ok(Vec::new()) };
    let found = purity::scan(&dir.join("src"))?;
    Ok(found.into_iter().map(|found| format!("{} is pure: {found}", rule.name)).collect())
}

fn full(name: &str) -> Name {
    if name == "xtask" { name.to_owned() } else { format!("backstay-{name}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn workspace(edges: &[(&str, &[&str])]) -> Workspace {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Workspace {
            root: ".".into(),
            target: "target".into(),
            members: RULES.iter().map(|rule| (full(rule.name), "nowhere".into())).collect(),
            direct: edges
                .iter()
                .map(|(name, used)| ((*name).to_owned(), set(used)))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn rule_of(name: &str) -> &'static Rule {
        RULES.iter().find(|rule| rule.name == name).unwrap()
    }

    #[test]
    fn an_edge_that_is_not_listed_is_found() {
        let workspace = workspace(&[("backstay-plan", &["backstay-types", "backstay-store", "serde"])]);
        assert_eq!(
            forbidden_edges(rule_of("plan"), &workspace),
            ["backstay-plan must not depend on backstay-store"]
        );
    }

    #[test]
    fn a_runtime_deep_below_a_pure_crate_is_found_with_the_way_to_it() {
        let workspace = workspace(&[("backstay-ingest", &["some-parser"]), ("some-parser", &["tokio"])]);
        let found = impure_crates(rule_of("ingest"), &workspace);
        assert_eq!(
            found,
            ["ingest is pure and reaches an asynchronous runtime: backstay-ingest → some-parser → tokio"]
        );
    }

    #[test]
    fn what_one_crate_has_alone_is_found_below_another() {
        let workspace = workspace(&[
            ("backstay-backup", &["rustic_core"]),
            ("backstay-hub", &["backstay-engine"]),
            ("backstay-engine", &["rustic_core"]),
        ]);
        let found = shared(&workspace);
        assert!(
            found.iter().any(|found| found.contains("backstay-hub → backstay-engine → rustic_core")),
            "{found:?}"
        );
        assert!(found.iter().all(|found| !found.contains(": backstay-backup →")), "{found:?}");
    }

    #[test]
    fn a_new_crate_must_be_listed() {
        let mut workspace = workspace(&[]);
        workspace.members.insert("backstay-new".into(), "nowhere".into());
        assert_eq!(unlisted(&workspace), ["backstay-new is not listed: say what it may depend on"]);
    }

    #[test]
    fn nothing_links_to_what_is_for_development_only() {
        let dev: Vec<_> =
            RULES.iter().filter(|rule| rule.kind == Kind::DevOnly).map(|rule| rule.name).collect();
        for rule in RULES.iter().filter(|rule| rule.kind != Kind::DevOnly) {
            assert!(rule.may_use.iter().all(|used| !dev.contains(used)), "{}", rule.name);
        }
    }
}
