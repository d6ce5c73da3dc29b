//! The reconciler of migrations: what is known of each stack that moves, through `plan`, to jobs and constraints.

use backstay_plan::{MigrationAct, MigrationFacts, Whereabouts, next_step};
use backstay_store::{
    Executor, Tx, backups::jobs, constraints, deployments, leases, migrations, nodes, rollouts,
};
use backstay_types::{
    BackupJobId, Constraint, ConstraintOrigin, Effect, Event, Migration, MigrationStep, NodeId, Passage,
    Refs, RolloutKind, StackName, Stay, Timestamp,
    backup::{
        BackupJob, BackupJobState, BackupReason, BackupTask, Destination, RestoreWork, SaveWork, SnapshotId,
    },
};

use super::{about, scope_of};
use crate::{Engine, EngineError, backups::Wanted, reconcile};

/// Who asks for the jobs.
const BY: &str = "migration";

/// What is read of a stack that moves.
struct Read {
    from: Whereabouts,
    to: Whereabouts,
    copy: Option<BackupJob>,
    ahead: Option<BackupJob>,
    last: Option<BackupJob>,
    restore: Option<BackupJob>,
    proven: Option<SnapshotId>,
}

impl Engine {
    /// Takes each stack that moves a step further. Whether any went.
    pub(crate) async fn advance_migrations(&self) -> Result<bool, EngineError> {
        if migrations::open(&mut self.inner.store.read()).await?.is_empty() {
            return Ok(false);
        }
        let now = self.inner.world.now();
        let mut tx = self.inner.store.begin().await?;
        let lease = leases::acquire(
            &mut tx,
            reconcile::LEASE,
            &self.inner.settings.holder,
            now,
            reconcile::LEASE_LIFE,
        );
        if lease.await?.is_none() {
            return Ok(false);
        }
        self.one_gives(&mut tx).await?;
        let (mut moved, mut any) = (false, false);
        for kept in migrations::open(&mut tx).await? {
            let mut migration = kept.migration.clone();
            for at in 0..migration.stacks.len() {
                let passage =
                    self.advance_passage(&mut tx, &migration, &migration.stacks[at].clone(), now).await?;
                moved |= passage.step != migration.stacks[at].step;
                migration.stacks[at] = passage;
            }
            if migration.stacks.iter().all(|one| one.step.is_final()) {
                migration.finished_at = Some(now);
            }
            if migration != kept.migration {
                migrations::update(&mut tx, kept.version, &migration).await?;
                any = true;
            }
        }
        if any {
            tx.wake();
            tx.commit().await?;
        }
        Ok(moved)
    }

    async fn advance_passage(
        &self,
        tx: &mut Tx,
        migration: &Migration,
        passage: &Passage,
        now: Timestamp,
    ) -> Result<Passage, EngineError> {
        if passage.step.is_final() {
            return Ok(passage.clone());
        }
        let read = self.read_passage(tx, migration, passage).await?;
        let facts = MigrationFacts {
            now,
            migration,
            passage,
            from: &read.from,
            to: &read.to,
            copy: read.copy.as_ref(),
            ahead: read.ahead.as_ref(),
            last: read.last.as_ref(),
            restore: read.restore.as_ref(),
            proven: read.proven,
        };
        let next = next_step(&facts);
        let mut passage = next.passage;
        for act in next.acts {
            self.act_on_passage(tx, migration, &mut passage, (act, &read)).await?;
        }
        if passage.step != facts.passage.step {
            let event = Event::MigrationMoved {
                migration: migration.id,
                to: migration.to.node,
                step: passage.step,
                why: passage.failed.clone(),
            };
            tx.record(event, refs(migration, &passage))?;
        }
        Ok(passage)
    }

    async fn read_passage(
        &self,
        tx: &mut Tx,
        migration: &Migration,
        passage: &Passage,
    ) -> Result<Read, EngineError> {
        let stack = &passage.stack;
        let from = whereabouts(tx, migration.from.node, stack).await?;
        let to = whereabouts(tx, migration.to.node, stack).await?;
        let removal = from.latest.as_ref().filter(|_| from.removal).map(|latest| latest.id);
        let last = match passage.stop.or(removal) {
            Some(stop) => jobs::for_deployment(tx, stop).await?.into_iter().next(),
            None => None,
        };
        let proven = match migration.from_gone && passage.step == MigrationStep::Stopping {
            true => Some(self.newest_proven(Some(migration.from.node), stack).await?),
            false => None,
        };
        Ok(Read {
            from,
            to,
            copy: job(tx, passage.copy).await?,
            ahead: job(tx, passage.ahead).await?,
            last,
            restore: job(tx, passage.restore).await?,
            proven,
        })
    }

    async fn act_on_passage(
        &self,
        tx: &mut Tx,
        migration: &Migration,
        passage: &mut Passage,
        (act, read): (MigrationAct, &Read),
    ) -> Result<(), EngineError> {
        let (from, to, stack) = (&migration.from, &migration.to, passage.stack.clone());
        let here = || Effect::RunsHere { stack: stack.clone(), release: passage.release };
        let not = || Effect::RunsNot { stack: stack.clone() };
        match act {
            MigrationAct::Copy => {
                let work = SaveWork {
                    stacks: vec![stack],
                    reason: BackupReason::Migration,
                    deployment: None,
                    conversation: None,
                    last: false,
                };
                passage.copy = Some(self.ask(tx, from.node, BackupTask::Save(work)).await?);
            }
            MigrationAct::Fetch(snapshot) => {
                let work = restore(migration, &stack, snapshot, Vec::new(), Destination::Ahead);
                passage.ahead = Some(self.ask(tx, to.node, BackupTask::Restore(work)).await?);
            }
            MigrationAct::TakeAway => self.say(tx, migration, from, not()).await?,
            MigrationAct::Start(snapshot) => {
                if let Some(snapshot) = snapshot {
                    let items = items_of(tx, read, from.node, snapshot).await?;
                    let before = Destination::BeforeStart { deployment: None };
                    let work = restore(migration, &stack, snapshot, items, before);
                    passage.restore = Some(self.ask(tx, to.node, BackupTask::Restore(work)).await?);
                }
                self.say(tx, migration, to, here()).await?;
            }
            MigrationAct::KeepOff => {
                self.say(tx, migration, to, not()).await?;
                if let Some(job) = &read.restore {
                    self.start_without(tx, job, BY).await?;
                }
            }
            MigrationAct::Resume => {
                self.say(tx, migration, to, not()).await?;
                self.say(tx, migration, from, here()).await?;
            }
            MigrationAct::EndJobs => {
                for job in [&read.copy, &read.ahead].into_iter().flatten() {
                    self.end_job(tx, job).await?;
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, tx: &mut Tx, node: NodeId, task: BackupTask) -> Result<BackupJobId, EngineError> {
        Ok(self.give(tx, Wanted { whose: Some(node), task, id: None }, BY).await?.id)
    }

    /// Ends a job that nobody waits for any more: one that waits at once, one that runs when its node is heard from.
    async fn end_job(&self, tx: &mut Tx, job: &BackupJob) -> Result<(), EngineError> {
        if job.state.is_final() || job.cancelled_by.is_some() || job.by != BY {
            return Ok(());
        }
        let mut ended = job.clone();
        ended.cancelled_by = Some(BY.to_owned());
        if job.state == BackupJobState::Queued {
            ended.state = BackupJobState::Cancelled;
            ended.ended_at = Some(self.inner.world.now());
        }
        Ok(jobs::update(tx, job.state, &ended).await?)
    }

    /// Says where a stack runs, or does not: what was said of that before is lifted.
    async fn say(
        &self,
        tx: &mut Tx,
        migration: &Migration,
        stay: &Stay,
        effect: Effect,
    ) -> Result<(), EngineError> {
        let Some(stack) = effect.stack().cloned() else { return Ok(()) };
        let standing = constraints::of_migrations(tx).await?;
        for before in about(&standing, stay, &stack) {
            self.lift_constraint(tx, before, "the stack moves again", &migration.by).await?;
        }
        // The node may have another name by now; it is known by the one that it has.
        let name = nodes::get(tx, stay.node).await?.map_or_else(|| stay.name.clone(), |node| node.name);
        let constraint = Constraint {
            id: self.inner.world.mint(),
            scope: scope_of(&Stay { node: stay.node, name }),
            effect,
            reason: match migration.reason.is_empty() {
                true => format!("migration {}", migration.id),
                false => migration.reason.clone(),
            },
            by: migration.by.clone(),
            origin: ConstraintOrigin::Migration { migration: migration.id },
            created_at: self.inner.world.now(),
            from: None,
            until: None,
            lifted_at: None,
        };
        self.set_constraint(tx, &constraint).await
    }
}

fn restore(
    migration: &Migration,
    stack: &StackName,
    snapshot: SnapshotId,
    items: Vec<String>,
    destination: Destination,
) -> RestoreWork {
    RestoreWork {
        snapshot,
        stack: stack.clone(),
        of_node: Some(migration.from.node),
        items,
        paths: Vec::new(),
        destination,
    }
}

/// What a snapshot holds, by what the job says that made it; all when nothing is known of that.
async fn items_of(
    tx: &mut Tx,
    read: &Read,
    node: NodeId,
    snapshot: SnapshotId,
) -> Result<Vec<String>, EngineError> {
    let made = match &read.last {
        Some(last) => Some(last.clone()),
        None => {
            let kept = backstay_store::backups::snapshots::get(tx, Some(node), snapshot).await?;
            job(tx, kept.and_then(|kept| kept.job)).await?
        }
    };
    let work = made.and_then(|job| job.result).and_then(|result| result.work);
    let stack = read.from.latest.as_ref().map(|latest| latest.stack.clone());
    let items = work.into_iter().flat_map(|work| work.items);
    Ok(items
        .filter(|item| stack.as_ref().is_none_or(|stack| item.stack == *stack))
        .map(|item| item.item)
        .collect())
}

async fn job(ex: &mut impl Executor, id: Option<BackupJobId>) -> Result<Option<BackupJob>, EngineError> {
    match id {
        Some(id) => Ok(jobs::get(ex, id).await?),
        None => Ok(None),
    }
}

async fn whereabouts(
    ex: &mut impl Executor,
    node: NodeId,
    stack: &StackName,
) -> Result<Whereabouts, EngineError> {
    let latest = deployments::latest(ex, node, stack).await?;
    let rollout = match &latest {
        Some(latest) => rollouts::get(ex, latest.rollout).await?,
        None => None,
    };
    let runs = deployments::run_by(ex, &[node]).await?.iter().any(|one| one.stack == *stack);
    let removal = rollout.is_some_and(|rollout| rollout.kind == RolloutKind::Removal);
    Ok(Whereabouts { latest, removal, runs })
}

fn refs(migration: &Migration, passage: &Passage) -> Refs {
    Refs { node: Some(migration.from.node), stack: Some(passage.stack.clone()), ..Refs::default() }
}
