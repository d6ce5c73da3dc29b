//! From any one id, everything that hangs together with it, by indexed columns only.

use std::collections::BTreeSet;

use backstay_store::{Reader, changes, conversations, deployments, links, nodes, releases, rollouts, undos};
use backstay_types::{
    Cause, CommitId, ConversationId, Deployment, DeploymentId, NodeId, Refs, ReleaseId, RepositoryId,
    RolloutId, Timestamp, UndoId,
};

use crate::{Engine, EngineError, statements};

/// The id to start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A conversation.
    Conversation(ConversationId),
    /// A commit.
    Commit(RepositoryId, CommitId),
    /// A release.
    Release(ReleaseId),
    /// A rollout.
    Rollout(RolloutId),
    /// A deployment.
    Deployment(DeploymentId),
    /// A node.
    Node(NodeId),
    /// A container, by the first digits of its id in the runtime.
    Container(String),
    /// An undo.
    Undo(UndoId),
}

/// One thing that hangs together with another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelatedItem {
    /// When it came to be.
    pub at: Timestamp,
    /// `conversation`, `commit`, `release`, `rollout`, `deployment`, `node`, `container`, `undo`.
    pub kind: &'static str,
    /// Its id, as that kind writes it.
    pub id: String,
    /// One line for people.
    pub summary: String,
}

/// Deployments of one start that are looked at.
const MOST: u32 = 1000;

/// The rollouts and deployments to describe, and what else was named on the way.
#[derive(Default)]
struct Found {
    rollouts: BTreeSet<RolloutId>,
    deployments: Vec<Deployment>,
    undos: BTreeSet<UndoId>,
    commits: BTreeSet<(RepositoryId, CommitId)>,
    releases: BTreeSet<ReleaseId>,
}

impl Engine {
    /// Everything that hangs together with an id, oldest first.
    ///
    /// # Errors
    /// When there is no such thing, or the store fails.
    pub async fn related(&self, start: &Start) -> Result<Vec<(RelatedItem, Refs)>, EngineError> {
        let mut read = self.inner.store.read();
        let mut found = Found::default();
        match start {
            Start::Conversation(id) => {
                conversations::get(&mut read, *id)
                    .await?
                    .ok_or_else(|| EngineError::not_found("conversation", id))?;
                for known in links::changes_of(&mut read, *id).await? {
                    self.add_commit(&mut read, known.change.repository, &known.change.commit, &mut found)
                        .await?;
                }
                found.undos.extend(undos::of_conversation(&mut read, *id).await?.iter().map(|u| u.id));
            }
            Start::Commit(repository, commit) => {
                self.add_commit(&mut read, *repository, commit, &mut found).await?;
            }
            Start::Release(id) => self.add_release(&mut read, *id, &mut found).await?,
            Start::Rollout(id) => {
                found.rollouts.insert(*id);
                found.deployments = deployments::of_rollout(&mut read, *id).await?;
            }
            Start::Deployment(id) => self.add_deployment(&mut read, *id, &mut found).await?,
            Start::Node(node) => {
                let filter = deployments::Filter { node: Some(*node), ..deployments::Filter::default() };
                found.deployments = deployments::list(&mut read, &filter, None, MOST).await?;
            }
            Start::Container(prefix) => {
                let seen = deployments::find_container(&mut read, prefix, 20).await?;
                if seen.is_empty() {
                    return Err(EngineError::not_found("container", prefix));
                }
                for container in seen {
                    self.add_deployment(&mut read, container.deployment, &mut found).await?;
                }
            }
            Start::Undo(id) => {
                found.undos.insert(*id);
                for rollout in rollouts::of_undo(&mut read, *id).await? {
                    found.rollouts.insert(rollout.id);
                    found.deployments.extend(deployments::of_rollout(&mut read, rollout.id).await?);
                }
            }
        }
        self.describe(&mut read, found).await
    }

    async fn add_commit(
        &self,
        read: &mut Reader,
        repository: RepositoryId,
        commit: &CommitId,
        found: &mut Found,
    ) -> Result<(), EngineError> {
        found.commits.insert((repository, commit.clone()));
        for undo in undos::of_commit(read, repository, commit).await? {
            found.undos.insert(undo.undo);
        }
        for release in releases::of_commit(read, repository, commit).await? {
            for rollout in self.rollouts_of_release(read, release.id).await? {
                let brought = statements::brought_by(read, &rollout).await?;
                if brought.iter().any(|k| k.change.commit == *commit) {
                    found.releases.insert(release.id);
                    found.rollouts.insert(rollout.id);
                    found.deployments.extend(deployments::of_rollout(read, rollout.id).await?);
                }
            }
        }
        Ok(())
    }

    async fn add_release(
        &self,
        read: &mut Reader,
        id: ReleaseId,
        found: &mut Found,
    ) -> Result<(), EngineError> {
        found.releases.insert(id);
        for rollout in self.rollouts_of_release(read, id).await? {
            found.rollouts.insert(rollout.id);
            found.deployments.extend(deployments::of_rollout(read, rollout.id).await?);
        }
        Ok(())
    }

    async fn rollouts_of_release(
        &self,
        read: &mut Reader,
        id: ReleaseId,
    ) -> Result<Vec<backstay_types::Rollout>, EngineError> {
        let release = releases::get(read, id).await?.ok_or_else(|| EngineError::not_found("release", id))?;
        let all = rollouts::list(read, Some(&release.stack), None, MOST).await?;
        Ok(all.into_iter().filter(|r| r.release == id).collect())
    }

    async fn add_deployment(
        &self,
        read: &mut Reader,
        id: DeploymentId,
        found: &mut Found,
    ) -> Result<(), EngineError> {
        let deployment = deployments::get(read, id).await?;
        found.deployments.push(deployment.ok_or_else(|| EngineError::not_found("deployment", id))?);
        Ok(())
    }

    /// Adds what the found rollouts and deployments name themselves, and puts all into words and order.
    async fn describe(
        &self,
        read: &mut Reader,
        mut found: Found,
    ) -> Result<Vec<(RelatedItem, Refs)>, EngineError> {
        found.deployments.sort_by_key(|d| d.id);
        found.deployments.dedup_by_key(|d| d.id);
        found.rollouts.extend(found.deployments.iter().map(|d| d.rollout));
        let mut items = Vec::new();
        let ids: Vec<_> = found.rollouts.iter().copied().collect();
        for rollout in rollouts::many(read, &ids).await? {
            found.releases.insert(rollout.release);
            if let Cause::Undo { undo } = rollout.cause {
                found.undos.insert(undo);
            }
            for known in statements::brought_by(read, &rollout).await? {
                found.commits.insert((known.change.repository, known.change.commit));
            }
            let summary = format!("{} of {}: {}", word(&rollout.kind), rollout.stack, rollout.reason);
            let refs = crate::reconcile::rollout_refs(&rollout);
            items.push(item(rollout.created_at, "rollout", &rollout.id, summary, refs));
        }
        let mut talks = BTreeSet::new();
        for (repository, commit) in &found.commits {
            let Some(known) = changes::get(read, *repository, commit).await? else { continue };
            talks.extend(known.change.links.iter().filter(|l| l.source.is_certain()).map(|l| l.conversation));
            let refs =
                Refs { repository: Some(*repository), commit: Some(commit.clone()), ..Refs::default() };
            items.push(item(known.change.seen_at, "commit", commit, known.change.subject, refs));
        }
        self.describe_ends(read, &found, talks, &mut items).await?;
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(items)
    }

    async fn describe_ends(
        &self,
        read: &mut Reader,
        found: &Found,
        mut talks: BTreeSet<ConversationId>,
        items: &mut Vec<(RelatedItem, Refs)>,
    ) -> Result<(), EngineError> {
        for id in &found.undos {
            let Some(undo) = undos::get(read, *id).await? else { continue };
            if let backstay_types::UndoSelector::Conversation { conversation, .. } = undo.selector {
                talks.insert(conversation);
            }
            let refs = Refs { undo: Some(*id), ..Refs::default() };
            items.push(item(undo.created_at, "undo", id, format!("by {}: {}", undo.by, undo.reason), refs));
        }
        let ids: Vec<_> = talks.into_iter().collect();
        for talk in conversations::many(read, &ids).await? {
            let refs = Refs { conversation: Some(talk.id), ..Refs::default() };
            let summary = talk.title.unwrap_or(talk.tool);
            items.push(item(talk.first_seen_at, "conversation", &talk.id, summary, refs));
        }
        let ids: Vec<_> = found.releases.iter().copied().collect();
        for release in releases::many(read, &ids).await? {
            let refs = Refs {
                release: Some(release.id),
                stack: Some(release.stack.clone()),
                commit: Some(release.commit.clone()),
                ..Refs::default()
            };
            let summary = format!("{} {}", release.stack, release.tree.short());
            items.push(item(release.created_at, "release", &release.id, summary, refs));
        }
        let places: BTreeSet<_> = found.deployments.iter().map(|d| d.node).collect();
        let places: Vec<_> = places.into_iter().collect();
        for node in nodes::many(read, &places).await? {
            let refs = Refs { node: Some(node.id), ..Refs::default() };
            items.push(item(node.joined_at, "node", &node.id, node.name.to_string(), refs));
        }
        for deployment in &found.deployments {
            let refs = Refs {
                deployment: Some(deployment.id),
                node: Some(deployment.node),
                stack: Some(deployment.stack.clone()),
                release: Some(deployment.release),
                rollout: Some(deployment.rollout),
                ..Refs::default()
            };
            let summary = format!("{} {}", deployment.stack, deployment.state.word());
            items.push(item(deployment.created_at, "deployment", &deployment.id, summary, refs.clone()));
            for container in &deployment.containers {
                let at = deployment.finished_at.unwrap_or(deployment.created_at);
                items.push(item(at, "container", &container.id, container.service.clone(), refs.clone()));
            }
        }
        Ok(())
    }
}

fn word(kind: &backstay_types::RolloutKind) -> &'static str {
    match kind {
        backstay_types::RolloutKind::Update => "update",
        backstay_types::RolloutKind::Rollback => "rollback",
    }
}

fn item(
    at: Timestamp,
    kind: &'static str,
    id: &impl ToString,
    summary: String,
    refs: Refs,
) -> (RelatedItem, Refs) {
    (RelatedItem { at, kind, id: id.to_string(), summary }, refs)
}
