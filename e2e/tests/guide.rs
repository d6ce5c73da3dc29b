//! The guides name tests: these are there.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

#[test]
fn tests_that_the_table_of_failures_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = fs::read_to_string(root.join("docs/guides/when-something-is-away.md")).unwrap();
    let mut named = 0;
    for row in guide.lines().filter(|line| line.starts_with("| ")) {
        let shown = row.split('|').nth(3).unwrap();
        let mut tests = Vec::new();
        // `test`, `test` (file); …
        for word in shown.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()) {
            if let Some(test) = word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) {
                tests.push(test);
            } else if word.contains('/') {
                let source =
                    fs::read_to_string(root.join(word)).unwrap_or_else(|error| panic!("{word}: {error}"));
                for test in tests.drain(..) {
                    assert!(source.contains(&format!("fn {test}()")), "{word} has no test {test}");
                    named += 1;
                }
            }
        }
        assert!(tests.is_empty(), "no file is named for {tests:?}");
    }
    assert!(named >= 20, "{named}");
}
