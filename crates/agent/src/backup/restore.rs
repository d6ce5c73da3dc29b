//! Putting data back: into a folder, or in place.
//!
//! In place, everything that can fail without touching anything is done first: the data is fetched beside its place, and dumps
//! are loaded into new databases beside the old ones. Then the stack is stopped and a safety snapshot is made of what is
//! there. From [`Phase::Swapping`] on it goes forward whatever happens to the agent: folders and files are exchanged by
//! one rename each, databases by their names. When the stack is not healthy with the data, all is exchanged back.

mod ahead;
mod fetch;
mod others;
mod place;
mod safety;
pub(super) mod stack;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use backstay_agent_core::Committed;
use backstay_manifest::BackupSource;
use backstay_types::{
    BackupJobId, DeploymentId, StackName, TreeDigest,
    backup::{
        BackupOrder, BackupPhase, Destination, ItemOutcome, ItemResult, RestoreWork, WorkOutcome,
        job::Place as Wanted,
    },
};
use serde::{Deserialize, Serialize};

pub(super) use self::{
    ahead::{ahead, clear as clear_ahead, sweep as sweep_ahead},
    others::{start_others, stop_others},
    place::dress,
};
use self::{
    fetch::{fetch, fetch_all, outcome_of},
    place::Place,
    safety::stop_and_save,
};
use super::{
    BackupError, DataPlan, database,
    desk::Desk,
    exchange,
    keeper::{AGAIN, failed, millis},
    progress::Progress,
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
    /// Stacks of the node that were seen to use the same data, besides those that are said to.
    #[serde(default)]
    pub(super) others: BTreeSet<StackName>,
    pub(super) phase: Phase,
    /// Files and folders that take the place of others.
    pub(super) places: Vec<Place>,
    /// Databases that take the place of others.
    pub(super) databases: Vec<Base>,
    /// What is given to commands, once the stack runs.
    pub(super) commands: Vec<(String, PathBuf)>,
    /// What commands had told before; given to them again on the way back.
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
    /// It has ended, with the new data or with the data from before. What is not needed any more is taken away.
    Over,
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
            Self::Over => "over",
        }
    }
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

/// What came of a restore that touched nothing for good: why, and whether what ran runs again.
pub(super) fn stopped_short(state: &Restoring, why: String, again: Result<(), BackupError>) -> WorkOutcome {
    let failed = match again {
        Ok(()) => why,
        Err(error) => format!("{why}; the stack could not be started again: {error}"),
    };
    WorkOutcome { failed: Some(failed), ..state.outcome.clone() }
}

/// Restores in place, to its end: with the data of the snapshot, or with the data from before.
pub(super) async fn in_place(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    progress: &Progress,
) -> WorkOutcome {
    // What an undo left half-way would later be put back over this.
    let settled = {
        let lock = desk.exchanging.clone();
        let _one = lock.lock().await;
        exchange::settle(desk, &work.stack).await
    };
    let begun = match settled {
        Ok(()) => begin(desk, order, work).await,
        Err(error) => Err(error),
    };
    let mut state = match begun {
        Ok(state) => state,
        Err(error) => return failed(&error.to_string()),
    };
    match prepare(desk, order, work, (&mut state, Phase::Swapping), progress).await {
        Ok(()) => finish(desk, state, Some(progress)).await,
        Err(why) => stopped_short(&state, why, back_to_start(desk, &state).await),
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
        others: BTreeSet::new(),
        phase: Phase::Fetching,
        places: Vec::new(),
        databases: Vec::new(),
        commands: Vec::new(),
        told: Vec::new(),
        outcome,
    };
    Ok(state)
}

/// Fetches everything, stops what uses the data and saves what is there; `then` is how far it is afterwards. After a failure
/// nothing was put in place.
pub(super) async fn prepare(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    (state, then): (&mut Restoring, Phase),
    progress: &Progress,
) -> Result<(), String> {
    if state.first {
        desk.store.restoring(state)?;
        stack::make_room(desk, state).await.map_err(|error| error.to_string())?;
    }
    fetch_all(desk, order, work, state, progress).await?;
    state.phase = Phase::Stopping;
    desk.store.restoring(state)?;
    let since = Instant::now();
    stop_and_save(desk, order, state, progress).await.map_err(|error| format!("safety snapshot: {error}"))?;
    state.outcome.still_ms = millis(since.elapsed());
    state.phase = then;
    desk.store.restoring(state)
}

/// From the point of no return to the end: the new data runs and is healthy, or the old one is back. A failure is no end:
/// what cannot be put in place is taken back, and that is tried until it works.
async fn finish(desk: &Desk, mut state: Restoring, progress: Option<&Progress>) -> WorkOutcome {
    let since = Instant::now();
    while let Err(error) = go_forward(desk, &mut state, progress).await {
        let (job, phase) = (state.job, state.phase.word());
        tracing::error!(%job, phase, %error, "a restore cannot go on; trying again");
        tokio::time::sleep(AGAIN).await;
    }
    state.outcome.still_ms += millis(since.elapsed());
    clean(desk, &state).await;
    state.outcome
}

async fn go_forward(
    desk: &Desk,
    state: &mut Restoring,
    progress: Option<&Progress>,
) -> Result<(), BackupError> {
    let reached = |state: &Restoring| desk.store.restoring(state).map_err(BackupError::Restore);
    if state.phase == Phase::Swapping {
        state.phase = match swap(desk, state).await {
            Ok(()) => Phase::Starting,
            Err(error) => Phase::Undoing { why: error.to_string() },
        };
        reached(state)?;
    }
    if state.phase == Phase::Starting {
        if let Some(progress) = progress {
            progress.phase(BackupPhase::Starting, &state.stack);
        }
        state.phase = match start(desk, state).await {
            Ok(()) => Phase::Over,
            Err(error) => Phase::Undoing { why: error.to_string() },
        };
        reached(state)?;
    }
    if let Phase::Undoing { why } = &state.phase {
        let why = why.clone();
        take_back(desk, state).await?;
        let unwell = match start_as_before(desk, state).await {
            Ok(()) => String::new(),
            // It is left to whoever heals stacks, or deploys others: nothing is deployed here before this has ended.
            Err(error) => format!(", but the stack is not healthy with it: {error}"),
        };
        state.outcome.failed = Some(format!("{why}; the data from before is back{unwell}"));
        for item in &mut state.outcome.items {
            item.result = ItemResult::Failed { why: why.clone(), paths: Vec::new() };
        }
        state.phase = Phase::Over;
        reached(state)?;
    }
    Ok(())
}

async fn swap(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    // They were stopped; who was killed meanwhile does not know what started them.
    stop_others(desk, state).await?;
    stack::swap_databases(desk, state).await?;
    crash_point("restore.databases");
    stack::down(desk, state).await?;
    for place in &state.places {
        place.swap()?;
        crash_point("restore.swapped");
    }
    start_others(desk, state).await;
    crash_point("restore.others");
    Ok(())
}

async fn start(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    stack::up(desk, state).await?;
    crash_point("restore.up");
    give(desk, state, state.committed.tree, &state.commands).await?;
    stack::probe(desk, state).await
}

/// Gives commands what is theirs.
pub(super) async fn give(
    desk: &Desk,
    state: &Restoring,
    tree: TreeDigest,
    what: &[(String, PathBuf)],
) -> Result<(), BackupError> {
    let scene = desk.scene(&state.stack, tree);
    for (item, folder) in what {
        let found = state.plan.backups.items.iter().find(|known| known.name == *item);
        if let Some(BackupSource::Command(source)) = found.map(|item| &item.what) {
            database::restore_command(&scene, &state.plan.project, item, source, folder).await?;
        }
    }
    crash_point(if state.deployment.is_some() { "exchange.given" } else { "restore.given" });
    Ok(())
}

async fn take_back(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    stop_others(desk, state).await?;
    stack::swap_databases_back(desk, state).await?;
    stack::down(desk, state).await?;
    for place in state.places.iter().rev() {
        place.swap_back()?;
        crash_point("restore.swapped_back");
    }
    start_others(desk, state).await;
    Ok(())
}

async fn start_as_before(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    stack::up(desk, state).await?;
    give(desk, state, state.committed.tree, &state.told).await?;
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
    if state.first {
        // What was made to have room for the data, and its servers.
        let gone = stack::down(desk, state).await;
        if matches!(state.phase, Phase::Stopping | Phase::Ready) {
            start_others(desk, state).await;
        }
        gone?;
    } else if matches!(state.phase, Phase::Stopping | Phase::Ready) {
        let again = stack::up(desk, state).await;
        start_others(desk, state).await;
        again?;
    }
    clean(desk, state).await;
    Ok(())
}

/// Brings a restore that was cut off to an end. None when nothing had been put in place yet: it is as if it had not begun.
pub(super) async fn recover(desk: &Desk, state: Restoring) -> Result<Option<WorkOutcome>, BackupError> {
    tracing::warn!(job = %state.job, stack = %state.stack, phase = state.phase.word(), "a restore was cut off");
    match state.phase {
        // The last two are of deployments, whose data is theirs to bring to an end.
        Phase::Fetching | Phase::Stopping | Phase::Ready | Phase::Exchanged | Phase::Back => {
            back_to_start(desk, &state).await?;
            desk.store.not_restoring().map_err(BackupError::Restore)?;
            Ok(None)
        }
        Phase::Swapping | Phase::Starting | Phase::Undoing { .. } | Phase::Over => {
            Ok(Some(finish(desk, state, None).await))
        }
    }
}
