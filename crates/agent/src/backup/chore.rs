//! Work on data in a child, `backstay-agent internal data`: it can be given up at any time, stands back for others, and
//! nothing that a database holds can take the agent down.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use backstay_manifest::PathPattern;
use backstay_types::backup::job::FileEntry;
use rusqlite::{Connection, OpenFlags, backup::Backup};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    BackupError,
    copy::{self, Copied, Copy},
    drill::compare::{self, Survey},
};
use crate::{AgentError, child::own_program};

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Chore {
    /// Copy a folder.
    Copy(Copy),
    /// How much a copy of a folder takes.
    Size { from: PathBuf, exclude: Vec<PathPattern> },
    /// Save a SQLite database, while others write to it, and check what was saved.
    Sqlite { from: PathBuf, to: PathBuf },
    /// Check a SQLite database.
    CheckSqlite { path: PathBuf },
    /// Read all of a folder.
    Survey { root: PathBuf },
    /// Read all of a folder, but for what is left out and what holds nothing; or a single file, as if it were alone in one
    /// under a name.
    Checksum { root: PathBuf, exclude: Vec<PathPattern>, name: Option<String> },
    /// What of a snapshot's list is not there as it says.
    Differences { root: PathBuf, list: Vec<FileEntry>, most: usize },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Done {
    Copied(Copied),
    Bytes(u64),
    Surveyed(Survey),
    Differences { paths: Vec<String>, count: u64 },
    Nothing,
}

/// Has a child do it. `nice` from 0 to 19.
pub(crate) async fn run(chore: &Chore, nice: u32) -> Result<Done, BackupError> {
    let failed = |what: String| BackupError::Prepare(what);
    let text = serde_json::to_vec(chore).map_err(|error| failed(error.to_string()))?;
    let nice = nice.to_string();
    let mut command = own_program(&["internal", "data", &nice]);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(BackupError::io("a child of the agent"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&text).await.map_err(BackupError::io("a child of the agent"))?;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.as_mut() {
        stdout.read_to_end(&mut answer).await.map_err(BackupError::io("a child of the agent"))?;
    }
    let status = child.wait().await.map_err(BackupError::io("a child of the agent"))?;
    let answer: Result<Done, String> = serde_json::from_slice(&answer).map_err(|_| {
        failed(format!("a child of the agent ended with {status} while it worked on the data"))
    })?;
    answer.map_err(failed)
}

/// A child's whole life.
pub(crate) fn main(nice: i32) -> Result<(), AgentError> {
    crate::crash::in_child();
    let other = |error: std::io::Error| AgentError::Other(format!("data: {error}"));
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| other(error.into()))?;
    let _ = rustix::process::nice(nice);
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(other)?;
    let chore: Chore = serde_json::from_str(&text).map_err(|error| AgentError::Other(error.to_string()))?;
    let bytes = serde_json::to_vec(&work(chore)).map_err(|error| AgentError::Other(error.to_string()))?;
    std::io::stdout().write_all(&bytes).map_err(other)
}

fn work(chore: Chore) -> Result<Done, String> {
    match chore {
        Chore::Copy(call) => copy::copy(&call).map(Done::Copied).map_err(|error| error.to_string()),
        Chore::Size { from, exclude } => {
            let bytes =
                copy::size(&from, &exclude).map_err(|error| format!("{}: {error}", from.display()))?;
            Ok(Done::Bytes(bytes))
        }
        Chore::Sqlite { from, to } => sqlite(&from, &to).map(|()| Done::Nothing),
        Chore::CheckSqlite { path } => check_sqlite(&path).map(|()| Done::Nothing),
        Chore::Survey { root } => {
            compare::survey(&root).map(Done::Surveyed).map_err(|error| error.to_string())
        }
        Chore::Checksum { root, exclude, name } => {
            let read = compare::checksum(&root, &exclude, name.as_deref());
            read.map(Done::Surveyed).map_err(|error| error.to_string())
        }
        Chore::Differences { root, list, most } => {
            let (paths, count) =
                compare::differences(&root, list, most).map_err(|error| error.to_string())?;
            Ok(Done::Differences { paths, count })
        }
    }
}

/// The online backup: pages that others change meanwhile are taken again. In steps, so that writers get their turns, and in
/// one step when it does not come to an end beside them.
fn sqlite(from: &Path, to: &Path) -> Result<(), String> {
    const PAGES: i32 = 2048;
    const STEPS: u32 = 20_000;
    let said = |error: rusqlite::Error| format!("{}: {error}", from.display());
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let source = Connection::open_with_flags(from, flags).map_err(said)?;
    source.busy_timeout(Duration::from_secs(30)).map_err(said)?;
    // What is no database is told before anything is made of it.
    source.query_row("select count(*) from sqlite_schema", [], |_| Ok(())).map_err(said)?;
    let _ = std::fs::remove_file(to);
    let mut target = Connection::open(to).map_err(said)?;
    {
        let backup = Backup::new(&source, &mut target).map_err(said)?;
        let (mut least, mut steps) = (i32::MAX, 0u32);
        loop {
            // Whoever writes all the time makes it begin anew all the time.
            let pages = if steps > STEPS { -1 } else { PAGES };
            match backup.step(pages).map_err(said)? {
                rusqlite::backup::StepResult::Done => break,
                rusqlite::backup::StepResult::More => {
                    let left = backup.progress().remaining;
                    steps = if left < least { steps + 1 } else { steps + STEPS / 50 };
                    least = least.min(left);
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    target.pragma_update(None, "journal_mode", "delete").map_err(said)?;
    drop(target);
    // It belongs to whom the database belongs to, and is of now.
    let meta = std::fs::symlink_metadata(from).map_err(|error| format!("{}: {error}", from.display()))?;
    copy::dress(from, to, &meta).map_err(|error| format!("{}: {error}", to.display()))?;
    check_sqlite(to).map_err(|error| format!("{}: what was saved is damaged: {error}", from.display()))
}

fn check_sqlite(path: &Path) -> Result<(), String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let said = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let db = Connection::open_with_flags(path, flags).map_err(said)?;
    let verdict: String = db.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(said)?;
    if verdict == "ok" { Ok(()) } else { Err(format!("{}: {verdict}", path.display())) }
}

/// Ends a process and all that it started when it is dropped.
pub(super) struct Group(pub(super) Option<Pid>);

impl Group {
    pub(super) fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
