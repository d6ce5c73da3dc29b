//! When snapshots were begun. A node says it, and whoever has its key can say anything: the hub believes what lies where it
//! knows the snapshot to have been made, and takes its own time for the rest.

use backstay_store::{Tx, backups::snapshots};
use backstay_types::{
    BackupJobId, Event, Timestamp,
    backup::{BackupJob, BackupTask, Destination, RepositoryFacts, Snapshot},
};
use jiff::SignedDuration;

use super::{BackupRules, Whose, refs};
use crate::EngineError;

/// Clocks of nodes may differ so much from the hub's.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// Between which times a snapshot was made, as far as the hub knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    from: Timestamp,
    until: Timestamp,
    /// Whether the hub gave the job itself.
    given: bool,
}

impl Made {
    /// While a job ran: from when it was given until it was told of, or until it had to be done. A machine that slept
    /// meanwhile did it when it woke, and tells at once: the last of these times counts too.
    pub(super) fn by(job: &BackupJob, rules: &BackupRules, now: Timestamp, at: Timestamp) -> Self {
        let lately = Self { given: true, ..Self::lately(rules, now) };
        let from = job.started_at.unwrap_or(job.asked_at).min(now);
        let until = from.checked_add(rules.deadline).unwrap_or(now).min(now);
        if until < now && lately.holds(at) { lately } else { Self { from, until, given: true } }
    }

    /// Told for a job that this hub does not know: just now, if that is to be believed.
    pub(super) fn lately(rules: &BackupRules, now: Timestamp) -> Self {
        Self { from: now.checked_sub(rules.deadline).unwrap_or(now), until: now, given: false }
    }

    /// Found in the repository: since that was last looked through. That no job told of it says the rest.
    pub(super) fn since_listed(facts: Option<&RepositoryFacts>, now: Timestamp) -> Self {
        let from = facts.and_then(|facts| facts.listed_at.or(facts.made_at)).unwrap_or(now).min(now);
        Self { from, until: now, given: true }
    }

    fn holds(self, at: Timestamp) -> bool {
        let earliest = self.from.checked_sub(TOLERANCE).unwrap_or(self.from);
        let latest = self.until.checked_add(TOLERANCE).unwrap_or(self.until);
        (earliest..=latest).contains(&at)
    }

    /// The snapshot with the time that the hub takes it to be begun at; and the one that it has, where that is another.
    fn dated(self, snapshot: &Snapshot) -> (Snapshot, Option<Timestamp>) {
        if self.holds(snapshot.at) {
            return (snapshot.clone(), (!self.given).then_some(snapshot.at));
        }
        let at = snapshot.at.clamp(self.from, self.until);
        (Snapshot { at, ..snapshot.clone() }, Some(snapshot.at))
    }
}

/// Keeps snapshots that were told of or found, with the times that are to be believed. That some are not is recorded.
pub(super) async fn keep(
    tx: &mut Tx,
    whose: Whose,
    told: &[Snapshot],
    job: Option<BackupJobId>,
    made: impl Fn(&Snapshot) -> Made,
    now: Timestamp,
) -> Result<(), EngineError> {
    let mut doubted: Vec<(&Snapshot, Timestamp)> = Vec::new();
    for snapshot in told {
        let (dated, claimed) = made(snapshot).dated(snapshot);
        let is_new = snapshots::insert(tx, whose, &dated, job, now).await?;
        if let Some(claimed) = claimed.filter(|_| is_new) {
            snapshots::doubted(tx, whose, snapshot.id, claimed).await?;
            if claimed != dated.at {
                doubted.push((snapshot, claimed));
            }
        }
    }
    if let Some((first, claimed)) = doubted.first() {
        let what = format!(
            "{} snapshots say that they were begun when they cannot have been, the first, {}, at {claimed}: the node's \
             clock is wrong, or somebody else has its key",
            doubted.len(),
            first.id
        );
        let problems = doubted.len() as u64;
        let event = Event::BackupRepositoryChecked { problems, first: Some(what) };
        tx.record(event, refs(whose, first.tags.stack.as_ref()))?;
    }
    Ok(())
}

/// What a snapshot was made for is what its job was for, whatever a node says.
pub(super) fn of_job(snapshot: Snapshot, task: &BackupTask) -> Snapshot {
    let mut own = snapshot;
    match task {
        BackupTask::Save(work) => {
            own.tags.deployment = work.deployment;
            own.tags.conversation = work.conversation;
            own.tags.reason = work.reason;
        }
        BackupTask::Restore(work) => {
            let its = match work.destination {
                Destination::WithDeployment { deployment } => Some(deployment),
                _ => None,
            };
            own.tags.deployment = own.tags.deployment.filter(|told| Some(*told) == its);
        }
        _ => own.tags.deployment = None,
    }
    own
}
