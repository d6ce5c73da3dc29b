//! The names that people know, beside the ids that entries carry.

use std::collections::HashMap;

use backstay_api::v1::TimelineEntry;
use backstay_store::{Reader, conversations, nodes};
use backstay_types::LedgerEntry;

use super::ApiError;

/// Entries with the names of what they are about, in the same order.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn of_entries(
    store: &mut Reader,
    entries: Vec<LedgerEntry>,
) -> Result<Vec<TimelineEntry>, ApiError> {
    let named = nodes::many(store, &distinct(entries.iter().filter_map(|entry| entry.refs.node))).await?;
    let named: HashMap<_, _> = named.into_iter().map(|node| (node.id, node.name)).collect();
    let ids = distinct(entries.iter().filter_map(|entry| entry.refs.conversation));
    let titled = conversations::many(store, &ids).await?.into_iter();
    let titled: HashMap<_, _> = titled.filter_map(|one| Some((one.id, one.title?))).collect();
    let named = entries.into_iter().map(|entry| TimelineEntry {
        node_name: entry.refs.node.and_then(|id| named.get(&id).cloned()),
        conversation_title: entry.refs.conversation.and_then(|id| titled.get(&id).cloned()),
        entry,
    });
    Ok(named.collect())
}

/// Each once.
pub(crate) fn distinct<T: Ord>(ids: impl Iterator<Item = T>) -> Vec<T> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
