//! The hub's own state: database, keys, settings, mirrors. Nodes could be told what to run without it, by nobody.

use std::{ffi::OsString, fs, io, os::unix::fs::DirBuilderExt as _, path::Path, process::Stdio};

use backstay_store::hub_state;
use backstay_types::{
    Secret,
    backup::{
        BackupJob, BackupResult, SaveWork, SnapshotTags, WorkOutcome,
        job::{Done, Root, SnapshotTask, Source, Task},
    },
};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use url::Url;

use super::{ChildError, chores::Hand, room};
use crate::keys::write_private;

/// The root with database, keys and settings.
pub(super) const STATE: &str = "state";
/// The root with the mirrors of repositories: undo commits that were not pushed yet are nowhere else.
pub(super) const MIRRORS: &str = "mirrors";
/// A copy of SQLite's file.
pub(super) const SQLITE: &str = "hub.db";
/// A dump of PostgreSQL, in its custom format.
pub(super) const POSTGRES: &str = "hub.dump";
/// What is in the snapshot.
pub(super) const CONTENTS: &str = "contents.json";
/// The settings, without passwords of object stores.
pub(super) const SETTINGS: &str = "settings.toml";
/// What of the data folder is kept, each where it is there.
pub(super) const KEPT: [&str; 4] = ["signing.key", "sealing.key", "hub.id", "ssh"];

/// What is in a snapshot of the hub's own state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contents {
    /// The hub's version.
    pub(super) version: String,
    /// `sqlite` or `postgres`.
    pub(super) database: String,
    /// The epoch when it was made; a restored hub has a higher one.
    pub(super) epoch: u64,
}

/// Saves it as one snapshot.
pub(super) async fn save(
    hand: &Hand<'_>,
    work: &SaveWork,
    job: &BackupJob,
) -> Result<BackupResult, ChildError> {
    let data_dir = hand.app.settings.hub.data_dir.clone();
    let staging = data_dir.join("backup-staging");
    clear(&staging).map_err(|error| ChildError::Hub(format!("{}: {error}", staging.display())))?;
    let saved = stage_and_save(hand, work, job, &data_dir, &staging).await;
    // Keys lie in it: it does not stay.
    let _ = fs::remove_dir_all(&staging);
    saved
}

async fn stage_and_save(
    hand: &Hand<'_>,
    work: &SaveWork,
    job: &BackupJob,
    data_dir: &Path,
    staging: &Path,
) -> Result<BackupResult, ChildError> {
    stage(hand, data_dir, staging).await?;
    let path = |path: &Path| Source::Path { path: path.display().to_string(), exclude: Vec::new() };
    let mut roots = vec![Root { name: STATE.to_owned(), from: path(staging) }];
    let mirrors = data_dir.join("mirrors");
    if mirrors.is_dir() {
        roots.push(Root { name: MIRRORS.to_owned(), from: path(&mirrors) });
    }
    let at = job.started_at.unwrap_or_else(|| hand.app.world.now());
    let word = serde_json::to_value(work.reason).ok();
    let reason = word.as_ref().and_then(|word| word.as_str()).unwrap_or("schedule");
    let tags = vec![format!("backstay:reason={reason}"), "backstay:hub=yes".to_owned()];
    let task = Task::Snapshot(SnapshotTask { roots, host: "backstay-hub".to_owned(), tags, at });
    let Done::Snapshot(made) = hand.run(hand.first(), task).await? else {
        return Err(ChildError::OtherAnswer);
    };
    let tags = SnapshotTags {
        node: None,
        node_name: None,
        stack: None,
        tree: None,
        deployment: None,
        conversation: None,
        reason: work.reason,
    };
    let snapshot = made.of(at, tags);
    Ok(BackupResult {
        work: Some(WorkOutcome { snapshots: vec![snapshot], ..WorkOutcome::default() }),
        ..BackupResult::default()
    })
}

/// Puts what is not a folder of its own where it can be read at rest.
async fn stage(hand: &Hand<'_>, data_dir: &Path, staging: &Path) -> Result<(), ChildError> {
    let app = hand.app;
    // A disk that this fills is the one on which the live database is.
    room::check(data_dir, size_of(data_dir)).map_err(|error| {
        ChildError::Hub(format!("{}: the hub's own state is not staged: {error}", data_dir.display()))
    })?;
    let failed = |what: &str, error: &dyn std::fmt::Display| ChildError::Hub(format!("{what}: {error}"));
    if !app.store.copy_into(&staging.join(SQLITE)).await? {
        let location = crate::start::database_location(&app.settings, data_dir);
        let location = location.map_err(|error| failed("the database's address", &error))?;
        dump_postgres(&location, &staging.join(POSTGRES)).await?;
    }
    for name in KEPT {
        let from = data_dir.join(name);
        if from.exists() {
            copy(&from, &staging.join(name)).map_err(|error| failed(name, &error))?;
        }
    }
    let contents = Contents {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        database: app.store.backend().as_str().to_owned(),
        epoch: hub_state::epoch(&mut app.store.read()).await?,
    };
    let text = serde_json::to_vec_pretty(&contents).map_err(|error| failed(CONTENTS, &error))?;
    let files = [(CONTENTS, text), (SETTINGS, app.settings.to_text().into_bytes())];
    for (name, text) in files {
        write_private(&staging.join(name), &text).map_err(|error| failed(name, &error))?;
    }
    Ok(())
}

/// Bytes of what is copied to be saved: of a PostgreSQL database, which is elsewhere, nothing is known.
fn size_of(data_dir: &Path) -> u64 {
    let files = [SQLITE, "hub.db-wal"].into_iter().chain(KEPT);
    files.filter_map(|name| fs::metadata(data_dir.join(name)).ok()).map(|file| file.len()).sum()
}

fn clear(staging: &Path) -> io::Result<()> {
    match fs::remove_dir_all(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(staging)
}

/// Copies a file, or a folder with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

async fn dump_postgres(location: &Secret, to: &Path) -> Result<(), ChildError> {
    let arguments =
        ["--format=custom".into(), "--no-owner".into(), "--file".into(), to.as_os_str().to_owned()];
    postgres_program("pg_dump", location, arguments).await?;
    // A dump that its own program cannot read is none.
    program("pg_restore", &[], ["--list".into(), to.into()]).await
}

/// Runs a program of PostgreSQL on a database, whose password no other user of this machine sees.
pub(super) async fn postgres_program(
    name: &str,
    location: &Secret,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(), ChildError> {
    let wrong = || ChildError::Hub("the database's address is no postgres://…".to_owned());
    let mut url = Url::parse(location.expose()).map_err(|_| wrong())?;
    let password = url.password().map(percent_decoded);
    url.set_password(None).map_err(|()| wrong())?;
    let mut variables = vec![("PGCONNECT_TIMEOUT", "10".to_owned())];
    variables.extend(password.map(|password| ("PGPASSWORD", password)));
    let dbname = OsString::from(format!("--dbname={url}"));
    program(name, &variables, arguments.into_iter().chain([dbname])).await
}

fn percent_decoded(text: &str) -> String {
    // What a form writes is what a URL writes, but for the plus sign.
    let text = text.replace('+', "%2B");
    url::form_urlencoded::parse(text.as_bytes()).next().map(|(key, _)| key.into_owned()).unwrap_or_default()
}

async fn program(
    name: &str,
    variables: &[(&str, String)],
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(), ChildError> {
    let failed = |why: String| {
        ChildError::Hub(format!("{name}: {why}; it must be installed, of the server's version or newer"))
    };
    let mut command = Command::new(name);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}: {}", output.status, said.lines().last().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_mean_what_they_say() {
        for (text, means) in [("plain", "plain"), ("a%2Fb%20c", "a/b c"), ("x+y", "x+y"), ("50%25", "50%")] {
            assert_eq!(percent_decoded(text), means);
        }
    }
}
