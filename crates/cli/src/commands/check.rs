//! `backstay check`: a repository, before it is pushed.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use backstay_api::v1::{ListNodes, NodesQuery, Paging};
use backstay_manifest::{Entry, Listing, Problem, check::check, discover};
use backstay_types::{ErrorCode, Labels, NodeName, RepositoryName, Timestamp};
use clap::Args;
use serde::Serialize;

use super::Outcome;
use crate::{
    context::Context,
    error::{CliError, Exit},
    ui::{count, style},
};

/// Check a repository: Compose, manifests, selectors, secrets that look real.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The repository's folder
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Where stacks are [default: `stacks` and `roles`]
    #[arg(long, value_name = "FOLDER")]
    stacks: Option<String>,
    /// Also check selectors against the hub's nodes
    #[arg(long)]
    with_nodes: bool,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

/// What was found, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    /// Whether the repository can be used.
    pub(crate) ok: bool,
    /// Stacks that were found and could be read.
    pub(crate) stacks: Vec<String>,
    /// What is wrong, errors first.
    pub(crate) problems: Vec<Problem>,
}

impl Check {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let nodes = if self.with_nodes { Some(nodes(cx).await?) } else { None };
        let findings = look(&self.dir, self.stacks.as_deref(), nodes.as_deref(), cx.frame().now.timestamp())?;
        cx.ui.data(&findings, || view(&findings))?;
        let bad = !findings.ok || (self.strict && !findings.problems.is_empty());
        Ok(if bad { ExitCode::from(Exit::Failure as u8) } else { ExitCode::SUCCESS })
    }
}

async fn nodes(cx: &Context) -> Result<Vec<(NodeName, Labels)>, CliError> {
    let query = |paging: Paging| NodesQuery { limit: paging.limit, cursor: paging.cursor, selector: None };
    let nodes = cx.api()?.all::<ListNodes, _>(query).await?;
    let live = nodes.into_iter().filter(|view| view.node.revoked_at.is_none());
    Ok(live.map(|view| (view.node.name, view.node.labels)).collect())
}

/// Checks the folder as it is now, committed or not.
pub(crate) fn look(
    dir: &Path,
    stacks: Option<&str>,
    nodes: Option<&[(NodeName, Labels)]>,
    now: Timestamp,
) -> Result<Findings, CliError> {
    let dir = fs::canonicalize(dir).map_err(|e| CliError::file("read", dir, e))?;
    let entries = entries(&dir)?;
    let repository = name(&dir);
    let listing = Listing { repository: &repository, stacks_path: stacks, entries: &entries };
    let read = |path: &str| read(&dir, path);
    let (found, mut problems) = match discover(listing, &read) {
        Ok(fleet) => {
            let names = fleet.stacks.keys().map(ToString::to_string).collect();
            (names, check(&fleet, &entries, &read, nodes, now))
        }
        Err(mut problems) => {
            // What cannot be used may hold secrets all the same.
            problems.extend(backstay_manifest::check::secrets(&entries, &read));
            (Vec::new(), problems)
        }
    };
    problems.sort();
    problems.dedup();
    let ok = !problems.iter().any(Problem::is_error);
    Ok(Findings { ok, stacks: found, problems })
}

/// The folder's name as a repository's; `repository` where it cannot be one.
pub(crate) fn name(dir: &Path) -> RepositoryName {
    let text = dir.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let cleaned: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let cleaned = cleaned.trim_start_matches(['-', '_', '.']);
    #[allow(clippy::expect_used, reason = "a constant that is a name")]
    cleaned.parse().unwrap_or_else(|_| "repository".parse().expect("a name"))
}

/// All files that Git has or would take.
fn entries(dir: &Path) -> Result<Vec<Entry>, CliError> {
    let paths = match tracked(dir) {
        Some(paths) => paths,
        None => {
            let mut paths = BTreeSet::new();
            walk(dir, dir, &mut paths)?;
            paths
        }
    };
    // One that was deleted since is not there.
    Ok(paths.into_iter().filter_map(|path| entry(dir, path)).collect())
}

/// Tracked files, and untracked ones that are not ignored; none when it is not a Git repository.
fn tracked(dir: &Path) -> Option<BTreeSet<String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn walk(root: &Path, dir: &Path, paths: &mut BTreeSet<String>) -> Result<(), CliError> {
    let failed = |error| CliError::file("read", dir, error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() == ".git" {
            continue;
        }
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(root, &path, paths)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            paths.insert(relative.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn entry(dir: &Path, path: String) -> Option<Entry> {
    let meta = fs::symlink_metadata(dir.join(&path)).ok()?;
    let mode = if meta.is_symlink() {
        0o120_000
    } else if meta.is_dir() {
        // Git lists a repository inside this one as one entry.
        0o160_000
    } else if meta.permissions().mode() & 0o111 != 0 {
        0o100_755
    } else {
        0o100_644
    };
    Some(Entry { path, mode, size: meta.len() })
}

fn read(dir: &Path, path: &str) -> Option<Vec<u8>> {
    let path = dir.join(path);
    let meta = fs::symlink_metadata(&path).ok()?;
    if meta.is_symlink() {
        use std::os::unix::ffi::OsStringExt as _;
        return fs::read_link(path).ok().map(|target| target.into_os_string().into_vec());
    }
    fs::read(path).ok()
}

/// The findings, file by file.
pub(crate) fn view(findings: &Findings) -> String {
    let (good, bad, warn, bold, dim) = (style::GOOD, style::BAD, style::WARN, style::BOLD, style::DIM);
    let mut text = String::new();
    for problem in &findings.problems {
        let (style, word) = if problem.is_error() { (bad, "error") } else { (warn, "warning") };
        let code = problem.code;
        let place = place(problem);
        text.push_str(&format!(
            "{style}{word}[{code}]{style:#} {bold}{place}{bold:#}\n  {}\n",
            problem.message
        ));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("  {dim}hint:{dim:#} {hint}\n"));
        }
        text.push('\n');
    }
    let errors = findings.problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = findings.problems.len() - errors;
    let figures = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
    if findings.ok {
        let stacks = findings.stacks.join(", ");
        text.push_str(&format!(
            "{good}It can be deployed.{good:#} {}: {stacks}",
            count(findings.stacks.len(), "stack")
        ));
        text.push_str(&if warnings > 0 { format!(" ({figures})\n") } else { "\n".to_owned() });
    } else {
        text.push_str(&format!(
            "{bad}It cannot be deployed:{bad:#} {figures}. Nothing would change on any node.\n"
        ));
    }
    text
}

fn place(problem: &Problem) -> String {
    let file = if problem.file.is_empty() { "the repository" } else { &problem.file };
    let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
    let column = problem.column.map(|column| format!(":{column}")).unwrap_or_default();
    let field = problem.field.as_deref().map(|field| format!(" {field}")).unwrap_or_default();
    format!("{file}{line}{column}{field}")
}

/// The findings as an error, for commands that need a usable repository.
pub(crate) fn refusal(findings: &Findings) -> CliError {
    let errors = findings.problems.iter().filter(|problem| problem.is_error()).count();
    CliError::new(ErrorCode::BS8007, format!("the repository cannot be deployed: {}", count(errors, "error")))
        .hint("mend these, and look again with `backstay check`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const GOOD: &str =
        "services:\n  web:\n    image: web:1\n    healthcheck:\n      test: [\"CMD\", \"true\"]\n";

    #[test]
    fn a_plain_compose_repository_is_enough() {
        let dir = repository(&[("stacks/web/compose.yaml", GOOD)]);
        let findings = look(dir.path(), None, None, Timestamp::UNIX_EPOCH).unwrap();
        assert!(findings.ok, "{:?}", findings.problems);
        assert_eq!(findings.stacks, ["web"]);
    }

    #[test]
    fn ignored_files_are_not_looked_at_and_new_ones_are() {
        let dir = repository(&[
            ("stacks/web/compose.yaml", GOOD),
            (".gitignore", "secret.env\n"),
            ("stacks/web/secret.env", "TOKEN=AKIAIOSFODNN7ABCDEFG\n"),
        ]);
        let git = |args: &[&str]| {
            assert!(Command::new("git").arg("-C").arg(dir.path()).args(args).status().unwrap().success());
        };
        git(&["init", "-q", "."]);
        let findings = look(dir.path(), None, None, Timestamp::UNIX_EPOCH).unwrap();
        assert!(findings.ok, "{:?}", findings.problems);
        fs::write(dir.path().join("stacks/web/more.env"), "KEY=AKIAIOSFODNN7ABCDEFG\n").unwrap();
        let findings = look(dir.path(), None, None, Timestamp::UNIX_EPOCH).unwrap();
        let text = anstream::adapter::strip_str(&view(&findings)).to_string();
        assert!(text.contains("BS1201") && text.contains("stacks/web/more.env:1"), "{text}");
        assert!(!text.contains("AKIAIOSFODNN7ABCDEFG"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_said_with_place_and_code() {
        let dir = repository(&[("stacks/web/compose.yaml", "services: [\n"), ("fleet.toml", "[[asign]]\n")]);
        let findings = look(dir.path(), None, None, Timestamp::UNIX_EPOCH).unwrap();
        assert!(!findings.ok);
        let text = anstream::adapter::strip_str(&view(&findings)).to_string();
        assert!(text.contains("fleet.toml:1") && text.contains("stacks/web/compose.yaml"), "{text}");
        assert!(text.contains("It cannot be deployed: 2 errors"), "{text}");
    }

    #[test]
    fn names_come_from_folders() {
        let named = |path: &str| name(Path::new(path)).to_string();
        assert_eq!(named("/srv/My Fleet"), "my-fleet");
        assert_eq!(named("/srv/.dot"), "dot");
        assert_eq!(named("/"), "repository");
    }
}
