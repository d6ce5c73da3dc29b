//! Repositories that are damaged, or gone from their target.

use backstay_engine::backups::Repairing;
use backstay_objects::Objects;
use backstay_store::backups::snapshots;
use backstay_types::backup::{
    SnapshotId,
    job::{Done, FailedKind, Task},
};

use tokio::time::sleep;

use super::{ChildError, For, chores::Hand, folder_of, name_of};

impl Hand<'_> {
    /// Takes out what is damaged, and finds out which snapshots can still be restored.
    pub(super) async fn repair(&self) -> Result<(), ChildError> {
        // Somebody was given an order meanwhile: another time.
        let Some(mark) = self.app.engine.begin_repair(self.whose).await? else { return Ok(()) };
        let repaired = self.alone(mark, self.run(self.first(), Task::Repair)).await;
        let Done::Repair { lost, .. } = repaired? else { return Err(ChildError::OtherAnswer) };
        let all = snapshots::of(&mut self.app.store.read(), self.whose).await?;
        let ids: Vec<_> = all.iter().map(|one| one.snapshot.id).collect();
        let (right, wrong) = self.apart(&ids).await?;
        Ok(self.app.engine.note_repaired(self.whose, &lost, &right, &wrong).await?)
    }

    /// Does this while nobody else uses the repository, and says now and then that it goes on. Dropped when the right to
    /// it is lost, as when this machine slept.
    async fn alone<T>(
        &self,
        mut mark: Repairing,
        work: impl Future<Output = Result<T, ChildError>>,
    ) -> Result<T, ChildError> {
        let engine = &self.app.engine;
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = sleep(Repairing::SAID) => {}
            }
            match engine.still_repairing(self.whose, mark).await {
                Ok(Some(next)) => mark = next,
                // Until then nobody else is let in.
                Err(error) if self.app.world.now() < mark.until => tracing::warn!(%error, "it is said again"),
                Ok(None) => {
                    break Err(ChildError::Hub("it was not heard of this repair for too long".to_owned()));
                }
                Err(error) => break Err(error.into()),
            }
        };
        engine.end_repair(self.whose, mark).await?;
        done
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
            // It is not gone where a disk is not mounted.
            self.place.is_known(self.app, false, For::Make).await?;
            tracing::error!(repository = name_of(self.whose), "a repository is gone from the backup target");
            return Ok(engine.note_gone(self.whose, &self.place.place_of(self.whose)).await?);
        }
        if let Some(second) = self.place.second_objects()
            && is_there(second).await?.is_none()
        {
            self.place.is_known(self.app, true, For::Make).await?;
            return Ok(engine.note_second_gone(self.whose, &name_of(self.whose)).await?);
        }
        Ok(())
    }
}

/// Whether a snapshot itself is what failed.
pub(super) fn is_of_snapshot(kind: FailedKind) -> bool {
    matches!(kind, FailedKind::Damaged | FailedKind::NoSnapshot)
}
