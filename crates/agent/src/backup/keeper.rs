//! Does what the hub asks for about backups, one thing at a time, and tells it how that ended, once.

use std::{io, path::Path, sync::Arc, time::Duration};

use backstay_agent_core::{Committed, Hold, Input, Journal, Phase};
use backstay_api::{
    Empty,
    agent::{BackupBefore, BackupJobPath, FinishBackup, NextBackup, NextBackupRequest, NextBackupResponse},
};
use backstay_types::{
    BackupJobId, Secret, StackName, Timestamp, TreeDigest,
    backup::{
        BackupOrder, BackupPhase, BackupReason, BackupWork, Destination, DrillWork, ItemOutcome, ItemResult,
        RestoreWork, SaveWork, SnapshotTags, WorkOutcome,
        job::{Repository, Target},
    },
};
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    BackupError, DataPlan, Program,
    asked::{Asked, Before, HubClock, Unsaved},
    drill,
    exchange::{self, Clerk},
    exec::Scene,
    leave,
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
    /// Held by whoever makes data ready for a deployment, or does something with it.
    pub(super) exchanging: Arc<Mutex<()>>,
    clock: HubClock,
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

    /// What is to run first of a stack of which nothing ran before: what its deployment has made ready.
    pub(super) fn first(&self, stack: &StackName) -> Result<Option<Committed>, BackupError> {
        let journal = self.journal()?;
        let runs = journal.stacks.get(stack).is_some_and(|record| record.committed.is_some());
        let operation = journal.operation.filter(|operation| !runs && operation.target.stack == *stack);
        Ok(operation.and_then(|operation| match operation.phase {
            Phase::Saving(saving) => Some(Committed {
                tree: operation.target.tree,
                deployment: Some(operation.target.deployment),
                target: Some(operation.target),
                prepared: Some(saving.prepared),
                containers: Vec::new(),
                at: operation.started_at,
            }),
            _ => None,
        }))
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
type Waiting<'a> = (&'a StackName, &'a mut oneshot::Sender<Result<String, Unsaved>>);

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
        asked: Asked,
    ) -> (Self, Clerk) {
        let program = Program::of(&machine.settings);
        let (due, clock) = (machine.backups.due.clone(), machine.backups.clock.clone());
        let desk = Desk { machine, identity, store, program, exchanging: Arc::default(), clock };
        let clerk = Clerk::new(desk.clone(), asked.errands);
        (Self { desk, events, view, asked: asked.before, due, holds: 0 }, clerk)
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
        still::recover(&self.desk.store).await;
        drill::recover(&self.desk).await;
        exchange::recover(&self.desk).await;
        restore::sweep_ahead(&self.desk);
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
            Ok(NextBackupResponse { order: Some(order), .. }) => {
                self.run_order(order, None).await;
            }
            Ok(_) => {}
            Err(Unsaved { why, .. }) => tracing::warn!(why, "what to do about backups is not known"),
        }
    }

    /// A deployment waits.
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
        if self.desk.store.exchange(deployment).is_some_and(|state| state.is_ready()) {
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
        let outcome = self.run_order(order, Some((&stack, &mut before.reply))).await;
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
            drill::recover(&self.desk).await;
            self.give_up(&order).await;
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

    /// What was being made ready for a deployment is not wanted any more: what ran runs again.
    async fn give_up(&self, order: &BackupOrder) {
        let BackupWork::Restore(work) = &order.work else { return };
        let Destination::WithDeployment { deployment } = work.destination else { return };
        if let Some(state) = self.desk.store.exchange(deployment)
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
    ) -> WorkOutcome {
        if !self.desk.machine.settings.backups {
            return failed("backups are off on this node (`backups` in its settings)");
        }
        if let Err(error) = self.desk.program.check() {
            return failed(&error.to_string());
        }
        match &order.work {
            BackupWork::Save(save) => self.save(order, save, alone, progress).await,
            BackupWork::Drill(work) => Box::pin(self.drill(order, work, progress)).await,
            BackupWork::Restore(work) => {
                progress.phase(BackupPhase::Waiting, &work.stack);
                match &work.destination {
                    Destination::Folder { path } => {
                        restore::to_folder(&self.desk, order, work, path, progress).await
                    }
                    Destination::WithDeployment { .. } => {
                        exchange::make_ready(&self.desk, order, work, progress).await
                    }
                    Destination::Ahead => restore::ahead(&self.desk, order, work, progress).await,
                    Destination::BeforeStart { .. } => failed("no deployment has asked for it"),
                    Destination::InPlace => {
                        let _alone = self.hold(None).await;
                        restore::in_place(&self.desk, order, work, progress).await
                    }
                }
            }
        }
    }

    /// A drill touches nothing that runs, so that nothing is held for it. A deployment that waits for a snapshot goes first.
    async fn drill(&mut self, order: &BackupOrder, work: &DrillWork, progress: &Progress) -> WorkOutcome {
        let before = tokio::select! {
            outcome = drill::run(&self.desk, order, work, progress) => return outcome,
            before = self.asked.recv() => before,
        };
        let outcome = drill::put_off(&self.desk, work, "a deployment of the node came first").await;
        if let Some(before) = before {
            Box::pin(self.serve(before)).await;
        }
        outcome
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
        let mut outcome = WorkOutcome::default();
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
                saved = self.save_one(order, save, &stack, progress) => saved,
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

    async fn save_one(
        &self,
        order: &BackupOrder,
        save: &SaveWork,
        stack: &StackName,
        progress: &Progress,
    ) -> Result<Option<Saved>, (Vec<ItemOutcome>, Duration, String)> {
        match save.last {
            true => leave::save_last(&self.desk, order, save, stack, progress).await,
            false => self.save_stack(order, save, stack, progress).await,
        }
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
            Saving { desk, progress, stack, plan: &plan, scene: &scene, stopped: false, safety: false };
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
    WorkOutcome { failed: Some(why.to_owned()), ..WorkOutcome::default() }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
