//! Repositories that are damaged, or gone from their target.

use backstay_objects::Objects;
use backstay_store::backups::snapshots;
use backstay_types::backup::{
    SnapshotId,
    job::{Done, FailedKind, Problem, Task},
};

use super::{ChildError, Place, chores::Hand, folder_of, name_of};

impl Hand<'_> {
    /// Takes out what is damaged, and finds out which snapshots can still be restored.
    pub(super) async fn repair(&self) -> Result<(), ChildError> {
        let Done::Repair { lost, .. } = self.run(self.first(), Task::Repair).await? else {
            return Err(ChildError::OtherAnswer);
        };
        let all = snapshots::of(&mut self.app.store.read(), self.whose).await?;
        let ids: Vec<_> = all.iter().map(|one| one.snapshot.id).collect();
        let (right, wrong) = self.apart(&ids).await?;
        Ok(self.app.engine.note_repaired(self.whose, &lost, &right, &wrong).await?)
    }

    /// Reads back those that were found to be damaged: what they lost may have been saved anew since.
    pub(super) async fn look_again(&self) -> Result<(), ChildError> {
        let damaged = self.damaged().await?;
        if !damaged.is_empty() {
            let (right, _) = self.apart(&damaged).await?;
            self.app.engine.note_verified(self.whose, &right, None).await?;
        }
        Ok(())
    }

    /// Snapshots that are known to be damaged.
    pub(super) async fn damaged(&self) -> Result<Vec<SnapshotId>, ChildError> {
        let all = snapshots::of(&mut self.app.store.read(), self.whose).await?;
        Ok(all.iter().filter(|one| one.damaged_at.is_some()).map(|one| one.snapshot.id).collect())
    }

    /// Reads snapshots back: those that are right, and those that are not.
    async fn apart(&self, ids: &[SnapshotId]) -> Result<(Vec<SnapshotId>, Vec<SnapshotId>), ChildError> {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for id in ids {
            match self.run(self.first(), Task::Verify { snapshot: *id }).await {
                Ok(_) => right.push(*id),
                Err(ChildError::Failed(failed)) if is_of_snapshot(failed.kind) => wrong.push(*id),
                // Nothing is known of this one: it stays as it is, and the others are looked at.
                Err(error) if error.is_of_one() => {
                    tracing::warn!(snapshot = %id, %error, "a snapshot could not be read back");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((right, wrong))
    }

    /// A repository was not found where it was made. It is made anew for the next backup, unless the target itself is not
    /// as it should be.
    pub(super) async fn not_found(&self) -> Result<(), ChildError> {
        let config = folder_of(self.whose)?.join("config")?;
        let is_there = async |objects: &Objects| objects.size(&config).await;
        let engine = &self.app.engine;
        if is_there(self.place.objects()).await?.is_none() {
            if let Some(problem) = self.place.is_missing() {
                engine.note_no_target(self.whose, problem.clone()).await?;
                return Err(ChildError::Hub(format!("{}: {}", problem.at, problem.what)));
            }
            tracing::error!(repository = name_of(self.whose), "a repository is gone from the backup target");
            return Ok(engine.note_gone(self.whose, &self.place.place_of(self.whose)).await?);
        }
        if let Some(second) = self.place.second_objects()
            && is_there(second).await?.is_none()
        {
            return Ok(engine.note_second_gone(self.whose, &name_of(self.whose)).await?);
        }
        Ok(())
    }
}

/// Whether a snapshot itself is what failed.
pub(super) fn is_of_snapshot(kind: FailedKind) -> bool {
    matches!(kind, FailedKind::Damaged | FailedKind::NoSnapshot)
}

impl Place {
    /// Whether the target looks as if its disk was not mounted: a folder in which there was something, and is nothing.
    fn is_missing(&self) -> Option<Problem> {
        let folder = self.folder()?;
        let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        let at = folder.display().to_string();
        let what = format!(
            "the backup target is empty or not there, and was not before: is its disk mounted? When it was emptied on \
             purpose, `mkdir -p {at}/nodes` on the hub's machine says so"
        );
        is_empty.then_some(Problem { at, what })
    }
}
