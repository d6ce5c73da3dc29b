//! Drills: whose turn it is, what is asked for by hand, and what came of them.

use std::collections::{HashMap, HashSet};

use backstay_plan::backups::{DrilledStack, due_drills, next_drill_at};
use backstay_store::{
    Tx,
    backups::{drills, jobs, snapshots},
    deployments, nodes,
};
use backstay_types::{
    Event, Node, NodeId, Refs, StackName, Timestamp,
    backup::{
        BackupJob, BackupJobState, BackupTask, DrillHistory, DrillReport, DrillStart, DrillVerdict,
        DrillWork, KeptSnapshot,
    },
};

use super::{jobs::Wanted, refs, restore::proven};
use crate::{Engine, EngineError};

/// Who ended a drill that made way for something else.
const NODE: &str = "the node";

/// What is to be drilled by hand.
#[derive(Debug, Clone)]
pub struct WantedDrill {
    /// The node.
    pub node: Node,
    /// The stack.
    pub stack: StackName,
    /// The snapshot, by its id or its first digits; the newest that is proven when absent.
    pub snapshot: Option<String>,
    /// Nothing is started.
    pub files_only: bool,
}

impl Engine {
    /// Gives drills to those whose turn it is. Gives how many are new.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn schedule_drills(&self) -> Result<usize, EngineError> {
        let Some(rules) = &self.inner.settings.backups else { return Ok(0) };
        if rules.drills.every.is_zero() {
            return Ok(0);
        }
        let now = self.inner.world.now();
        let due = due_drills(&self.drilled_stacks().await?, &rules.drills, now);
        let mut read = self.inner.store.read();
        let mut wanted = Vec::new();
        for one in due {
            let whose = Some(one.node);
            let newest = snapshots::proven_at(&mut read, whose, Some(&one.stack), Timestamp::MAX).await?;
            let task = newest.map(|newest| BackupTask::Drill(work_of(&newest, &one.stack, false)));
            wanted.extend(task.map(|task| Wanted { whose, task, id: None }));
        }
        self.give_scheduled(wanted).await
    }

    /// Every stack of which a node that is in the fleet has a proven snapshot.
    async fn drilled_stacks(&self) -> Result<Vec<DrilledStack>, EngineError> {
        let mut read = self.inner.store.read();
        let there: HashSet<NodeId> =
            nodes::active(&mut read).await?.into_iter().map(|node| node.id).collect();
        let open = jobs::open(&mut read).await?;
        // A restore that waits for its stack may wait for long.
        let is_of_node = |job: &&BackupJob| {
            job.task.is_of_node() && job.node.is_some() && super::elsewhere::in_place(job).is_none()
        };
        let busy: HashSet<NodeId> = open.iter().filter(is_of_node).filter_map(|job| job.node).collect();
        let drill = |job: &&BackupJob| matches!(job.task, BackupTask::Drill(_));
        let drilling: HashSet<NodeId> = open.iter().filter(drill).filter_map(|job| job.node).collect();
        let moving: HashSet<NodeId> =
            deployments::open(&mut read).await?.into_iter().map(|deployment| deployment.node).collect();
        let mut histories: HashMap<(NodeId, StackName), DrillHistory> = drills::all(&mut read)
            .await?
            .into_iter()
            .map(|(node, stack, history)| ((node, stack), history))
            .collect();
        let all = snapshots::newest_of_stacks(&mut read).await?;
        let all = all.into_iter().filter(|(node, ..)| there.contains(node));
        let stack = |(node, stack, since): (NodeId, StackName, Timestamp)| DrilledStack {
            node,
            online: self.inner.presence.is_online(node),
            since,
            busy: busy.contains(&node),
            drilling: drilling.contains(&node),
            moving: moving.contains(&node),
            history: histories.remove(&(node, stack.clone())).unwrap_or_default(),
            stack,
        };
        Ok(all.map(stack).collect())
    }

    /// When a stack's next drill is due; none when drills are only made by hand.
    ///
    /// # Errors
    /// When backups are not set up.
    pub fn next_drill(
        &self,
        (node, stack): (NodeId, &StackName),
        since: Timestamp,
        history: &DrillHistory,
    ) -> Result<Option<Timestamp>, EngineError> {
        let stack = DrilledStack {
            node,
            stack: stack.clone(),
            online: true,
            since,
            busy: false,
            drilling: false,
            moving: false,
            history: history.clone(),
        };
        Ok(next_drill_at(&stack, &self.backup_rules()?.drills, self.inner.world.now()))
    }

    /// Asks for drills by hand: each with a proven snapshot.
    ///
    /// # Errors
    /// When one of the snapshots is not proven or not of that node and stack, or the store fails.
    pub async fn ask_drills(
        &self,
        wanted: Vec<WantedDrill>,
        by: &str,
    ) -> Result<Vec<BackupJob>, EngineError> {
        let mut jobs = Vec::new();
        for one in wanted {
            let whose = Some(one.node.id);
            let kept = match &one.snapshot {
                Some(digits) => {
                    let found = proven(self.find_snapshot(digits).await?)?;
                    if found.whose != whose || found.kept.snapshot.tags.stack.as_ref() != Some(&one.stack) {
                        return Err(EngineError::not_found("snapshot of this node and stack", digits));
                    }
                    found.kept
                }
                None => {
                    let at = super::WantedSnapshot::At(self.inner.world.now());
                    self.proven_snapshot(whose, &one.stack, &at).await?.kept
                }
            };
            let task = BackupTask::Drill(work_of(&kept, &one.stack, one.files_only));
            jobs.push(Wanted { whose, task, id: None });
        }
        self.ask_backups(jobs, by).await
    }
}

fn work_of(kept: &KeptSnapshot, stack: &StackName, files_only: bool) -> DrillWork {
    let snapshot = &kept.snapshot;
    DrillWork {
        snapshot: snapshot.id,
        stack: stack.clone(),
        bytes: snapshot.bytes,
        manifest: snapshot.manifest,
        files_only,
    }
}

/// How a job ended with what a drill came to: one that made way is not done, and nobody's failure.
pub(super) fn state_of(report: &DrillReport) -> (BackupJobState, Option<String>) {
    match report.verdict {
        DrillVerdict::Passed | DrillVerdict::Off => (BackupJobState::Done, None),
        DrillVerdict::Failed => (BackupJobState::Failed, None),
        DrillVerdict::PutOff => (BackupJobState::Cancelled, Some(NODE.to_owned())),
    }
}

/// What a node would have been asked, as its report says: the hub that asked it is gone.
pub(super) fn forgotten(report: &DrillReport) -> BackupTask {
    BackupTask::Drill(DrillWork {
        snapshot: report.snapshot,
        stack: report.stack.clone(),
        bytes: report.bytes,
        manifest: backstay_types::Digest::of(&[]),
        files_only: false,
    })
}

impl Engine {
    /// Notes how a drill ended: with its stack, its snapshot and the ledger.
    pub(super) async fn note_drill(
        &self,
        tx: &mut Tx,
        job: &BackupJob,
        work: &DrillWork,
    ) -> Result<(), EngineError> {
        let Some(node) = job.node else { return Ok(()) };
        let now = self.inner.world.now();
        let result = job.result.as_ref();
        let report = result.and_then(|result| result.work.as_ref()).and_then(|work| work.drill.as_deref());
        let failed = result.and_then(|result| result.failed.clone());
        let history = drills::history(tx, node, &work.stack).await?;
        let mut history =
            DrillHistory { tried_at: job.started_at.max(history.tried_at), job: Some(job.id), ..history };
        let verdict = match (report, job.state) {
            (Some(report), _) => report.verdict,
            // Somebody ended it.
            (None, BackupJobState::Cancelled) => return Ok(()),
            // Who was not heard from has learnt nothing about the snapshot.
            (None, _) if result.is_some_and(|result| result.work.is_none()) => DrillVerdict::PutOff,
            (None, _) => DrillVerdict::Failed,
        };
        history.off = verdict == DrillVerdict::Off;
        match (verdict, report) {
            (DrillVerdict::Passed, Some(report)) => {
                let second = self.inner.settings.backups.as_ref().is_some_and(|rules| rules.upkeep.second);
                let kept = snapshots::get(tx, Some(node), work.snapshot).await?;
                snapshots::drilled(tx, Some(node), work.snapshot, now, second).await?;
                history.passed_at = Some(now);
                (history.failed_in_a_row, history.put_off_in_a_row) = (0, 0);
                history.last_failure = None;
                history.snapshot = Some(work.snapshot);
                history.snapshot_at = kept.map(|kept| kept.snapshot.at);
                history.started = report.start == DrillStart::Yes;
                history.restore_ms = Some(report.restore_ms);
                history.bytes = Some(report.bytes);
            }
            (DrillVerdict::Off, _) => {
                (history.failed_in_a_row, history.put_off_in_a_row) = (0, 0);
                history.last_failure = None;
            }
            (DrillVerdict::PutOff, _) => {
                history.put_off_in_a_row = history.put_off_in_a_row.saturating_add(1);
                history.last_failure = failed.clone();
            }
            (DrillVerdict::Failed | DrillVerdict::Passed, _) => {
                history.failed_in_a_row = history.failed_in_a_row.saturating_add(1);
                history.put_off_in_a_row = 0;
                history.last_failure = failed.clone();
            }
        }
        drills::set_history(tx, node, &work.stack, &history).await?;
        if matches!(verdict, DrillVerdict::Passed | DrillVerdict::Failed) {
            let event = Event::DrillFinished {
                snapshot: work.snapshot,
                started: report.is_some_and(|report| report.start == DrillStart::Yes),
                restore_ms: report.map_or(0, |report| report.restore_ms),
                failed,
            };
            tx.record(event, Refs { stack: Some(work.stack.clone()), ..refs(job.node, None) })?;
        }
        Ok(())
    }
}
