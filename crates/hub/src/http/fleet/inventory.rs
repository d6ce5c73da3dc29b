//! `GET /api/v1/inventory`: a page of nodes is read at a time, so that a large fleet holds nothing up.

use std::collections::HashMap;

use backstay_api::v1::{GetInventory, InventoryNode, InventoryStack, NodeView, Page, PendingUpdate};
use backstay_store::{Reader, deployments, releases};
use backstay_types::{
    AgentUpdateState, Deployment, NodeId, NodeState, Release, ReleaseId, StackHealth, StackName,
};

use super::{list_nodes::nodes_page, node_view::views};
use crate::http::{ApiError, Call};

/// Nodes with all that is known of them.
pub(crate) async fn inventory(call: Call<GetInventory>) -> Result<Page<InventoryNode>, ApiError> {
    let mut store = call.app.store.read();
    let page = nodes_page(&mut store, &call.query).await?;
    let ids: Vec<_> = page.items.iter().map(|node| node.id).collect();
    let runs = Runs::of(&mut store, &ids).await?;
    let update = call.app.engine.newest_agent_update().await?;
    let agent = update.filter(|update| update.state != AgentUpdateState::Halted).map(|update| update.version);
    let items = views(&call.app, &mut store, page.items).await?;
    let items = items.into_iter().map(|view| runs.line(view, agent.as_deref())).collect();
    Ok(Page { items, next: page.next })
}

/// What the hub deployed to nodes, and they run.
struct Runs {
    settled: HashMap<(NodeId, StackName), Deployment>,
    releases: HashMap<ReleaseId, Release>,
}

impl Runs {
    async fn of(store: &mut Reader, nodes: &[NodeId]) -> Result<Self, ApiError> {
        let found = deployments::run_by(store, nodes).await?;
        let mut ids: Vec<_> = found.iter().map(|one| one.release).collect();
        ids.sort_unstable();
        ids.dedup();
        let releases = releases::many(store, &ids).await?.into_iter();
        Ok(Self {
            settled: found.into_iter().map(|one| ((one.node, one.stack.clone()), one)).collect(),
            releases: releases.map(|release| (release.id, release)).collect(),
        })
    }

    fn line(&self, view: NodeView, agent: Option<&str>) -> InventoryNode {
        let stacks = self.stacks(&view);
        let pending = match view.state {
            NodeState::Revoked => Vec::new(),
            _ => pending(&view, &stacks, agent),
        };
        let node = view.node;
        InventoryNode {
            id: node.id,
            name: node.name,
            labels: node.labels,
            state: view.state,
            safe_mode: view.safety.safe_mode.is_some(),
            decommissioning: view.decommissioning,
            joined_at: node.joined_at,
            revoked_at: node.revoked_at,
            last_seen_at: view.last_seen_at,
            facts: view.facts,
            stacks,
            pending,
        }
    }

    /// What a node says that it runs; and what the hub knows of it where the node has not said.
    fn stacks(&self, view: &NodeView) -> Vec<InventoryStack> {
        let id = view.node.id;
        let mine = self.settled.keys().filter(|(node, _)| *node == id).map(|(_, stack)| stack);
        let silent = view.observed.is_empty();
        let said = view.observed.iter().filter(|one| one.current.is_some()).map(|one| &one.stack);
        let mut names: Vec<_> = said.chain(mine.filter(|_| silent)).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|stack| self.stack(view, stack)).collect()
    }

    fn stack(&self, view: &NodeView, stack: &StackName) -> InventoryStack {
        let said = view.observed.iter().find(|one| one.stack == *stack);
        let settled = self.settled.get(&(view.node.id, stack.clone()));
        let known = settled.and_then(|one| Some((one, self.releases.get(&one.release)?)));
        let tree = said.and_then(|one| one.current).or_else(|| Some(known?.1.tree));
        let same = known.filter(|(_, release)| Some(release.tree) == tree);
        InventoryStack {
            stack: stack.clone(),
            tree,
            commit: same.map(|(_, release)| release.commit.clone()),
            since: same.and_then(|(one, _)| one.finished_at),
            health: said.map_or(StackHealth::Unknown, |one| one.health),
        }
    }
}

fn pending(view: &NodeView, stacks: &[InventoryStack], agent: Option<&str>) -> Vec<PendingUpdate> {
    let runs = |stack: &StackName| stacks.iter().find(|one| one.stack == *stack).and_then(|one| one.tree);
    let stays = |stack: &StackName| view.safety.waiting.iter().find(|one| one.stack == *stack);
    let wanted = view.desired.iter().filter(|one| runs(&one.stack) != Some(one.tree));
    let mut pending: Vec<_> = wanted
        .map(|one| PendingUpdate {
            stack: Some(one.stack.clone()),
            to: one.commit.to_string(),
            reason: stays(&one.stack).map_or_else(|| one.reason.clone(), |waits| waits.reason.clone()),
        })
        .collect();
    let runs_agent = view.facts.as_ref().map(|facts| facts.agent_version.as_str());
    if let Some(version) = agent.filter(|version| runs_agent.is_some_and(|runs| runs != *version)) {
        let reason = "an update of agents goes out".to_owned();
        pending.push(PendingUpdate { stack: None, to: version.to_owned(), reason });
    }
    pending
}
