//! Whose turn it is: jobs for those who are due, an end for those who were not heard from.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use backstay_plan::backups::{Ceiling, Due, Rhythm, SavedNode, SavedStack, due, is_below_floor, next_at};
use backstay_store::{
    Tx,
    backups::{jobs, repositories, snapshots},
    deployments, nodes,
};
use backstay_types::{
    Event, NodeId, Timestamp,
    backup::{BackupHistory, BackupJob, BackupJobState, BackupReason, BackupResult, BackupTask, SaveWork},
};

use super::{
    SCHEDULE, Whose,
    awaited::is_before_start,
    elsewhere::in_place,
    jobs::{LEASE, Wanted},
    refs,
    upkeep::{reached, total},
};
use crate::{Engine, EngineError};

/// A restore in place waits so long for its stack to run, once there is a machine that could.
const WAITS: Duration = Duration::from_secs(7 * 86_400);

impl Engine {
    /// Gives jobs to those whose turn it is, and ends those of who was not heard from. Gives how many jobs are new.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn schedule_backups(&self) -> Result<usize, EngineError> {
        let Some(rules) = &self.inner.settings.backups else { return Ok(0) };
        let mut read = self.inner.store.read();
        let open = jobs::open(&mut read).await?;
        let now = self.inner.world.now();
        self.end_silent(&open, now).await?;
        self.end_unasked(&open, now).await?;
        let histories = repositories::histories(&mut read).await?;
        let refused = self.without_room(&rules.ceiling).await?;
        let busy: HashSet<Whose> = open.iter().filter(|job| saving(job)).map(|job| job.node).collect();
        let mut all: Vec<SavedNode> = nodes::active(&mut read)
            .await?
            .into_iter()
            .map(|node| SavedNode {
                id: node.id,
                online: self.inner.presence.is_online(node.id),
                since: node.joined_at,
                history: histories.get(&Some(node.id)).cloned().unwrap_or_default(),
                busy: busy.contains(&Some(node.id)),
            })
            .collect();
        let waits = |one: &&SavedNode| {
            let is_due = one.online && !one.busy && next_at(one, &rules.rhythm, now) <= now;
            is_due && refused.contains(&Some(one.id))
        };
        let below = self.below_floor(&all.iter().filter(waits).collect::<Vec<_>>()).await?;
        all.retain(|one| !refused.contains(&Some(one.id)) || below.contains(&one.id));
        let mut whose: Vec<Whose> =
            due(&all, &rules.rhythm, now).into_iter().map(|due: Due| Some(due.node)).collect();
        let own = histories.get(&None).cloned().unwrap_or_default();
        if !busy.contains(&None) && self.own_state_at(&own, now)? <= now {
            whose.push(None);
        }
        let wanted = |whose| Wanted { whose, task: BackupTask::Save(scheduled()), id: None };
        self.give_scheduled(whose.into_iter().map(wanted).collect()).await
    }

    /// Whose repository has no room left: no new backups of these are made by themselves.
    async fn without_room(&self, ceiling: &Ceiling) -> Result<HashSet<Whose>, EngineError> {
        if !ceiling.is_set() {
            return Ok(HashSet::new());
        }
        let all = repositories::list(&mut self.inner.store.read()).await?;
        let total = total(&all);
        Ok(all.iter().filter(|one| reached(ceiling, one, total).is_some()).map(|one| one.whose).collect())
    }

    /// Those of whom there are fewer proven snapshots than must be kept.
    async fn below_floor(&self, nodes: &[&SavedNode]) -> Result<HashSet<NodeId>, EngineError> {
        if nodes.is_empty() {
            return Ok(HashSet::new());
        }
        let at_least = self.backup_rules()?.keep.at_least;
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
        let mut read = self.inner.store.read();
        let counts = snapshots::counts(&mut read, &ids).await?;
        let mut stacks: HashMap<NodeId, Vec<SavedStack>> = HashMap::new();
        for one in deployments::run_by(&mut read, &ids).await? {
            let since = one.finished_at.unwrap_or(one.created_at);
            let (snapshots, proven) = counts.get(&(one.node, one.stack)).copied().unwrap_or_default();
            stacks.entry(one.node).or_default().push(SavedStack { since, snapshots, proven });
        }
        let below = nodes.iter().filter(|node| {
            let of_node = stacks.get(&node.id).map(Vec::as_slice).unwrap_or_default();
            is_below_floor(of_node, at_least, node.history.last_good_at)
        });
        Ok(below.map(|node| node.id).collect())
    }

    /// Gives jobs to those who have none. Gives how many are new.
    pub(super) async fn give_scheduled(&self, wanted: Vec<Wanted>) -> Result<usize, EngineError> {
        if wanted.is_empty() {
            return Ok(0);
        }
        let mut tx = self.inner.store.begin().await?;
        self.one_gives(&mut tx).await?;
        let mut given = 0;
        for one in wanted {
            // Another hub may have been faster.
            if !jobs::open_of(&mut tx, one.whose).await?.iter().any(saving) {
                self.give(&mut tx, one, SCHEDULE).await?;
                given += 1;
            }
        }
        tx.wake();
        tx.commit().await?;
        Ok(given)
    }

    /// When the hub's own state is due.
    fn own_state_at(&self, history: &BackupHistory, now: Timestamp) -> Result<Timestamp, EngineError> {
        let rhythm = self.backup_rules()?.rhythm;
        let own = SavedNode {
            id: backstay_types::Id::from_uuid(uuid::Uuid::nil()),
            online: true,
            // One that has none yet is due at once.
            since: now,
            history: history.clone(),
            busy: false,
        };
        Ok(next_at(&own, &Rhythm { jitter: std::time::Duration::ZERO, ..rhythm }, now))
    }

    /// When a node's next backup is due, or the hub's own.
    ///
    /// # Errors
    /// When backups are not set up.
    pub fn next_backup_at(
        &self,
        node: Option<(NodeId, Timestamp)>,
        history: &BackupHistory,
    ) -> Result<Timestamp, EngineError> {
        let now = self.inner.world.now();
        let Some((id, since)) = node else { return self.own_state_at(history, now) };
        let node = SavedNode { id, online: true, since, history: history.clone(), busy: false };
        Ok(next_at(&node, &self.backup_rules()?.rhythm, now))
    }

    /// Ends jobs of who was not heard from: of nodes, and of hubs that stopped in the middle of one.
    async fn end_silent(&self, open: &[BackupJob], now: Timestamp) -> Result<(), EngineError> {
        let silent = |job: &&BackupJob| {
            job.state == BackupJobState::Running && job.lease_until.is_some_and(|until| until < now)
        };
        for job in open.iter().filter(silent) {
            let mut tx = self.inner.store.begin().await?;
            let Some(current) = jobs::get(&mut tx, job.id).await?.filter(|job| silent(&job)) else {
                continue;
            };
            let (mut job, before) = (current.clone(), current.state);
            job.state = match job.cancelled_by {
                Some(_) => BackupJobState::Cancelled,
                None => BackupJobState::Failed,
            };
            job.ended_at = Some(now);
            let who =
                if job.task.is_of_node() && job.node.is_some() { "the node" } else { "the hub that did it" };
            let why = format!("{who} was not heard from for 15 minutes; it is tried again at its time");
            job.result = Some(BackupResult { failed: Some(why), ..BackupResult::default() });
            jobs::update(&mut tx, before, &job).await?;
            self.note_end(&mut tx, &job).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Ends what nobody asked for and whose node went away before it did: its turn comes when it is back.
    async fn end_unasked(&self, open: &[BackupJob], now: Timestamp) -> Result<(), EngineError> {
        let there = self.since(open).await?;
        let unasked = |job: &BackupJob| {
            let online = job.node.is_none_or(|node| self.inner.presence.is_online(node));
            let waited = job.asked_at.checked_add(LEASE).is_ok_and(|until| until < now);
            stale(job, online, &there, now)
                || job.state == BackupJobState::Queued && job.by == SCHEDULE && !online && waited
        };
        for job in open.iter().filter(|job| unasked(job)) {
            let mut tx = self.inner.store.begin().await?;
            let Some(current) = jobs::get(&mut tx, job.id).await?.filter(|job| unasked(job)) else {
                continue;
            };
            if is_before_start(&current) {
                if !is_to_come(&mut tx, &current).await? {
                    self.start_without(&mut tx, &current, SCHEDULE).await?;
                    tx.commit().await?;
                }
                continue;
            }
            let ended = BackupJob {
                state: BackupJobState::Cancelled,
                cancelled_by: Some(SCHEDULE.to_owned()),
                ended_at: Some(now),
                ..current.clone()
            };
            jobs::update(&mut tx, current.state, &ended).await?;
            if in_place(&current).is_some() {
                tx.record(
                    Event::BackupCancelled { job: job.id, by: SCHEDULE.to_owned() },
                    refs(job.node, None),
                )?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Since when the nodes are in the fleet for which a restore waits; absent are those whose machine is yet to come.
    async fn since(&self, open: &[BackupJob]) -> Result<HashMap<NodeId, Timestamp>, EngineError> {
        let mut since = HashMap::new();
        for id in open.iter().filter(|job| in_place(job).is_some()).filter_map(|job| job.node) {
            let node = nodes::get(&mut self.inner.store.read(), id).await?;
            since.extend(node.filter(|node| node.revoked_at.is_none()).map(|node| (id, node.joined_at)));
        }
        Ok(since)
    }
}

/// Whether a restore waits for a stack that does not come though its machine is there: it would put back old data when the
/// stack does come, long after. For a machine that is yet to join, or is away, it waits until somebody cancels it.
fn stale(job: &BackupJob, online: bool, there: &HashMap<NodeId, Timestamp>, now: Timestamp) -> bool {
    let since = job.node.and_then(|node| there.get(&node)).filter(|_| online && in_place(job).is_some());
    since.is_some_and(|since| job.asked_at.max(*since).checked_add(WAITS).is_ok_and(|until| until < now))
}

/// Whether a stack is still to start with the data that waits for it: it moves to the node, or the node was told to run it
/// and nothing but that data was there to be waited for. Without the data it would start empty.
async fn is_to_come(tx: &mut Tx, job: &BackupJob) -> Result<bool, EngineError> {
    let (Some(stack), Some(node)) = (in_place(job), job.node) else { return Ok(false) };
    let latest = deployments::latest(tx, node, stack).await?;
    let told = latest.is_some_and(|latest| latest.created_at >= job.asked_at);
    Ok(told || crate::migrations::is_of_one(tx, job.id).await?)
}

fn scheduled() -> SaveWork {
    SaveWork {
        stacks: Vec::new(),
        reason: BackupReason::Schedule,
        deployment: None,
        conversation: None,
        last: false,
    }
}

/// Whether somebody is at it, or waits to be: a second one would be too many.
fn saving(job: &BackupJob) -> bool {
    // One that waits for its stack may wait for long.
    job.task.is_of_node() && in_place(job).is_none()
}
