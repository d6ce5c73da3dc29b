//! Putting data back: into a folder, or in place.
//!
//! In place, everything that can fail without touching anything is done first: the data is fetched beside its place, and dumps
//! are loaded into new databases beside the old ones. Then the stack is stopped and a safety snapshot is made of what is
//! there. From [`Phase::Swapping`] on it goes forward whatever happens to the agent: folders and files are exchanged by
//! one rename each, databases by their names. When the stack is not healthy with the data, all is exchanged back.

mod ahead;
mod place;
pub(super) mod stack;

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_agent_core::Committed;
use backstay_manifest::{BackupItem, BackupSource, PostgresMethod};
use backstay_types::{
    BackupJobId, DeploymentId, StackName,
    backup::{
        BackupOrder, BackupPhase, BackupReason, Destination, ItemOutcome, ItemResult, Proof, RestoreWork,
        SaveWork, WorkOutcome,
        job::{Done, Job, Place as Wanted, Repository, RestoreTask, Restored, Task},
    },
};
use serde::{Deserialize, Serialize};

use self::place::Place;
pub(super) use self::{
    ahead::{ahead, clear as clear_ahead, sweep as sweep_ahead},
    place::dress,
};
use super::{
    BackupError, DataPlan,
    chore::{self, Chore},
    database,
    keeper::{Desk, failed, millis},
    leave,
    plan::inside,
    progress::Progress,
    save::{Ready, Saving},
};
use crate::crash::crash_point;

/// A restore in place, as it stands in `agent.db`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Restoring {
    pub(super) job: BackupJobId,
    /// The deployment together with whose release it is put in place.
    #[serde(default)]
    pub(super) deployment: Option<DeploymentId>,
    pub(super) stack: StackName,
    /// What runs; or what is to run, where nothing did before.
    pub(super) committed: Box<Committed>,
    /// Nothing of the stack ran here before: its data is put in place before it first starts.
    #[serde(default)]
    pub(super) first: bool,
    pub(super) plan: DataPlan,
    pub(super) phase: Phase,
    /// Files and folders that take the place of others.
    pub(super) places: Vec<Place>,
    /// Databases that take the place of others.
    pub(super) databases: Vec<Base>,
    /// What is given to commands, once the stack runs.
    pub(super) commands: Vec<(String, PathBuf)>,
    /// What commands had told before; given to them again on the way back of a deployment.
    #[serde(default)]
    pub(super) told: Vec<(String, PathBuf)>,
    /// What came of it so far.
    pub(super) outcome: WorkOutcome,
}

/// A database that was loaded beside the one whose place it takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Base {
    item: String,
    name: String,
    new: String,
    old: String,
}

/// How far it is; written down before it goes there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Data is fetched beside its place. Nothing that runs was touched.
    Fetching,
    /// What uses the data is stopped, and saved as it is.
    Stopping,
    /// All is here and safe; the deployment puts it in place.
    Ready,
    /// The data is put in place. From here on it goes forward.
    Swapping,
    /// The data is in place, and the deployment's release is started on it.
    Exchanged,
    /// The data from before is in place again; the deployment ended without its release.
    Back,
    /// The stack is started and probed.
    Starting,
    /// The data from before is put back.
    Undoing {
        /// Why.
        why: String,
    },
}

impl Restoring {
    /// Whether all is here and safe, or more.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::Swapping | Phase::Exchanged)
    }

    /// Where what is given to commands is kept.
    pub(super) fn kept(&self, desk: &Desk) -> PathBuf {
        let backups = desk.layout().backups();
        match self.deployment {
            Some(deployment) => backups.join("exchange").join(deployment.to_string()),
            None => backups.join("restore"),
        }
    }
}

impl Phase {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Stopping => "stopping",
            Self::Ready => "ready",
            Self::Swapping => "swapping",
            Self::Exchanged => "exchanged",
            Self::Back => "back",
            Self::Starting => "starting",
            Self::Undoing { .. } => "undoing",
        }
    }
}

/// Fetches a part of a snapshot. A file that is damaged there is a failure that names it.
async fn fetch(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    places: Vec<Wanted>,
    progress: &Progress,
) -> Result<Restored, (String, Vec<String>)> {
    // Into the place of what was fetched ahead, only what differs from that comes.
    let reuse = work.of_node.is_some() && matches!(work.destination, Destination::WithDeployment { .. });
    let task = RestoreTask { snapshot: work.snapshot, places, delete_others: reuse, reuse };
    let (repository, bytes_per_second) = (desk.source(order, work), desk.bytes_per_second(order));
    let job = Job { repository, bytes_per_second, task: Task::Restore(task) };
    match desk.program.run(&job, progress).await {
        Ok(Done::Restore(restored)) if restored.damaged.is_empty() => Ok(restored),
        Ok(Done::Restore(restored)) => {
            let paths: Vec<_> = restored.damaged.into_iter().take(20).map(|problem| problem.at).collect();
            let why = format!(
                "{} files are damaged in the snapshot, such as {}",
                paths.len(),
                paths.first().map_or("", |path| path)
            );
            Err((BackupError::Restore(why).to_string(), paths))
        }
        Ok(_) => Err((
            BackupError::Restore("the program did something else than it was asked".to_owned()).to_string(),
            Vec::new(),
        )),
        Err(refusal) => {
            let paths = refusal.paths.iter().take(20).cloned().collect();
            Err((BackupError::Restore(refusal.message).to_string(), paths))
        }
    }
}

fn outcome_of(
    stack: &StackName,
    item: &str,
    fetched: &Result<Restored, (String, Vec<String>)>,
) -> ItemOutcome {
    let result = match fetched {
        Ok(restored) => ItemResult::Done {
            files: restored.files,
            bytes: restored.bytes,
            proof: Proof::Verified,
            digest: Some(restored.digest),
        },
        Err((why, paths)) => ItemResult::Failed { why: why.clone(), paths: paths.clone() },
    };
    ItemOutcome { stack: stack.clone(), item: item.to_owned(), result }
}

/// Restores into a folder. The stack is not touched.
pub(super) async fn to_folder(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    path: &str,
    progress: &Progress,
) -> WorkOutcome {
    let folder = Path::new(path);
    if !folder.is_absolute() || folder.components().any(|part| part == std::path::Component::ParentDir) {
        return failed(
            &BackupError::Restore(format!("`{path}`: expected an absolute path without `..`")).to_string(),
        );
    }
    let is_empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !is_empty {
        return failed(
            &BackupError::Restore(format!("`{path}` is there and is no empty folder")).to_string(),
        );
    }
    progress.phase(BackupPhase::Restoring, &work.stack);
    let below = |path: &str| Wanted { path: path.to_owned(), into: folder.join(path).display().to_string() };
    let names: Vec<&String> = work.items.iter().chain(&work.paths).collect();
    let mut outcome = WorkOutcome::default();
    if names.is_empty() {
        let all = Wanted { path: String::new(), into: path.to_owned() };
        let fetched = fetch(desk, order, work, vec![all], progress).await;
        outcome.items.push(outcome_of(&work.stack, "all", &fetched));
    }
    for name in names {
        if Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return failed(
                &BackupError::Restore(format!("`{name}`: expected a path inside the snapshot")).to_string(),
            );
        }
        let fetched = fetch(desk, order, work, vec![below(name)], progress).await;
        outcome.items.push(outcome_of(&work.stack, name, &fetched));
    }
    crash_point("restore.folder");
    outcome.failed = first_failure(&outcome.items);
    outcome
}

fn first_failure(items: &[ItemOutcome]) -> Option<String> {
    items.iter().find_map(|item| match &item.result {
        ItemResult::Failed { why, .. } => Some(format!("{}: {why}", item.item)),
        ItemResult::Done { .. } => None,
    })
}

/// Restores in place, to its end: with the data of the snapshot, or with the data from before.
pub(super) async fn in_place(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    progress: &Progress,
) -> WorkOutcome {
    let mut state = match begin(desk, order, work).await {
        Ok(state) => state,
        Err(error) => return failed(&error.to_string()),
    };
    let prepared = prepare(desk, order, work, &mut state, progress).await;
    match prepared {
        Ok(()) => match finish(desk, state, Some(progress)).await {
            Ok(outcome) => outcome,
            Err(error) => failed(&error.to_string()),
        },
        Err(why) => {
            let mut outcome = state.outcome.clone();
            let again = back_to_start(desk, &state).await;
            outcome.failed = Some(match again {
                Ok(()) => why,
                Err(error) => format!("{why}; the stack could not be started again: {error}"),
            });
            outcome
        }
    }
}

pub(super) async fn begin(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
) -> Result<Restoring, BackupError> {
    let with_deployment = matches!(work.destination, Destination::WithDeployment { .. });
    let first = if with_deployment { desk.first(&work.stack)? } else { None };
    let (first, committed) = match first {
        Some(committed) => (true, committed),
        None => (false, desk.committed(&work.stack)?),
    };
    if committed.prepared.is_none() {
        let reason =
            format!("stack `{}` was found here and has not been deployed yet: deploy it first", work.stack);
        return Err(BackupError::Restore(reason));
    }
    let plan = desk.plan(&work.stack, committed.tree).await?;
    let outcome = WorkOutcome::default();
    let state = Restoring {
        job: order.job,
        deployment: match work.destination {
            Destination::WithDeployment { deployment } => Some(deployment),
            _ => None,
        },
        stack: work.stack.clone(),
        committed: Box::new(committed),
        first,
        plan,
        phase: Phase::Fetching,
        places: Vec::new(),
        databases: Vec::new(),
        commands: Vec::new(),
        told: Vec::new(),
        outcome,
    };
    Ok(state)
}

/// The items that are put back, each with the paths of it that are meant; all of it when there are none.
fn wanted<'a>(
    plan: &'a DataPlan,
    work: &RestoreWork,
) -> Result<Vec<(&'a BackupItem, Vec<String>)>, BackupError> {
    let find = |name: &str| {
        plan.backups.items.iter().find(|item| item.name == name).ok_or_else(|| {
            let known: Vec<_> = plan.backups.items.iter().map(|item| item.name.as_str()).collect();
            let known = known.join(", ");
            BackupError::Restore(format!(
                "the stack has no item `{name}` now, only {known}: restore it into a folder"
            ))
        })
    };
    let mut all: Vec<(&BackupItem, Vec<String>)> = Vec::new();
    for name in &work.items {
        all.push((find(name)?, Vec::new()));
    }
    for path in &work.paths {
        let (name, below) = path.split_once('/').unwrap_or((path, ""));
        let item = find(name)?;
        let below = below.trim_end_matches('/');
        if !below.is_empty() && below.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(BackupError::Restore(format!("`{path}`: expected a path inside the snapshot")));
        }
        match all.iter_mut().find(|(known, _)| known.name == item.name) {
            Some((_, paths)) if !paths.is_empty() && !below.is_empty() => paths.push(below.to_owned()),
            Some((_, paths)) => paths.clear(),
            None if below.is_empty() => all.push((item, Vec::new())),
            None => all.push((item, vec![below.to_owned()])),
        }
    }
    if work.items.is_empty() && work.paths.is_empty() {
        all = plan.backups.items.iter().map(|item| (item, Vec::new())).collect();
    }
    // A folder before the databases that are in it.
    all.sort_by_key(|(item, _)| !item.what.is_files());
    Ok(all)
}

/// Everything up to the point from which it goes forward. After a failure nothing was put in place.
async fn prepare(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    state: &mut Restoring,
    progress: &Progress,
) -> Result<(), String> {
    fetch_all(desk, order, work, state, progress).await?;
    state.phase = Phase::Stopping;
    desk.store.restoring(state)?;
    safety(desk, order, state, progress).await.map_err(|error| format!("safety snapshot: {error}"))?;
    state.phase = Phase::Swapping;
    desk.store.restoring(state)
}

/// Fetches everything beside its place. Nothing that runs is touched.
pub(super) async fn fetch_all(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    state: &mut Restoring,
    progress: &Progress,
) -> Result<(), String> {
    progress.phase(BackupPhase::Restoring, &work.stack);
    let plan = state.plan.clone();
    let items = wanted(&plan, work).map_err(|error| error.to_string())?;
    for (item, _) in &items {
        refuse(item).map_err(|error| error.to_string())?;
    }
    desk.store.restoring(state)?;
    for (item, paths) in items {
        let fetched = fetch_item(desk, order, work, state, (item, &paths), progress).await;
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => Err((error.to_string(), Vec::new())),
        };
        let outcome = outcome_of(&work.stack, &item.name, &fetched);
        state.outcome.items.push(outcome);
        fetched.map_err(|(why, _)| format!("{}: {why}", item.name))?;
        crash_point("restore.fetched");
    }
    Ok(())
}

/// What cannot be put back in place.
fn refuse(item: &BackupItem) -> Result<(), BackupError> {
    let why = match &item.what {
        BackupSource::Openclaw { .. } => "OpenClaw's own backup is not put back in place",
        BackupSource::Postgres(source) if source.method == PostgresMethod::Base => {
            "a base backup takes the place of a server's whole data folder, which only its owner can exchange"
        }
        BackupSource::Command(source) if source.restore.is_empty() => {
            "it has no `restore`, a command that takes it back"
        }
        _ => return Ok(()),
    };
    Err(BackupError::Restore(format!("item `{}`: {why}: restore it into a folder", item.name)))
}

type Fetched = Result<Restored, (String, Vec<String>)>;

/// Fetches one item to where it can be put in place from.
async fn fetch_item(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    state: &mut Restoring,
    (item, paths): (&BackupItem, &[String]),
    progress: &Progress,
) -> Result<Fetched, BackupError> {
    let staged = desk.layout().staging().join("restore").join(&item.name);
    let whole = |into: &Path| Wanted { path: item.name.clone(), into: into.display().to_string() };
    match &item.what {
        BackupSource::Postgres(source) => {
            let mut fetched = fetch(desk, order, work, vec![whole(&staged)], progress).await;
            read_back(state, &mut fetched, &staged, None).await?;
            if fetched.is_ok() {
                let scene = desk.scene(&state.stack, state.committed.tree);
                let server = database::Postgres::new(&scene, &state.plan.project, &item.name, source).await?;
                server.add_roles(&staged).await?;
                for name in database::dumped(&staged)? {
                    let short = order.job.to_string();
                    let short = short.rsplit('-').next().unwrap_or(&short);
                    let base = Base {
                        item: item.name.clone(),
                        new: format!("backstay_new_{short}_{}", state.databases.len()),
                        old: format!("backstay_old_{short}_{}", state.databases.len()),
                        name,
                    };
                    server.load(&staged.join(format!("{}.dump", base.name)), &base.name, &base.new).await?;
                    state.databases.push(base);
                    desk.store.restoring(state).map_err(BackupError::Restore)?;
                }
            }
            Ok(fetched)
        }
        BackupSource::Command(_) => {
            // It is given to the command once the stack runs again, so it has to outlive the agent.
            let kept = state.kept(desk).join(&item.name);
            let _ = fs::remove_dir_all(&kept);
            let mut fetched = fetch(desk, order, work, vec![whole(&kept)], progress).await;
            read_back(state, &mut fetched, &kept, None).await?;
            state.commands.push((item.name.clone(), kept));
            Ok(fetched)
        }
        BackupSource::Openclaw { .. } => {
            Err(BackupError::Restore("it cannot be put back in place".to_owned()))
        }
        BackupSource::Volume { .. } | BackupSource::Path { .. } | BackupSource::Sqlite { .. } => {
            if let BackupSource::Sqlite { .. } = &item.what
                && let Some((root, path)) = state.plan.locate(desk.layout(), &state.stack, &item.what).await?
                && let Some((outer, inner)) = place::nested(&mut state.places, &root.join(&path))
            {
                // What was fetched may hold links, which would lead to what runs.
                inside(&outer, &inner)?;
                let into = outer.join(inner);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let wanted =
                    Wanted { path: format!("{}/{name}", item.name), into: into.display().to_string() };
                let mut fetched = fetch(desk, order, work, vec![wanted], progress).await;
                read_back(state, &mut fetched, &into, Some(name)).await?;
                if fetched.is_ok() {
                    chore::run(&Chore::CheckSqlite { path: into.clone() }, desk.nice()).await?;
                    place::dress(&root.join(&path), &into)?;
                }
                return Ok(fetched);
            }
            let places = place::of(desk, state, item, paths, order.job).await?;
            let wanted = places
                .iter()
                .map(|(path, place)| Wanted { path: path.clone(), into: place.new.display().to_string() });
            let wanted: Vec<_> = wanted.collect();
            // What is fetched is known before it is there, so that it is taken away whatever happens.
            state.places.extend(places.iter().map(|(_, place)| place.clone()));
            desk.store.restoring(state).map_err(BackupError::Restore)?;
            if let (true, [(_, place)]) = (state.first, &places[..]) {
                ahead::take(desk, &state.stack, &item.name, &place.new);
            }
            let mut fetched = fetch(desk, order, work, wanted, progress).await;
            if let [(path, place)] = &places[..] {
                let name = path.strip_prefix(&format!("{}/", item.name)).map(str::to_owned);
                read_back(state, &mut fetched, &place.new, name.filter(|_| place.new.is_file())).await?;
            }
            if fetched.is_ok() {
                for (_, place) in &places {
                    if matches!(item.what, BackupSource::Sqlite { .. }) {
                        chore::run(&Chore::CheckSqlite { path: place.new.clone() }, desk.nice()).await?;
                    }
                    let known = state.places.iter_mut().find(|known| known.new == place.new);
                    if let Some(known) = known {
                        known.fetched()?;
                    }
                }
            }
            Ok(fetched)
        }
    }
}

/// Reads back from disk what was fetched of a stack that first starts here: that is compared with what was left elsewhere.
async fn read_back(
    state: &Restoring,
    fetched: &mut Fetched,
    root: &Path,
    name: Option<String>,
) -> Result<(), BackupError> {
    if let (true, Ok(restored)) = (state.first, fetched)
        && (name.is_some() || root.is_dir())
    {
        let survey = leave::survey(root.to_owned(), Vec::new(), name, 0).await?;
        restored.digest = survey.digest;
        (restored.files, restored.bytes) = (survey.files, survey.bytes);
    }
    Ok(())
}

/// Stops what writes and saves what is there, so that the restore can be taken back.
async fn safety(
    desk: &Desk,
    order: &BackupOrder,
    state: &mut Restoring,
    progress: &Progress,
) -> Result<(), BackupError> {
    progress.phase(BackupPhase::Stopping, &state.stack);
    stack::stop_writers(&state.plan, state.deployment.is_some()).await?;
    crash_point("restore.stopped");
    progress.phase(BackupPhase::Safety, &state.stack);
    let plan = state.plan.clone();
    let tree = state.committed.tree;
    let scene = desk.scene(&state.stack, tree);
    let stack = state.stack.clone();
    // Services that are asked for their data still run; nobody writes any more.
    let stopped = plan.runtime == "compose";
    // A machine that is new has nothing yet of what is put back.
    let saving = Saving { desk, progress, stack: &stack, plan: &plan, scene: &scene, stopped, safety: true };
    let save =
        SaveWork { stacks: Vec::new(), reason: BackupReason::Safety, deployment: None, conversation: None, last: false };
    let about = (desk.tags(&stack, tree, BackupReason::Safety, &save), desk.now());
    let mut ready = Ready::default();
    let repository: Repository = desk.repository(order);
    let said = |failed: super::save::NotSaved| failed.error;
    saving.ask(&mut ready).await.map_err(said)?;
    saving.prepare(&mut ready).await.map_err(said)?;
    let saved = saving.send(ready, &repository, about, desk.bytes_per_second(order)).await.map_err(said)?;
    state.outcome.snapshots.extend(saved.map(|saved| saved.snapshot));
    crash_point("restore.safe");
    Ok(())
}

/// From the point of no return to the end: the new data runs and is healthy, or the old one runs again.
async fn finish(
    desk: &Desk,
    mut state: Restoring,
    progress: Option<&Progress>,
) -> Result<WorkOutcome, BackupError> {
    let since = std::time::Instant::now();
    if state.phase == Phase::Swapping {
        swap(desk, &mut state).await?;
    }
    if state.phase == Phase::Starting {
        if let Some(progress) = progress {
            progress.phase(BackupPhase::Starting, &state.stack);
        }
        if let Err(error) = start(desk, &state).await {
            state.phase = Phase::Undoing { why: error.to_string() };
            desk.store.restoring(&state).map_err(BackupError::Restore)?;
        }
    }
    if let Phase::Undoing { why } = &state.phase {
        let why = why.clone();
        undo(desk, &state).await?;
        state.outcome.failed = Some(format!("{why}; the data from before is back"));
        for item in &mut state.outcome.items {
            item.result = ItemResult::Failed { why: why.clone(), paths: Vec::new() };
        }
    }
    state.outcome.still_ms += millis(since.elapsed());
    clean(desk, &state).await;
    Ok(state.outcome)
}

async fn swap(desk: &Desk, state: &mut Restoring) -> Result<(), BackupError> {
    stack::swap_databases(desk, state).await?;
    crash_point("restore.databases");
    stack::down(desk, state).await?;
    for place in &state.places {
        place.swap()?;
        crash_point("restore.swapped");
    }
    state.phase = Phase::Starting;
    desk.store.restoring(state).map_err(BackupError::Restore)
}

async fn start(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    stack::up(desk, state).await?;
    crash_point("restore.up");
    let scene = desk.scene(&state.stack, state.committed.tree);
    for (item, folder) in &state.commands {
        let found = state.plan.backups.items.iter().find(|known| known.name == *item);
        if let Some(BackupSource::Command(source)) = found.map(|item| &item.what) {
            database::restore_command(&scene, &state.plan.project, item, source, folder).await?;
        }
    }
    stack::probe(desk, state).await
}

async fn undo(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    stack::swap_databases_back(desk, state).await?;
    stack::down(desk, state).await?;
    for place in state.places.iter().rev() {
        place.swap_back()?;
        crash_point("restore.swapped_back");
    }
    stack::up(desk, state).await?;
    stack::probe(desk, state).await
}

/// What is not needed any more. Leftovers do no harm, and are told.
pub(super) async fn clean(desk: &Desk, state: &Restoring) {
    for place in &state.places {
        if let Err(error) = place.clean() {
            tracing::warn!(%error, "data that was replaced cannot be removed");
        }
    }
    if let Err(error) = stack::forget_databases(desk, state).await {
        tracing::warn!(%error, "a database that was replaced cannot be removed");
    }
    let _ = fs::remove_dir_all(state.kept(desk));
    if state.first {
        clear_ahead(desk, &state.stack);
    }
    crash_point("restore.cleaned");
}

/// Nothing was put in place: the stack is started again where it was stopped, and what was fetched goes.
pub(super) async fn back_to_start(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    match state.first {
        // What was made to have room for the data, and its servers.
        true => stack::down(desk, state).await?,
        false if state.phase == Phase::Stopping => stack::up(desk, state).await?,
        false => {}
    }
    clean(desk, state).await;
    Ok(())
}

/// Brings a restore that was cut off to an end. None when nothing had been put in place yet: it is as if it had not begun.
pub(super) async fn recover(desk: &Desk, state: Restoring) -> Result<Option<WorkOutcome>, BackupError> {
    tracing::warn!(job = %state.job, stack = %state.stack, phase = state.phase.word(), "a restore was cut off");
    match state.phase {
        // The last three are of deployments, whose data is theirs to bring to an end.
        Phase::Fetching | Phase::Stopping | Phase::Ready | Phase::Exchanged | Phase::Back => {
            back_to_start(desk, &state).await?;
            desk.store.not_restoring().map_err(BackupError::Restore)?;
            Ok(None)
        }
        Phase::Swapping | Phase::Starting | Phase::Undoing { .. } => {
            finish(desk, state, None).await.map(Some)
        }
    }
}
