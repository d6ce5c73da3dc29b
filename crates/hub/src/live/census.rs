//! All nodes counted at once: who is there, and who runs what.

use std::collections::{BTreeMap, HashMap};

use backstay_api::v1::VersionCount;
use backstay_store::Reader;
use backstay_types::{
    Drift, DriftState, Node, NodeId, NodeName, NodeState, StackHealth, StackName, Timestamp, TreeDigest,
};

use super::{Look, Seen, word};
use crate::{app::App, http::ApiError};

/// Nodes that are not revoked, and what runs on them.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Those that have fallen silent, by name.
    pub(crate) silent: Vec<Counted>,
    /// Stacks that are down or not as they should be, with what is known of why.
    pub(crate) unwell: Vec<(NodeId, NodeName, StackName, String)>,
    /// What departed and was given up on: node, stack, and what it is.
    pub(crate) escalated: Vec<(NodeId, NodeName, StackName, Drift)>,
    /// Nodes in safe mode, since when, and why.
    pub(crate) safe_mode: Vec<(NodeId, NodeName, Timestamp, String)>,
    /// Agents by version.
    pub(crate) agents: BTreeMap<String, u64>,
    states: HashMap<NodeState, u64>,
    health: HashMap<StackHealth, u64>,
    running: HashMap<StackName, BTreeMap<TreeDigest, u64>>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Its id.
    pub(crate) id: NodeId,
    /// Its name.
    pub(crate) name: NodeName,
    /// When it was heard from.
    pub(crate) last_seen_at: Option<Timestamp>,
}

impl Census {
    /// Counts.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn take(app: &App, store: &mut Reader) -> Result<Self, ApiError> {
        let nodes = app.roster.nodes(store).await?;
        Ok(app.live.look(app.world.now(), |look| Self::of(&nodes, look)))
    }

    fn of(nodes: &[Node], look: &Look<'_>) -> Self {
        let mut census = Self::default();
        // Names are taken once for each kind, not once for each node.
        let mut agents: HashMap<&str, u64> = HashMap::new();
        let mut running: HashMap<&StackName, HashMap<TreeDigest, u64>> = HashMap::new();
        for node in nodes.iter().filter(|node| node.revoked_at.is_none()) {
            let (seen, state) = (look.seen(node.id), look.state(node.id, false));
            *census.states.entry(state).or_default() += 1;
            if state == NodeState::Offline {
                let last_seen_at = seen.and_then(|seen| seen.last_seen_at);
                census.silent.push(Counted { id: node.id, name: node.name.clone(), last_seen_at });
            }
            for stack in seen.and_then(|seen| seen.observed.as_deref()).unwrap_or_default() {
                *census.health.entry(stack.health).or_default() += 1;
                if let Some(tree) = stack.current {
                    *running.entry(&stack.stack).or_default().entry(tree).or_default() += 1;
                }
                for drift in stack.drift.iter().filter(|one| one.state == DriftState::Escalated) {
                    census.escalated.push((node.id, node.name.clone(), stack.stack.clone(), drift.clone()));
                }
                if matches!(stack.health, StackHealth::Degraded | StackHealth::Down) {
                    let detail = stack.detail.clone();
                    census.unwell.push((node.id, node.name.clone(), stack.stack.clone(), detail));
                }
            }
            if let Some(mode) = seen.and_then(Seen::safe_mode) {
                census.safe_mode.push((node.id, node.name.clone(), mode.since, mode.reason()));
            }
            if let Some(facts) = seen.and_then(|seen| seen.facts.as_ref()) {
                *agents.entry(facts.agent_version.as_str()).or_default() += 1;
            }
        }
        census.agents = agents.into_iter().map(|(version, count)| (version.to_owned(), count)).collect();
        let owned =
            |(stack, trees): (&StackName, HashMap<_, _>)| (stack.clone(), trees.into_iter().collect());
        census.running = running.into_iter().map(owned).collect();
        census
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
        self.states.iter().map(|(state, count)| (word(state), *count)).collect()
    }

    /// Stacks on nodes by the word of their health.
    pub(crate) fn by_health(&self) -> BTreeMap<String, u64> {
        self.health.iter().map(|(health, count)| (word(health), *count)).collect()
    }
}
