//! Commits that a tool call made, from what it was given and what it printed.

use std::collections::BTreeSet;

use serde_json::Value;

/// The most commits taken from one event.
const MOST: usize = 50;

/// Ids under `git_commit_id` or `commit_sha` anywhere in `values`, and, when a command there runs `git`, those in lines as
/// `git commit`, `cherry-pick`, `revert` and `merge` print them: `[main 1a2b3c4] subject`.
pub(crate) fn made_by(params: Option<&Value>, result: Option<&Value>) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut runs_git = false;
    for value in [params, result].into_iter().flatten() {
        walk(value, "", 0, &mut |key, text| {
            if matches!(key, "git_commit_id" | "gitCommitId" | "commit_sha") && is_id(text) {
                found.insert(text.to_owned());
            }
        });
    }
    if let Some(params) = params {
        walk(params, "", 0, &mut |_, text| {
            runs_git |= text.split(|c: char| !c.is_alphanumeric()).any(|w| w == "git")
        });
    }
    if let (true, Some(result)) = (runs_git, result) {
        walk(result, "", 0, &mut |_, text| {
            found.extend(text.lines().filter_map(from_line).map(str::to_owned))
        });
    }
    found.into_iter().take(MOST).collect()
}

/// Whether a text is a commit's id, whole or abbreviated.
pub(crate) fn is_id(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `[branch 1a2b3c4] subject`, `[branch (root-commit) 1a2b3c4] subject`, `[detached HEAD 1a2b3c4] subject`.
fn from_line(line: &str) -> Option<&str> {
    let inner = line.trim_start().strip_prefix('[')?;
    let (inner, _) = inner.split_once("] ")?;
    let (_, id) = inner.rsplit_once(' ')?;
    is_id(id).then_some(id)
}

/// Every text in a value with the key that it stands under.
fn walk(value: &Value, key: &str, depth: usize, see: &mut dyn FnMut(&str, &str)) {
    // A result may be JSON in a text; what is nested deeper than this is no result of Git.
    if depth > 8 {
        return;
    }
    match value {
        Value::String(text) => see(key, text),
        Value::Array(items) => items.iter().for_each(|item| walk(item, key, depth + 1, see)),
        Value::Object(map) => map.iter().for_each(|(key, item)| walk(item, key, depth + 1, see)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(command: &str, output: &str) -> Vec<String> {
        made_by(Some(&json!({ "command": command })), Some(&json!({ "stdout": output })))
    }

    #[test]
    fn reads_what_git_prints() {
        assert_eq!(made("git commit -m x", "[main 1a2b3c4] x\n 1 file changed\n"), ["1a2b3c4"]);
        assert_eq!(made("cd a && git commit", "[main (root-commit) 1a2b3c4d] x"), ["1a2b3c4d"]);
        assert_eq!(made("git revert HEAD", "noise\n[detached HEAD abcdef0] Revert"), ["abcdef0"]);
        assert_eq!(made("git log", "commit 1a2b3c4d5e6f\n"), Vec::<String>::new());
        assert_eq!(made("echo", "[main 1a2b3c4] x"), Vec::<String>::new(), "git was not run");
        assert_eq!(made("git commit", "[main zzzzzzz] x\n[x]\n[] \n[a b"), Vec::<String>::new());
    }

    #[test]
    fn reads_named_ids() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let found = made_by(None, Some(&json!({"details": {"git_commit_id": id, "other": "deadbeef"}})));
        assert_eq!(found, [id]);
    }
}
