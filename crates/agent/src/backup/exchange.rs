//! Data that goes into place together with a deployment's release, and goes away again with it.
//!
//! The keeper makes it ready while the deployment is in its step `snapshot`: everything is fetched beside its place, what
//! runs is stopped, a safety snapshot is made of what is there. From then on it is the deployment's: the core asks the
//! [`Clerk`] to put it in place before it starts the release, and to take it away again before it goes back. What was there
//! is kept until the deployment has ended. The core's journal says which way it goes; how far it is stands beside that in
//! `agent.db`, and every step can be taken again.

use std::{collections::BTreeSet, fs, time::Instant};

use backstay_agent_core::{Committed, Prepared, Step};
use backstay_manifest::BackupSource;
use backstay_types::{
    DeploymentId, StackName, TreeDigest,
    backup::{BackupOrder, BackupPhase, BackupReason, RestoreWork, SaveWork, WorkOutcome},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    BackupError, database,
    keeper::{Desk, failed, millis},
    progress::Progress,
    restore::{self, Phase, Restoring, stack},
    save::{NotSaved, Ready, Saving},
};
use crate::{
    crash::crash_point,
    step::{Failed, Records},
};

/// What the core's tasks want done about the data of a deployment.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Put it in place.
    PutInPlace(DeploymentId),
    /// Give to commands what is theirs; the release of this tree runs.
    Give(DeploymentId, TreeDigest),
    /// Put back what was there; first stop the release that failed.
    PutBack(DeploymentId, TreeDigest, Box<Prepared>),
    /// Give back to commands what they had told; what ran before runs again.
    GiveBack(DeploymentId),
    /// Bring to an end what deployments of a stack have left, once they have ended.
    Settle(StackName),
}

/// Does errands, one after the other.
#[derive(Debug)]
pub(crate) struct Clerk {
    desk: Desk,
    asked: mpsc::Receiver<(Errand, oneshot::Sender<Result<String, String>>)>,
}

impl Clerk {
    pub(super) fn new(
        desk: Desk,
        asked: mpsc::Receiver<(Errand, oneshot::Sender<Result<String, String>>)>,
    ) -> Self {
        Self { desk, asked }
    }

    /// Runs until nobody asks any more.
    pub(crate) async fn run(mut self) {
        while let Some((errand, reply)) = self.asked.recv().await {
            // Whoever gave up making data ready has to be done with that.
            let lock = self.desk.exchanging.clone();
            let _one = lock.lock().await;
            let done = self.run_errand(errand).await;
            let _ = reply.send(done.map_err(|error| error.to_string()));
        }
    }

    async fn run_errand(&self, errand: Errand) -> Result<String, BackupError> {
        let desk = &self.desk;
        match errand {
            Errand::PutInPlace(deployment) => put_in_place(desk, deployment).await,
            Errand::Give(deployment, tree) => match desk.store.exchange(deployment) {
                Some(state) => give(desk, &state, tree, &state.commands).await.map(|()| String::new()),
                None => Ok(String::new()),
            },
            Errand::PutBack(deployment, tree, prepared) => match desk.store.exchange(deployment) {
                Some(state) => put_back(desk, state, Some((tree, &prepared))).await.map(|()| String::new()),
                // Nothing of it had been made ready.
                None => Ok(String::new()),
            },
            Errand::GiveBack(deployment) => match desk.store.exchange(deployment) {
                Some(state) if !state.told.is_empty() => {
                    give(desk, &state, state.committed.tree, &state.told).await.map(|()| String::new())
                }
                _ => Ok(String::new()),
            },
            Errand::Settle(stack) => settle(desk, &stack).await.map(|()| String::new()),
        }
    }
}

fn kept(result: Result<(), String>) -> Result<(), BackupError> {
    result.map_err(BackupError::Restore)
}

/// Stacks of this node that are said to use the same data, with what runs of them. They do not run while it is exchanged.
fn others(desk: &Desk, state: &Restoring) -> Result<Vec<(StackName, Committed)>, BackupError> {
    let items = state.plan.backups.items.iter();
    let names: BTreeSet<_> =
        items.flat_map(|item| &item.shared_with).filter(|one| **one != state.stack).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut stacks = desk.journal()?.stacks;
    let runs = |name: &StackName| Some((name.clone(), stacks.remove(name)?.committed?));
    Ok(names.into_iter().filter_map(runs).collect())
}

async fn stop_others(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    for (name, committed) in others(desk, state)? {
        let Some(prepared) = &committed.prepared else { continue };
        let mut records = Records::new(desk.machine.world.clone());
        let down = desk.machine.down(&name, Some(committed.tree), prepared, &mut records).await;
        down.map_err(|Failed { reason, .. }| {
            BackupError::Restore(format!("{name}, which uses the same data: {reason}"))
        })?;
    }
    Ok(())
}

/// What cannot be started now is started as any drift is put right.
async fn start_others(desk: &Desk, state: &Restoring) {
    let Ok(others) = others(desk, state) else { return };
    for (name, committed) in others {
        let Some(prepared) = &committed.prepared else { continue };
        let mut records = Records::new(desk.machine.world.clone());
        let to = (&name, committed.tree);
        if let Err(failed) = desk.machine.up(to, None, prepared, Step::Return, &mut records).await {
            tracing::error!(stack = %name, reason = failed.reason, "a stack that uses the same data does not start");
        }
    }
}

/// Makes ready what a deployment will put in place. What ran is stopped when this ends well, and runs as before when not.
pub(super) async fn make_ready(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    progress: &Progress,
) -> WorkOutcome {
    let mut state = match begin(desk, order, work).await {
        Ok(state) => state,
        Err(error) => return failed(&error.to_string()),
    };
    match fetch_and_stop(desk, order, work, &mut state, progress).await {
        Ok(()) => state.outcome,
        Err(why) => {
            let mut outcome = state.outcome.clone();
            let again = give_up(desk, &state).await;
            outcome.failed = Some(match again {
                Ok(()) => why,
                Err(error) => format!("{why}; the stack could not be started again: {error}"),
            });
            outcome
        }
    }
}

async fn begin(desk: &Desk, order: &BackupOrder, work: &RestoreWork) -> Result<Restoring, BackupError> {
    let mut state = restore::begin(desk, order, work).await?;
    let deployment = state.deployment;
    let operation = desk.journal()?.operation.map(|operation| operation.target);
    let Some(target) = operation.filter(|target| Some(target.deployment) == deployment) else {
        let reason = "the deployment that it is for is not under way";
        return Err(BackupError::Restore(reason.to_owned()));
    };
    // What only the release to come has of data has its place there.
    let coming = desk.plan(&work.stack, target.tree).await?;
    let own = &mut state.plan;
    for item in coming.backups.items {
        if own.backups.items.iter().all(|known| known.name != item.name) {
            own.backups.items.push(item);
        }
    }
    for (name, volume) in coming.volumes {
        own.volumes.entry(name).or_insert(volume);
    }
    Ok(state)
}

async fn fetch_and_stop(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    state: &mut Restoring,
    progress: &Progress,
) -> Result<(), String> {
    if state.first {
        desk.store.restoring(state)?;
        stack::make_room(desk, state).await.map_err(|error| error.to_string())?;
    }
    restore::fetch_all(desk, order, work, state, progress).await?;
    state.phase = Phase::Stopping;
    desk.store.restoring(state)?;
    let since = Instant::now();
    stop_and_save(desk, order, state, progress).await.map_err(|error| format!("safety snapshot: {error}"))?;
    state.outcome.still_ms = millis(since.elapsed());
    state.phase = Phase::Ready;
    desk.store.restoring(state)
}

/// Stops what writes and saves what is there, to the last byte.
async fn stop_and_save(
    desk: &Desk,
    order: &BackupOrder,
    state: &mut Restoring,
    progress: &Progress,
) -> Result<(), BackupError> {
    progress.phase(BackupPhase::Stopping, &state.stack);
    let (stack, tree) = (state.stack.clone(), state.committed.tree);
    // What the release to come has besides is not there to be saved.
    let mut plan = desk.plan(&stack, tree).await?;
    if state.first {
        // Nothing runs that could tell.
        let tells = |what: &BackupSource| matches!(what, BackupSource::Command(_) | BackupSource::Openclaw { .. });
        plan.backups.items.retain(|item| !tells(&item.what));
    }
    let scene = desk.scene(&stack, tree);
    let saving =
        Saving { desk, progress, stack: &stack, plan: &plan, scene: &scene, stopped: true, safety: true };
    let is_command = |what: &BackupSource| matches!(what, BackupSource::Command(_));
    let commands = plan.backups.items.iter().any(|item| is_command(&item.what));
    let mut ready = Ready::default();
    let said = |failed: NotSaved| failed.error;
    stop_others(desk, state).await?;
    match plan.runtime.as_str() {
        // Services that are asked for their data run on; nobody writes any more.
        "compose" => stack::stop_writers(&state.plan, true).await?,
        // A command may have to ask what runs.
        _ if commands => {
            saving.ask(&mut ready).await.map_err(said)?;
            stack::down(desk, state).await?;
        }
        _ => stack::down(desk, state).await?,
    }
    crash_point("exchange.stopped");
    progress.phase(BackupPhase::Safety, &state.stack);
    if plan.runtime == "compose" || !commands {
        saving.ask(&mut ready).await.map_err(said)?;
    }
    saving.prepare(&mut ready).await.map_err(said)?;
    let save = SaveWork {
        stacks: Vec::new(),
        reason: BackupReason::Safety,
        deployment: state.deployment,
        conversation: None,
        last: false,
    };
    let about = (desk.tags(&stack, tree, BackupReason::Safety, &save), desk.now());
    let repository = desk.repository(order);
    let sent = saving.send(ready, &repository, about, desk.bytes_per_second(order)).await;
    state.outcome.snapshots.extend(sent.map_err(said)?.map(|saved| saved.snapshot));
    crash_point("exchange.saved");
    for item in plan.backups.items.iter().filter(|item| is_command(&item.what)) {
        let from = desk.layout().staging().join(stack.as_str()).join(&item.name);
        let to = state.kept(desk).join("told").join(&item.name);
        let failed = || BackupError::restore(to.display());
        let _ = fs::remove_dir_all(&to);
        to.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed())?;
        fs::rename(&from, &to).map_err(failed())?;
        state.told.push((item.name.clone(), to));
    }
    Ok(())
}

/// Nothing of it was put in place, and nothing will be: what ran runs again.
pub(super) async fn give_up(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    restore::back_to_start(desk, state).await?;
    if matches!(state.phase, Phase::Stopping | Phase::Ready) {
        start_others(desk, state).await;
    }
    state.deployment.map_or(Ok(()), |deployment| kept(desk.store.exchange_over(deployment)))
}

/// What an agent that died was making ready: what ran runs again, and the deployment asks anew. What is ready stays so, and
/// the hub is told once more.
pub(super) async fn recover(desk: &Desk) {
    let lock = desk.exchanging.clone();
    let _one = lock.lock().await;
    for state in desk.store.exchanges() {
        match state.phase {
            Phase::Fetching | Phase::Stopping => {
                if let Err(error) = give_up(desk, &state).await {
                    tracing::error!(stack = %state.stack, %error, "an undo that was cut off left the stack stopped");
                }
            }
            _ => {
                if let Err(error) = desk.store.keep(state.job, &state.outcome) {
                    tracing::error!(error, "that data was made ready cannot be told");
                }
            }
        }
    }
}

async fn put_in_place(desk: &Desk, deployment: DeploymentId) -> Result<String, BackupError> {
    let gone = || BackupError::Restore("the data that was made ready is not known any more".to_owned());
    let mut state = desk.store.exchange(deployment).ok_or_else(gone)?;
    match state.phase {
        Phase::Ready => {
            state.phase = Phase::Swapping;
            kept(desk.store.restoring(&state))?;
        }
        Phase::Swapping => {}
        Phase::Exchanged => return Ok(said(&state)),
        _ => return Err(gone()),
    }
    stack::swap_databases(desk, &state).await?;
    crash_point("exchange.databases");
    stack::down(desk, &state).await?;
    for place in &state.places {
        place.swap()?;
        crash_point("exchange.swapped");
    }
    start_others(desk, &state).await;
    state.phase = Phase::Exchanged;
    kept(desk.store.restoring(&state))?;
    Ok(said(&state))
}

fn said(state: &Restoring) -> String {
    let items: Vec<_> = state.outcome.items.iter().map(|item| item.item.as_str()).collect();
    format!("{} put in place; what was there is kept", items.join(", "))
}

/// Gives commands what is theirs.
async fn give(
    desk: &Desk,
    state: &Restoring,
    tree: TreeDigest,
    what: &[(String, std::path::PathBuf)],
) -> Result<(), BackupError> {
    let scene = desk.scene(&state.stack, tree);
    for (item, folder) in what {
        let found = state.plan.backups.items.iter().find(|known| known.name == *item);
        if let Some(BackupSource::Command(source)) = found.map(|item| &item.what) {
            database::restore_command(&scene, &state.plan.project, item, source, folder).await?;
        }
    }
    crash_point("exchange.given");
    Ok(())
}

/// Puts back what was there. Nothing of the stack runs afterwards, where anything had been put in place.
async fn put_back(
    desk: &Desk,
    mut state: Restoring,
    failed: Option<(TreeDigest, &Prepared)>,
) -> Result<(), BackupError> {
    let why = String::new();
    match state.phase {
        // What was stopped is started by whoever goes back.
        Phase::Fetching | Phase::Stopping | Phase::Ready => {
            start_others(desk, &state).await;
            state.phase = Phase::Back;
            return kept(desk.store.restoring(&state));
        }
        Phase::Back => return Ok(()),
        Phase::Swapping | Phase::Exchanged => {
            state.phase = Phase::Undoing { why };
            kept(desk.store.restoring(&state))?;
        }
        Phase::Starting | Phase::Undoing { .. } => {}
    }
    if let Some((tree, prepared)) = failed {
        let mut records = Records::new(desk.machine.world.clone());
        let down = desk.machine.down(&state.stack, Some(tree), prepared, &mut records).await;
        down.map_err(|Failed { reason, .. }| BackupError::Restore(reason))?;
    }
    stop_others(desk, &state).await?;
    stack::swap_databases_back(desk, &state).await?;
    crash_point("exchange.databases_back");
    stack::down(desk, &state).await?;
    for place in state.places.iter().rev() {
        place.swap_back()?;
        crash_point("exchange.swapped_back");
    }
    start_others(desk, &state).await;
    state.phase = Phase::Back;
    kept(desk.store.restoring(&state))
}

/// Brings to an end what deployments have left that are over. A release that came to stay has its data in place; whatever
/// else was begun is taken back before anything runs on it.
async fn settle(desk: &Desk, stack: &StackName) -> Result<(), BackupError> {
    let left: Vec<_> = desk.store.exchanges().into_iter().filter(|state| state.stack == *stack).collect();
    if left.is_empty() {
        return Ok(());
    }
    let under_way = desk.journal()?.operation.map(|operation| operation.target.deployment);
    for state in left {
        let Some(deployment) = state.deployment.filter(|one| Some(*one) != under_way) else { continue };
        if matches!(state.phase, Phase::Swapping | Phase::Undoing { .. }) {
            put_back(desk, state.clone(), None).await?;
        }
        restore::clean(desk, &state).await;
        kept(desk.store.exchange_over(deployment))?;
    }
    Ok(())
}
