//! `GET /api/v1/node-rows`: the whole table is made in memory, where soft state is, and a part of it is given.

use std::collections::BTreeSet;

use backstay_api::v1::{ListNodeRows, NodeMark, NodeRow, NodeRowStack, NodeRows, NodeRowsQuery, NodeSort};
use backstay_manifest::Selector;
use backstay_store::constraints;
use backstay_types::{
    Constraint, Effect, Node, NodeState, ObservedStack, SafeMode, Scope, StackHealth, TreeDigest,
};

use crate::{
    http::{ApiError, Call, paging},
    live::{Look, Seen, Trees, badness, worst},
};

/// Nodes as rows of a table.
pub(crate) async fn node_rows(call: Call<ListNodeRows>) -> Result<NodeRows, ApiError> {
    let Call { app, query, .. } = call;
    let limit = paging::limit(query.limit)? as usize;
    let offset = query.offset.unwrap_or_default();
    let selector = match query.selector.as_deref() {
        Some(text) => Some(text.parse::<Selector>().map_err(|e| ApiError::invalid("selector", e))?),
        None => None,
    };
    let mut store = app.store.read();
    let nodes = app.roster.nodes(&mut store).await?;
    let wanted = app.roster.trees(&mut store).await?;
    let limits = Limits::of(&constraints::in_force(&mut store, app.world.now()).await?);
    let rows = app.live.look(app.world.now(), |look| {
        let chosen =
            nodes.iter().filter(|node| selector.as_ref().is_none_or(|s| s.matches(&node.name, &node.labels)));
        let text = query.q.as_deref().map(str::to_lowercase);
        let glance = |node| Glance::of(node, look);
        let marked = |one: &Glance<'_>| query.only.is_none_or(|mark| one.marks(&limits).contains(&mark));
        let mut all: Vec<_> =
            chosen.map(glance).filter(|one| one.fits(&query, text.as_deref()) && marked(one)).collect();
        sort(&mut all, query.sort.unwrap_or_default(), query.descending.unwrap_or_default());
        let part = all.iter().skip(offset as usize).take(limit);
        NodeRows {
            total: all.len() as u64,
            offset,
            rows: part.map(|one| one.row(&wanted, &limits)).collect(),
        }
    });
    Ok(rows)
}

/// A node and what is known of it: enough to choose and to sort. Most are not shown.
struct Glance<'a> {
    node: &'a Node,
    state: NodeState,
    seen: Option<&'a Seen>,
    health: Option<StackHealth>,
}

impl<'a> Glance<'a> {
    fn of(node: &'a Node, look: &'a Look<'_>) -> Self {
        let seen = look.seen(node.id);
        let health = worst(seen.and_then(|seen| seen.observed.as_deref()).unwrap_or_default());
        Self { node, state: look.state(node.id, node.revoked_at.is_some()), seen, health }
    }

    fn observed(&self) -> &'a [ObservedStack] {
        self.seen.and_then(|seen| seen.observed.as_deref()).unwrap_or_default()
    }

    fn version(&self) -> Option<&'a str> {
        Some(self.seen?.facts.as_ref()?.agent_version.as_str())
    }

    fn fits(&self, query: &NodeRowsQuery, text: Option<&str>) -> bool {
        let of_stack = |one: &&ObservedStack| query.stack.as_ref().is_none_or(|stack| one.stack == *stack);
        let labelled = |text: &str| {
            let mut labels = self.node.labels.iter();
            labels.any(|(key, value)| format!("{key}={value}").to_lowercase().contains(text))
        };
        query.state.is_none_or(|state| self.state == state)
            && text.is_none_or(|text| self.node.name.as_str().contains(text) || labelled(text))
            && ((query.stack.is_none() && query.health.is_none() && query.tree.is_none())
                || self.observed().iter().filter(of_stack).any(|one| {
                    query.health.is_none_or(|health| one.health == health)
                        && query
                            .tree
                            .as_deref()
                            .is_none_or(|tree| one.current.is_some_and(|it| begins(it, tree)))
                }))
    }

    fn marks(&self, limits: &Limits) -> Vec<NodeMark> {
        let mut marks = Vec::new();
        if self.seen.and_then(Seen::safe_mode).is_some() {
            marks.push(NodeMark::SafeMode);
        }
        if self.observed().iter().any(|stack| !stack.drift.is_empty()) {
            marks.push(NodeMark::Drift);
        }
        marks.extend(limits.marks(self.node));
        marks
    }

    fn row(&self, wanted: &Trees, limits: &Limits) -> NodeRow {
        let Node { id, name, labels, .. } = self.node;
        let stacks = self.observed().iter().map(|stack| NodeRowStack {
            stack: stack.stack.clone(),
            tree: stack.current,
            health: stack.health,
            wanted: wanted.get(&(*id, stack.stack.clone())).copied() == stack.current,
        });
        NodeRow {
            id: *id,
            name: name.clone(),
            state: self.state,
            last_seen_at: self.seen.and_then(|seen| seen.last_seen_at),
            labels: labels.clone(),
            agent_version: self.version().map(str::to_owned),
            health: self.health,
            safe_mode: self.seen.and_then(Seen::safe_mode).map(SafeMode::reason),
            marks: self.marks(limits),
            stacks: stacks.collect(),
        }
    }
}

/// What constraints say of some nodes.
struct Limits(Vec<(Selector, NodeMark)>);

impl Limits {
    /// Those of everyone are left out: they are nothing particular of a node.
    fn of(constraints: &[Constraint]) -> Self {
        let one = |constraint: &Constraint| {
            let mark = match constraint.effect {
                Effect::Maintenance => NodeMark::Maintenance,
                Effect::UpdatesOff { .. } => NodeMark::UpdatesOff,
                Effect::Pin { .. } => NodeMark::Pinned,
                Effect::Follow { .. } => NodeMark::Following,
                Effect::Freeze { .. } => NodeMark::Frozen,
                Effect::Decommission => NodeMark::Decommissioning,
                Effect::Hold { .. }
                | Effect::Ban { .. }
                | Effect::RunsHere { .. }
                | Effect::RunsNot { .. } => return None,
            };
            match &constraint.scope {
                Scope::Nodes { selector } => Some((selector.parse().ok()?, mark)),
                Scope::Fleet | Scope::Environment { .. } => None,
            }
        };
        Self(constraints.iter().filter_map(one).collect())
    }

    fn marks(&self, node: &Node) -> BTreeSet<NodeMark> {
        let mine = self.0.iter().filter(|(selector, _)| selector.matches(&node.name, &node.labels));
        mine.map(|(_, mark)| *mark).collect()
    }
}

fn begins(tree: TreeDigest, digits: &str) -> bool {
    tree.to_string().starts_with(&digits.to_lowercase())
}

/// They come by name, and these sorts keep what is equal in order.
fn sort(all: &mut [Glance<'_>], by: NodeSort, descending: bool) {
    match by {
        NodeSort::Name => {}
        NodeSort::State => all.sort_by_key(|one| std::cmp::Reverse(urgency(one.state))),
        NodeSort::Health => all.sort_by_key(|one| std::cmp::Reverse(one.health.map(badness))),
        NodeSort::LastSeen => all.sort_by_key(|one| one.seen.and_then(|seen| seen.last_seen_at)),
        NodeSort::Joined => all.sort_by_key(|one| one.node.id),
        NodeSort::Version => all.sort_by_key(|one| one.version()),
    }
    if descending {
        all.reverse();
    }
}

fn urgency(state: NodeState) -> u8 {
    match state {
        NodeState::Revoked => 0,
        NodeState::Online => 1,
        NodeState::Joined => 2,
        NodeState::Unknown => 3,
        NodeState::Offline => 4,
    }
}
