//! A hub from a backup of another, on a new machine: with the owner's recovery key and nothing else.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use backstay_config::Settings;
use backstay_types::{
    Secret, Timestamp, World,
    backup::{
        SnapshotId,
        job::{Done, Job, Line, Listed, Place as Goes, RestoreTask, Task},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    ChildError, Place,
    own_state::{
        CONTENTS, Contents, KEPT, MIRRORS, POSTGRES, SETTINGS, SQLITE, STATE, copy, postgres_program,
    },
    recovery, recovery_file,
};
use crate::{HubError, keys::write_private};

/// The file that tells the next start that it is a restored hub's first.
const RESTORED: &str = "restored.json";
/// The file that is there while a restore puts things in place: what is in the folder then is a half.
const RESTORING: &str = "restoring";

/// What is restored.
#[derive(Debug)]
pub struct WantedHub {
    /// Where the backup is (`backup.target`), where the hub will be (`hub.data_dir`), and its database.
    pub settings: Settings,
    /// The text of the owner's recovery key.
    pub recovery_key: Secret,
    /// The newest snapshot from this time or before.
    pub at: Timestamp,
}

/// What was restored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoredHub {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// When it was begun.
    pub at: Timestamp,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The settings as they were, to be looked over.
    pub settings: PathBuf,
}

/// Puts database, keys, settings and mirrors of a hub into its data folder, which has none. Told `say` as it goes on. The
/// hub that is started there raises its epoch, so that agents take what it says.
///
/// # Errors
/// When there is a hub in the folder, the key does not open the backup, or something cannot be read or written.
pub async fn restore_hub(
    wanted: WantedHub,
    world: World,
    say: impl Fn(&str),
) -> Result<RestoredHub, HubError> {
    let failed = |text: String| HubError::Restore(text);
    let data_dir = wanted.settings.hub.data_dir.clone();
    let half = is_half(&data_dir);
    if !half && ["hub.db", "signing.key"].iter().any(|name| data_dir.join(name).exists()) {
        return Err(failed(format!(
            "{}: there is a hub in this folder; give an empty one (hub.data_dir)",
            data_dir.display()
        )));
    }
    fs::create_dir_all(&data_dir).and_then(|()| private(&data_dir, 0o700)).map_err(at(&data_dir))?;
    let location = crate::start::database_location(&wanted.settings, &data_dir)?;
    if !backstay_store::is_empty(location.expose()).await? {
        return Err(failed(
            "the database that hub.database_url names is not empty, and a restore never overwrites one: name a new one, \
             or drop this one first"
                .to_owned(),
        ));
    }
    let target = wanted.settings.backup.target.as_ref();
    let target =
        target.ok_or_else(|| failed("backup.target is missing: say where the backup is".to_owned()))?;
    let place = Place::new(&wanted.settings.backup, target, &data_dir, &world)?;
    let password = password(&place, &wanted.recovery_key).await?;
    say("the recovery key opens the backup");
    let newest = newest(&place, &password, wanted.at).await?;
    say(&format!("the newest snapshot is from {}; reading it back", newest.at));
    run(&place, &password, Task::Verify { snapshot: newest.id }).await?;
    let staging = data_dir.join("backup-staging");
    let _ = fs::remove_dir_all(&staging);
    let goes = |path: &str, into: &Path| Goes { path: path.to_owned(), into: into.display().to_string() };
    let mut places = vec![goes(STATE, &staging)];
    if newest.paths.iter().any(|path| path.trim_matches('/').ends_with(MIRRORS)) {
        places.push(goes(MIRRORS, &data_dir.join(MIRRORS)));
    }
    let task = Task::Restore(RestoreTask {
        snapshot: newest.id,
        places,
        delete_others: false,
        reuse: false,
        keep_free: 0,
    });
    let Done::Restore(restored) = run(&place, &password, task).await? else {
        return Err(failed(ChildError::OtherAnswer.to_string()));
    };
    if let Some(problem) = restored.damaged.first() {
        let _ = fs::remove_dir_all(&staging);
        return Err(failed(format!("the snapshot is damaged: {}: {}", problem.at, problem.what)));
    }
    say("it is here; putting it in place");
    write_private(&data_dir.join(RESTORING), newest.id.to_string().as_bytes()).map_err(at(&data_dir))?;
    put_in_place(&wanted.settings, &staging, &data_dir).await?;
    let settings = data_dir.join("settings.restored.toml");
    let done = RestoredHub {
        snapshot: newest.id,
        at: newest.at,
        files: restored.files,
        bytes: restored.bytes,
        settings,
    };
    let text = serde_json::to_vec(&done).map_err(|error| failed(error.to_string()))?;
    write_private(&data_dir.join(RESTORED), &text).map_err(at(&data_dir))?;
    // From here on it is a hub that can be started.
    fs::remove_file(data_dir.join(RESTORING)).map_err(at(&data_dir))?;
    let _ = fs::remove_dir_all(&staging);
    Ok(done)
}

async fn password(place: &Place, key: &Secret) -> Result<Secret, HubError> {
    let failed = |text: String| HubError::Restore(text);
    let name = recovery_file(None).map_err(|error| failed(error.to_string()))?;
    let sealed = place.objects().get(&name).await.map_err(|error| failed(error.to_string()))?;
    let sealed = sealed.ok_or_else(|| {
        failed(format!("there is no {name} at the target: no recovery key was set when its hub was there"))
    })?;
    recovery::open(&sealed, key)
        .map_err(|why| failed(format!("the recovery key does not open {name}: {why}")))
}

async fn newest(place: &Place, password: &Secret, at: Timestamp) -> Result<Listed, HubError> {
    let Done::List { snapshots } = run(place, password, Task::List).await? else {
        return Err(HubError::Restore(ChildError::OtherAnswer.to_string()));
    };
    let newest = snapshots.into_iter().filter(|one| one.at <= at).max_by_key(|one| one.at);
    newest.ok_or_else(|| HubError::Restore(format!("there is no snapshot of a hub from {at} or before")))
}

async fn run(place: &Place, password: &Secret, task: Task) -> Result<Done, HubError> {
    let job = Job { repository: place.repository(None, password.clone()), bytes_per_second: None, task };
    let done = place.child().run(&job, |_: Line| async { true }).await;
    done.map_err(|error| HubError::Restore(error.to_string()))
}

async fn put_in_place(settings: &Settings, staging: &Path, data_dir: &Path) -> Result<(), HubError> {
    let failed = |text: String| HubError::Restore(text);
    let text = fs::read(staging.join(CONTENTS)).map_err(at(staging))?;
    let contents: Contents =
        serde_json::from_slice(&text).map_err(|error| failed(format!("{CONTENTS}: {error}")))?;
    match contents.database.as_str() {
        "sqlite" => put(&staging.join(SQLITE), &data_dir.join("hub.db"))?,
        _ => {
            let location = crate::start::database_location(settings, data_dir)?;
            let dump = staging.join(POSTGRES).into_os_string();
            // All of it, or nothing: it is empty still when this is killed.
            let arguments = [
                "--clean".into(),
                "--if-exists".into(),
                "--no-owner".into(),
                "--single-transaction".into(),
                dump,
            ];
            postgres_program("pg_restore", &location, arguments)
                .await
                .map_err(|error| failed(error.to_string()))?;
        }
    }
    for name in KEPT.iter().copied().filter(|name| staging.join(name).exists()) {
        put(&staging.join(name), &data_dir.join(name))?;
    }
    put(&staging.join(SETTINGS), &data_dir.join("settings.restored.toml"))
}

/// Puts a file or folder where it belongs, for the hub's user alone. What a restore that was cut off left there goes.
fn put(from: &Path, to: &Path) -> Result<(), HubError> {
    let put = || -> io::Result<()> {
        if to.is_dir() {
            fs::remove_dir_all(to)?;
        }
        copy(from, to)?;
        for path in below(to)? {
            private(&path, if path.is_dir() { 0o700 } else { 0o600 })?;
            fs::File::open(&path)?.sync_all()?;
        }
        Ok(())
    };
    put().map_err(at(to))
}

fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            found.extend(below(&entry?.path())?);
        }
    }
    Ok(found)
}

fn private(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::DataDir { path, source }
}

/// Whether a restore was cut off while it put things in place: what is here is no hub.
pub(crate) fn is_half(data_dir: &Path) -> bool {
    data_dir.join(RESTORING).exists()
}

/// What the last restore put here, until a start has taken it up.
pub(crate) fn restored(data_dir: &Path) -> Option<RestoredHub> {
    serde_json::from_slice(&fs::read(data_dir.join(RESTORED)).ok()?).ok()
}

/// It was taken up.
pub(crate) fn taken_up(data_dir: &Path) {
    let _ = fs::remove_file(data_dir.join(RESTORED));
}
