//! Does what the hub asks for about backups, one thing at a time, and tells it how that ended, once.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use backstay_agent_core::{Committed, Hold, Input, Journal};
use backstay_api::{
    Empty,
    agent::{BackupBefore, BackupJobPath, FinishBackup, NextBackup, NextBackupRequest, NextBackupResponse},
};
use backstay_types::{
    BackupJobId, DeploymentId, Secret, StackName, Timestamp, TreeDigest,
    backup::{
        BackupOrder, BackupPhase, BackupReason, BackupWork, Destination, ItemOutcome, ItemResult,
        RestoreWork, SaveWork, SnapshotTags, WorkOutcome,
        job::{Repository, Target},
    },
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    BackupError, DataPlan, Program,
    exec::Scene,
    progress::Progress,
    restore,
    save::{NotSaved, Saved, Saving},
    still::{self, Thing},
    store::Store,
};
use crate::{
    Identity,
    crash::crash_point,
    daemon::{Event, View},
    disk::{JournalDb, Layout},
    runtime,
    step::{Records, Reply, Work, read_rendered},
    tasks::Machine,
};

/// How long the hub may take to say what to do.
const ASK: Duration = Duration::from_secs(20);
/// How long to wait before an outcome is told again.
const AGAIN: Duration = Duration::from_secs(15);
/// The least and the most time for a job, whatever the clocks say.
const LEAST: Duration = Duration::from_secs(120);
const MOST: Duration = Duration::from_secs(24 * 3600);
/// Reading a manifest takes no longer.
const READ: Duration = Duration::from_secs(120);

/// What saving and restoring need of the agent.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(super) machine: Machine,
    pub(super) identity: Identity,
    pub(super) store: Store,
    pub(super) program: Program,
    clock: HubClock,
}

/// The hub's time, by the machine's clock and how far that was from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HubClock(Arc<AtomicI64>);

impl HubClock {
    /// The hub said what time it is.
    pub(crate) fn heard(&self, ours: Timestamp, theirs: Timestamp) {
        let ahead = i64::try_from(ours.duration_since(theirs).as_millis()).unwrap_or(0);
        self.0.store(ahead, Ordering::Relaxed);
    }

    fn now(&self, ours: Timestamp) -> Timestamp {
        let ahead = self.0.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        if ahead >= 0 { ours - by } else { ours + by }
    }
}

/// How the rest of the agent asks for snapshots and says that there is something to do.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    before: mpsc::Sender<Before>,
    pub(crate) due: Arc<Notify>,
    pub(crate) clock: HubClock,
}

/// A deployment that waits for a snapshot.
#[derive(Debug)]
pub(crate) struct Before {
    stack: StackName,
    deployment: DeploymentId,
    reply: oneshot::Sender<Result<String, String>>,
}

impl Handle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Before>) {
        let (before, asked) = mpsc::channel(4);
        (Self { before, due: Arc::default(), clock: HubClock::default() }, asked)
    }

    /// Has the data of a stack saved before a deployment; what was saved, or why not. Nobody saves any more when this is
    /// dropped.
    pub(crate) async fn before(&self, stack: &StackName, deployment: DeploymentId) -> Result<String, String> {
        let gone = || "the agent is ending".to_owned();
        let (reply, answer) = oneshot::channel();
        let before = Before { stack: stack.clone(), deployment, reply };
        self.before.send(before).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Desk {
    pub(super) fn layout(&self) -> &Layout {
        &self.machine.layout
    }

    pub(super) fn nice(&self) -> u32 {
        self.machine.settings.backup_nice
    }

    pub(super) fn margin(&self) -> u64 {
        self.machine.settings.disk_margin_bytes
    }

    pub(super) fn node_name(&self) -> String {
        self.identity.name.to_string()
    }

    /// What the agent knows durably, as it is now.
    pub(super) fn journal(&self) -> Result<Journal, BackupError> {
        let read = JournalDb::read(&self.layout().journal());
        read.map(|(journal, _)| journal).map_err(|error| BackupError::Prepare(error.to_string()))
    }

    pub(super) fn committed(&self, stack: &StackName) -> Result<Committed, BackupError> {
        let mut journal = self.journal()?;
        let committed = journal.stacks.remove(stack).and_then(|record| record.committed);
        committed.ok_or_else(|| BackupError::Prepare(format!("stack `{stack}` does not run on this node")))
    }

    pub(super) fn processes(&self, stack: &StackName) -> io::Result<Vec<Thing>> {
        let groups = runtime::process::groups(self.layout(), stack)?;
        Ok(groups.into_iter().map(|(group, started)| Thing::Frozen { group, started }).collect())
    }

    pub(super) fn units(&self, stack: &StackName) -> Vec<String> {
        let prepared = self.committed(stack).ok().and_then(|committed| committed.prepared);
        let units = prepared.into_iter().flat_map(|prepared| prepared.services.into_keys());
        units.filter(|unit| unit.ends_with(".service") || !unit.contains('.')).collect()
    }

    /// What a release has of data.
    pub(super) async fn plan(&self, stack: &StackName, tree: TreeDigest) -> Result<DataPlan, BackupError> {
        self.machine.data(stack, tree).await.map_err(BackupError::Prepare)
    }

    pub(super) fn scene(&self, stack: &StackName, tree: TreeDigest) -> Scene {
        let mut variables = read_rendered(self.layout(), stack, tree);
        let secret = |text: &str| backstay_types::Secret::new(text);
        variables.insert("BACKSTAY_STACK".to_owned(), secret(stack.as_str()));
        variables.insert("BACKSTAY_NODE".to_owned(), secret(self.identity.name.as_str()));
        let state = self.layout().state(stack).display().to_string();
        variables.insert("BACKSTAY_STATE_DIR".to_owned(), secret(&state));
        Scene { dir: self.layout().release(stack, tree), variables }
    }

    /// The node's repository, through the hub.
    pub(super) fn repository(&self, order: &BackupOrder) -> Repository {
        let cache = self.layout().backups().join("cache");
        super::bound(&cache, self.machine.settings.backup_cache_bytes);
        self.at("repository", &order.password, &cache)
    }

    /// The repository that data is put back from: the node's own, or another one's that the hub lends for this job.
    pub(super) fn source(&self, order: &BackupOrder, work: &RestoreWork) -> Repository {
        match (&order.other_password, work.of_node) {
            (Some(password), Some(_)) => {
                self.at(&format!("backups/{}/repository", order.job), password, &self.layout().lent_cache())
            }
            _ => self.repository(order),
        }
    }

    fn at(&self, place: &str, password: &Secret, cache: &Path) -> Repository {
        let hub = self.identity.hub.trim_end_matches('/');
        Repository {
            target: Target::Rest {
                url: format!("{hub}/agent/v1/{place}/"),
                credential: self.identity.credential.clone(),
                ca_file: self.machine.settings.ca_file.as_ref().map(|path| path.display().to_string()),
            },
            password: password.clone(),
            cache: Some(cache.display().to_string()),
        }
    }

    pub(super) fn bytes_per_second(&self, order: &BackupOrder) -> Option<u64> {
        let own = Some(self.machine.settings.backup_bytes_per_second).filter(|bytes| *bytes > 0);
        own.into_iter().chain(order.bytes_per_second).min()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now(self.machine.world.now())
    }
}

impl Machine {
    /// What a release has of data, as a child reads it.
    pub(crate) async fn data(&self, stack: &StackName, tree: TreeDigest) -> Result<DataPlan, String> {
        let mut records = Records::new(self.world.clone());
        let work = Work::Data { stack: stack.clone(), tree };
        match self.child(work, backstay_types::Step::Snapshot, READ, &mut records).await {
            Ok(Reply::Data(plan)) => Ok(*plan),
            Ok(_) => Err("a child of the agent answered something else than it was asked".to_owned()),
            Err(failed) => Err(failed.reason),
        }
    }
}

/// The stack of a deployment that waits, and whom to answer.
type Waiting<'a> = (&'a StackName, &'a mut oneshot::Sender<Result<String, String>>);

/// The loop.
#[derive(Debug)]
pub(crate) struct Keeper {
    desk: Desk,
    events: mpsc::Sender<Event>,
    view: watch::Receiver<View>,
    asked: mpsc::Receiver<Before>,
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
        asked: mpsc::Receiver<Before>,
    ) -> Self {
        let program = Program::of(&machine.settings);
        let (due, clock) = (machine.backups.due.clone(), machine.backups.clock.clone());
        let desk = Desk { machine, identity, store, program, clock };
        Self { desk, events, view, asked, due, holds: 0 }
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
            tokio::select! {
                before = self.asked.recv() => match before {
                    Some(before) => self.serve(before).await,
                    None => return,
                },
                () = self.due.notified(), if told => self.next().await,
                () = sleep(AGAIN), if !told => {}
            }
        }
    }

    /// What an agent that died was doing. The core leaves everything alone until this is over.
    async fn recover(&mut self) {
        super::clear_staging(self.desk.layout());
        still::recover(&self.desk.store).await;
        let Some(state) = self.desk.store.restore() else { return };
        let _alone = Alone { id: 0, events: self.events.clone() };
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
            let Some(now) = self.desk.store.restore() else { return };
            state = now;
        }
    }

    /// Tells the hub what it does not know. True when it knows everything.
    async fn tell_all(&self) -> bool {
        for (job, outcome) in self.desk.store.untold() {
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

    async fn ask(&self, before: Option<BackupBefore>) -> Result<NextBackupResponse, String> {
        let hub = &self.desk.machine.hub;
        let request = NextBackupRequest { before };
        let asked = timeout(ASK, hub.call::<NextBackup>(&Empty {}, &Empty {}, &request)).await;
        let asked = asked.map_err(|_| "the hub did not answer in time".to_owned())?;
        match asked {
            // A hub that has no backups yet.
            Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => {
                Ok(NextBackupResponse { order: None, set_up: false })
            }
            Err(backstay_client::ClientError::Unexpected { status: 404, .. }) => {
                Ok(NextBackupResponse { order: None, set_up: false })
            }
            other => other.map_err(|error| format!("the hub was asked in vain: {error}")),
        }
    }

    /// Whatever is due.
    async fn next(&mut self) {
        match self.ask(None).await {
            Ok(NextBackupResponse { order: Some(order), .. }) => {
                self.run_order(order, None).await;
            }
            Ok(_) => {}
            Err(reason) => tracing::warn!(reason, "what to do about backups is not known"),
        }
    }

    /// A deployment waits.
    async fn serve(&mut self, mut before: Before) {
        let said = self.save_before(&mut before).await;
        let _ = before.reply.send(said);
    }

    async fn save_before(&mut self, before: &mut Before) -> Result<String, String> {
        let (stack, deployment) = (before.stack.clone(), before.deployment);
        if !self.desk.machine.settings.backups {
            return Err("backups are off on this node".to_owned());
        }
        if !self.tell_all().await {
            return Err("the hub does not answer".to_owned());
        }
        let NextBackupResponse { order, set_up } =
            self.ask(Some(BackupBefore { stack: stack.clone(), deployment })).await?;
        let Some(order) = order else {
            let why = if set_up { "the hub wants none" } else { "backups are not set up at the hub" };
            return Err(why.to_owned());
        };
        let ours = matches!(&order.work, BackupWork::Save(save) if save.deployment == Some(deployment));
        if !ours {
            self.due.notify_one();
            return Err(format!("the hub wants job {} to be ended first", order.job));
        }
        let outcome = self.run_order(order, Some((&stack, &mut before.reply))).await;
        match (outcome.failed, outcome.snapshots.first()) {
            (Some(why), _) => Err(why),
            (None, Some(snapshot)) => {
                Ok(format!("snapshot {} of {} bytes", snapshot.id.digest().short(), snapshot.bytes))
            }
            (None, None) => Ok("there was nothing to save".to_owned()),
        }
    }

    /// Does what the hub says. `waiting`: the stack that a deployment keeps for it, so that it need not be held, and
    /// whether the deployment still waits.
    async fn run_order(&mut self, order: BackupOrder, waiting: Option<Waiting<'_>>) -> WorkOutcome {
        crash_point("backup.asked");
        let (job, progress) = (order.job, Progress::new(self.desk.layout(), order.job));
        let left = order.deadline.duration_since(self.desk.now());
        let left = Duration::try_from(left).unwrap_or_default().clamp(LEAST, MOST);
        let (hub, told) = (self.desk.machine.hub.clone(), progress.clone());
        let (alone, waiting) = waiting.unzip();
        let work = Box::pin(timeout(left, self.work(&order, alone, &progress)));
        let nobody_waits = async {
            match waiting {
                Some(reply) => reply.closed().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            () = nobody_waits => Err("the deployment waits for it no longer"),
            ended = work => ended.map_err(|_| "it took longer than the hub allows"),
            () = told.tell(&hub) => Err("the hub says that it should end"),
        };
        progress.over();
        if ended.is_err() {
            still::recover(&self.desk.store).await;
        }
        let outcome = match (ended, self.desk.store.restore()) {
            (Ok(outcome), _) => outcome,
            (Err(why), None) => failed(why),
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
    ) -> WorkOutcome {
        if !self.desk.machine.settings.backups {
            return failed("backups are off on this node (`backups` in its settings)");
        }
        if let Err(error) = self.desk.program.check() {
            return failed(&error.to_string());
        }
        match &order.work {
            BackupWork::Save(save) => self.save(order, save, alone, progress).await,
            BackupWork::Restore(work) => {
                progress.phase(BackupPhase::Waiting, &work.stack);
                match &work.destination {
                    Destination::Folder { path } => {
                        restore::to_folder(&self.desk, order, work, path, progress).await
                    }
                    Destination::InPlace => {
                        let _alone = self.hold(None).await;
                        restore::in_place(&self.desk, order, work, progress).await
                    }
                }
            }
        }
    }

    /// Waits until the core leaves a stack alone, or all of them. Deployments that wait for a snapshot go first.
    async fn hold(&mut self, stack: Option<&StackName>) -> Alone {
        self.holds += 1;
        let alone = Alone { id: self.holds, events: self.events.clone() };
        let hold = Hold { id: alone.id, stack: stack.cloned() };
        let _ = self.events.send(Event::Input(Input::Hold(hold))).await;
        loop {
            let (view, id) = (&mut self.view, alone.id);
            let before = tokio::select! {
                biased;
                _ = view.wait_for(|view| view.granted == Some(id)) => return alone,
                before = self.asked.recv() => before,
            };
            match before {
                Some(before) => Box::pin(self.serve(before)).await,
                None => std::future::pending().await,
            }
        }
    }

    async fn save(
        &mut self,
        order: &BackupOrder,
        save: &SaveWork,
        alone: Option<&StackName>,
        progress: &Progress,
    ) -> WorkOutcome {
        let stacks = match self.desk.journal() {
            Err(error) => return failed(&error.to_string()),
            Ok(journal) if save.stacks.is_empty() => {
                let runs = |(stack, record): (&StackName, &backstay_agent_core::StackRecord)| {
                    record.committed.is_some().then(|| stack.clone())
                };
                journal.stacks.iter().filter_map(runs).collect()
            }
            Ok(_) => save.stacks.clone(),
        };
        let mut outcome = WorkOutcome { snapshots: Vec::new(), items: Vec::new(), still_ms: 0, failed: None };
        let mut failures = Vec::new();
        for stack in stacks {
            let held = match alone {
                Some(known) if *known == stack => None,
                _ => {
                    progress.phase(BackupPhase::Waiting, &stack);
                    Some(self.hold(Some(&stack)).await)
                }
            };
            let mut view = self.view.clone();
            let deployed = async {
                match held {
                    Some(_) => drop(view.wait_for(|view| view.awaited).await),
                    None => std::future::pending().await,
                }
            };
            let saved = tokio::select! {
                saved = self.save_stack(order, save, &stack, progress) => saved,
                // It has its own snapshot made, and an undo must not wait for hours.
                () = deployed => {
                    still::recover(&self.desk.store).await;
                    let why = "a deployment of the stack came first".to_owned();
                    Err((Vec::new(), Duration::ZERO, why))
                }
            };
            drop(held);
            match saved {
                Ok(None) => {}
                Ok(Some(Saved { snapshot, items, still })) => {
                    outcome.snapshots.push(snapshot);
                    outcome.items.extend(items);
                    outcome.still_ms += millis(still);
                }
                Err((items, still, why)) => {
                    outcome.items.extend(items);
                    outcome.still_ms += millis(still);
                    failures.push(format!("{stack}: {why}"));
                }
            }
        }
        outcome.failed = (!failures.is_empty()).then(|| failures.join("; "));
        outcome
    }

    async fn save_stack(
        &self,
        order: &BackupOrder,
        save: &SaveWork,
        stack: &StackName,
        progress: &Progress,
    ) -> Result<Option<Saved>, (Vec<ItemOutcome>, Duration, String)> {
        let early = |error: BackupError| (Vec::new(), Duration::ZERO, error.to_string());
        let desk = &self.desk;
        let tree = desk.committed(stack).map_err(early)?.tree;
        let plan = desk.plan(stack, tree).await.map_err(early)?;
        if plan.backups.off {
            return Ok(None);
        }
        let scene = desk.scene(stack, tree);
        let saving =
            Saving { desk, progress, stack, plan: &plan, scene: &scene, stopped: false, may_lack: false };
        let tags = desk.tags(stack, tree, save.reason, save);
        let about = (tags, desk.now());
        let saved = saving.save(&desk.repository(order), about, desk.bytes_per_second(order)).await;
        saved.map_err(|failed| failed.told(stack, &plan))
    }
}

impl Desk {
    pub(super) fn tags(
        &self,
        stack: &StackName,
        tree: TreeDigest,
        reason: BackupReason,
        save: &SaveWork,
    ) -> SnapshotTags {
        SnapshotTags {
            node: Some(self.identity.node),
            node_name: Some(self.identity.name.clone()),
            stack: Some(stack.clone()),
            tree: Some(tree),
            deployment: save.deployment,
            conversation: save.conversation,
            reason,
        }
    }
}

impl NotSaved {
    /// Every item of the stack, since none of them is in a snapshot.
    pub(super) fn told(self, stack: &StackName, plan: &DataPlan) -> (Vec<ItemOutcome>, Duration, String) {
        let Self { item: failed, error, still } = self;
        let why = error.to_string();
        let items = plan.backups.items.iter().map(|item| {
            let why = match failed.as_str() {
                name if name == item.name || name.is_empty() => why.clone(),
                name => format!("not saved, since `{name}` could not be"),
            };
            let result = ItemResult::Failed { why, paths: Vec::new() };
            ItemOutcome { stack: stack.clone(), item: item.name.clone(), result }
        });
        (items.collect(), still, why)
    }
}

pub(super) fn failed(why: &str) -> WorkOutcome {
    WorkOutcome { snapshots: Vec::new(), items: Vec::new(), still_ms: 0, failed: Some(why.to_owned()) }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
