//! `[[environment]]`: where releases go first, and what must have run them before others get them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backstay_types::EnvironmentName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Selector, code, problem::nearest, read::Table};

/// Nodes that get releases together, after others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// Its nodes. One that several select is of the first.
    pub nodes: Selector,
    /// The environments that must run a release, all of it and without a failure, before it comes here. With none it
    /// follows the branch.
    pub after: Vec<EnvironmentName>,
    /// Who lets a release in.
    pub promotion: Promotion,
    /// How long a release is watched here, from the last node's end, before it goes on to others.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub soak: Duration,
    /// Whether its nodes are there for tests: every other environment comes after it.
    pub test: bool,
    /// The line in `fleet.toml`.
    pub line: u32,
}

/// Who lets a release in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Promotion {
    /// It comes in by itself once it may.
    #[default]
    Auto,
    /// A person says so, once it may.
    ByHand,
}

/// One as it stands in the file, with the lines of what may be wrong only together with others.
struct Written {
    environment: Environment,
    after_line: u32,
    promotion_line: u32,
}

/// Reads all `[[environment]]` of `fleet.toml`, in their order.
pub(crate) fn read_environments(root: &mut Table<'_, '_>) -> Vec<Environment> {
    let written: Vec<_> = root.tables("environment").into_iter().filter_map(read_one).collect();
    for problem in check(&written) {
        let place = root.problem("environment", problem.code, problem.message);
        root.report(place.at(problem.line, 0).field(problem.field));
    }
    let tests: Vec<_> = written.iter().map(|one| &one.environment).filter(|one| one.test).cloned().collect();
    let mut environments = Vec::new();
    for Written { mut environment, promotion_line, .. } in written {
        if !environment.test {
            let missing = tests.iter().filter(|test| !environment.after.contains(&test.name));
            let missing: Vec<_> = missing.map(|test| test.name.clone()).collect();
            environment.after.extend(missing);
        }
        if environment.promotion == Promotion::ByHand && environment.after.is_empty() {
            let message = format!(
                "`{}` follows the branch, so there is nothing to let in: expected `after` beside `promotion`",
                environment.name
            );
            let problem = root.problem("environment", code::WRONG_VALUE, message);
            root.report(problem.at(promotion_line, 0).field("environment.promotion"));
        }
        environments.push(environment);
    }
    environments
}

fn read_one(mut table: Table<'_, '_>) -> Option<Written> {
    let name = table.required_parsed("name", code::WRONG_VALUE, "a word of a-z, 0-9, `-`, `_` and `.`");
    let expected = "a label selector such as \"stage=dev\"";
    let nodes: Option<Selector> = table.required_parsed("nodes", code::BAD_SELECTOR, expected);
    let mut after = Vec::new();
    for text in table.strings("after").unwrap_or_default() {
        match text.parse::<EnvironmentName>() {
            Ok(name) => after.push(name),
            Err(error) => drop(table.wrong::<()>("after", code::WRONG_VALUE, error.to_string())),
        }
    }
    let ways = [("auto", Promotion::Auto), ("by hand", Promotion::ByHand)];
    let promotion = table.choice("promotion", &ways).unwrap_or_default();
    let soak = table.duration("soak").unwrap_or_default();
    let test = table.boolean("test").unwrap_or(false);
    if test && !after.is_empty() {
        let message = "a test environment comes before all others: expected no `after` beside `test`";
        table.wrong::<()>("after", code::WRONG_VALUE, message);
    }
    let (line, after_line, promotion_line) =
        (table.line(), table.line_of("after"), table.line_of("promotion"));
    table.finish();
    let environment = Environment { name: name?, nodes: nodes?, after, promotion, soak, test, line };
    Some(Written { environment, after_line, promotion_line })
}

/// What is wrong with one together with others.
struct Wrong {
    code: backstay_types::ErrorCode,
    line: u32,
    field: &'static str,
    message: String,
}

/// What is wrong with them together.
fn check(written: &[Written]) -> Vec<Wrong> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&EnvironmentName, u32> = BTreeMap::new();
    for Written { environment, .. } in written {
        if let Some(first) = seen.get(&environment.name) {
            let message = format!(
                "two environments are called `{}` (the other in line {first}): expected different names",
                environment.name
            );
            let (code, line) = (code::DUPLICATE_NAME, environment.line);
            problems.push(Wrong { code, line, field: "environment.name", message });
        } else {
            seen.insert(&environment.name, environment.line);
        }
    }
    let wrong_after =
        |line: u32, message| Wrong { code: code::WRONG_VALUE, line, field: "environment.after", message };
    let names = || written.iter().map(|one| one.environment.name.as_str());
    for Written { environment, after_line, .. } in written {
        for after in environment.after.iter().filter(|after| !seen.contains_key(after)) {
            let hint = nearest(after.as_str(), names()).map(|near| format!("; did you mean `{near}`?"));
            let message = format!(
                "`{}` comes after `{after}`, which is no environment{}",
                environment.name,
                hint.unwrap_or_default()
            );
            problems.push(wrong_after(*after_line, message));
        }
        if problems.is_empty() && comes_after(written, &environment.name, &environment.name) {
            let message = format!("`{}` comes after itself: nothing could ever enter it", environment.name);
            problems.push(wrong_after(*after_line, message));
        }
    }
    problems
}

/// Whether one environment comes after another, over any number of others.
fn comes_after(written: &[Written], one: &EnvironmentName, other: &EnvironmentName) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![one];
    while let Some(name) = open.pop() {
        let found = written.iter().map(|one| &one.environment).find(|environment| environment.name == *name);
        for after in found.map(|environment| environment.after.as_slice()).unwrap_or_default() {
            if after == other {
                return true;
            }
            if seen.insert(after) {
                open.push(after);
            }
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::FleetManifest;

    fn read(text: &str) -> Result<Vec<Environment>, Vec<String>> {
        let read = FleetManifest::parse("fleet.toml", text.as_bytes());
        read.map(|fleet| fleet.environments)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    const LINE: &str = "[[environment]]\nname = \"dev\"\nnodes = \"stage=dev\"\nsoak = \"1h\"\n[[environment]]\nname = \"prod\"\nnodes = \"stage in (eu,us)\"\nafter = [\"dev\"]\npromotion = \"by hand\"\n";

    #[test]
    fn a_line_of_environments_is_read() {
        let found = read(LINE).unwrap();
        assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["dev", "prod"]);
        assert_eq!((found[0].soak.as_secs(), found[0].promotion), (3600, Promotion::Auto));
        assert_eq!(
            (found[1].after.as_slice(), found[1].promotion),
            (&[found[0].name.clone()][..], Promotion::ByHand)
        );
    }

    #[test]
    fn all_others_come_after_a_test_environment() {
        let text = format!("{LINE}[[environment]]\nname = \"lab\"\nnodes = \"role=test\"\ntest = true\n");
        let found = read(&text).unwrap();
        let after: Vec<Vec<_>> =
            found.iter().map(|one| one.after.iter().map(EnvironmentName::as_str).collect()).collect();
        assert_eq!(after, [vec!["lab"], vec!["dev", "lab"], vec![]]);
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        let one =
            |name: &str, rest: &str| format!("[[environment]]\nname = \"{name}\"\nnodes = \"a=b\"\n{rest}");
        let cases = [
            (
                one("dev", "") + &one("dev", ""),
                "fleet.toml:4: environment.name: two environments are called `dev` (the other in line 1)",
            ),
            (
                one("dev", "") + &one("prod", "after = [\"dew\"]\n"),
                "fleet.toml:7: environment.after: `prod` comes after `dew`, which is no environment; did you mean `dev`?",
            ),
            (
                one("x", "") + &one("a", "after = [\"b\"]\n") + &one("b", "after = [\"a\"]\n"),
                "fleet.toml:7: environment.after: `a` comes after itself",
            ),
            (
                one("x", "") + &one("a", "promotion = \"by hand\"\n"),
                "fleet.toml:7: environment.promotion: `a` follows the branch, so there is nothing to let in",
            ),
            (
                one("a", "") + &one("t", "test = true\nafter = [\"a\"]\n"),
                "fleet.toml:8:9: environment.after: a test environment comes before all others",
            ),
            (one("a", "promotion = \"sometimes\"\n"), "expected one of `auto`, `by hand`"),
            (one("A b", ""), "cannot be the name of a fleet environment"),
        ];
        for (text, expected) in cases {
            let problems = read(&text).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}\n{problems:#?}");
        }
    }
}
