//! `GET /api/v1/nodes`

use backstay_api::v1::{ListNodes, NodeView, NodesQuery, Page};
use backstay_manifest::Selector;
use backstay_store::{Reader, nodes};
use backstay_types::{Node, NodeName};

use super::node_view::views;
use crate::http::{ApiError, Call, paging};

/// All nodes, by name.
pub(crate) async fn list_nodes(call: Call<ListNodes>) -> Result<Page<NodeView>, ApiError> {
    let mut store = call.app.store.read();
    let page = nodes_page(&mut store, &call.query).await?;
    let items = views(&call.app, &mut store, page.items).await?;
    Ok(Page { items, next: page.next })
}

/// The nodes of a page.
pub(super) async fn nodes_page(store: &mut Reader, query: &NodesQuery) -> Result<Page<Node>, ApiError> {
    let limit = paging::limit(query.limit)?;
    let after = paging::cursor(query.cursor.as_deref())?;
    let selector = query.selector.as_deref().map(read_selector).transpose()?;
    let found = matching(store, selector.as_ref(), after, limit + 1).await?;
    Ok(paging::page(found, limit, |node| node.name.to_string()))
}

fn read_selector(text: &str) -> Result<Selector, ApiError> {
    text.parse().map_err(|e| ApiError::invalid("selector", e))
}

/// The first nodes that match, by name: the database knows names, not selectors.
async fn matching(
    store: &mut Reader,
    selector: Option<&Selector>,
    mut after: Option<NodeName>,
    wanted: u32,
) -> Result<Vec<Node>, ApiError> {
    let matches = |node: &Node| selector.is_none_or(|selector| selector.matches(&node.name, &node.labels));
    let mut found = Vec::new();
    loop {
        let batch = nodes::list(store, after.as_ref(), wanted.max(500)).await?;
        let Some(last) = batch.last() else { return Ok(found) };
        after = Some(last.name.clone());
        found.extend(batch.into_iter().filter(matches));
        if found.len() >= wanted as usize {
            found.truncate(wanted as usize);
            return Ok(found);
        }
    }
}
