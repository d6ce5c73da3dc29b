//! Jobs of nodes: asked for, handed out, told of, ended. An outcome is taken once.

use std::time::Duration;

use backstay_api::agent::BackupBefore;
use backstay_store::{
    Executor, Tx,
    backups::{
        jobs,
        repositories::{self, KeptRepository},
    },
    deployments, leases, nodes, rollouts, undos,
};
use backstay_types::{
    BackupJobId, DataFor, DeploymentData, Event, Node, NodeId, Refs, RolloutKind, StackName, Timestamp,
    UndoId,
    backup::{
        BackupHistory, BackupJob, BackupJobState, BackupProgress, BackupReason, BackupResult, BackupTask,
        Destination, Proof, RepositoryFacts, RestoreWork, SaveWork, Snapshot, WorkOutcome,
    },
};

use super::{
    SCHEDULE, Whose, awaited,
    dating::{self, Made},
    drills, elsewhere, refs,
    repairing::is_repaired,
};
use crate::{Engine, EngineError};

/// Who was not heard from for so long has given up.
pub(super) const LEASE: Duration = Duration::from_secs(15 * 60);
/// One hub at a time gives jobs: a node gets one, not two.
const GIVING: &str = "backup jobs";
const GIVING_TIME: Duration = Duration::from_secs(60);

/// What a node should do next.
#[derive(Debug)]
pub enum NextOrder {
    /// Backups are not set up.
    NotSetUp,
    /// Not yet, and why: its repository, or the one that it is to read, is not made yet or is being repaired.
    NotReady(&'static str),
    /// Nothing.
    Nothing,
    /// This, with its own sealed password, and that of the node whose data it puts back, where that is another one.
    Do(Box<BackupJob>, Box<KeptRepository>, Option<Box<KeptRepository>>),
}

/// A job that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose data.
    pub whose: Whose,
    /// What to do.
    pub task: BackupTask,
    /// The id that it gets; a new one when absent.
    pub id: Option<BackupJobId>,
}

impl Engine {
    /// Asks for jobs. Where one of the same kind waits or runs already, that one is given.
    ///
    /// # Errors
    /// When backups are not set up, or the store fails.
    pub async fn ask_backups(&self, wanted: Vec<Wanted>, by: &str) -> Result<Vec<BackupJob>, EngineError> {
        self.backup_rules()?;
        let mut tx = self.inner.store.begin().await?;
        self.one_gives(&mut tx).await?;
        let mut given = Vec::with_capacity(wanted.len());
        for one in wanted {
            given.push(self.give(&mut tx, one, by).await?);
        }
        tx.wake();
        tx.commit().await?;
        Ok(given)
    }

    /// Waits until no other hub gives jobs, and keeps them out until `tx` ends.
    pub(crate) async fn one_gives(&self, tx: &mut Tx) -> Result<(), EngineError> {
        let now = self.inner.world.now();
        // Whoever holds it: what matters is that the row is locked until the commit.
        leases::acquire(tx, GIVING, "any hub", now, GIVING_TIME).await?;
        Ok(())
    }

    pub(crate) async fn give(&self, tx: &mut Tx, wanted: Wanted, by: &str) -> Result<BackupJob, EngineError> {
        let Wanted { whose, task, id } = wanted;
        if let Some(id) = id
            && let Some(known) = jobs::get(tx, id).await?
        {
            return if known.node == whose && known.task == task {
                Ok(known)
            } else {
                Err(EngineError::Conflict(format!("job {id} is another one; leave the id away")))
            };
        }
        let open = jobs::open_of(tx, whose).await?;
        if let Some(same) = open.into_iter().find(|job| same(&job.task, &task)) {
            return Ok(same);
        }
        let job = self.new_job(whose, task, id, by);
        jobs::insert(tx, &job).await?;
        if let BackupTask::Restore(work) = &job.task {
            let in_place = matches!(work.destination, backstay_types::backup::Destination::InPlace);
            let of_node = work.of_node;
            let event = Event::RestoreAsked { snapshot: work.snapshot, in_place, of_node, by: by.to_owned() };
            tx.record(event, refs(whose, Some(&work.stack)))?;
        }
        if let (BackupTask::Drill(work), true) = (&job.task, by != SCHEDULE) {
            let event = Event::DrillAsked { snapshot: work.snapshot, by: by.to_owned() };
            tx.record(event, refs(whose, Some(&work.stack)))?;
        }
        Ok(job)
    }

    fn new_job(&self, node: Whose, task: BackupTask, id: Option<BackupJobId>, by: &str) -> BackupJob {
        BackupJob {
            id: id.unwrap_or_else(|| self.inner.world.mint()),
            node,
            task,
            state: BackupJobState::Queued,
            by: by.to_owned(),
            asked_at: self.inner.world.now(),
            started_at: None,
            lease_until: None,
            ended_at: None,
            cancelled_by: None,
            progress: None,
            result: None,
        }
    }

    /// What a node should do next: the same until it has told the outcome.
    ///
    /// # Errors
    /// When there is no such deployment of this node, or the store fails.
    pub async fn next_backup(
        &self,
        node: &Node,
        before: Option<&BackupBefore>,
    ) -> Result<NextOrder, EngineError> {
        if self.inner.settings.backups.is_none() {
            return Ok(NextOrder::NotSetUp);
        }
        let mut read = self.inner.store.read();
        if before.is_none() && !jobs::open_of(&mut read, Some(node.id)).await?.iter().any(of_node) {
            return Ok(NextOrder::Nothing);
        }
        let mut tx = self.inner.store.begin().await?;
        self.one_gives(&mut tx).await?;
        let wanted = match before {
            Some(before) => self.job_before(&mut tx, node, before).await?,
            None => {
                let open: Vec<_> =
                    jobs::open_of(&mut tx, Some(node.id)).await?.into_iter().filter(of_node).collect();
                let running = open.iter().find(|job| job.state == BackupJobState::Running).cloned();
                match running {
                    Some(job) => Some(job),
                    None => elsewhere::ready(&mut tx, open).await?.into_iter().next(),
                }
            }
        };
        let Some(mut job) = wanted else { return Ok(NextOrder::Nothing) };
        let kept = repositories::get(&mut tx, Some(node.id)).await?;
        let Some(kept) = kept.filter(|kept| kept.facts.made_at.is_some()) else {
            // The job waits; whoever looks after repositories sees that it does.
            tx.wake();
            tx.commit().await?;
            return Ok(NextOrder::NotReady("the node's repository is not made yet"));
        };
        let lent = match job.task.reads_of() {
            Some(other) => {
                let lent = repositories::get(&mut tx, Some(other)).await?;
                Some(Box::new(lent.ok_or_else(|| EngineError::not_found("repository", other))?))
            }
            None => None,
        };
        let (now, state) = (self.inner.world.now(), job.state);
        // Looked at by one who gives orders alone, as a repair begins only so: never both.
        if is_repaired(&kept.facts, now) || lent.as_ref().is_some_and(|lent| is_repaired(&lent.facts, now)) {
            tx.commit().await?;
            return Ok(NextOrder::NotReady("damaged data is being taken out of the repository"));
        }
        job.state = BackupJobState::Running;
        job.lease_until = now.checked_add(LEASE).ok();
        if job.started_at.is_none() {
            job.started_at = Some(now);
            if matches!(job.task, BackupTask::Save(_)) {
                repositories::tried(&mut tx, Some(node.id), now).await?;
            }
        }
        jobs::update(&mut tx, state, &job).await?;
        tx.commit().await?;
        Ok(NextOrder::Do(Box::new(awaited::as_given(job)), Box::new(kept), lent))
    }

    /// The job of a deployment that waits for it: made when there is none, nothing when it has ended.
    async fn job_before(
        &self,
        tx: &mut Tx,
        node: &Node,
        before: &BackupBefore,
    ) -> Result<Option<BackupJob>, EngineError> {
        let known = jobs::for_deployment(tx, before.deployment).await?;
        let mut own = known.into_iter().filter(|job| job.node == Some(node.id));
        let found = deployments::get(tx, before.deployment).await?;
        let deployment = found.filter(|one| one.node == node.id && one.stack == before.stack);
        let Some(deployment) = deployment else {
            return Err(EngineError::not_found("deployment", before.deployment));
        };
        match deployment.data.map(|data| (data, data.asked_by)) {
            Some((data, DataFor::Undo { undo })) => {
                return self.job_with_data(tx, &deployment, (undo, data), own).await;
            }
            Some((_, DataFor::Restore { job })) => return self.job_before_start(tx, &deployment, job).await,
            None => {}
        }
        let rollout = rollouts::get(tx, deployment.rollout).await?;
        let last = rollout.is_some_and(|rollout| rollout.kind == RolloutKind::Removal);
        let known = own.find(|job| saves(&job.task, &before.stack));
        match known {
            // What was stopped for the last one may have been started again since: once more, to the last byte.
            Some(job) if last && job.state.is_final() => {}
            Some(job) => return Ok((!job.state.is_final()).then_some(job)),
            None => {}
        }
        if last && deployment.state.is_final() {
            return Ok(None);
        }
        let conversation = self.cause_of(tx, &deployment).await?;
        let work = SaveWork {
            stacks: vec![before.stack.clone()],
            reason: if last { BackupReason::Migration } else { BackupReason::Deployment },
            deployment: Some(deployment.id),
            conversation,
            last,
        };
        let job = self.new_job(Some(node.id), BackupTask::Save(work), None, SCHEDULE);
        jobs::insert(tx, &job).await?;
        Ok(Some(job))
    }

    /// The job that makes data ready for a deployment: again when one came to nothing, never once the deployment is over.
    async fn job_with_data(
        &self,
        tx: &mut Tx,
        deployment: &backstay_types::Deployment,
        (undo, data): (UndoId, DeploymentData),
        mut known: impl Iterator<Item = BackupJob>,
    ) -> Result<Option<BackupJob>, EngineError> {
        if deployment.state.is_final() {
            return Ok(None);
        }
        if let Some(job) = known.find(|job| !job.state.is_final()) {
            return Ok(Some(job));
        }
        let work = RestoreWork {
            snapshot: data.snapshot,
            stack: deployment.stack.clone(),
            items: self.items_of(tx, deployment, undo).await?,
            paths: Vec::new(),
            destination: Destination::WithDeployment { deployment: deployment.id },
            of_node: None,
        };
        let job = self.new_job(Some(deployment.node), BackupTask::Restore(work), None, SCHEDULE);
        jobs::insert(tx, &job).await?;
        Ok(Some(job))
    }

    /// What of a stack an undo puts back: what its plan says.
    async fn items_of(
        &self,
        tx: &mut Tx,
        deployment: &backstay_types::Deployment,
        undo: UndoId,
    ) -> Result<Vec<String>, EngineError> {
        let undo = undos::get(tx, undo).await?;
        let node = nodes::get(tx, deployment.node).await?;
        let (Some(undo), Some(node)) = (undo, node) else { return Ok(Vec::new()) };
        let mut places = undo.plan.data.into_iter();
        let here = places.find(|one| one.node == node.name && one.stack == deployment.stack);
        Ok(here.and_then(|one| one.from).map(|from| from.items).unwrap_or_default())
    }

    /// The conversation that caused a deployment, where it is one and known.
    async fn cause_of(
        &self,
        ex: &mut impl Executor,
        deployment: &backstay_types::Deployment,
    ) -> Result<Option<backstay_types::ConversationId>, EngineError> {
        let of = backstay_store::figures::conversations_of_releases(ex, &[deployment.release]).await?;
        Ok(of.get(&deployment.release).and_then(|all| all.first().copied()))
    }

    /// Takes in how far a node is. Whether it should go on.
    ///
    /// # Errors
    /// When it has no such job, or the store fails.
    pub async fn backup_progress(
        &self,
        node: NodeId,
        id: BackupJobId,
        progress: BackupProgress,
    ) -> Result<bool, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let found = jobs::get(&mut tx, id).await?.filter(|job| job.node == Some(node));
        let Some(mut job) = found else { return Err(EngineError::not_found("backup job", id)) };
        if job.state != BackupJobState::Running || job.cancelled_by.is_some() {
            return Ok(false);
        }
        let now = self.inner.world.now();
        if self.is_overdue(&job, now) {
            return Ok(false);
        }
        job.progress = Some(progress);
        job.lease_until = now.checked_add(LEASE).ok();
        jobs::update(&mut tx, BackupJobState::Running, &job).await?;
        tx.commit().await?;
        Ok(true)
    }

    fn is_overdue(&self, job: &BackupJob, now: Timestamp) -> bool {
        self.order_deadline(job).is_some_and(|deadline| deadline < now)
    }

    /// Until when a node has to be done with a job that it was given.
    pub fn order_deadline(&self, job: &BackupJob) -> Option<Timestamp> {
        let rules = self.inner.settings.backups.as_ref()?;
        job.started_at?.checked_add(rules.deadline).ok()
    }

    /// Takes in how a node's job ended, once. What it saved counts, also when the hub had given the job up, or does not
    /// know it because it was restored from an earlier backup of its own.
    ///
    /// # Errors
    /// When the job is another node's, or the store fails.
    pub async fn finish_backup(
        &self,
        node: &Node,
        id: BackupJobId,
        outcome: WorkOutcome,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let (mut job, known) = match jobs::get(&mut tx, id).await? {
            Some(job) if job.node == Some(node.id) && job.task.is_of_node() => (job, true),
            Some(_) => return Err(EngineError::not_found("backup job", id)),
            None => (self.forgotten_job(node.id, id, &outcome), false),
        };
        if job.result.as_ref().is_some_and(|result| result.work.is_some()) {
            return Ok(());
        }
        let (now, before) = (self.inner.world.now(), job.state);
        let rules = self.backup_rules()?;
        let made = |one: &Snapshot| match known {
            true => Made::by(&job, rules, now, one.at),
            false => Made::lately(rules, now),
        };
        let task = known.then_some(&job.task);
        let own: Vec<_> = outcome.snapshots.iter().map(|told| own(told, node, task)).collect();
        dating::keep(&mut tx, Some(node.id), &own, Some(id), made, now).await?;
        if let BackupTask::Restore(work) = &job.task
            && let Destination::WithDeployment { deployment } = work.destination
        {
            self.note_safety(&mut tx, node, deployment, &outcome.snapshots).await?;
        }
        job.state = match (&outcome.failed, &job.cancelled_by) {
            (None, _) => BackupJobState::Done,
            (Some(_), Some(_)) => BackupJobState::Cancelled,
            (Some(_), None) => BackupJobState::Failed,
        };
        if let (Some(report), None) = (&outcome.drill, &job.cancelled_by) {
            (job.state, job.cancelled_by) = drills::state_of(report);
        }
        job.ended_at = Some(now);
        job.lease_until = None;
        job.result = Some(BackupResult {
            failed: outcome.failed.clone(),
            work: Some(outcome),
            ..BackupResult::default()
        });
        if known {
            jobs::update(&mut tx, before, &job).await?;
        } else {
            jobs::insert(&mut tx, &job).await?;
        }
        self.note_end(&mut tx, &job).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// A job that a node was given by a hub whose memory of it is gone.
    fn forgotten_job(&self, node: NodeId, id: BackupJobId, outcome: &WorkOutcome) -> BackupJob {
        let first = outcome.snapshots.first();
        let work = SaveWork {
            stacks: Vec::new(),
            reason: first.map_or(BackupReason::Schedule, |one| one.tags.reason),
            deployment: first.and_then(|one| one.tags.deployment),
            conversation: first.and_then(|one| one.tags.conversation),
            last: false,
        };
        let task = outcome.drill.as_deref().map_or(BackupTask::Save(work), drills::forgotten);
        let job = self.new_job(Some(node), task, Some(id), SCHEDULE);
        BackupJob { state: BackupJobState::Running, started_at: first.map(|one| one.at), ..job }
    }

    /// Ends a job: one that waits at once; one that runs when whoever does it asks next.
    ///
    /// # Errors
    /// When there is no such job, it has ended, or the store fails.
    pub async fn cancel_backup(&self, id: BackupJobId, by: &str) -> Result<BackupJob, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let Some(mut job) = jobs::get(&mut tx, id).await? else {
            return Err(EngineError::not_found("backup job", id));
        };
        if job.cancelled_by.is_some() {
            return Ok(job);
        }
        if awaited::is_before_start(&job) && job.state != BackupJobState::Done {
            if crate::migrations::is_of_one(&mut tx, id).await? {
                let message = format!("job {id} is of a migration: `backstay migrate abort` ends that");
                return Err(EngineError::Conflict(message));
            }
            let job = self.start_without(&mut tx, &job, by).await?;
            tx.wake();
            tx.commit().await?;
            self.wake();
            return Ok(job);
        }
        if job.state.is_final() {
            return Err(EngineError::Conflict(format!("job {id} has ended already")));
        }
        let before = job.state;
        job.cancelled_by = Some(by.to_owned());
        if before == BackupJobState::Queued {
            job.state = BackupJobState::Cancelled;
            job.ended_at = Some(self.inner.world.now());
        }
        jobs::update(&mut tx, before, &job).await?;
        tx.record(Event::BackupCancelled { job: id, by: by.to_owned() }, refs(job.node, None))?;
        tx.commit().await?;
        Ok(job)
    }

    /// The rules, when backups are set up.
    pub(crate) fn backup_rules(&self) -> Result<&super::BackupRules, EngineError> {
        self.inner.settings.backups.as_ref().ok_or(EngineError::BackupsNotSetUp)
    }
}

/// Whether a node does it.
fn of_node(job: &BackupJob) -> bool {
    job.task.is_of_node()
}

/// Whether a second job would do what a first one does: backups of the same kind, restores never.
fn same(open: &BackupTask, wanted: &BackupTask) -> bool {
    match (open, wanted) {
        (BackupTask::Save(open), BackupTask::Save(wanted)) => {
            let all = |work: &SaveWork| work.stacks.is_empty() && work.deployment.is_none();
            all(open) && wanted.deployment.is_none() || open == wanted
        }
        (BackupTask::Restore(_), _) => false,
        (open, wanted) => open == wanted,
    }
}

fn saves(task: &BackupTask, stack: &StackName) -> bool {
    matches!(task, BackupTask::Save(work) if work.stacks.contains(stack))
}

/// A snapshot as the hub keeps it: of the node that told it, made for what its job was for where that is known, and proven
/// no further than a node can prove.
fn own(told: &Snapshot, node: &Node, task: Option<&BackupTask>) -> Snapshot {
    let mut own = task.map_or_else(|| told.clone(), |task| dating::of_job(told.clone(), task));
    own.tags.node = Some(node.id);
    own.tags.node_name = Some(node.name.clone());
    own.proof = own.proof.min(Proof::Matched);
    own
}

/// Notes what new snapshots added to a repository. It is counted anew when it is pruned.
pub(super) async fn grown(tx: &mut Tx, whose: Whose, made: &[Snapshot]) -> Result<(), EngineError> {
    let added: u64 = made.iter().map(|one| one.added_bytes).fold(0, u64::saturating_add);
    let Some(kept) = repositories::get(tx, whose).await?.filter(|_| added > 0) else { return Ok(()) };
    let bytes = kept.facts.bytes.saturating_add(added);
    Ok(repositories::set_facts(tx, whose, &RepositoryFacts { bytes, ..kept.facts }).await?)
}

impl Engine {
    /// Notes how a job of a node, or a backup of the hub's own state, ended.
    pub(super) async fn note_end(&self, tx: &mut Tx, job: &BackupJob) -> Result<(), EngineError> {
        match &job.task {
            BackupTask::Drill(work) => self.note_drill(tx, job, work).await,
            _ => note_end(tx, job).await,
        }
    }
}

async fn note_end(tx: &mut Tx, job: &BackupJob) -> Result<(), EngineError> {
    let work = job.result.as_ref().and_then(|result| result.work.as_ref());
    let failed = job.result.as_ref().and_then(|result| result.failed.clone());
    match &job.task {
        BackupTask::Save(save) => {
            let history = repositories::history(tx, job.node).await?;
            // Of one stack, or before a deployment: the others still wait for their turn.
            let whole = save.stacks.is_empty();
            let history = after(history, job, failed.as_deref(), whole);
            repositories::set_history(tx, job.node, &history).await?;
            let made = work.map(|work| work.snapshots.as_slice()).unwrap_or_default();
            let event = match (made, failed) {
                ([], Some(why)) => Event::BackupFailed { why },
                (made, failed) => Event::BackupMade {
                    reason: save.reason,
                    snapshots: made.len() as u64,
                    bytes: made.iter().map(|one| one.bytes).sum(),
                    failed,
                },
            };
            let own =
                Refs { deployment: save.deployment, conversation: save.conversation, ..refs(job.node, None) };
            tx.record(event, Refs { stack: save.stacks.first().cloned(), ..own })?;
        }
        // Whether it came to stay is the deployment's to say.
        BackupTask::Restore(restore)
            if failed.is_none() && matches!(restore.destination, Destination::WithDeployment { .. }) =>
        {
            let made = work.map(|work| work.snapshots.as_slice()).unwrap_or_default();
            let event = Event::BackupMade {
                reason: BackupReason::Safety,
                snapshots: made.len() as u64,
                bytes: made.iter().map(|one| one.bytes).sum(),
                failed,
            };
            tx.record(event, refs(job.node, Some(&restore.stack)))?;
        }
        BackupTask::Restore(restore) => {
            let event = Event::RestoreFinished { snapshot: restore.snapshot, failed };
            tx.record(event, refs(job.node, Some(&restore.stack)))?;
        }
        _ => {}
    }
    Ok(())
}

/// How backups went, with one more.
fn after(history: BackupHistory, job: &BackupJob, failed: Option<&str>, whole: bool) -> BackupHistory {
    if job.state == BackupJobState::Cancelled {
        return history;
    }
    match failed {
        None if whole => BackupHistory {
            last_good_at: job.started_at.max(history.last_good_at),
            last_tried_at: history.last_tried_at.max(job.started_at),
            failed_in_a_row: 0,
            last_failure: None,
        },
        None => history,
        Some(why) => BackupHistory {
            last_tried_at: history.last_tried_at.max(job.started_at),
            failed_in_a_row: history.failed_in_a_row.saturating_add(1),
            last_failure: Some(why.to_owned()),
            ..history
        },
    }
}
