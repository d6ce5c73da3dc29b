//! What is done with repositories: what is next, and what came of it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use backstay_plan::backups::{Ceiling, Reached, RepositoryState, Resting, Upkeep, UpkeepKind, upkeep};
use backstay_store::{
    Lease, Tx,
    backups::{
        jobs,
        repositories::{self, KeptRepository},
        snapshots,
    },
    leases,
};
use backstay_types::{
    BackupJobId, Event, Timestamp,
    backup::{
        BackupJob, BackupJobState, BackupProgress, BackupResult, BackupTask, RepositoryFacts, Snapshot,
        SnapshotId,
        job::{Copied, FileEntry, Pruned},
    },
};

use super::{
    Whose,
    dating::{self, Made},
    jobs::{LEASE, grown},
    refs,
    repairing::{is_repaired, reads},
};
use crate::{Engine, EngineError};

const WORKER: &str = "backup upkeep";
/// A hub that stopped is followed by another one after so long.
const WORKER_TIME: Duration = Duration::from_secs(60);
/// Jobs are remembered for so long.
const JOBS_KEPT: Duration = Duration::from_secs(120 * 86_400);
/// Lists of files are kept for so long.
const FILES_KEPT: Duration = Duration::from_secs(86_400);

/// Something to do with a repository.
#[derive(Debug, Clone)]
pub struct Work {
    /// Whose.
    pub whose: Whose,
    /// The repository; absent where it was never heard of.
    pub repository: Option<KeptRepository>,
    /// What.
    pub chore: Chore,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Chore {
    /// What repositories need.
    Upkeep(Upkeep),
    /// What somebody asked for, or a backup of the hub's own state.
    Job(Box<BackupJob>),
}

impl Engine {
    /// Takes the lease of who looks after repositories, or keeps it. Nothing when another hub does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upkeep_lease(&self) -> Result<Option<Lease>, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let (now, holder) = (self.inner.world.now(), &self.inner.settings.holder);
        let lease = leases::acquire(&mut tx, WORKER, holder, now, WORKER_TIME).await?;
        tx.commit().await?;
        Ok(lease)
    }

    /// All that is to be done now, most urgent first; nothing about those who are `busy`, nor what of others is resting.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upkeep_work(
        &self,
        busy: &HashSet<Whose>,
        resting: &HashMap<Whose, Resting>,
    ) -> Result<Vec<Work>, EngineError> {
        let Some(rules) = &self.inner.settings.backups else { return Ok(Vec::new()) };
        let mut read = self.inner.store.read();
        let open = jobs::open(&mut read).await?;
        let recipient = self.recovery_key().await?;
        let known = repositories::list(&mut read).await?;
        let total = total(&known);
        let now = self.inner.world.now();
        let mut work = Vec::new();
        let waiting: HashSet<Whose> = open.iter().filter(|job| is_of_node(job)).map(|job| job.node).collect();
        let listed: HashSet<Whose> = known.iter().map(|one| one.whose).collect();
        // Each once: two that make the same repository leave one that neither of them opens.
        let none = Resting::default();
        let rests = |whose: &Whose| resting.get(whose).unwrap_or(&none);
        let unmade =
            |whose: &Whose| !listed.contains(whose) && !rests(whose).kinds.contains(&UpkeepKind::Make);
        for whose in waiting.iter().copied().chain([None]).filter(unmade) {
            work.push(Work { whose, repository: None, chore: Chore::Upkeep(Upkeep::Make) });
        }
        // Whoever repairs one alone does anything with it.
        for repository in known.into_iter().filter(|one| !is_repaired(&one.facts, now)) {
            let whose = repository.whose;
            let of = || open.iter().filter(move |job| job.node == whose);
            let asked = of().find(|job| !is_of_node(job) && job.state == BackupJobState::Queued);
            let made = repository.facts.made_at.is_some();
            let chore = match asked.filter(|_| made) {
                Some(job) => Some(Chore::Job(Box::new(job.clone()))),
                None => {
                    let snapshots = snapshots::undone(&mut read, whose, rules.upkeep.second).await?;
                    let state = RepositoryState {
                        facts: &repository.facts,
                        snapshots: &snapshots,
                        recipient: recipient.as_deref(),
                        written: of().any(|job| job.state == BackupJobState::Running),
                        read: whose.is_some_and(|node| open.iter().any(|job| reads(job, node))),
                        wanted: whose.is_none() || waiting.contains(&whose),
                        full: reached(&rules.ceiling, &repository, total).is_some(),
                        resting: rests(&whose),
                    };
                    upkeep(&state, &rules.upkeep, now).map(Chore::Upkeep)
                }
            };
            work.extend(chore.map(|chore| Work { whose, repository: Some(repository), chore }));
        }
        work.retain(|one| !busy.contains(&one.whose));
        work.sort_by_key(|one| urgency(&one.chore));
        Ok(work)
    }

    /// Begins a job that the hub does itself. Nothing when it was cancelled or begun meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_upkeep(&self, id: BackupJobId) -> Result<Option<BackupJob>, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let found = jobs::get(&mut tx, id).await?.filter(|job| job.state == BackupJobState::Queued);
        let Some(mut job) = found else { return Ok(None) };
        let now = self.inner.world.now();
        job.state = BackupJobState::Running;
        job.started_at = Some(now);
        job.lease_until = now.checked_add(LEASE).ok();
        jobs::update(&mut tx, BackupJobState::Queued, &job).await?;
        if matches!(job.task, BackupTask::Save(_)) {
            repositories::tried(&mut tx, job.node, now).await?;
        }
        tx.commit().await?;
        Ok(Some(job))
    }

    /// Notes how far the hub is with a job of its own. Whether to go on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upkeep_progress(
        &self,
        id: BackupJobId,
        progress: Option<BackupProgress>,
    ) -> Result<bool, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let running = jobs::get(&mut tx, id).await?.filter(|job| job.state == BackupJobState::Running);
        let Some(mut job) = running.filter(|job| job.cancelled_by.is_none()) else { return Ok(false) };
        job.progress = progress.or(job.progress);
        job.lease_until = self.inner.world.now().checked_add(LEASE).ok();
        jobs::update(&mut tx, BackupJobState::Running, &job).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes how a job of the hub's own ended, with what it found.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_upkeep(
        &self,
        id: BackupJobId,
        result: BackupResult,
        files: Option<&[FileEntry]>,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let running = jobs::get(&mut tx, id).await?.filter(|job| job.state == BackupJobState::Running);
        let Some(mut job) = running else { return Ok(()) };
        let now = self.inner.world.now();
        job.state = match (&result.failed, &job.cancelled_by) {
            (None, _) => BackupJobState::Done,
            (Some(_), Some(_)) => BackupJobState::Cancelled,
            (Some(_), None) => BackupJobState::Failed,
        };
        job.ended_at = Some(now);
        job.lease_until = None;
        for snapshot in result.work.iter().flat_map(|work| &work.snapshots) {
            snapshots::insert(&mut tx, job.node, snapshot, Some(id), now).await?;
        }
        let made = result.work.as_ref().map(|work| work.snapshots.as_slice()).unwrap_or_default();
        grown(&mut tx, job.node, made).await?;
        job.result = Some(result);
        jobs::update(&mut tx, BackupJobState::Running, &job).await?;
        if let Some(files) = files {
            jobs::set_files(&mut tx, id, files).await?;
        }
        self.note_end(&mut tx, &job).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Begins to note what came of something that was done with a repository.
    pub(super) async fn noting(&self) -> Result<Tx, EngineError> {
        Ok(self.inner.store.begin().await?)
    }

    /// Notes that snapshots were read back and are right: at the target, or with their copies at the second one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_verified(
        &self,
        whose: Whose,
        ids: &[SnapshotId],
        copies: Option<&[Copied]>,
    ) -> Result<(), EngineError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut tx = self.noting().await?;
        let now = self.inner.world.now();
        for id in ids {
            if snapshots::get(&mut tx, whose, *id).await?.is_none() {
                continue;
            }
            match copies {
                None => snapshots::verified(&mut tx, whose, *id, now).await?,
                Some(copies) => {
                    if let Some(copy) = copies.iter().find(|copy| copy.from == *id) {
                        snapshots::replicated(&mut tx, whose, *id, copy.to).await?;
                    }
                }
            }
        }
        let event = Event::BackupVerified { snapshots: ids.to_vec(), second: copies.is_some() };
        tx.record(event, refs(whose, None))?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Compares what is in a repository with what is known: takes in what a node never told, and forgets what is gone.
    /// Gives what is in it and should not: never told, and unproven for a day.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_listed(
        &self,
        whose: Whose,
        found: Vec<Snapshot>,
    ) -> Result<Vec<SnapshotId>, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let now = self.inner.world.now();
        let known = snapshots::of(&mut tx, whose).await?;
        let kept = repositories::get(&mut tx, whose).await?;
        let mut new = found.clone();
        new.retain(|one| !known.iter().any(|known| known.snapshot.id == one.id));
        let made = Made::since_listed(kept.as_ref().map(|kept| &kept.facts), now);
        dating::keep(&mut tx, whose, &new, None, |_| made, now).await?;
        let there: HashSet<SnapshotId> = found.iter().map(|one| one.id).collect();
        let gone: Vec<SnapshotId> =
            known.iter().map(|one| one.snapshot.id).filter(|id| !there.contains(id)).collect();
        // What a list that was cut short does not name is not gone: an empty one takes nothing away.
        if !found.is_empty() {
            for id in &gone {
                snapshots::damaged(&mut tx, whose, *id, now).await?;
            }
        }
        if let Some(kept) = kept {
            let facts = RepositoryFacts { listed_at: Some(now), suspect: false, ..kept.facts };
            repositories::set_facts(&mut tx, whose, &facts).await?;
        }
        tx.commit().await?;
        Ok(never_told(&known, now))
    }

    /// Notes what was pruned; `squeezed`, down to what must be kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_pruned(
        &self,
        whose: Whose,
        forgotten: &[SnapshotId],
        pruned: Option<&Pruned>,
        bytes: Option<u64>,
        squeezed: bool,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let now = self.inner.world.now();
        snapshots::forget(&mut tx, whose, forgotten).await?;
        if let Some(kept) = repositories::get(&mut tx, whose).await? {
            let mut facts = kept.facts;
            facts.pruned_at = pruned.map(|_| now).or(facts.pruned_at);
            facts.bytes = bytes.unwrap_or(facts.bytes);
            if pruned.is_some() {
                facts.squeezed_at = squeezed.then_some(now);
            }
            repositories::set_facts(&mut tx, whose, &facts).await?;
        }
        let deleted_bytes = pruned.map_or(0, |pruned| pruned.deleted_bytes);
        if !forgotten.is_empty() || deleted_bytes > 0 {
            let event = Event::BackupsPruned { snapshots: forgotten.to_vec(), deleted_bytes };
            tx.record(event, refs(whose, None))?;
        }
        sweep(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Bytes that all repositories take.
pub(super) fn total(all: &[KeptRepository]) -> u64 {
    all.iter().map(|one| one.facts.bytes).fold(0, u64::saturating_add)
}

/// Whether a repository has no room left, where all of them take `total` bytes.
pub(super) fn reached(ceiling: &Ceiling, one: &KeptRepository, total: u64) -> Option<Reached> {
    ceiling.reached(one.whose.map(|_| one.facts.bytes), total)
}

async fn sweep(tx: &mut Tx, now: Timestamp) -> Result<(), EngineError> {
    let ago = |time: Duration| now.checked_sub(time).unwrap_or(Timestamp::MIN);
    Ok(jobs::sweep(tx, ago(FILES_KEPT), ago(JOBS_KEPT)).await?)
}

/// Snapshots that nobody told of and that were not proven within a day of being found.
fn never_told(known: &[backstay_types::backup::KeptSnapshot], now: Timestamp) -> Vec<SnapshotId> {
    let old = |at: Timestamp| now.duration_since(at) >= jiff::SignedDuration::from_hours(24);
    let unproven = known.iter().filter(|one| {
        one.job.is_none()
            && one.hold.is_none()
            && one.snapshot.proof < backstay_types::backup::Proof::Verified
            && old(one.heard_at)
    });
    unproven.map(|one| one.snapshot.id).collect()
}

/// Whether a node does it; the hub's own state is saved by the hub.
fn is_of_node(job: &BackupJob) -> bool {
    job.task.is_of_node() && job.node.is_some()
}

/// What goes first.
fn urgency(chore: &Chore) -> u8 {
    match chore {
        Chore::Upkeep(Upkeep::Make) => 0,
        Chore::Job(job) if matches!(job.task, BackupTask::Files { .. }) => 1,
        Chore::Job(_) => 2,
        Chore::Upkeep(Upkeep::Seal | Upkeep::Repair) => 3,
        Chore::Upkeep(Upkeep::Verify(_)) => 4,
        Chore::Upkeep(Upkeep::MakeSecond | Upkeep::SealSecond | Upkeep::Copy(_)) => 5,
        Chore::Upkeep(Upkeep::List) => 6,
        Chore::Upkeep(Upkeep::Check(..) | Upkeep::CheckSecond(..)) => 7,
        Chore::Upkeep(Upkeep::Prune) => 8,
    }
}
