//! A node with what is known of it now.

use std::collections::HashMap;

use backstay_api::v1::{Decommissioning, DesiredView, NodeView};
use backstay_engine::leaving;
use backstay_store::{Reader, desired::DesiredStack, figures, releases, safe_mode};
use backstay_types::{Node, Release, ReleaseId};

use crate::{app::App, http::ApiError};

/// Nodes with what they should run and what they run, in the same order.
pub(super) async fn views(
    app: &App,
    store: &mut Reader,
    nodes: Vec<Node>,
) -> Result<Vec<NodeView>, ApiError> {
    let ids: Vec<_> = nodes.iter().map(|node| node.id).collect();
    let mut desired = figures::desired_of_nodes(store, &ids).await?;
    let mut wanted: Vec<_> = desired.values().flatten().map(|stack| stack.release).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let known = releases::many(store, &wanted).await?.into_iter();
    let known: HashMap<ReleaseId, Release> = known.map(|release| (release.id, release)).collect();
    let leaves = safe_mode::leaves(store).await?;
    let mut leaving = leaving(store, app.world.now()).await?;
    let wants = |stack: DesiredStack| {
        let release = known.get(&stack.release)?;
        let (tree, commit) = (release.tree, release.commit.clone());
        Some(DesiredView { stack: stack.stack, tree, commit, reason: stack.reason })
    };
    let view = |node: Node| {
        let seen = app.live.seen(node.id);
        let (figures_at, figures) = seen.figures.unzip();
        let cpus = seen.facts.as_ref().map_or(0, |facts| facts.cpus);
        let conditions = figures.as_ref().map(|figures| figures.conditions(cpus)).unwrap_or_default();
        NodeView {
            state: app.node_state(&node),
            last_seen_at: seen.last_seen_at,
            facts: seen.facts,
            figures,
            figures_at,
            conditions,
            desired: desired.remove(&node.id).into_iter().flatten().filter_map(wants).collect(),
            observed: seen.observed.unwrap_or_default(),
            safety: seen.safety.unwrap_or_default(),
            decommissioning: leaving.remove(&node.name).map(|one| Decommissioning {
                since: one.created_at,
                by: one.by,
                reason: one.reason,
            }),
            leaving_safe_mode: leaves.contains_key(&node.id),
            node,
        }
    };
    Ok(nodes.into_iter().map(view).collect())
}
