//! All nodes counted at once: who is there, and who runs what.

use std::collections::{BTreeMap, HashMap};

use backstay_api::v1::VersionCount;
use backstay_store::{Reader, nodes};
use backstay_types::{NodeId, NodeName, NodeState, StackHealth, StackName, Timestamp, TreeDigest};

use super::word;
use crate::{app::App, http::ApiError};

/// Nodes that are not revoked, and what runs on them.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// By name.
    pub(crate) nodes: Vec<Counted>,
    /// Stacks that are down or not as they should be, with what is known of why.
    pub(crate) unwell: Vec<(NodeId, NodeName, StackName, String)>,
    /// Agents by version.
    pub(crate) agents: BTreeMap<String, u64>,
    health: BTreeMap<String, u64>,
    running: HashMap<StackName, BTreeMap<TreeDigest, u64>>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Its id.
    pub(crate) id: NodeId,
    /// Its name.
    pub(crate) name: NodeName,
    /// Whether it is heard from.
    pub(crate) state: NodeState,
    /// When it was.
    pub(crate) last_seen_at: Option<Timestamp>,
}

impl Census {
    /// Counts.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn take(app: &App, store: &mut Reader) -> Result<Self, ApiError> {
        let now = app.world.now();
        let mut census = Self::default();
        for (id, name) in nodes::names(store).await? {
            let state = app.live.state(id, false, now);
            app.live.with(id, |seen| {
                let observed = seen.and_then(|seen| seen.observed.as_deref()).unwrap_or_default();
                for stack in observed {
                    *census.health.entry(word(&stack.health)).or_default() += 1;
                    if let Some(tree) = stack.current {
                        let versions = census.running.entry(stack.stack.clone()).or_default();
                        *versions.entry(tree).or_default() += 1;
                    }
                    if matches!(stack.health, StackHealth::Degraded | StackHealth::Down) {
                        let detail = stack.detail.clone();
                        census.unwell.push((id, name.clone(), stack.stack.clone(), detail));
                    }
                }
                if let Some(facts) = seen.and_then(|seen| seen.facts.as_ref()) {
                    *census.agents.entry(facts.agent_version.clone()).or_default() += 1;
                }
                let last_seen_at = seen.and_then(|seen| seen.last_seen_at);
                census.nodes.push(Counted { id, name: name.clone(), state, last_seen_at });
            });
        }
        Ok(census)
    }

    /// Who runs what of a stack, most nodes first.
    pub(crate) fn versions(&self, stack: &StackName) -> Vec<VersionCount> {
        let counts = self.running.get(stack).into_iter().flatten();
        let mut versions: Vec<_> =
            counts.map(|(tree, nodes)| VersionCount { tree: *tree, nodes: *nodes }).collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.nodes));
        versions
    }

    /// How many nodes run a tree of a stack.
    pub(crate) fn running(&self, stack: &StackName, tree: TreeDigest) -> u64 {
        self.running.get(stack).and_then(|trees| trees.get(&tree)).copied().unwrap_or_default()
    }

    /// Nodes by the word of their state.
    pub(crate) fn by_state(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            *counts.entry(word(&node.state)).or_default() += 1;
        }
        counts
    }

    /// Stacks on nodes by the word of their health.
    pub(crate) fn by_health(&self) -> BTreeMap<String, u64> {
        self.health.clone()
    }
}
