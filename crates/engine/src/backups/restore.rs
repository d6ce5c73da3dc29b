//! Which snapshot is put back. Only proven ones are.

use backstay_store::{
    backups::snapshots::{self, InRepository},
    deployments,
};
use backstay_types::{
    BackupJobId, DeploymentId, Node, StackName, Timestamp,
    backup::{BackupJob, BackupTask, Proof, RestoreWork},
};

use super::{Whose, jobs::Wanted};
use crate::{Engine, EngineError};

/// Which snapshot, as somebody asks for it.
#[derive(Debug, Clone)]
pub enum WantedSnapshot {
    /// By its id or its first digits.
    Named(String),
    /// The newest that was begun at this time or before.
    At(Timestamp),
    /// The one from just before a deployment.
    Before(DeploymentId),
}

/// What is put back.
#[derive(Debug, Clone)]
pub struct WantedRestore {
    /// The id that the job gets.
    pub id: Option<BackupJobId>,
    /// The node.
    pub node: Node,
    /// What, and where.
    pub work: RestoreWork,
}

/// A snapshot that was found.
pub type FoundSnapshot = InRepository;

impl Engine {
    /// A snapshot by its id or its first digits.
    ///
    /// # Errors
    /// When there is none, or several could be meant.
    pub async fn find_snapshot(&self, digits: &str) -> Result<FoundSnapshot, EngineError> {
        let fits =
            digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !fits {
            let expected = "expected a snapshot's id, or the first 8 digits of it or more";
            return Err(EngineError::Invalid(format!("snapshot: `{digits}`: {expected}")));
        }
        let mut found = snapshots::find(&mut self.inner.store.read(), digits).await?;
        match found.len() {
            0 => Err(EngineError::not_found("snapshot", digits)),
            1 => Ok(found.remove(0)),
            _ => {
                let candidates = found.iter().map(|one| one.kept.snapshot.id.to_string()).collect();
                Err(EngineError::Ambiguous { prefix: digits.to_owned(), candidates })
            }
        }
    }

    /// The proven snapshot of a stack that is meant.
    ///
    /// # Errors
    /// When there is none that is proven.
    pub async fn proven_snapshot(
        &self,
        whose: Whose,
        stack: &StackName,
        wanted: &WantedSnapshot,
    ) -> Result<FoundSnapshot, EngineError> {
        let mut read = self.inner.store.read();
        let at = match wanted {
            WantedSnapshot::Named(digits) => {
                let found = self.find_snapshot(digits).await?;
                return proven(found);
            }
            WantedSnapshot::At(at) => *at,
            WantedSnapshot::Before(id) => {
                let own = snapshots::for_deployment(&mut read, *id).await?;
                let fits = |one: &InRepository| {
                    one.whose == whose && one.kept.snapshot.tags.stack.as_ref() == Some(stack)
                };
                if let Some(one) = own.into_iter().find(fits) {
                    return Ok(one);
                }
                let found = deployments::get(&mut read, *id).await?;
                let deployment = found.ok_or_else(|| EngineError::not_found("deployment", id))?;
                deployment.started_at.unwrap_or(deployment.created_at)
            }
        };
        let found = snapshots::proven_at(&mut read, whose, Some(stack), at).await?;
        let found = found.map(|kept| InRepository { whose, kept });
        found.ok_or_else(|| {
            EngineError::NothingProven(format!("there is no proven snapshot of {stack} from {at} or before"))
        })
    }

    /// Asks for restores: all of them, or none. Gives their jobs in the same order.
    ///
    /// # Errors
    /// When an id is another job's, or the store fails.
    pub async fn ask_restores(
        &self,
        wanted: Vec<WantedRestore>,
        by: &str,
    ) -> Result<Vec<BackupJob>, EngineError> {
        let jobs = wanted.into_iter().map(|WantedRestore { id, node, work }| Wanted {
            whose: Some(node.id),
            task: BackupTask::Restore(work),
            id,
        });
        self.ask_backups(jobs.collect(), by).await
    }
}

pub(super) fn proven(found: FoundSnapshot) -> Result<FoundSnapshot, EngineError> {
    let id = found.kept.snapshot.id;
    match (found.kept.snapshot.proof >= Proof::Verified, found.kept.damaged_at) {
        (true, None) => Ok(found),
        (_, Some(at)) => {
            Err(EngineError::NothingProven(format!("snapshot {id} was found to be damaged at {at}")))
        }
        (false, None) => Err(EngineError::NothingProven(format!("snapshot {id} was not read back yet"))),
    }
}
