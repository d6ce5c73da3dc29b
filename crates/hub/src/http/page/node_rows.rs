//! `GET /api/v1/node-rows`: the whole table is made in memory, where soft state is, and a part of it is given.

use std::collections::HashMap;

use backstay_api::v1::{ListNodeRows, NodeRow, NodeRowStack, NodeRows, NodeRowsQuery, NodeSort};
use backstay_manifest::Selector;
use backstay_store::{desired, nodes};
use backstay_types::{Node, NodeId, NodeState, StackName, Timestamp, TreeDigest};

use crate::{
    app::App,
    http::{ApiError, Call, paging},
    live::{badness, worst},
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
    let found = nodes::list(&mut store, None, u32::MAX).await?;
    let wanted = desired::trees(&mut store).await?;
    let now = app.world.now();
    let chosen = found
        .into_iter()
        .filter(|node| selector.as_ref().is_none_or(|s| s.matches(&node.name, &node.labels)));
    let mut rows: Vec<NodeRow> =
        chosen.map(|node| row(&app, node, &wanted, now)).filter(|row| fits(row, &query)).collect();
    sort(&mut rows, query.sort.unwrap_or_default(), query.descending.unwrap_or_default());
    let total = rows.len() as u64;
    let rows = rows.into_iter().skip(offset as usize).take(limit).collect();
    Ok(NodeRows { total, offset, rows })
}

fn row(app: &App, node: Node, wanted: &HashMap<(NodeId, StackName), TreeDigest>, now: Timestamp) -> NodeRow {
    let state = app.live.state(node.id, node.revoked_at.is_some(), now);
    let (last_seen_at, agent_version, health, stacks) = app.live.with(node.id, |seen| {
        let Some(seen) = seen else { return (None, None, None, Vec::new()) };
        let observed = seen.observed.as_deref().unwrap_or_default();
        let stacks = observed.iter().map(|stack| NodeRowStack {
            stack: stack.stack.clone(),
            tree: stack.current,
            health: stack.health,
            wanted: wanted.get(&(node.id, stack.stack.clone())).copied() == stack.current,
        });
        let version = seen.facts.as_ref().map(|facts| facts.agent_version.clone());
        (seen.last_seen_at, version, worst(observed), stacks.collect())
    });
    let Node { id, name, labels, .. } = node;
    NodeRow { id, name, state, last_seen_at, labels, agent_version, health, stacks }
}

fn fits(row: &NodeRow, query: &NodeRowsQuery) -> bool {
    let of_stack = |one: &&NodeRowStack| query.stack.as_ref().is_none_or(|stack| one.stack == *stack);
    let mut stacks = row.stacks.iter().filter(of_stack);
    let text = query.q.as_deref().map(str::to_lowercase);
    query.state.is_none_or(|state| row.state == state)
        && text.is_none_or(|text| {
            row.name.as_str().contains(&text)
                || row
                    .labels
                    .iter()
                    .any(|(key, value)| format!("{key}={value}").to_lowercase().contains(&text))
        })
        && ((query.stack.is_none() && query.health.is_none() && query.tree.is_none())
            || stacks.any(|one| {
                query.health.is_none_or(|health| one.health == health)
                    && query.tree.as_deref().is_none_or(|tree| one.tree.is_some_and(|it| begins(it, tree)))
            }))
}

fn begins(tree: TreeDigest, digits: &str) -> bool {
    tree.to_string().starts_with(&digits.to_lowercase())
}

/// The database gave them by name, and these sorts keep what is equal in order.
fn sort(rows: &mut [NodeRow], by: NodeSort, descending: bool) {
    match by {
        NodeSort::Name => {}
        NodeSort::State => rows.sort_by_key(|row| std::cmp::Reverse(urgency(row.state))),
        NodeSort::Health => rows.sort_by_key(|row| std::cmp::Reverse(row.health.map(badness))),
        NodeSort::LastSeen => rows.sort_by_key(|row| row.last_seen_at),
        NodeSort::Joined => rows.sort_by_key(|row| row.id),
        NodeSort::Version => rows.sort_by(|a, b| a.agent_version.cmp(&b.agent_version)),
    }
    if descending {
        rows.reverse();
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
