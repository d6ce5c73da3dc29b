//! Data that goes into place together with a deployment's release, and goes away again with it.
//!
//! The keeper makes it ready while the deployment is in its step `snapshot`: everything is fetched beside its place, what
//! runs is stopped, a safety snapshot is made of what is there. From then on it is the deployment's: the core asks the
//! [`Clerk`] to put it in place before it starts the release, and to take it away again before it goes back. What was there
//! is kept until the deployment has ended. The core's journal says which way it goes; how far it is stands beside that in
//! `agent.db`, and every step can be taken again.

use backstay_agent_core::{Committed, Prepared, StackRecord};
use backstay_types::{
    DeploymentId, StackName, TreeDigest,
    backup::{BackupOrder, RestoreWork, WorkOutcome},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    BackupError,
    desk::Desk,
    keeper::{self, failed},
    progress::Progress,
    restore::{self, Phase, Restoring, stack, start_others, stop_others},
    store::Kept,
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
        let known = |deployment| kept(desk.store.exchange(deployment));
        match errand {
            Errand::PutInPlace(deployment) => return put_in_place(desk, deployment).await,
            Errand::Give(deployment, tree) => {
                if let Some(state) = known(deployment)? {
                    restore::give(desk, &state, tree, &state.commands).await?;
                }
            }
            Errand::PutBack(deployment, tree, prepared) => {
                // Without one, nothing of it had been made ready.
                if let Some(state) = known(deployment)? {
                    put_back(desk, state, Some((tree, &prepared))).await?;
                }
            }
            Errand::GiveBack(deployment) => {
                if let Some(state) = known(deployment)?.filter(|state| !state.told.is_empty()) {
                    restore::give(desk, &state, state.committed.tree, &state.told).await?;
                }
            }
            Errand::Settle(stack) => settle(desk, &stack).await?,
        }
        Ok(String::new())
    }
}

fn kept<T>(result: Kept<T>) -> Result<T, BackupError> {
    result.map_err(BackupError::Restore)
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
    match restore::prepare(desk, order, work, (&mut state, Phase::Ready), progress).await {
        Ok(()) => state.outcome,
        Err(why) => restore::stopped_short(&state, why, give_up(desk, &state).await),
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

/// Nothing of it was put in place, and nothing will be: what ran runs again.
pub(super) async fn give_up(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    restore::back_to_start(desk, state).await?;
    state.deployment.map_or(Ok(()), |deployment| kept(desk.store.exchange_over(deployment)))
}

/// What an agent that died was making ready: what ran runs again, and the deployment asks anew. What is ready stays so, and
/// the hub is told once more.
pub(super) async fn recover(desk: &Desk) {
    let lock = desk.exchanging.clone();
    let _one = lock.lock().await;
    for deployment in keeper::known(|| desk.store.exchanging()).await {
        let state = match desk.store.exchange(deployment) {
            Ok(Some(state)) => state,
            Ok(None) => continue,
            // Nothing is deployed on it until it can be read.
            Err(error) => {
                tracing::error!(%deployment, error, "how far an undo's data is cannot be told");
                continue;
            }
        };
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
    let mut state = kept(desk.store.exchange(deployment))?.ok_or_else(gone)?;
    match state.phase {
        Phase::Ready => {
            state.phase = Phase::Swapping;
            kept(desk.store.restoring(&state))?;
        }
        Phase::Swapping => {}
        Phase::Exchanged => return Ok(said(&state)),
        _ => return Err(gone()),
    }
    // They were stopped; who was killed meanwhile does not know what started them.
    stop_others(desk, &state).await?;
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
            if state.phase != Phase::Ready {
                state.outcome.failed.get_or_insert_with(|| "the deployment went back before".to_owned());
            }
            state.phase = Phase::Back;
            return kept(desk.store.restoring(&state));
        }
        Phase::Back | Phase::Over => return Ok(()),
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
pub(super) async fn settle(desk: &Desk, stack: &StackName) -> Result<(), BackupError> {
    let left = kept(desk.store.exchanges_of(stack))?;
    if left.is_empty() {
        return Ok(());
    }
    let mut journal = desk.journal()?;
    let under_way = journal.operation.take().map(|operation| operation.target.deployment);
    let record = journal.stacks.remove(stack).unwrap_or_default();
    for state in left {
        let Some(deployment) = state.deployment.filter(|one| Some(*one) != under_way) else { continue };
        match state.phase {
            Phase::Exchanged if came_to_stay(&state, &record) => {}
            Phase::Swapping | Phase::Exchanged | Phase::Undoing { .. } => {
                put_back(desk, state.clone(), None).await?;
            }
            // Its own stack is started by whoever deploys or heals it.
            Phase::Stopping | Phase::Ready => start_others(desk, &state).await,
            Phase::Fetching | Phase::Back | Phase::Starting | Phase::Over => {}
        }
        restore::clean(desk, &state).await;
        kept(desk.store.exchange_over(deployment))?;
    }
    Ok(())
}

/// Whether the release that the data came with is the one that runs, or was until another came. It is not when its deployment
/// ended otherwise, nor while what ran before it is what was committed last.
fn came_to_stay(state: &Restoring, record: &StackRecord) -> bool {
    let ended = record.ended.as_ref().map(|ended| ended.deployment);
    let before = |now: &Committed| (now.tree, now.at) == (state.committed.tree, state.committed.at);
    ended != state.deployment && !record.committed.as_ref().is_some_and(before)
}
