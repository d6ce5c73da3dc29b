//! Bringing an undo upstream, beside the nodes' going back: nothing waits for it.

use std::{sync::Arc, time::Duration};

use backstay_source::{Credential, Mirror, Pushed};
use backstay_store::{repositories, undos};
use backstay_types::{
    CommitId, Event, PushState, Refs, Repository, RepositoryId, RepositoryUndo, Undo, UndoId, UndoRoute,
    UndoState,
};

use super::act::undo_refs;
use crate::{Engine, EngineError, mirrors::blocking};

/// How often a moved tip is met by computing again, before the next poll takes it up.
const ATTEMPTS: usize = 5;

impl Engine {
    /// Pushes in the background.
    pub(super) fn push_soon(&self, undo: UndoId) {
        let engine = self.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.push_undo(undo).await {
                tracing::warn!(%undo, %error, "an undo could not be pushed");
            }
        });
    }

    /// Pushes what upstream does not have yet.
    pub(crate) async fn push_undo(&self, id: UndoId) -> Result<(), EngineError> {
        for _ in 0..ATTEMPTS {
            let undo = self.undo(id).await?;
            let open =
                undo.plan.repositories.iter().find(|r| r.commit.is_some() && is_untried(&r.push)).cloned();
            let Some(open) = open else { return Ok(()) };
            if let Some(state) = self.push_part(&undo, &open).await? {
                self.pushed(id, open.repository, state).await?;
            } else {
                // The tip moved: fetch, compute on the new one, and come again.
                Box::pin(self.sync_repository(open.repository)).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// What became of a push; nothing when upstream had moved.
    async fn push_part(&self, undo: &Undo, part: &RepositoryUndo) -> Result<Option<PushState>, EngineError> {
        let repository = self.repository(part.repository).await?;
        let mirror = self.inner.mirrors.of(&repository)?;
        let credential = self.credential(repository.id).await?;
        let Some(commit) = part.commit.clone() else { return Ok(None) };
        let side = self.side_commit(undo, part).await?;
        let pushed = {
            let (mirror, credential, commit) = (Arc::clone(&mirror), credential.clone(), commit.clone());
            blocking(move || {
                let Some(upstream) = mirror.tip()? else {
                    return Ok(Pushed::Unreachable { message: "never fetched".to_owned() });
                };
                if mirror.contains(&upstream, &commit)? {
                    return Ok(Pushed::Done);
                }
                if !mirror.contains(&commit, &upstream)? {
                    return Ok(Pushed::Moved);
                }
                mirror.push(&commit, &upstream, credential.as_ref())
            })
            .await?
        };
        // Nodes that are pinned follow the side commit; it must be reachable upstream for the way round the hub.
        if let Some(side) = side {
            push_branch(&mirror, &branch_of(undo.id), side, credential.as_ref()).await?;
        }
        Ok(match pushed {
            Pushed::Done => Some(PushState::Done),
            Pushed::Moved => None,
            Pushed::Unreachable { message } => Some(awaiting(None, message, &repository)),
            Pushed::Refused { message } => {
                let name = branch_of(undo.id);
                let name = if part.route == UndoRoute::UndoBranch { format!("{name}-pins") } else { name };
                let branch = push_aside(&mirror, name, &commit, credential.as_ref()).await?;
                Some(awaiting(branch, message, &repository))
            }
        })
    }

    /// The commit that pinned nodes follow, when it is not on the branch.
    async fn side_commit(&self, undo: &Undo, part: &RepositoryUndo) -> Result<Option<CommitId>, EngineError> {
        if part.route != UndoRoute::UndoBranch {
            return Ok(None);
        }
        let mut read = self.inner.store.read();
        for constraint in backstay_store::constraints::of_undo(&mut read, undo.id).await? {
            if let backstay_types::Effect::Pin { release, .. } = constraint.effect {
                let release = backstay_store::releases::get(&mut read, release).await?;
                return Ok(release.filter(|r| r.repository == part.repository).map(|r| r.commit));
            }
        }
        Ok(None)
    }

    /// Notes what became of a push.
    pub(super) async fn pushed(
        &self,
        id: UndoId,
        repository: RepositoryId,
        state: PushState,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let Some(mut undo) = undos::get(&mut tx, id).await? else { return Ok(()) };
        let mut refs = undo_refs(&undo);
        // Whoever tried at the same time may have been first.
        let mut parts = undo.plan.repositories.iter().filter(|r| r.repository == repository);
        if parts.all(|part| part.push == state) {
            return Ok(());
        }
        for part in undo.plan.repositories.iter_mut().filter(|r| r.repository == repository) {
            part.push = state.clone();
            refs = Refs { repository: Some(repository), commit: part.commit.clone(), ..refs };
        }
        let now = self.inner.world.now();
        undos::update(&mut tx, id, &undo.state, &undo.state, &undo.plan, now).await?;
        tx.record(Event::UndoPushed { push: state }, refs)?;
        tx.commit().await?;
        Ok(())
    }

    /// Tries again what upstream did not answer to, and what a stop of the hub kept from being tried; called with
    /// every poll.
    ///
    /// # Errors
    /// When the store or the mirror fails.
    pub async fn push_pending(&self, repository: RepositoryId) -> Result<(), EngineError> {
        for undo in self.unmerged(repository).await? {
            let unanswered = undo.plan.repositories.iter().find(|r| {
                let open =
                    is_untried(&r.push) || matches!(r.push, PushState::AwaitingMerge { branch: None, .. });
                r.repository == repository && open
            });
            // Only another answer than before is news. A tip that moved is met by the fetch that sees it.
            if let Some(part) = unanswered
                && let Some(state) = self.push_part(&undo, part).await?
                && state != part.push
            {
                self.pushed(undo.id, repository, state).await?;
            }
        }
        Ok(())
    }

    /// Undos of a repository whose commit upstream does not contain, oldest first.
    pub(super) async fn unmerged(&self, repository: RepositoryId) -> Result<Vec<Undo>, EngineError> {
        let mut read = self.inner.store.read();
        let mut found = undos::list(&mut read, None, 1000).await?;
        found.reverse();
        found.retain(|u| {
            let open = |r: &RepositoryUndo| {
                r.repository == repository && r.commit.is_some() && r.push != PushState::Done
            };
            !matches!(u.state, UndoState::Planned | UndoState::Conflicted)
                && u.plan.repositories.iter().any(open)
        });
        Ok(found)
    }

    /// The token for a repository's endpoints, opened.
    pub(crate) async fn credential(&self, id: RepositoryId) -> Result<Option<Credential>, EngineError> {
        let sealed = repositories::credential(&mut self.inner.store.read(), id).await?;
        let token = sealed.and_then(|sealed| self.inner.presence.unseal(&sealed));
        Ok(token.map(|token| Credential { username: None, token }))
    }
}

fn is_untried(push: &PushState) -> bool {
    *push == PushState::NotYet
}

/// The branch of an undo.
fn branch_of(undo: UndoId) -> String {
    format!("backstay/undo/{undo}")
}

async fn push_branch(
    mirror: &Arc<Mirror>,
    name: &str,
    commit: CommitId,
    credential: Option<&Credential>,
) -> Result<Pushed, EngineError> {
    let (mirror, name, credential) = (Arc::clone(mirror), name.to_owned(), credential.cloned());
    blocking(move || mirror.push_branch(&name, &commit, None, credential.as_ref())).await
}

/// Pushes to a branch for a person to merge, and gives its name. Where an earlier commit of the same undo has
/// taken the name, the new one gets another: somebody may be looking at the first.
async fn push_aside(
    mirror: &Arc<Mirror>,
    name: String,
    commit: &CommitId,
    credential: Option<&Credential>,
) -> Result<Option<String>, EngineError> {
    let second = format!("{name}-{}", commit.short());
    for name in [name, second] {
        if push_branch(mirror, &name, commit.clone(), credential).await? == Pushed::Done {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn awaiting(branch: Option<String>, reason: String, repository: &Repository) -> PushState {
    let command = match &branch {
        Some(name) => {
            format!("git fetch origin {name} && git checkout {} && git merge FETCH_HEAD", repository.branch)
        }
        None => format!("backstay repos sync {}", repository.name),
    };
    PushState::AwaitingMerge { branch, reason, command }
}
