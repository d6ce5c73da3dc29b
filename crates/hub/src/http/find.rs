//! Things by the names that people give.

use backstay_store::{Reader, conversations, nodes, repositories};
use backstay_types::{
    Conversation, ConversationId, ForeignId, Node, NodeId, NodeName, Repository, RepositoryId, RepositoryName,
};

use super::error::ApiError;

/// A node by name or id.
///
/// # Errors
/// When there is none.
pub(crate) async fn node(store: &mut Reader, text: &str) -> Result<Node, ApiError> {
    let found = match (text.parse::<NodeId>(), text.parse::<NodeName>()) {
        (Ok(id), _) => nodes::get(store, id).await?,
        (_, Ok(name)) => nodes::by_name(store, &name).await?,
        _ => None,
    };
    found.ok_or_else(|| ApiError::missing("node", text))
}

/// A node's id, where a filter names one.
///
/// # Errors
/// When there is none.
pub(crate) async fn node_id(store: &mut Reader, text: Option<&str>) -> Result<Option<NodeId>, ApiError> {
    match text {
        None => Ok(None),
        Some(text) => Ok(Some(node(store, text).await?.id)),
    }
}

/// A repository by name or id.
///
/// # Errors
/// When there is none.
pub(crate) async fn repository(store: &mut Reader, text: &str) -> Result<Repository, ApiError> {
    let found = match (text.parse::<RepositoryId>(), text.parse::<RepositoryName>()) {
        (Ok(id), _) => repositories::get(store, id).await?,
        (_, Ok(name)) => repositories::by_name(store, &name).await?,
        _ => None,
    };
    found.ok_or_else(|| ApiError::missing("repository", text))
}

/// A conversation by id, or by a foreign id written `tool/kind/value`.
///
/// # Errors
/// When there is none.
pub(crate) async fn conversation(store: &mut Reader, text: &str) -> Result<Conversation, ApiError> {
    let id = match (text.parse::<ConversationId>(), foreign(text)) {
        (Ok(id), _) => Some(id),
        (_, Some(foreign)) => conversations::find(store, &foreign).await?,
        _ => None,
    };
    let found = match id {
        Some(id) => conversations::get(store, id).await?,
        None => None,
    };
    found.ok_or_else(|| ApiError::missing("conversation", text))
}

fn foreign(text: &str) -> Option<ForeignId> {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    Some(ForeignId { tool: parts.next()?, kind: parts.next()?, value: parts.next()? })
}
