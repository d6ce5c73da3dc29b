//! The walk from one id to the others. Up leads to what caused a thing, down to what it led to; the walk never
//! turns from down to up, else every node would lead to the whole fleet.

use std::collections::BTreeSet;

use backstay_types::{
    CommitId, ConversationId, DeploymentId, NodeId, ReleaseId, RepositoryId, RolloutId, UndoId,
};

use super::Anchor;
use crate::{
    Result,
    db::{Executor, Raw, Row, query},
    deployments::{self, SeenContainer},
    value::{Bind, Column},
};

type Commit = (RepositoryId, CommitId);

/// What the walk has come by.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) conversations: BTreeSet<ConversationId>,
    pub(super) commits: BTreeSet<Commit>,
    pub(super) releases: BTreeSet<ReleaseId>,
    pub(super) rollouts: BTreeSet<RolloutId>,
    pub(super) deployments: BTreeSet<DeploymentId>,
    pub(super) nodes: BTreeSet<NodeId>,
    pub(super) undos: BTreeSet<UndoId>,
    pub(super) containers: Vec<SeenContainer>,
}

impl Found {
    fn at(anchor: &Anchor) -> Self {
        let mut found = Self::default();
        match anchor {
            Anchor::Conversation(id) => drop(found.conversations.insert(*id)),
            Anchor::Commit(repository, commit) => drop(found.commits.insert((*repository, commit.clone()))),
            Anchor::Release(id) => drop(found.releases.insert(*id)),
            Anchor::Rollout(id) => drop(found.rollouts.insert(*id)),
            Anchor::Deployment(id) => drop(found.deployments.insert(*id)),
            Anchor::Node(id) => drop(found.nodes.insert(*id)),
            Anchor::Undo(id) => drop(found.undos.insert(*id)),
            Anchor::Container(_) => {}
        }
        found
    }

    fn merge(&mut self, other: Self) {
        self.conversations.extend(other.conversations);
        self.commits.extend(other.commits);
        self.releases.extend(other.releases);
        self.rollouts.extend(other.rollouts);
        self.deployments.extend(other.deployments);
        self.nodes.extend(other.nodes);
        self.undos.extend(other.undos);
    }
}

pub(super) async fn walk(ex: &mut impl Executor, anchor: &Anchor, limit: u32) -> Result<Found> {
    let mut up = Found::at(anchor);
    match anchor {
        Anchor::Container(id) => {
            let select = "SELECT deployment_id FROM deployment_containers WHERE container_id IN ";
            up.deployments = step(ex, select, [id.as_str()], "deployment_id").await?;
        }
        Anchor::Node(id) => {
            let select = query("SELECT id FROM deployments WHERE node_id = $1 ORDER BY id DESC LIMIT $2");
            let ids = select.bind(*id).bind(limit).all(ex, |row| row.get("id")).await?;
            up.deployments = ids.into_iter().collect();
        }
        _ => {}
    }
    let mut down = Found::at(anchor);
    descend(ex, &mut down, limit).await?;
    ascend(ex, &mut up).await?;
    // Undos of what was found on the way up, without following them.
    let commits: Vec<CommitId> = up.commits.iter().map(|(_, commit)| commit.clone()).collect();
    up.undos.extend(undos_of(ex, &commits, &up.commits).await?);
    up.merge(down);
    let deployments: Vec<DeploymentId> = up.deployments.iter().copied().collect();
    let nodes = "SELECT node_id FROM deployments WHERE id IN ";
    up.nodes.extend(step::<NodeId, _>(ex, nodes, deployments.iter().copied(), "node_id").await?);
    up.containers = deployments::containers_of(ex, &deployments).await?;
    if let Anchor::Container(id) = anchor {
        up.containers.retain(|c| c.id == *id);
    }
    Ok(up)
}

/// What conversations, commits, undos, releases and rollouts led to.
async fn descend(ex: &mut impl Executor, found: &mut Found, limit: u32) -> Result<()> {
    let linked =
        "SELECT repository_id, commit_id FROM change_links WHERE source <> 'guess' AND conversation_id IN ";
    found.commits.extend(commits(ex, linked, found.conversations.iter().copied()).await?);
    let about = "SELECT id FROM undos WHERE conversation_id IN ";
    found.undos.extend(step::<UndoId, _>(ex, about, found.conversations.iter().copied(), "id").await?);
    let of_commits: Vec<CommitId> = found.commits.iter().map(|(_, commit)| commit.clone()).collect();
    found.undos.extend(undos_of(ex, &of_commits, &found.commits).await?);
    let made = "SELECT repository_id, commit_id FROM undo_commits WHERE made = 1 AND undo_id IN ";
    let made = commits(ex, made, found.undos.iter().copied()).await?;
    let carried = "SELECT release_id, repository_id, commit_id FROM release_commits WHERE commit_id IN ";
    for (release, commit) in with_commit::<ReleaseId>(ex, carried, &of_commits, "release_id").await? {
        if found.commits.contains(&commit) {
            found.releases.insert(release);
        }
    }
    let caused = "SELECT id, cause_repository_id AS repository_id, cause_commit_id AS commit_id FROM rollouts \
                  WHERE cause_commit_id IN ";
    for (rollout, commit) in with_commit::<RolloutId>(ex, caused, &of_commits, "id").await? {
        if found.commits.contains(&commit) {
            found.rollouts.insert(rollout);
        }
    }
    found.commits.extend(made);
    let undone = "SELECT id FROM rollouts WHERE cause_undo_id IN ";
    found.rollouts.extend(step::<RolloutId, _>(ex, undone, found.undos.iter().copied(), "id").await?);
    let moved = "SELECT id FROM rollouts WHERE release_id IN ";
    found.rollouts.extend(step::<RolloutId, _>(ex, moved, found.releases.iter().copied(), "id").await?);
    deploy(ex, found, limit).await
}

/// The newest deployments of the rollouts.
async fn deploy(ex: &mut impl Executor, found: &mut Found, limit: u32) -> Result<()> {
    let rollouts: Vec<RolloutId> = found.rollouts.iter().copied().collect();
    for chunk in rollouts.chunks(CHUNK) {
        let mut select = query("SELECT id FROM deployments WHERE rollout_id IN ");
        select.push_list(chunk).push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        found.deployments.extend(select.all(ex, |row| row.get::<DeploymentId>("id")).await?);
    }
    while found.deployments.len() > limit as usize {
        found.deployments.pop_first();
    }
    Ok(())
}

/// What deployments, rollouts, releases, undos and commits came from.
async fn ascend(ex: &mut impl Executor, found: &mut Found) -> Result<()> {
    let of = "SELECT rollout_id FROM deployments WHERE id IN ";
    found
        .rollouts
        .extend(step::<RolloutId, _>(ex, of, found.deployments.iter().copied(), "rollout_id").await?);
    let of = "SELECT release_id FROM deployments WHERE id IN ";
    found
        .releases
        .extend(step::<ReleaseId, _>(ex, of, found.deployments.iter().copied(), "release_id").await?);
    let of = "SELECT release_id FROM rollouts WHERE id IN ";
    found.releases.extend(step::<ReleaseId, _>(ex, of, found.rollouts.iter().copied(), "release_id").await?);
    let of = "SELECT cause_undo_id FROM rollouts WHERE cause_undo_id IS NOT NULL AND id IN ";
    found.undos.extend(step::<UndoId, _>(ex, of, found.rollouts.iter().copied(), "cause_undo_id").await?);
    let of = "SELECT cause_repository_id AS repository_id, cause_commit_id AS commit_id FROM rollouts \
              WHERE cause_commit_id IS NOT NULL AND id IN ";
    found.commits.extend(commits(ex, of, found.rollouts.iter().copied()).await?);
    let of = "SELECT repository_id, commit_id FROM release_commits WHERE release_id IN ";
    found.commits.extend(commits(ex, of, found.releases.iter().copied()).await?);
    let of = "SELECT repository_id, commit_id FROM undo_commits WHERE undo_id IN ";
    found.commits.extend(commits(ex, of, found.undos.iter().copied()).await?);
    let of = "SELECT conversation_id FROM undos WHERE conversation_id IS NOT NULL AND id IN ";
    let asked = step::<ConversationId, _>(ex, of, found.undos.iter().copied(), "conversation_id").await?;
    found.conversations.extend(asked);
    let of_commits: Vec<CommitId> = found.commits.iter().map(|(_, commit)| commit.clone()).collect();
    let of = "SELECT conversation_id, repository_id, commit_id FROM change_links \
              WHERE source <> 'guess' AND commit_id IN ";
    for (conversation, commit) in with_commit(ex, of, &of_commits, "conversation_id").await? {
        if found.commits.contains(&commit) {
            found.conversations.insert(conversation);
        }
    }
    Ok(())
}

async fn undos_of(
    ex: &mut impl Executor,
    commits: &[CommitId],
    wanted: &BTreeSet<Commit>,
) -> Result<Vec<UndoId>> {
    let of = "SELECT undo_id, repository_id, commit_id FROM undo_commits WHERE commit_id IN ";
    let found = with_commit::<UndoId>(ex, of, commits, "undo_id").await?;
    Ok(found.into_iter().filter(|(_, commit)| wanted.contains(commit)).map(|(undo, _)| undo).collect())
}

const CHUNK: usize = 500;

/// One step over a table: `sql` ends in `IN `.
async fn step<T, B>(
    ex: &mut impl Executor,
    sql: &'static str,
    from: impl IntoIterator<Item = B>,
    column: &str,
) -> Result<BTreeSet<T>>
where
    T: Column<Raw: Raw> + Ord,
    B: Bind,
{
    let mut found = BTreeSet::new();
    each_chunk(ex, sql, from, |row| {
        found.insert(row.get(column)?);
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn commits<B: Bind>(
    ex: &mut impl Executor,
    sql: &'static str,
    from: impl IntoIterator<Item = B>,
) -> Result<Vec<Commit>> {
    let mut found = Vec::new();
    each_chunk(ex, sql, from, |row| {
        found.push((row.get("repository_id")?, row.get("commit_id")?));
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn with_commit<T: Column<Raw: Raw>>(
    ex: &mut impl Executor,
    sql: &'static str,
    from: &[CommitId],
    column: &str,
) -> Result<Vec<(T, Commit)>> {
    let mut found = Vec::new();
    each_chunk(ex, sql, from, |row| {
        found.push((row.get(column)?, (row.get("repository_id")?, row.get("commit_id")?)));
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn each_chunk<B: Bind>(
    ex: &mut impl Executor,
    sql: &'static str,
    from: impl IntoIterator<Item = B>,
    mut each: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    let values: Vec<_> = from.into_iter().map(Bind::value).collect();
    for chunk in values.chunks(CHUNK) {
        let mut select = query(sql);
        select.push_list(chunk.iter().cloned());
        for row in ex.fetch(select).await? {
            each(&row)?;
        }
    }
    Ok(())
}
