//! The Git host: a real bare repository, and the hand that pushes to it.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_types::{CommitId, Timestamp};

/// What becomes of a path.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// A file with this text.
    Text(String),
    /// Nothing.
    Gone,
    /// A folder as it was: what [`Upstream::folder`] gave.
    Folder(String),
}

/// A bare repository that can be away.
#[derive(Debug)]
pub(crate) struct Upstream {
    dir: PathBuf,
    away: PathBuf,
}

impl Upstream {
    /// An empty one in a folder.
    pub(crate) fn create(under: &Path) -> io::Result<Self> {
        let dir = under.join("upstream.git");
        run(git().args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&dir), b"")?;
        let settings = "[fastimport]\n\tunpackLimit = 1\n[receive]\n\tautogc = false\n[gc]\n\tauto = 0\n[core]\n\tfsync = none\n";
        let path = dir.join("config");
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text + settings)?;
        let _ = fs::remove_dir_all(dir.join("hooks"));
        Ok(Self { away: under.join("upstream.away"), dir })
    }

    /// Where hub and agents find it.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    /// Takes it away, or brings it back.
    pub(crate) fn set_away(&self, away: bool) -> io::Result<()> {
        let (from, to) = if away { (&self.dir, &self.away) } else { (&self.away, &self.dir) };
        if from.exists() { fs::rename(from, to) } else { Ok(()) }
    }

    /// Whether it is away.
    pub(crate) fn is_away(&self) -> bool {
        self.away.exists()
    }

    /// A folder of the branch as it is, to be put back later.
    pub(crate) fn folder(&self, path: &str) -> io::Result<String> {
        let dir = if self.is_away() { &self.away } else { &self.dir };
        let output = git().arg("-C").arg(dir).args(["rev-parse", &format!("main:{path}")]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Commits these edits onto the branch and gives the commit. Works while it is away from others.
    pub(crate) fn push(
        &self,
        message: &str,
        edits: &[(String, Edit)],
        at: Timestamp,
    ) -> io::Result<CommitId> {
        let dir = if self.is_away() { &self.away } else { &self.dir };
        let mut stream = String::new();
        let who = format!("Sim <sim@example.invalid> {} +0000", at.as_second());
        let _ = write!(stream, "commit refs/heads/main\nauthor {who}\ncommitter {who}\n");
        let _ = write!(stream, "data {}\n{message}\n", message.len());
        if dir.join("refs/heads/main").exists() {
            stream.push_str("from refs/heads/main^0\n");
        }
        for (path, edit) in edits {
            match edit {
                Edit::Text(text) => {
                    let mode = if path.ends_with("/serve") { "100755" } else { "100644" };
                    let _ = write!(stream, "M {mode} inline {path}\ndata {}\n{text}\n", text.len());
                }
                Edit::Gone => {
                    let _ = writeln!(stream, "D {path}");
                }
                Edit::Folder(tree) => {
                    let _ = writeln!(stream, "M 040000 {tree} {path}");
                }
            }
        }
        run(git().arg("-C").arg(dir).args(["fast-import", "--quiet", "--force"]), stream.as_bytes())?;
        let tip = fs::read_to_string(dir.join("refs/heads/main"))?;
        tip.trim().parse().map_err(|error| io::Error::other(format!("{error}")))
    }
}

fn run(command: &mut Command, input: &[u8]) -> io::Result<()> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "git ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// `git` that nobody's configuration reaches.
fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    git
}
