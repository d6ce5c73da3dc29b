//! The sample fleet repository: a bare upstream, and the folder that the assistants work in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_types::{CommitId, ErrorCode};

use crate::error::CliError;

const STACK_TOML: &str = r#"# A stack of plain processes, so that the demo needs no Docker.
runtime = "process"

[[process]]
name = "web"
command = ["${BACKSTAY}", "internal", "demo-web", "--port", "${PORT}", "--memory-mb", "${MEMORY_MB}", "--node", "${NODE}"]
stop_grace = "2s"

# A release whose page is not healthy goes back by itself.
[[probe]]
http = "http://127.0.0.1:${PORT}/healthz"
every = "100ms"
successes = 2
within = "3s"
"#;

/// Values that each node has for itself.
const ENV_TEMPLATE: &str = "BACKSTAY=\nPORT=\nMEMORY_MB=\nNODE=\n";

const PAGE_CONF: &str = "\
# What the page says.
greeting = Welcome

# How it looks.
colour = slategray

# Its last line.
closing = Come back soon

# Columns of the layout.
columns = 1

# Memory for the cache, in MB.
cache_mb = 64
";

/// The page's settings, relative to the repository's root.
const PAGE: &str = "stacks/page/page.conf";

/// The repository.
#[derive(Debug)]
pub(super) struct Fleet {
    /// Where assistants work.
    pub(super) work: PathBuf,
    /// What the hub follows and pushes to.
    pub(super) upstream: PathBuf,
}

/// Who commits: the variables that the assistant's tool sets for its commands.
pub(super) type Env<'a> = &'a [(&'a str, &'a str)];

impl Fleet {
    /// Makes both below `dir`, with a first commit.
    pub(super) fn create(dir: &Path) -> Result<Self, CliError> {
        let fleet = Self { work: dir.join("fleet"), upstream: dir.join("fleet.git") };
        let write = |path: &str, text: &str| {
            let path = fleet.work.join(path);
            let parent = path.parent().unwrap_or(&fleet.work);
            fs::create_dir_all(parent).map_err(|e| CliError::file("create", parent, e))?;
            fs::write(&path, text).map_err(|e| CliError::file("write", &path, e))
        };
        write("stacks/page/stack.toml", STACK_TOML)?;
        write("stacks/page/.env.template", ENV_TEMPLATE)?;
        write(PAGE, PAGE_CONF)?;
        let upstream = fleet.upstream.display().to_string();
        run(dir, &["init", "--quiet", "--bare", "--initial-branch=main", &upstream], &[])?;
        fleet.git(&["init", "--quiet", "--initial-branch=main"], &[])?;
        fleet.git(&["remote", "add", "origin", &upstream], &[])?;
        fleet.git(&["add", "--all"], &[])?;
        fleet.git(&["commit", "--quiet", "--message", "A page for every node"], &[])?;
        fleet.push()?;
        Ok(fleet)
    }

    /// Changes one setting of the page, commits and pushes; gives the commit and its line.
    pub(super) fn change(
        &self,
        key: &str,
        value: &str,
        subject: &str,
        env: Env<'_>,
    ) -> Result<CommitId, CliError> {
        self.git(&["pull", "--quiet", "--rebase", "origin", "main"], &[])?;
        let path = self.work.join(PAGE);
        let text = fs::read_to_string(&path).map_err(|e| CliError::file("read", &path, e))?;
        let set = |line: &str| {
            let is_it = line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
            if is_it { format!("{key} = {value}\n") } else { format!("{line}\n") }
        };
        let changed: String = text.lines().map(set).collect();
        fs::write(&path, changed).map_err(|e| CliError::file("write", &path, e))?;
        self.git(&["commit", "--quiet", "--all", "--message", subject], env)?;
        self.push()?;
        let commit = self.git(&["rev-parse", "HEAD"], &[])?;
        commit.parse().map_err(|e| CliError::new(ErrorCode::BS8005, "git gave no commit id").with_source(e))
    }

    /// The line of a setting of the page, from 1.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let text = fs::read_to_string(self.work.join(PAGE)).ok()?;
        text.lines().position(|line| line.starts_with(key)).map(|at| at + 1)
    }

    /// The message of a commit.
    pub(super) fn message(&self, commit: &str) -> Result<String, CliError> {
        self.git(&["log", "-1", "--format=%B", commit], &[])
    }

    /// The message of the upstream's newest commit.
    pub(super) fn upstream_message(&self) -> Result<String, CliError> {
        run(&self.upstream, &["log", "-1", "--format=%B", "main"], &[])
    }

    fn push(&self) -> Result<(), CliError> {
        self.git(&["push", "--quiet", "--set-upstream", "origin", "main"], &[]).map(drop)
    }

    fn git(&self, args: &[&str], env: Env<'_>) -> Result<String, CliError> {
        run(&self.work, args, env)
    }
}

/// Git without anything of the user's settings, so that the demo is the same everywhere.
fn run(dir: &Path, args: &[&str], env: Env<'_>) -> Result<String, CliError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let others = ["BACKSTAY_", "CLAUDE_", "GIT_"].iter().any(|prefix| text.starts_with(prefix));
        if others {
            command.env_remove(&name);
        }
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "Assistant")
            .env(format!("GIT_{who}_EMAIL"), "assistant@localhost");
    }
    let output = command.envs(env.iter().copied()).output().map_err(|e| {
        CliError::new(ErrorCode::BS8005, "git cannot be run").with_source(e).hint("install git")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let verb = args.first().copied().unwrap_or_default();
    Err(CliError::new(ErrorCode::BS8005, format!("git {verb} failed"))
        .with_source(std::io::Error::other(said)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{check, demo::web};

    #[test]
    fn the_sample_repository_passes_our_own_check() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::create(dir.path()).unwrap();
        let findings = check::look(&fleet.work, None, None, backstay_types::Timestamp::UNIX_EPOCH).unwrap();
        assert!(findings.ok && findings.problems.is_empty(), "{:?}", findings.problems);
        assert_eq!(findings.stacks, ["page"]);
    }

    #[test]
    fn a_change_touches_one_line_and_reaches_upstream() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::create(dir.path()).unwrap();
        let commit = fleet.change("colour", "teal", "Paint it teal", &[]).unwrap();
        assert_eq!(fleet.upstream_message().unwrap(), "Paint it teal");
        assert_eq!(fleet.message(commit.as_str()).unwrap(), "Paint it teal");
        let text = fs::read_to_string(fleet.work.join(PAGE)).unwrap();
        assert_eq!(text, PAGE_CONF.replace("slategray", "teal"));
        assert_eq!(web::parse(&text)["colour"], "teal");
        assert_eq!(text.lines().nth(fleet.line_of("colour").unwrap() - 1), Some("colour = teal"));
    }
}
