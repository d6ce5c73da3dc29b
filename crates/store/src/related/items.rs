//! From ids to lines for people.

use std::collections::BTreeMap;

use backstay_types::{Cause, Deployment, DeploymentId, Refs, Timestamp, UndoSelector, UndoState};

use super::{Item, walk::Found};
use crate::{
    Result, changes, conversations,
    db::Executor,
    deployments::{self, SeenContainer},
    nodes, releases, rollouts, undos,
};

pub(super) async fn items(ex: &mut impl Executor, found: &Found) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    conversation_items(ex, found, &mut items).await?;
    commit_items(ex, found, &mut items).await?;
    release_items(ex, found, &mut items).await?;
    rollout_items(ex, found, &mut items).await?;
    deployment_items(ex, found, &mut items).await?;
    node_items(ex, found, &mut items).await?;
    undo_items(ex, found, &mut items).await?;
    Ok(items)
}

async fn conversation_items(ex: &mut impl Executor, found: &Found, items: &mut Vec<Item>) -> Result<()> {
    let ids: Vec<_> = found.conversations.iter().copied().collect();
    items.extend(conversations::many(ex, &ids).await?.into_iter().map(|c| Item {
        at: c.first_seen_at,
        kind: "conversation",
        id: c.id.to_string(),
        summary: c.title.map_or_else(|| c.tool.clone(), |title| format!("{}: {title}", c.tool)),
        refs: Refs { conversation: Some(c.id), ..Refs::default() },
    }));
    Ok(())
}

async fn commit_items(ex: &mut impl Executor, found: &Found, items: &mut Vec<Item>) -> Result<()> {
    let commits = found.commits.iter().map(|(repository, commit)| (*repository, commit.clone()));
    items.extend(changes::each(ex, commits).await?.into_iter().map(|known| {
        let certain = known.change.links.iter().find(|l| l.source.is_certain());
        Item {
            at: known.change.committed_at,
            kind: "commit",
            id: known.change.commit.to_string(),
            summary: format!("{} ({})", known.change.subject, known.change.author.name),
            refs: Refs {
                repository: Some(known.change.repository),
                conversation: certain.map(|l| l.conversation),
                undo: known.undo,
                commit: Some(known.change.commit),
                ..Refs::default()
            },
        }
    }));
    Ok(())
}

async fn release_items(ex: &mut impl Executor, found: &Found, items: &mut Vec<Item>) -> Result<()> {
    let ids: Vec<_> = found.releases.iter().copied().collect();
    items.extend(releases::many(ex, &ids).await?.into_iter().map(|r| Item {
        at: r.created_at,
        kind: "release",
        id: r.id.to_string(),
        summary: format!("{} at tree {}", r.stack, r.tree.short()),
        refs: Refs {
            repository: Some(r.repository),
            commit: Some(r.commit),
            stack: Some(r.stack),
            release: Some(r.id),
            ..Refs::default()
        },
    }));
    Ok(())
}

async fn rollout_items(ex: &mut impl Executor, found: &Found, items: &mut Vec<Item>) -> Result<()> {
    let ids: Vec<_> = found.rollouts.iter().copied().collect();
    for r in rollouts::many(ex, &ids).await? {
        let (repository, commit, undo) = match r.cause {
            Cause::Change { repository, commit } => (Some(repository), Some(commit), None),
            Cause::Undo { undo } => (None, None, Some(undo)),
            Cause::Decommission | Cause::Migration { .. } => (None, None, None),
        };
        items.push(Item {
            at: r.created_at,
            kind: "rollout",
            id: r.id.to_string(),
            summary: format!("{}: {} ({})", r.stack, crate::value::word(&r.state)?, r.reason),
            refs: Refs {
                repository,
                commit,
                undo,
                stack: Some(r.stack),
                release: Some(r.release),
                rollout: Some(r.id),
                ..Refs::default()
            },
        });
    }
    Ok(())
}

async fn deployment_items(ex: &mut impl Executor, found: &Found, items: &mut Vec<Item>) -> Result<()> {
    let ids: Vec<_> = found.deployments.iter().copied().collect();
    let by_id: BTreeMap<DeploymentId, Deployment> =
        deployments::many(ex, &ids).await?.into_iter().map(|d| (d.id, d)).collect();
    items.extend(found.containers.iter().filter_map(|c| by_id.get(&c.deployment).map(|d| container(c, d))));
    items.extend(by_id.into_values().map(|d| Item {
        at: d.created_at,
        kind: "deployment",
        id: d.id.to_string(),
        summary: format!("{}: {}", d.stack, d.state.word().replace('_', " ")),
        refs: deployment_refs(&d),
    }));
    Ok(())
}

fn container(seen: &SeenContainer, deployment: &Deployment) -> Item {
    Item {
        at: deployment.finished_at.unwrap_or(deployment.created_at),
        kind: "container",
        id: seen.id.clone(),
        summary: format!("{}/{}", deployment.stack, seen.service),
        refs: deployment_refs(deployment),
    }
}

fn deployment_refs(d: &Deployment) -> Refs {
    Refs {
        node: Some(d.node),
        stack: Some(d.stack.clone()),
        release: Some(d.release),
        rollout: Some(d.rollout),
        deployment: Some(d.id),
        ..Refs::default()
    }
}

async fn node_items(ex: &mut impl Executor, found: &Found, items: &mut Vec<Item>) -> Result<()> {
    let ids: Vec<_> = found.nodes.iter().copied().collect();
    items.extend(nodes::many(ex, &ids).await?.into_iter().map(|n| Item {
        at: n.joined_at,
        kind: "node",
        id: n.id.to_string(),
        summary: n.name.to_string(),
        refs: Refs { node: Some(n.id), ..Refs::default() },
    }));
    Ok(())
}

async fn undo_items(ex: &mut impl Executor, found: &Found, items: &mut Vec<Item>) -> Result<()> {
    let ids: Vec<_> = found.undos.iter().copied().collect();
    for undo in undos::many(ex, &ids).await? {
        let (conversation, deployment) = match undo.selector {
            UndoSelector::Conversation { conversation, .. } => (Some(conversation), None),
            UndoSelector::Deployment { deployment } => (None, Some(deployment)),
            _ => (None, None),
        };
        let refs = Refs { undo: Some(undo.id), conversation, deployment, ..Refs::default() };
        items.push(undo_item(undo.id.to_string(), undo.created_at, &undo.by, &undo.state, refs));
    }
    Ok(())
}

fn undo_item(id: String, at: Timestamp, by: &str, state: &UndoState, refs: Refs) -> Item {
    let word = match state {
        UndoState::Planned => "planned",
        UndoState::Conflicted => "conflicted",
        UndoState::RollingOut => "rolling out",
        UndoState::Verified => "verified",
        UndoState::Failed { .. } => "failed",
    };
    Item { at, kind: "undo", id, summary: format!("{word}, asked by {by}"), refs }
}
