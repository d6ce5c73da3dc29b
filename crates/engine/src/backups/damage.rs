//! Repositories that are damaged, or gone from their target: what was lost is noted by name, and never counts again until
//! it was read back.

use std::collections::HashSet;

use backstay_store::{
    Tx,
    backups::{
        repositories::{self, KeptRepository},
        snapshots,
    },
};
use backstay_types::{
    Event, Timestamp,
    backup::{Damage, Proof, RepositoryFacts, SnapshotId, Trouble, job::Problem},
};

use super::{Whose, refs};
use crate::{Engine, EngineError};

impl Engine {
    /// Notes that somebody did not find a repository that should be there: it is looked at next.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn suspect_repository(&self, whose: Whose) -> Result<(), EngineError> {
        let known = repositories::get(&mut self.inner.store.read(), whose).await?;
        if known.is_none_or(|one| one.facts.made_at.is_none() || one.facts.suspect) {
            return Ok(());
        }
        self.note_repository(whose, |facts| facts.suspect = true).await
    }

    /// Notes that a repository is gone from the target, with all its snapshots. It is made anew for the next backup.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_gone(&self, whose: Whose, place: &str) -> Result<(), EngineError> {
        let mut tx = self.noting().await?;
        let now = self.inner.world.now();
        let Some(kept) = repositories::get(&mut tx, whose).await? else { return Ok(()) };
        let known = snapshots::of(&mut tx, whose).await?;
        let copies = known.iter().filter(|one| one.copy.is_some()).count();
        for one in &known {
            snapshots::damaged(&mut tx, whose, one.snapshot.id, now).await?;
        }
        let what = match (known.len(), copies) {
            (0, _) => "the repository is gone from the target; it had no snapshots".to_owned(),
            (all, 0) => format!("the repository is gone from the target, and with it {all} snapshots"),
            (all, copies) => format!(
                "the repository is gone from the target, and with it {all} snapshots, of which the second target has {copies}"
            ),
        };
        let facts = RepositoryFacts {
            second_made_at: kept.facts.second_made_at,
            second_trouble: kept.facts.second_trouble,
            ..RepositoryFacts::default()
        };
        repositories::set_facts(&mut tx, whose, &facts).await?;
        let event = Event::BackupRepositoryChecked { problems: 1, first: Some(format!("{place}: {what}")) };
        tx.record(event, refs(whose, None))?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Notes that the repository at the second target is gone: all is copied anew.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_second_gone(&self, whose: Whose, place: &str) -> Result<(), EngineError> {
        let mut tx = self.noting().await?;
        let Some(kept) = repositories::get(&mut tx, whose).await? else { return Ok(()) };
        let copies = snapshots::forget_copies(&mut tx, whose).await?;
        let facts = RepositoryFacts { second_made_at: None, ..kept.facts };
        repositories::set_facts(&mut tx, whose, &facts).await?;
        let what = format!("{place}: the repository is gone from the second target, with {copies} copies");
        tx.record(Event::BackupRepositoryChecked { problems: 1, first: Some(what) }, refs(whose, None))?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Notes that copies at the second target can no longer be read: they are made anew.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_copies_lost(&self, whose: Whose, ids: &[SnapshotId]) -> Result<(), EngineError> {
        let mut tx = self.noting().await?;
        for id in ids {
            snapshots::forget_copy(&mut tx, whose, *id).await?;
        }
        let what = format!("{} copies at the second target are damaged: they are made anew", ids.len());
        let problems = ids.len() as u64;
        tx.record(Event::BackupRepositoryChecked { problems, first: Some(what) }, refs(whose, None))?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Notes what does not go with a repository, at the target or at the `second` one; or that it goes again. When that
    /// began is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_trouble(
        &self,
        whose: Whose,
        second: bool,
        why: Option<&str>,
    ) -> Result<(), EngineError> {
        let Some(known) = repositories::get(&mut self.inner.store.read(), whose).await? else {
            return Ok(());
        };
        let place = |facts: &RepositoryFacts| match second {
            true => facts.second_trouble.clone(),
            false => facts.trouble.clone(),
        };
        let before = place(&known.facts);
        if before.as_ref().map(|trouble| trouble.why.as_str()) == why {
            return Ok(());
        }
        let since = before.map_or_else(|| self.inner.world.now(), |trouble| trouble.since);
        let trouble = why.map(|why| Trouble { since, why: why.to_owned() });
        let note = move |facts: &mut RepositoryFacts| match second {
            true => facts.second_trouble = trouble,
            false => facts.trouble = trouble,
        };
        self.note_repository(whose, note).await
    }

    /// Notes that what was damaged was taken out: `right` snapshots can be restored, `wrong` ones lost data.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_repaired(
        &self,
        whose: Whose,
        lost: &[Problem],
        right: &[SnapshotId],
        wrong: &[SnapshotId],
    ) -> Result<(), EngineError> {
        let mut tx = self.noting().await?;
        let now = self.inner.world.now();
        let Some(kept) = repositories::get(&mut tx, whose).await? else { return Ok(()) };
        for id in wrong {
            snapshots::damaged(&mut tx, whose, *id, now).await?;
        }
        let known = snapshots::of(&mut tx, whose).await?;
        let known: HashSet<SnapshotId> = known.iter().map(|one| one.snapshot.id).collect();
        for id in right.iter().filter(|id| known.contains(id)) {
            snapshots::verified(&mut tx, whose, *id, now).await?;
        }
        let first = match (lost.first(), wrong.len()) {
            (None, 0) => None,
            (first, lost_data) => {
                let first = first.map_or_else(String::new, |one| format!("; {} {}", one.at, one.what));
                Some(format!("{lost_data} snapshots lost data{first}"))
            }
        };
        let facts = RepositoryFacts { damaged: None, repaired_at: Some(now), ..kept.facts };
        repositories::set_facts(&mut tx, whose, &facts).await?;
        tx.record(Event::BackupRepositoryChecked { problems: 0, first }, refs(whose, None))?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Notes what a check found: problems, and snapshots that they concern; or that all is well, and whether that is
    /// the `whole` repository with its data.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_checked(
        &self,
        whose: Whose,
        problems: &[Problem],
        concerned: &[SnapshotId],
        whole: bool,
        change: impl FnOnce(&mut RepositoryFacts) + Send,
    ) -> Result<(), EngineError> {
        let mut tx = self.noting().await?;
        let now = self.inner.world.now();
        let Some(mut kept) = repositories::get(&mut tx, whose).await? else { return Ok(()) };
        change(&mut kept.facts);
        for id in concerned {
            snapshots::damaged(&mut tx, whose, *id, now).await?;
        }
        // Right again only when all was looked at: what a part of it shows says nothing of the rest.
        let found = (whole || !problems.is_empty()).then(|| problems.to_vec());
        damage(&mut tx, whose, kept, found, now).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }
}

/// Keeps what is known about a repository, with what was `found` to be wrong with all of it; nothing where it was not
/// looked at. That it became damaged, or right again, is recorded.
async fn damage(
    tx: &mut Tx,
    whose: Whose,
    kept: KeptRepository,
    found: Option<Vec<Problem>>,
    now: Timestamp,
) -> Result<(), EngineError> {
    let mut facts = kept.facts;
    let was = facts.damaged.clone();
    let first = found.iter().flatten().next().map(|problem| format!("{}: {}", problem.at, problem.what));
    let count = found.as_ref().map_or(0, Vec::len) as u64;
    if let Some(problems) = found {
        let since = was.as_ref().map_or(now, |damage| damage.since);
        let problems: Vec<_> = problems.into_iter().take(100).collect();
        facts.damaged = (!problems.is_empty()).then_some(Damage { since, problems });
    }
    if was.is_some() != facts.damaged.is_some() {
        tx.record(Event::BackupRepositoryChecked { problems: count, first }, refs(whose, None))?;
    }
    Ok(repositories::set_facts(tx, whose, &facts).await?)
}

/// Whether a snapshot counts: it was read back, and nothing was found to be wrong with it since.
pub(super) fn counts(one: &backstay_types::backup::KeptSnapshot) -> bool {
    one.snapshot.proof >= Proof::Verified && one.damaged_at.is_none()
}
