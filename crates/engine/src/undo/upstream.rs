//! Upstream moved: what is deployed follows it, with the undos that upstream does not contain yet on top.

use std::{collections::BTreeMap, sync::Arc};

use backstay_source::{Mirror, NewCommit, Relation, undo_message};
use backstay_store::{repositories, undos};
use backstay_types::{CommitId, PushState, Repository, RepositoryHealth, RepositoryId, Undo, UndoState};

use super::act::{committer, subject};
use crate::{Engine, EngineError, mirrors::blocking};

impl Engine {
    /// Follows upstream to `found`. `first` says whether the preferred endpoint gave it: only that one can set a
    /// branch back; another may just lag behind.
    pub(crate) async fn upstream_at(
        &self,
        id: RepositoryId,
        mirror: &Arc<Mirror>,
        found: CommitId,
        first: bool,
    ) -> Result<(), EngineError> {
        let _one = self.inner.advancing.lock().await;
        let repository = self.repository(id).await?;
        let Some(deployed) = repository.tip.clone() else {
            self.advance(&repository, mirror, found).await?;
            return Ok(());
        };
        let relation = {
            let (mirror, deployed, found) = (Arc::clone(mirror), deployed.clone(), found.clone());
            blocking(move || mirror.relation(&deployed, &found)).await?
        };
        let unmerged = self.unmerged(id).await?;
        match relation {
            Relation::Same | Relation::FastForward => {
                for undo in unmerged {
                    self.pushed(undo.id, id, PushState::Done).await?;
                }
                if relation == Relation::FastForward || repository.health != RepositoryHealth::Ok {
                    self.advance(&repository, mirror, found).await?;
                } else {
                    self.fetched(&repository).await?;
                }
            }
            Relation::Behind if !unmerged.is_empty() || !first => self.fetched(&repository).await?,
            Relation::Rewritten if !unmerged.is_empty() => {
                self.replay(&repository, mirror, found, unmerged).await?;
            }
            Relation::Behind | Relation::Rewritten => {
                self.set_health(&repository, RepositoryHealth::Rewritten { found }).await?;
            }
        }
        Ok(())
    }

    async fn fetched(&self, repository: &Repository) -> Result<(), EngineError> {
        if repository.health != RepositoryHealth::Ok {
            return self.set_health(repository, RepositoryHealth::Ok).await;
        }
        let mut tx = self.inner.store.begin().await?;
        repositories::set_fetched(&mut tx, repository.id, self.inner.world.now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Computes the open undos again on a tip that moved on without them.
    async fn replay(
        &self,
        repository: &Repository,
        mirror: &Arc<Mirror>,
        found: CommitId,
        unmerged: Vec<Undo>,
    ) -> Result<(), EngineError> {
        let base = unmerged.first().and_then(|u| part(u, repository)).map(|r| r.base.clone());
        let grown = match base {
            None => false,
            Some(base) => {
                let (mirror, found) = (Arc::clone(mirror), found.clone());
                blocking(move || mirror.contains(&found, &base)).await?
            }
        };
        if !grown {
            return self.set_health(repository, RepositoryHealth::Rewritten { found }).await;
        }
        let mut tip = found;
        let mut replayed = Vec::new();
        for undo in unmerged {
            match self.replay_one(repository, mirror, &tip, &undo).await? {
                Replayed::Contained => self.pushed(undo.id, repository.id, PushState::Done).await?,
                Replayed::Onto(commit) => {
                    replayed.push((undo, tip.clone(), commit.clone()));
                    tip = commit;
                }
                Replayed::Conflicts(paths) => {
                    // Nodes stay on the undo; a person must bring the two together upstream.
                    let reason = format!(
                        "upstream moved on and conflicts with the undo in {}; merge it there by hand",
                        paths.join(", ")
                    );
                    let command = format!("backstay rollback --undo {} --dry-run", undo.id);
                    let state = PushState::AwaitingMerge { branch: None, reason, command };
                    if part(&undo, repository).is_none_or(|r| r.push != state) {
                        self.pushed(undo.id, repository.id, state).await?;
                    }
                    return Ok(());
                }
            }
        }
        for (undo, base, commit) in &replayed {
            self.rebased(undo, repository, base, commit).await?;
        }
        self.advance(repository, mirror, tip).await?;
        for (undo, _, _) in replayed {
            self.push_soon(undo.id);
        }
        Ok(())
    }

    async fn replay_one(
        &self,
        repository: &Repository,
        mirror: &Arc<Mirror>,
        tip: &CommitId,
        undo: &Undo,
    ) -> Result<Replayed, EngineError> {
        let Some(part) = part(undo, repository).cloned() else { return Ok(Replayed::Contained) };
        let resolutions = self.request(undo.id).await?.resolutions;
        let prefix = format!("{}:", repository.name);
        let resolutions: BTreeMap<_, _> = resolutions
            .into_iter()
            .filter_map(|(path, content)| {
                let resolution = match content {
                    Some(text) => backstay_source::Resolution::Content(text.into_bytes()),
                    None => backstay_source::Resolution::Delete,
                };
                Some((path.strip_prefix(&prefix)?.to_owned(), resolution))
            })
            .collect();
        let (mirror, tip, id) = (Arc::clone(mirror), tip.clone(), undo.id);
        let (subject, body, now) = (subject(&undo.selector), undo.reason.clone(), self.inner.world.now());
        blocking(move || {
            let since = mirror.changes(Some(&part.base), &tip, 10_000)?;
            if since.changes.iter().any(|c| c.undo.contains(&id)) {
                return Ok(Replayed::Contained);
            }
            let known = |path: &String| part.conflicts.iter().any(|c| c.path == *path);
            let mut resolutions = resolutions;
            resolutions.retain(|path, _| known(path));
            let outcome = mirror.plan_revert(&tip, &part.commits, &resolutions)?;
            if !outcome.conflicts.is_empty() {
                return Ok(Replayed::Conflicts(outcome.conflicts.into_iter().map(|c| c.path).collect()));
            }
            if outcome.files.is_empty() {
                return Ok(Replayed::Contained);
            }
            let message = undo_message(&subject, &body, id, &outcome.reverted);
            let by = committer();
            let new = NewCommit {
                draft: &outcome.draft,
                parents: std::slice::from_ref(&tip),
                message: &message,
                by: &by,
                at: now,
            };
            Ok(Replayed::Onto(mirror.commit_undo(id, &new)?))
        })
        .await
    }

    /// Notes the new commit of an undo that was computed again.
    async fn rebased(
        &self,
        undo: &Undo,
        repository: &Repository,
        base: &CommitId,
        commit: &CommitId,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let Some(mut undo) = undos::get(&mut tx, undo.id).await? else { return Ok(()) };
        for part in undo.plan.repositories.iter_mut().filter(|r| r.repository == repository.id) {
            part.base = base.clone();
            part.commit = Some(commit.clone());
            part.push = PushState::NotYet;
        }
        undos::update(&mut tx, undo.id, &undo.state, &undo.state, &undo.plan, self.inner.world.now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Accepts that upstream rewrote the branch: deploys what is there now.
    ///
    /// # Errors
    /// When upstream has moved since `tip` was looked at, or the store fails.
    pub async fn accept_rewrite(
        &self,
        id: RepositoryId,
        tip: CommitId,
        _by: &str,
    ) -> Result<Repository, EngineError> {
        let repository = self.repository(id).await?;
        if !matches!(&repository.health, RepositoryHealth::Rewritten { found } if *found == tip) {
            let message = format!("{} is not the rewritten tip that waits to be accepted", tip.short());
            return Err(EngineError::Conflict(message));
        }
        let mirror = self.inner.mirrors.of(&repository)?;
        {
            let _one = self.inner.advancing.lock().await;
            self.advance(&repository, &mirror, tip).await?;
            for undo in self.unmerged(id).await? {
                if undo.state != UndoState::Verified {
                    tracing::info!(undo = %undo.id, "an undo was left behind by an accepted rewrite");
                }
                self.pushed(undo.id, id, PushState::Done).await?;
            }
        }
        self.reconcile().await?;
        self.repository(id).await
    }
}

enum Replayed {
    /// Upstream has it.
    Contained,
    /// Made again on the new tip.
    Onto(CommitId),
    /// It does not fit any more.
    Conflicts(Vec<String>),
}

fn part<'a>(undo: &'a Undo, repository: &Repository) -> Option<&'a backstay_types::RepositoryUndo> {
    undo.plan.repositories.iter().find(|r| r.repository == repository.id)
}
