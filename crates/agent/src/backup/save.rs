//! Saving the data of one stack: hooks and dumps first, then the shortest possible stand, then all of it is sent.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_manifest::{BackupItem, BackupSource, Consistency, PathPattern};
use backstay_types::{
    StackName, Timestamp, TreeDigest,
    backup::{
        BackupPhase, ItemOutcome, ItemResult, Snapshot, SnapshotTags,
        job::{Done, FailedKind, Job, Repository, Root, SnapshotMade, SnapshotTask, Source, Task},
    },
};

use super::{
    BackupError, DataPlan,
    chore::{self, Chore},
    copy::{self, Copy},
    database::{self, Postgres},
    desk::Desk,
    exec::Scene,
    mounts,
    program::Refusal,
    progress::Progress,
    still::{Still, Thing},
};
use crate::{crash::crash_point, disk, runtime::compose::Engine};

/// One stack whose data is saved.
#[derive(Debug)]
pub(super) struct Saving<'a> {
    pub(super) desk: &'a Desk,
    pub(super) progress: &'a Progress,
    pub(super) stack: &'a StackName,
    pub(super) plan: &'a DataPlan,
    /// What it runs, whose hooks are asked.
    pub(super) tree: TreeDigest,
    pub(super) scene: &'a Scene,
    /// Nothing of it runs any more: there is nothing to make stand still.
    pub(super) stopped: bool,
    /// It is saved before it is replaced: what is not there, perhaps because somebody lost it, has nothing to be saved.
    pub(super) safety: bool,
}

/// What is sent, and with what it was made ready.
#[derive(Debug, Default)]
pub(super) struct Ready {
    roots: Vec<Root>,
    still: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) snapshot: Snapshot,
    pub(super) items: Vec<ItemOutcome>,
    pub(super) still: Duration,
}

/// An item that could not be saved, and why; all of the stack is without a snapshot then.
#[derive(Debug)]
pub(super) struct NotSaved {
    pub(super) item: String,
    pub(super) error: BackupError,
    pub(super) still: Duration,
}

impl Saving<'_> {
    pub(super) fn staging(&self, item: &BackupItem) -> PathBuf {
        self.desk.layout().staging().join(self.stack.as_str()).join(&item.name)
    }

    fn items(&self) -> impl Iterator<Item = &BackupItem> {
        self.plan.backups.items.iter()
    }

    /// Makes ready what has to be asked for while it runs: databases, commands, OpenClaw.
    pub(super) async fn ask(&self, ready: &mut Ready) -> Result<(), NotSaved> {
        self.ask_of(ready, |_| true).await
    }

    /// The same of some of it.
    pub(super) async fn ask_of(
        &self,
        ready: &mut Ready,
        of: impl Fn(&BackupSource) -> bool,
    ) -> Result<(), NotSaved> {
        for item in self.items().filter(|item| !item.what.is_files() && of(&item.what)) {
            if self.safety && self.is_gone(item).await.map_err(|error| self.not(item, error, ready.still))? {
                continue;
            }
            let asked = self.hooked(item, self.dump(item)).await;
            asked.map_err(|error| self.not(item, error, ready.still))?;
            self.staged(item, ready);
        }
        crash_point("backup.dumped");
        Ok(())
    }

    /// Makes ready what is files.
    pub(super) async fn prepare(&self, ready: &mut Ready) -> Result<(), NotSaved> {
        let mut standing = Vec::new();
        for item in self.items().filter(|item| item.what.is_files()) {
            let found = self.find(item).await.map_err(|error| self.not(item, error, ready.still))?;
            let Some((folder, exclude)) = found else { continue };
            match item.consistency {
                _ if self.stopped => self.in_place(item, &folder, exclude, ready).await,
                Consistency::None => self.hooked(item, self.in_place(item, &folder, exclude, ready)).await,
                Consistency::Hook => {
                    let copied = self.hooked(item, self.copy(item, &folder, exclude)).await;
                    copied.map(|()| self.staged(item, ready))
                }
                Consistency::Pause | Consistency::Stop => {
                    standing.push((item, folder, exclude));
                    Ok(())
                }
            }
            .map_err(|error| self.not(item, error, ready.still))?;
        }
        self.stand(&standing, ready).await
    }

    /// Copies of what has to stand still: once while it runs, then, standing, what changed.
    async fn stand(
        &self,
        standing: &[(&BackupItem, PathBuf, Vec<PathPattern>)],
        ready: &mut Ready,
    ) -> Result<(), NotSaved> {
        for (item, ..) in standing {
            if let Err(error) = self.before(item).await {
                let not = self.not(item, error, ready.still);
                // What an earlier item's `before` has frozen must not stay so, whatever the others say.
                let _ = self.after_all(standing).await;
                return Err(not);
            }
        }
        let stood = self.copies(standing, ready).await;
        let after = self.after_all(standing).await;
        stood?;
        after.map_err(|(item, error)| self.not(item, error, ready.still))?;
        for (item, ..) in standing {
            self.staged(item, ready);
        }
        Ok(())
    }

    /// What was prepared by hooks goes on. Each is asked; the first that fails is told.
    async fn after_all<'a>(
        &self,
        standing: &[(&'a BackupItem, PathBuf, Vec<PathPattern>)],
    ) -> Result<(), (&'a BackupItem, BackupError)> {
        let mut failed = Ok(());
        for (item, ..) in standing {
            let hooked = self.after(item).await;
            failed = failed.and(hooked.map_err(|error| (*item, error)));
        }
        failed
    }

    /// The two copies, between which all of it is made to stand still.
    async fn copies(
        &self,
        standing: &[(&BackupItem, PathBuf, Vec<PathPattern>)],
        ready: &mut Ready,
    ) -> Result<(), NotSaved> {
        let Some((first, ..)) = standing.first() else { return Ok(()) };
        let began = super::wall_clock();
        let mut copies = Vec::new();
        for (item, folder, exclude) in standing {
            let not = |error| self.not(item, error, ready.still);
            self.room(folder, exclude).await.map_err(not)?;
            let copy = Copy {
                from: folder.clone(),
                to: self.fresh(item).map_err(not)?,
                exclude: exclude.clone(),
                since: None,
            };
            if folder.is_dir() {
                chore::run(&Chore::Copy(copy.clone()), self.desk.nice()).await.map_err(not)?;
            }
            copies.push((*item, Copy { since: Some(began), ..copy }));
        }
        crash_point("backup.copied");
        let things = self.things(standing).await.map_err(|error| self.not(first, error, ready.still))?;
        let longest = self.plan.backups.longest_still;
        let still = match things.is_empty() {
            true => None,
            false => {
                let held = Still::hold(&self.desk.store, things, longest).await;
                Some(held.map_err(|error| self.not(first, error, ready.still))?)
            }
        };
        let again = async {
            for (item, copy) in copies {
                let copied = match copy.from.is_dir() {
                    true => chore::run(&Chore::Copy(copy), 0).await.map(drop),
                    false => one_file(&copy.from, &copy.to).await,
                };
                copied.map_err(|error| (item.name.clone(), error))?;
            }
            Ok(())
        };
        let again = tokio::time::timeout(longest, again).await.unwrap_or_else(|_| {
            let longest = backstay_manifest::format_duration(longest);
            let reason =
                format!("{}: the copy took longer than the stack may stand still ({longest})", first.name);
            Err((first.name.clone(), BackupError::Prepare(reason)))
        });
        if let Some(still) = still {
            let stood = still.end().await;
            ready.still += stood.map_err(|error| self.not(first, error, ready.still))?;
        }
        again.map_err(|(item, error)| NotSaved { item, error, still: ready.still })
    }

    /// What has to stand still: what uses the items, as far as it runs.
    async fn things(
        &self,
        standing: &[(&BackupItem, PathBuf, Vec<PathPattern>)],
    ) -> Result<Vec<Thing>, BackupError> {
        let stops = |item: &BackupItem| item.consistency == Consistency::Stop;
        match self.plan.runtime.as_str() {
            "compose" => {
                let users = |stop: bool| -> BTreeSet<&str> {
                    let items = standing.iter().filter(|(item, ..)| stops(item) == stop);
                    items.flat_map(|(item, ..)| self.plan.users(item)).collect()
                };
                let (stopped, paused) = (users(true), users(false));
                let containers = Engine::new().containers(&self.plan.project).await;
                let containers = containers.map_err(BackupError::io("the container engine"))?;
                let thing = |container: backstay_types::Container| {
                    let (service, container) = (container.service, container.id);
                    if stopped.contains(service.as_str()) {
                        Some(Thing::Stopped { container })
                    } else {
                        paused.contains(service.as_str()).then_some(Thing::Paused { container })
                    }
                };
                let runs = |container: &backstay_types::Container| container.running;
                let mut things: Vec<_> = containers.into_iter().filter(runs).filter_map(thing).collect();
                // Stopping takes longest: what is only paused waits for it as short as can be.
                things.sort_by_key(|thing| matches!(thing, Thing::Paused { .. }));
                Ok(things)
            }
            "process" => self.desk.processes(self.stack).map_err(BackupError::io("the stack's processes")),
            _ => {
                let stop = standing.iter().any(|(item, ..)| stops(item));
                let thing = |unit: String| match stop {
                    true => Thing::StoppedUnit { unit },
                    false => Thing::FrozenUnit { unit },
                };
                Ok(self.desk.units(self.stack).into_iter().map(thing).collect())
            }
        }
    }

    async fn hooked(
        &self,
        item: &BackupItem,
        work: impl Future<Output = Result<(), BackupError>>,
    ) -> Result<(), BackupError> {
        let done = match self.before(item).await {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        // Whatever became of it: what `before` has frozen must not stay so.
        let after = self.after(item).await;
        done.and(after)
    }

    /// Whether a database is not there at all.
    async fn is_gone(&self, item: &BackupItem) -> Result<bool, BackupError> {
        match &item.what {
            BackupSource::Postgres(source) => {
                Postgres::new(self.scene, &self.plan.project, &item.name, source).await?.is_gone().await
            }
            BackupSource::Sqlite { .. } => {
                let found = self.plan.locate(self.desk.layout(), self.stack, &item.what).await?;
                Ok(found.is_none_or(|(root, path)| !root.join(path).exists()))
            }
            _ => Ok(false),
        }
    }

    async fn dump(&self, item: &BackupItem) -> Result<(), BackupError> {
        let (to, project) = (self.fresh(item)?, &self.plan.project);
        match &item.what {
            BackupSource::Postgres(source) => {
                Postgres::new(self.scene, project, &item.name, source).await?.save(&to).await
            }
            BackupSource::Command(source) => {
                database::command(self.scene, project, &item.name, source, &to).await
            }
            BackupSource::Openclaw { service } => {
                database::openclaw(self.scene, project, &item.name, service.as_deref(), &to).await
            }
            BackupSource::Sqlite { .. } => {
                let found = self.plan.locate(self.desk.layout(), self.stack, &item.what).await?;
                let Some((root, path)) = found else { return Ok(()) };
                let from = root.join(&path);
                let size = fs::metadata(&from).map_err(BackupError::io(from.display()))?.len();
                self.enough(size)?;
                let to = to.join(from.file_name().unwrap_or_default());
                chore::run(&Chore::Sqlite { from, to }, self.desk.nice()).await.map(drop)
            }
            BackupSource::Volume { .. } | BackupSource::Path { .. } => Ok(()),
        }
    }

    /// An item's folder, and what is left out of it; none where a folder that nobody declared is not there.
    pub(super) async fn find(
        &self,
        item: &BackupItem,
    ) -> Result<Option<(PathBuf, Vec<PathPattern>)>, BackupError> {
        let found = self.plan.locate(self.desk.layout(), self.stack, &item.what).await?;
        let Some((root, below)) = found else { return Ok(None) };
        let path = root.join(&below);
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && (item.line == 0 || self.safety) => {
                return Ok(None);
            }
            Err(error) => return Err(BackupError::io(path.display())(error)),
        }
        let is_empty = || fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        if item.line == 0 && matches!(item.what, BackupSource::Path { .. }) && is_empty() {
            return Ok(None);
        }
        let mut exclude = item.exclude.clone();
        exclude.extend(self.databases_in(item, &path).await?);
        elsewhere(&path, &exclude)?;
        Ok(Some((path, exclude)))
    }

    /// SQLite files that are below an item and are saved by themselves.
    async fn databases_in(&self, item: &BackupItem, folder: &Path) -> Result<Vec<PathPattern>, BackupError> {
        let mut patterns = Vec::new();
        for other in self.items().filter(|other| other.name != item.name) {
            if !matches!(other.what, BackupSource::Sqlite { .. }) {
                continue;
            }
            let Some((root, path)) = self.plan.locate(self.desk.layout(), self.stack, &other.what).await?
            else {
                continue;
            };
            let path = root.join(path);
            let Ok(below) = path.strip_prefix(folder) else { continue };
            let below = below.to_string_lossy();
            for ending in ["", "-wal", "-shm", "-journal"] {
                patterns.extend(PathPattern::new(&format!("{below}{ending}")).ok());
            }
        }
        Ok(patterns)
    }

    async fn copy(
        &self,
        item: &BackupItem,
        from: &Path,
        exclude: Vec<PathPattern>,
    ) -> Result<(), BackupError> {
        self.room(from, &exclude).await?;
        let to = self.fresh(item)?;
        if !from.is_dir() {
            return one_file(from, &to).await;
        }
        let copy = Copy { from: from.to_owned(), to, exclude, since: None };
        chore::run(&Chore::Copy(copy), self.desk.nice()).await.map(drop)
    }

    /// It is read where it is. A single file is copied first: a root is a folder.
    async fn in_place(
        &self,
        item: &BackupItem,
        path: &Path,
        exclude: Vec<PathPattern>,
        ready: &mut Ready,
    ) -> Result<(), BackupError> {
        if !path.is_dir() {
            one_file(path, &self.fresh(item)?).await?;
            self.staged(item, ready);
            return Ok(());
        }
        let exclude = exclude.iter().map(|pattern| format!("/{}", pattern.as_str())).collect();
        let from = Source::Path { path: path.display().to_string(), exclude };
        ready.roots.push(Root { name: item.name.clone(), from });
        Ok(())
    }

    fn staged(&self, item: &BackupItem, ready: &mut Ready) {
        let path = self.staging(item).display().to_string();
        ready.roots.push(Root { name: item.name.clone(), from: Source::Path { path, exclude: Vec::new() } });
    }

    /// An empty folder for what an item is made ready in.
    fn fresh(&self, item: &BackupItem) -> Result<PathBuf, BackupError> {
        let to = self.staging(item);
        copy::clear(&to).and_then(|()| fs::create_dir_all(&to)).map_err(BackupError::io(to.display()))?;
        Ok(to)
    }

    /// Whether there is room for a copy.
    async fn room(&self, from: &Path, exclude: &[PathPattern]) -> Result<(), BackupError> {
        if !from.is_dir() {
            let size = fs::metadata(from).map_err(BackupError::io(from.display()))?.len();
            return self.enough(size);
        }
        let size = Chore::Size { from: from.to_owned(), exclude: exclude.to_vec() };
        match chore::run(&size, self.desk.nice()).await? {
            chore::Done::Bytes(bytes) => self.enough(bytes),
            _ => Ok(()),
        }
    }

    fn enough(&self, bytes: u64) -> Result<(), BackupError> {
        let dir = self.desk.layout().data();
        let (free, _) = disk::free(dir).map_err(BackupError::io(dir.display()))?;
        let needed = bytes.saturating_add(self.desk.margin());
        if free >= needed {
            return Ok(());
        }
        Err(BackupError::Prepare(format!(
            "{free} bytes are free at {}, {needed} are needed for a copy: with `consistency = \"none\"` it is read where it is",
            dir.display()
        )))
    }

    fn not(&self, item: &BackupItem, error: BackupError, still: Duration) -> NotSaved {
        NotSaved { item: item.name.clone(), error, still }
    }

    /// Sends what was made ready. None when there was nothing.
    pub(super) async fn send(
        &self,
        ready: Ready,
        repository: &Repository,
        (tags, at): (SnapshotTags, Timestamp),
        bytes_per_second: Option<u64>,
    ) -> Result<Option<Saved>, NotSaved> {
        if ready.roots.is_empty() {
            return Ok(None);
        }
        self.progress.phase(BackupPhase::Saving, self.stack);
        let task = SnapshotTask { roots: ready.roots, host: self.desk.node_name(), tags: words(&tags), at };
        let job = Job { repository: repository.clone(), bytes_per_second, task: Task::Snapshot(task) };
        let not = |error: BackupError| NotSaved { item: String::new(), error, still: ready.still };
        let mut made = self.desk.program.run(&job, self.progress).await;
        if let Err(Refusal { kind: Some(FailedKind::Source), message, .. }) = &made {
            // A file that went away while it was read: what is written to all the time deserves a second look.
            tracing::warn!(stack = %self.stack, message, "the data changed while it was saved; trying once more");
            made = self.desk.program.run(&job, self.progress).await;
        }
        let made = match made {
            Ok(Done::Snapshot(made)) => made,
            Ok(_) => {
                return Err(not(BackupError::Program(
                    "the program did something else than it was asked".to_owned(),
                )));
            }
            Err(refusal) => return Err(not(refusal.into())),
        };
        crash_point("backup.sent");
        Ok(Some(self.saved(made, tags, at, ready.still)))
    }

    fn saved(&self, made: SnapshotMade, tags: SnapshotTags, at: Timestamp, still: Duration) -> Saved {
        let item = |root: &backstay_types::backup::job::RootMade| ItemOutcome {
            stack: self.stack.clone(),
            item: root.name.clone(),
            result: ItemResult::Done {
                files: root.files,
                bytes: root.bytes,
                proof: made.proof,
                digest: None,
            },
        };
        let items = made.roots.iter().map(item).collect();
        let snapshot = made.of(at, tags);
        Saved { snapshot, items, still }
    }

    /// All of it: made ready, and sent.
    pub(super) async fn save(
        &self,
        repository: &Repository,
        about: (SnapshotTags, Timestamp),
        bytes_per_second: Option<u64>,
    ) -> Result<Option<Saved>, NotSaved> {
        self.progress.phase(BackupPhase::Preparing, self.stack);
        let mut ready = Ready::default();
        self.ask(&mut ready).await?;
        self.prepare(&mut ready).await?;
        crash_point("backup.ready");
        self.send(ready, repository, about, bytes_per_second).await
    }
}

/// Beside the agent's own work: it may be large.
async fn one_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let (file, folder) = (from.to_owned(), to.to_owned());
    let copied = tokio::task::spawn_blocking(move || copy::file_alone(&file, &folder)).await;
    copied.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(BackupError::io(from.display()))
}

/// Refuses what would be saved without something that is in it: another file system's content is not in a snapshot.
fn elsewhere(folder: &Path, exclude: &[PathPattern]) -> Result<(), BackupError> {
    let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev());
    let failed = || BackupError::io(folder.display());
    let own = device(folder).map_err(failed())?;
    for mount in mounts::below(folder).map_err(failed())? {
        let below = fs::canonicalize(folder)
            .ok()
            .and_then(|folder| Some(mount.strip_prefix(folder).ok()?.to_owned()));
        let left_out = below.is_some_and(|below| {
            below
                .ancestors()
                .any(|path| exclude.iter().any(|pattern| pattern.matches(&path.to_string_lossy())))
        });
        if !left_out && device(&mount).is_ok_and(|other| other != own) {
            return Err(BackupError::Prepare(format!(
                "{} is another file system in {}, and would not be saved: name it in an item of its own, and in this one's `exclude`",
                mount.display(),
                folder.display()
            )));
        }
    }
    Ok(())
}

/// Tags as they stand in the repository.
fn words(tags: &SnapshotTags) -> Vec<String> {
    let value = serde_json::to_value(tags).unwrap_or_default();
    let tags = value.as_object().into_iter().flatten();
    tags.filter_map(|(key, value)| Some(format!("backstay:{key}={}", value.as_str()?))).collect()
}
