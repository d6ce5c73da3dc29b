//! Does what the hub asks for about backups, one thing at a time, and tells it how that ended, once.

mod saves;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use backstay_agent_core::{Hold, Input};
use backstay_api::{
    Empty,
    agent::{BackupBefore, BackupJobPath, FinishBackup, NextBackup, NextBackupRequest, NextBackupResponse},
};
use backstay_types::{
    BackupJobId, DeploymentId, StackName,
    backup::{BackupOrder, BackupPhase, BackupWork, Destination, DrillWork, RestoreWork, WorkOutcome},
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{sleep, timeout},
};

pub(super) use self::saves::SavedStack;
use super::{
    Program,
    asked::{Asked, Before, Unsaved},
    desk::Desk,
    drill,
    exchange::{self, Clerk},
    progress::Progress,
    restore, still,
    store::{Kept, Store},
};
use crate::{
    Identity,
    crash::crash_point,
    daemon::{Event, View},
    tasks::Machine,
};

/// How long the hub may take to say what to do.
const ASK: Duration = Duration::from_secs(20);
/// How long to wait before an outcome is told again.
pub(super) const AGAIN: Duration = Duration::from_secs(15);
/// The least and the most time for a job, whatever the clocks say.
const LEAST: Duration = Duration::from_secs(120);
const MOST: Duration = Duration::from_secs(24 * 3600);
/// Why a job ends that the hub wants no more.
const NOT_WANTED: &str = "the hub says that it should end";

/// The stack of a deployment that waits, and whom to answer.
struct Waiting<'a> {
    stack: &'a StackName,
    reply: &'a mut oneshot::Sender<Result<String, Unsaved>>,
}

/// How a turn at a job ended.
enum Turn {
    /// The job has ended.
    Ended(WorkOutcome),
    /// The job has ended, to make way for a deployment.
    MadeWay(WorkOutcome, Before),
    /// A deployment that keeps the job from going on goes first. Whatever becomes of the job, it is served to its end.
    First(Before),
}

/// What came of a job so far, over all its turns.
#[derive(Debug, Default)]
struct SoFar {
    outcome: WorkOutcome,
    failures: Vec<String>,
    /// The stacks that are still to be saved, once they are known.
    left: Option<VecDeque<StackName>>,
}

/// The loop.
#[derive(Debug)]
pub(crate) struct Keeper {
    desk: Desk,
    events: mpsc::Sender<Event>,
    view: watch::Receiver<View>,
    asked: mpsc::Receiver<Before>,
    /// A deployment for which something made way.
    first: Option<Before>,
    due: Arc<Notify>,
    holds: u64,
}

/// A hold that ends when this does.
struct Alone {
    id: u64,
    events: mpsc::Sender<Event>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        let (id, events) = (self.id, self.events.clone());
        tokio::spawn(async move { events.send(Event::Input(Input::Release { id })).await });
    }
}

impl Keeper {
    pub(crate) fn new(
        machine: Machine,
        identity: Identity,
        store: Store,
        events: mpsc::Sender<Event>,
        view: watch::Receiver<View>,
        asked: Asked,
    ) -> (Self, Clerk) {
        let program = Program::of(&machine.settings);
        let (due, clock) = (machine.backups.due.clone(), machine.backups.clock.clone());
        let desk = Desk { machine, identity, store, program, exchanging: Arc::default(), clock };
        let clerk = Clerk::new(desk.clone(), asked.errands);
        (Self { desk, events, view, asked: asked.before, first: None, due, holds: 0 }, clerk)
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(mut self) {
        self.recover().await;
        if self.desk.machine.settings.backups {
            // What was under way when an agent died is asked for once more: the hub gives the same order again.
            self.due.notify_one();
        }
        loop {
            let told = self.tell_all().await;
            if let Some(before) = self.first.take() {
                self.serve(before).await;
                continue;
            }
            let clean = drill::recover(&self.desk).await;
            tokio::select! {
                before = self.asked.recv() => match before {
                    Some(before) => self.serve(before).await,
                    None => return,
                },
                () = self.due.notified(), if told => self.next().await,
                () = sleep(AGAIN), if !told || !clean => {}
            }
        }
    }

    /// What an agent that died was doing. The core leaves everything alone until this is over.
    async fn recover(&mut self) {
        super::clear_staging(self.desk.layout());
        still::recover(&self.desk).await;
        drill::recover(&self.desk).await;
        exchange::recover(&self.desk).await;
        restore::sweep_ahead(&self.desk);
        let _alone = Alone { id: 0, events: self.events.clone() };
        let Some(state) = known(|| self.desk.store.restore()).await else { return };
        let _ = self.view.wait_for(|view| view.granted == Some(0)).await;
        self.finish(state).await;
    }

    /// Brings a restore in place that was cut off to an end, however often that takes.
    async fn finish(&self, state: restore::Restoring) {
        let job = state.job;
        let mut state = state;
        loop {
            match restore::recover(&self.desk, state).await {
                Ok(Some(outcome)) => return self.ended(job, &outcome).await,
                // It will be asked for again.
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%job, %error, "a restore that was cut off cannot be brought to an end; trying again");
                    sleep(AGAIN).await;
                }
            }
            let Some(now) = known(|| self.desk.store.restore()).await else { return };
            state = now;
        }
    }

    /// Tells the hub what it does not know. True when it knows everything.
    async fn tell_all(&self) -> bool {
        let untold = match self.desk.store.untold() {
            Ok(untold) => untold,
            Err(error) => {
                tracing::error!(error, "what the hub does not know cannot be told");
                return false;
            }
        };
        for (job, outcome) in untold {
            let path = BackupJobPath { job };
            let told = self.desk.machine.hub.call::<FinishBackup>(&path, &Empty {}, &outcome).await;
            match told {
                Ok(_) => {}
                Err(error) if error.is_temporary() => {
                    tracing::debug!(%job, %error, "the hub was not told how a backup ended");
                    return false;
                }
                // A hub that knows nothing of it, or has it already, will not know more later.
                Err(error) => tracing::warn!(%job, %error, "the hub did not take how a backup ended"),
            }
            if let Err(error) = self.desk.store.told(job) {
                tracing::error!(error, "what the hub knows cannot be noted");
                return false;
            }
        }
        true
    }

    async fn ask(&self, before: Option<BackupBefore>) -> Result<NextBackupResponse, Unsaved> {
        let hub = &self.desk.machine.hub;
        let request = NextBackupRequest { before };
        let asked = timeout(ASK, hub.call::<NextBackup>(&Empty {}, &Empty {}, &request)).await;
        let asked = asked.map_err(|_| Unsaved::for_now("the hub did not answer in time"))?;
        match asked {
            // A hub that has no backups yet.
            Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => {
                Ok(NextBackupResponse { order: None, set_up: false })
            }
            Err(backstay_client::ClientError::Unexpected { status: 404, .. }) => {
                Ok(NextBackupResponse { order: None, set_up: false })
            }
            other => other.map_err(|error| Unsaved {
                temporary: error.is_temporary(),
                why: format!("the hub was asked in vain: {error}"),
            }),
        }
    }

    /// Whatever is due.
    async fn next(&mut self) {
        match self.ask(None).await {
            Ok(NextBackupResponse { order: Some(order), .. }) => match of_deployment(&order.work) {
                Some(deployment) => self.leave(order.job, deployment).await,
                None => drop(self.run_order(order, None).await),
            },
            Ok(_) => {}
            Err(Unsaved { why, .. }) => tracing::warn!(why, "what to do about backups is not known"),
        }
    }

    /// What is for a deployment is done when that asks for it: a snapshot that came after it would say that it is from before,
    /// and data would be made ready for nobody. One that is over asks no more.
    async fn leave(&self, job: BackupJobId, deployment: DeploymentId) {
        match self.desk.journal() {
            Ok(journal) if journal.is_under_way(deployment) => {}
            Ok(_) => self.ended(job, &failed("the deployment that it is for is not under way")).await,
            Err(error) => tracing::error!(%error, "what is under way cannot be told"),
        }
    }

    /// A deployment waits. It gets an answer, whatever becomes of what it waits for.
    async fn serve(&mut self, mut before: Before) {
        let said = self.save_before(&mut before).await;
        let _ = before.reply.send(said);
    }

    async fn save_before(&mut self, before: &mut Before) -> Result<String, Unsaved> {
        let (stack, deployment) = (before.stack.clone(), before.deployment);
        let lock = self.desk.exchanging.clone();
        let _one = match before.data {
            Some(_) => Some(lock.lock().await),
            None => None,
        };
        if before.reply.is_closed() {
            return Err("the deployment waits for it no longer".into());
        }
        let known = self.desk.store.exchange(deployment).map_err(Unsaved::for_now)?;
        if known.is_some_and(|state| state.is_ready()) {
            return Ok("its data is ready, as it was".to_owned());
        }
        if !self.desk.machine.settings.backups {
            return Err("backups are off on this node".into());
        }
        if !self.tell_all().await {
            return Err(Unsaved::for_now("the hub does not answer"));
        }
        let NextBackupResponse { order, set_up } =
            self.ask(Some(BackupBefore { stack: stack.clone(), deployment })).await?;
        let Some(order) = order else {
            let why = if set_up { "the hub wants none" } else { "backups are not set up at the hub" };
            return Err(why.into());
        };
        let ours = match (&order.work, before.data) {
            (BackupWork::Save(save), None) => save.deployment == Some(deployment),
            (BackupWork::Restore(work), Some(snapshot)) => {
                work.snapshot == snapshot && work.destination == Destination::WithDeployment { deployment }
            }
            _ => false,
        };
        if !ours {
            self.due.notify_one();
            let why = format!("the hub wants job {} to be ended first", order.job);
            return Err(Unsaved { temporary: before.data.is_some(), why });
        }
        let waiting = Waiting { stack: &stack, reply: &mut before.reply };
        let outcome = self.run_order(order, Some(waiting)).await;
        match (outcome.failed, outcome.snapshots.first()) {
            (Some(why), _) => Err(why.into()),
            (None, safety) if before.data.is_some() => {
                let safety = safety.map_or("none was needed".to_owned(), |one| one.id.digest().short());
                let items: Vec<_> = outcome.items.iter().map(|item| item.item.as_str()).collect();
                Ok(format!("{} is ready beside its place; safety snapshot: {safety}", items.join(", ")))
            }
            (None, Some(snapshot)) => {
                Ok(format!("snapshot {} of {} bytes", snapshot.id.digest().short(), snapshot.bytes))
            }
            (None, None) => Ok("there was nothing to save".to_owned()),
        }
    }

    /// Does what the hub says. `waiting`: the stack that a deployment keeps for it, so that it need not be held, and
    /// whether the deployment still waits.
    async fn run_order(&mut self, order: BackupOrder, mut waiting: Option<Waiting<'_>>) -> WorkOutcome {
        crash_point("backup.asked");
        let (job, progress) = (order.job, Progress::new(self.desk.layout(), order.job));
        let mut so_far = SoFar::default();
        let ended = loop {
            match self.turn(&order, waiting.as_mut(), &progress, &mut so_far).await {
                Ok(Turn::Ended(outcome)) => break Ok(outcome),
                Ok(Turn::MadeWay(outcome, before)) => {
                    self.first = Some(before);
                    break Ok(outcome);
                }
                Ok(Turn::First(before)) => {
                    if let Err(why) = self.serve_meanwhile(before, &progress).await {
                        break Err(why);
                    }
                }
                Err(why) => break Err(why),
            }
        };
        progress.over();
        if ended.is_err() {
            still::recover(&self.desk).await;
            drill::recover(&self.desk).await;
            self.give_up(&order).await;
        }
        let outcome = match (ended, known(|| self.desk.store.restore()).await) {
            (Ok(outcome), _) => outcome,
            // What was saved before is in the repository.
            (Err(why), None) => WorkOutcome { failed: Some(why.to_owned()), ..so_far.outcome },
            (Err(why), Some(state)) => {
                tracing::warn!(%job, why, "a restore is given up half-way");
                self.finish(state).await;
                return failed(why);
            }
        };
        super::clear_staging(self.desk.layout());
        self.ended(job, &outcome).await;
        self.tell_all().await;
        outcome
    }

    /// Works at a job until it ends, or has to let a deployment go first; or says why it is torn off.
    async fn turn(
        &mut self,
        order: &BackupOrder,
        waiting: Option<&mut Waiting<'_>>,
        progress: &Progress,
        so_far: &mut SoFar,
    ) -> Result<Turn, &'static str> {
        let left = order.deadline.duration_since(self.desk.now());
        let left = Duration::try_from(left).unwrap_or_default().clamp(LEAST, MOST);
        let (alone, reply) = waiting.map(|waiting| (waiting.stack, &mut *waiting.reply)).unzip();
        let hub = self.desk.machine.hub.clone();
        let work = Box::pin(timeout(left, self.work(order, alone, progress, so_far)));
        let nobody_waits = async {
            match reply {
                Some(reply) => reply.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = nobody_waits => Err("the deployment waits for it no longer"),
            ended = work => ended.map_err(|_| "it took longer than the hub allows"),
            () = progress.tell(&hub) => Err(NOT_WANTED),
        }
    }

    /// Serves a deployment to its end while a job waits for it. The hub hears that the job goes on; when it should not, that
    /// is no reason to leave the deployment without an answer, and its stack stopped.
    async fn serve_meanwhile(&mut self, before: Before, progress: &Progress) -> Result<(), &'static str> {
        let hub = self.desk.machine.hub.clone();
        let mut served = Box::pin(self.serve(before));
        tokio::select! {
            () = &mut served => Ok(()),
            () = progress.tell(&hub) => {
                served.await;
                Err(NOT_WANTED)
            }
        }
    }

    /// What was being made ready for a deployment is not wanted any more: what ran runs again.
    async fn give_up(&self, order: &BackupOrder) {
        let BackupWork::Restore(work) = &order.work else { return };
        let Destination::WithDeployment { deployment } = work.destination else { return };
        if let Some(state) = known(|| self.desk.store.exchange(deployment)).await
            && let Err(error) = exchange::give_up(&self.desk, &state).await
        {
            tracing::error!(%deployment, %error, "what ran before an undo cannot be started again");
        }
    }

    /// Keeps how a job ended. Nothing else is done before that works.
    async fn ended(&self, job: BackupJobId, outcome: &WorkOutcome) {
        while let Err(error) = self.desk.store.ended(job, outcome) {
            tracing::error!(%job, error, "how a backup ended cannot be kept; trying until it works");
            sleep(AGAIN).await;
        }
        match &outcome.failed {
            None => tracing::info!(%job, still_ms = outcome.still_ms, "backup done"),
            Some(why) => tracing::error!(%job, why, "backup failed"),
        }
    }

    async fn work(
        &mut self,
        order: &BackupOrder,
        alone: Option<&StackName>,
        progress: &Progress,
        so_far: &mut SoFar,
    ) -> Turn {
        if !self.desk.machine.settings.backups {
            return Turn::Ended(failed("backups are off on this node (`backups` in its settings)"));
        }
        if let Err(error) = self.desk.program.check() {
            return Turn::Ended(failed(&error.to_string()));
        }
        match &order.work {
            BackupWork::Save(save) => self.save(order, save, alone, progress, so_far).await,
            BackupWork::Drill(work) => self.drill(order, work, progress).await,
            BackupWork::Restore(work) => {
                progress.phase(BackupPhase::Waiting, &work.stack);
                Turn::Ended(match &work.destination {
                    Destination::Folder { path } => {
                        restore::to_folder(&self.desk, order, work, path, progress).await
                    }
                    Destination::WithDeployment { .. } => {
                        exchange::make_ready(&self.desk, order, work, progress).await
                    }
                    Destination::Ahead => restore::ahead(&self.desk, order, work, progress).await,
                    Destination::BeforeStart { .. } => failed("no deployment has asked for it"),
                    Destination::InPlace => match self.hold(None).await {
                        Ok(_alone) => restore::in_place(&self.desk, order, work, progress).await,
                        Err(before) => return Turn::First(before),
                    },
                })
            }
        }
    }

    /// A drill touches nothing that runs, so that nothing is held for it. A deployment that waits for a snapshot goes first.
    async fn drill(&mut self, order: &BackupOrder, work: &DrillWork, progress: &Progress) -> Turn {
        let before = tokio::select! {
            outcome = drill::run(&self.desk, order, work, progress) => return Turn::Ended(outcome),
            before = self.asked.recv() => before,
        };
        let outcome = drill::put_off(&self.desk, work, "a deployment of the node came first").await;
        match before {
            Some(before) => Turn::MadeWay(outcome, before),
            None => Turn::Ended(outcome),
        }
    }

    /// Waits until the core leaves a stack alone, or all of them; or gives the deployment that waits for a snapshot meanwhile
    /// and so has to go first.
    async fn hold(&mut self, stack: Option<&StackName>) -> Result<Alone, Before> {
        self.holds += 1;
        let alone = Alone { id: self.holds, events: self.events.clone() };
        let hold = Hold { id: alone.id, stack: stack.cloned() };
        let _ = self.events.send(Event::Input(Input::Hold(hold))).await;
        let (view, id) = (&mut self.view, alone.id);
        tokio::select! {
            biased;
            _ = view.wait_for(|view| view.granted == Some(id)) => Ok(alone),
            Some(before) = self.asked.recv() => Err(before),
        }
    }
}

/// The deployment that a job is for.
fn of_deployment(work: &BackupWork) -> Option<DeploymentId> {
    match work {
        BackupWork::Save(save) => save.deployment,
        BackupWork::Restore(RestoreWork {
            destination: Destination::WithDeployment { deployment }, ..
        }) => Some(*deployment),
        BackupWork::Restore(_) | BackupWork::Drill(_) => None,
    }
}

/// What is durable, which has to be known before anything is done about it.
pub(super) async fn known<T>(read: impl Fn() -> Kept<T>) -> T {
    loop {
        match read() {
            Ok(known) => return known,
            Err(error) => {
                tracing::error!(error, "what is known of backups cannot be read; trying until it works")
            }
        }
        sleep(AGAIN).await;
    }
}

pub(super) fn failed(why: &str) -> WorkOutcome {
    WorkOutcome { failed: Some(why.to_owned()), ..WorkOutcome::default() }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
