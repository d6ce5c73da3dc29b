//! Deployments and rollouts with the names that people know.

use std::collections::HashMap;

use backstay_api::v1::{DeploymentView, RolloutView};
use backstay_engine::Progress;
use backstay_store::{Reader, deployments, figures, nodes, patterns, releases};
use backstay_types::{ConversationId, Deployment, Node, Release, ReleaseId, Rollout, RolloutState};

use crate::{app::App, http::ApiError};

/// Releases with the conversations behind them.
struct Releases {
    by_id: HashMap<ReleaseId, Release>,
    conversations: HashMap<ReleaseId, Vec<ConversationId>>,
}

impl Releases {
    async fn read(store: &mut Reader, ids: impl Iterator<Item = ReleaseId>) -> Result<Self, ApiError> {
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let by_id =
            releases::many(store, &ids).await?.into_iter().map(|release| (release.id, release)).collect();
        let conversations = figures::conversations_of_releases(store, &ids).await?;
        Ok(Self { by_id, conversations })
    }

    fn get(&self, id: ReleaseId) -> Result<(&Release, Vec<ConversationId>), ApiError> {
        let release =
            self.by_id.get(&id).ok_or_else(|| ApiError::internal(format!("release {id} is gone")))?;
        Ok((release, self.conversations.get(&id).cloned().unwrap_or_default()))
    }
}

/// Deployments with names, in the same order.
pub(super) async fn deployment_views(
    store: &mut Reader,
    found: Vec<Deployment>,
) -> Result<Vec<DeploymentView>, ApiError> {
    let releases = Releases::read(store, found.iter().map(|deployment| deployment.release)).await?;
    let mut ids: Vec<_> = found.iter().map(|deployment| deployment.node).collect();
    ids.sort_unstable();
    ids.dedup();
    let nodes: HashMap<_, Node> =
        nodes::many(store, &ids).await?.into_iter().map(|node| (node.id, node)).collect();
    let view = |deployment: Deployment| {
        let node = nodes.get(&deployment.node);
        let node = node.ok_or_else(|| ApiError::internal(format!("node {} is gone", deployment.node)))?;
        let (release, conversations) = releases.get(deployment.release)?;
        let (tree, commit) = (release.tree, release.commit.clone());
        Ok(DeploymentView { node_name: node.name.clone(), deployment, tree, commit, conversations })
    };
    found.into_iter().map(view).collect()
}

/// Rollouts with their figures, in the same order.
pub(in crate::http) async fn rollout_views(
    app: &App,
    store: &mut Reader,
    found: Vec<Rollout>,
) -> Result<Vec<RolloutView>, ApiError> {
    let releases = Releases::read(store, found.iter().map(|rollout| rollout.release)).await?;
    let mut progress = app.engine.progress(&found).await?;
    let halted = found.iter().filter(|rollout| rollout.state == RolloutState::Halted);
    let halted: Vec<_> = halted.map(|rollout| rollout.id).collect();
    let mut found_in: HashMap<_, _> = patterns::many(store, &halted).await?.into_iter().collect();
    let mut views = Vec::with_capacity(found.len());
    for mut rollout in found {
        let (release, conversations) = releases.get(rollout.release)?;
        let (tree, commit) = (release.tree, release.commit.clone());
        let deployments = deployments::count_by_state(store, rollout.id).await?;
        let progress = progress.remove(&rollout.id);
        if let Some(progress) = &progress {
            // What holds now: nodes may have come or gone since it began.
            rollout.max_updating = progress.at_once;
        }
        let Progress { waiting, waves, gate, watch, .. } = progress.unwrap_or_default();
        let pattern = found_in.remove(&rollout.id);
        views.push(RolloutView {
            rollout,
            tree,
            commit,
            conversations,
            deployments,
            waiting,
            waves,
            gate,
            watch,
            pattern,
        });
    }
    Ok(views)
}
