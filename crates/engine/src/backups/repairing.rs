//! The right to repair a repository: packs and indexes go meanwhile, so nobody may write to it or read from it.
//!
//! It is a mark in the repository's row, taken and looked at by who gives orders, one at a time. It ends by itself: a hub
//! that was killed does not keep nodes from their backups for long.

use std::time::Duration;

use backstay_store::{
    Tx,
    backups::{jobs, repositories},
};
use backstay_types::{
    NodeId, Timestamp,
    backup::{BackupJob, BackupJobState, RepositoryFacts},
};

use super::Whose;
use crate::{Engine, EngineError};

/// Who has not said for so long that it still repairs has stopped.
const BELIEVED: Duration = Duration::from_secs(300);

/// The right to repair, as it was said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repairing {
    /// When it ends by itself.
    pub until: Timestamp,
}

impl Repairing {
    /// How often it should be said that the repair goes on.
    pub const SAID: Duration = Duration::from_secs(60);
}

impl Engine {
    /// Takes the right to repair a repository. Nothing while somebody writes to it, reads from it or repairs it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_repair(&self, whose: Whose) -> Result<Option<Repairing>, EngineError> {
        self.take_repair(whose, None).await
    }

    /// Says that a repair goes on. Nothing when the right to it is lost: it ended by itself, and somebody may use the
    /// repository.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn still_repairing(
        &self,
        whose: Whose,
        mark: Repairing,
    ) -> Result<Option<Repairing>, EngineError> {
        self.take_repair(whose, Some(mark)).await
    }

    async fn take_repair(
        &self,
        whose: Whose,
        own: Option<Repairing>,
    ) -> Result<Option<Repairing>, EngineError> {
        let mut tx = self.noting().await?;
        self.one_gives(&mut tx).await?;
        let now = self.inner.world.now();
        let Some(kept) = repositories::get(&mut tx, whose).await? else { return Ok(None) };
        let others = is_repaired(&kept.facts, now) && kept.facts.repairing_until != own.map(|own| own.until);
        if others || in_use(&mut tx, whose).await? {
            return Ok(None);
        }
        let next = next_mark(now, own);
        if !repositories::set_repairing(&mut tx, whose, kept.facts.repairing_until, Some(next)).await? {
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(Repairing { until: next }))
    }

    /// Gives the right back, when it was not lost.
    ///
    /// # Errors
    /// When the store fails; it ends by itself then.
    pub async fn end_repair(&self, whose: Whose, mark: Repairing) -> Result<(), EngineError> {
        let mut tx = self.noting().await?;
        repositories::set_repairing(&mut tx, whose, Some(mark.until), None).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }
}

/// Never what was said before, so that each time can be told from the others.
fn next_mark(now: Timestamp, own: Option<Repairing>) -> Timestamp {
    // As exact as the store keeps it.
    let until = now.checked_add(BELIEVED).unwrap_or(Timestamp::MAX).as_microsecond();
    let until = own.map_or(until, |own| until.max(own.until.as_microsecond() + 1));
    Timestamp::from_microsecond(until).unwrap_or(Timestamp::MAX)
}

/// Whether a hub repairs it now. What lies too far ahead was said by a clock that was wrong.
pub(super) fn is_repaired(facts: &RepositoryFacts, now: Timestamp) -> bool {
    let farthest = now.checked_add(2 * BELIEVED).unwrap_or(Timestamp::MAX);
    facts.repairing_until.is_some_and(|until| until > now && until <= farthest)
}

/// Whether somebody who was given an order writes to a repository or reads from it.
async fn in_use(tx: &mut Tx, whose: Whose) -> Result<bool, EngineError> {
    Ok(jobs::open(tx).await?.iter().any(|job| uses(job, whose)))
}

/// Whether a job that runs uses a repository: its own, or one that is lent to it.
fn uses(job: &BackupJob, whose: Whose) -> bool {
    job.state == BackupJobState::Running && (job.node == whose || whose.is_some_and(|node| reads(job, node)))
}

/// Whether a job that runs reads from a node's repository for another one.
pub(super) fn reads(job: &BackupJob, node: NodeId) -> bool {
    job.state == BackupJobState::Running && job.task.reads_of() == Some(node)
}
