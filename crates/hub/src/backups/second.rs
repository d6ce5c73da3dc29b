//! What is done at the second target. That it is away, full or damaged holds up nothing at the first.

use backstay_store::backups::snapshots;
use backstay_types::backup::{
    RepositoryFacts, SnapshotId,
    job::{Copied, Done, FailedKind, Repository, Task},
};

use super::{ChildError, chores::Hand, repair::is_of_snapshot};

impl Hand<'_> {
    /// Copies snapshots to the second target and reads them back there. One that cannot be copied keeps no other from it.
    pub(super) async fn copy(&self, ids: &[SnapshotId]) -> Result<(), ChildError> {
        let Some(second) = self.second() else { return Ok(()) };
        let (copies, mut stuck, mut why) = match self.copied(&second, ids).await {
            Ok(copies) => (copies, Vec::new(), String::new()),
            Err(error) if is_of_some(&error) => self.one_by_one(&second, ids).await?,
            Err(error) => return Err(error),
        };
        let (mut right, mut broken): (Vec<Copied>, Vec<SnapshotId>) = (Vec::new(), Vec::new());
        for copy in copies {
            match self.run(second.clone(), Task::Verify { snapshot: copy.to }).await {
                Ok(Done::Verify { .. }) => right.push(copy),
                Ok(_) => return Err(ChildError::OtherAnswer),
                Err(error) if is_of_some(&error) => {
                    why = if stuck.is_empty() { error.to_string() } else { why };
                    stuck.push(copy.from);
                    broken.push(copy.to);
                }
                Err(error) => return Err(error),
            }
        }
        let ids: Vec<_> = right.iter().map(|copy| copy.from).collect();
        self.app.engine.note_verified(self.whose, &ids, Some(&right)).await?;
        if !broken.is_empty() {
            self.mend(&second, broken).await?;
        }
        match stuck.as_slice() {
            [] => Ok(()),
            _ => Err(ChildError::Stuck { snapshots: stuck, what: "copied", why }),
        }
    }

    async fn copied(&self, second: &Repository, ids: &[SnapshotId]) -> Result<Vec<Copied>, ChildError> {
        let task = Task::Copy { to: second.clone(), snapshots: ids.to_vec() };
        match self.run(self.first(), task).await? {
            Done::Copy { copies } => Ok(copies),
            _ => Err(ChildError::OtherAnswer),
        }
    }

    /// Those that can be copied, those that cannot, and why the first of these cannot.
    async fn one_by_one(
        &self,
        second: &Repository,
        ids: &[SnapshotId],
    ) -> Result<(Vec<Copied>, Vec<SnapshotId>, String), ChildError> {
        let (mut copies, mut stuck, mut why) = (Vec::new(), Vec::new(), String::new());
        for id in ids {
            match self.copied(second, &[*id]).await {
                Ok(copied) => copies.extend(copied),
                Err(error) if is_of_some(&error) => {
                    why = if stuck.is_empty() { error.to_string() } else { why };
                    stuck.push(*id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((copies, stuck, why))
    }

    /// Takes damage out at the second target, where this hub can, so that what it cost is copied anew.
    async fn mend(&self, second: &Repository, broken: Vec<SnapshotId>) -> Result<(), ChildError> {
        if !self.place.settings().second_can_delete {
            return Ok(());
        }
        match self.run(second.clone(), Task::Repair).await? {
            Done::Repair { .. } => {}
            _ => return Err(ChildError::OtherAnswer),
        }
        match self.run(second.clone(), Task::Forget { snapshots: broken }).await? {
            Done::Forget { .. } => Ok(()),
            _ => Err(ChildError::OtherAnswer),
        }
    }

    /// Checks the structure at the second target and a part of the data. Copies that are damaged are made anew.
    ///
    /// # Errors
    /// When something is wrong there, also where that was mended: the next check tells whether all is well.
    pub(super) async fn check_second(&self, (part, parts): (u32, u32)) -> Result<(), ChildError> {
        let Some(second) = self.second() else { return Ok(()) };
        let task = Task::Check { read: Some((part, parts)), except: Vec::new() };
        let problems = match self.run(second.clone(), task).await {
            Ok(Done::Check { problems, .. }) => problems,
            Ok(_) => return Err(ChildError::OtherAnswer),
            Err(ChildError::Failed(failed)) if failed.kind == FailedKind::Damaged => failed.problems,
            Err(error) => return Err(error),
        };
        let Some(first) = problems.first() else {
            let now = self.app.world.now();
            let note = move |facts: &mut RepositoryFacts| {
                facts.second_checked_at = Some(now);
                facts.second_next_part = if part + 1 >= parts { 0 } else { part + 1 };
            };
            self.app.engine.note_repository(self.whose, note).await?;
            return Ok(self.app.engine.note_trouble(self.whose, true, None).await?);
        };
        let what = format!("the repository at the second target is damaged: {}: {}", first.at, first.what);
        self.app.engine.note_trouble(self.whose, true, Some(&what)).await?;
        let known = snapshots::of(&mut self.app.store.read(), self.whose).await?;
        let (mut lost, mut broken) = (Vec::new(), Vec::new());
        for (id, copy) in known.iter().filter_map(|one| Some((one.snapshot.id, one.copy?))) {
            match self.run(second.clone(), Task::Verify { snapshot: copy }).await {
                Ok(_) => {}
                Err(error) if is_of_some(&error) => {
                    lost.push(id);
                    broken.push(copy);
                }
                Err(error) => return Err(error),
            }
        }
        if !lost.is_empty() {
            self.app.engine.note_copies_lost(self.whose, &lost).await?;
        }
        self.mend(&second, broken).await?;
        Err(ChildError::Hub(what))
    }

    /// Forgets copies at the second target, where this hub can: before what they are copies of, so that none is left that
    /// nobody knows. Gives those whose copies could not be forgotten.
    pub(super) async fn forget_copies(&self, ids: &[SnapshotId]) -> Result<Vec<SnapshotId>, ChildError> {
        let Some(second) = self.second().filter(|_| self.place.settings().second_can_delete) else {
            return Ok(Vec::new());
        };
        let known = snapshots::of(&mut self.app.store.read(), self.whose).await?;
        let gone = known.iter().filter(|one| ids.contains(&one.snapshot.id));
        let (of, copies): (Vec<_>, Vec<_>) =
            gone.filter_map(|one| Some((one.snapshot.id, one.copy?))).unzip();
        if copies.is_empty() {
            return Ok(Vec::new());
        }
        match self.run(second, Task::Forget { snapshots: copies }).await {
            Ok(Done::Forget { .. }) => Ok(Vec::new()),
            Ok(_) => Err(ChildError::OtherAnswer),
            Err(error) => {
                self.second_fails(&error).await?;
                Ok(of)
            }
        }
    }

    /// Takes away at the second target what no copy needs, where this hub can. That it cannot now is told.
    pub(super) async fn prune_second(&self) -> Result<(), ChildError> {
        let can = self.place.settings().second_can_delete && self.repository.facts.second_made_at.is_some();
        let Some(second) = self.second().filter(|_| can) else { return Ok(()) };
        match self.run(second, Task::Prune { dry_run: false }).await {
            Ok(Done::Prune(_)) => Ok(()),
            Ok(_) => Err(ChildError::OtherAnswer),
            Err(error) => self.second_fails(&error).await,
        }
    }

    async fn second_fails(&self, error: &ChildError) -> Result<(), ChildError> {
        let why = format!("copies that nobody needs cannot be taken away: {error}");
        Ok(self.app.engine.note_trouble(self.whose, true, Some(&why)).await?)
    }
}

/// Whether it is about some snapshots, and others may go.
fn is_of_some(error: &ChildError) -> bool {
    match error {
        ChildError::Failed(failed) => is_of_snapshot(failed.kind),
        error => error.is_of_one(),
    }
}
