//! Conversations and the ids under which tools know them.

use std::collections::HashMap;

use backstay_types::{Conversation, ConversationId, ForeignId, Timestamp};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
};

const WHAT: &str = "conversation";

/// The conversation behind foreign ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The conversation.
    pub id: ConversationId,
    /// Whether it was minted just now.
    pub minted: bool,
    /// Ids that were new to it.
    pub attached: Vec<ForeignId>,
}

/// Finds the conversation of the first known id, or mints one; ids not yet known are attached to it. An id that
/// belongs to another conversation stays there. Also notes that the conversation was heard of at `at`.
///
/// # Errors
/// When the database refuses, or `ids` is empty.
pub async fn resolve(tx: &mut Tx, tool: &str, ids: &[ForeignId], at: Timestamp) -> Result<Resolved> {
    let (id, minted) = match first_known(tx, ids).await? {
        Some(id) => (id, false),
        None => mint(tx, tool, ids, at).await?,
    };
    let mut attached = Vec::new();
    for foreign in ids {
        if attach(tx, id, foreign).await? {
            attached.push(foreign.clone());
        }
    }
    if minted {
        attached.extend(ids.first().cloned());
    } else {
        heard(tx, id, at).await?;
    }
    Ok(Resolved { id, minted, attached })
}

async fn first_known(ex: &mut impl Executor, ids: &[ForeignId]) -> Result<Option<ConversationId>> {
    for foreign in ids {
        if let Some(id) = find(ex, foreign).await? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Claims the first id; whoever claims it first mints.
async fn mint(tx: &mut Tx, tool: &str, ids: &[ForeignId], at: Timestamp) -> Result<(ConversationId, bool)> {
    let first = ids.first().ok_or_else(|| StoreError::stale(WHAT, "without any id"))?;
    let id: ConversationId = tx.world().mint();
    if !attach(tx, id, first).await? {
        let winner = find(tx, first).await?.ok_or_else(|| StoreError::stale(WHAT, &first.value))?;
        return Ok((winner, false));
    }
    let insert = "INSERT INTO conversations (id, tool, first_seen_at, last_seen_at) VALUES ($1, $2, $3, $3)";
    query(insert).bind(id).bind(tool).bind(at).run(tx).await?;
    Ok((id, true))
}

/// Attaches a foreign id to a conversation; false when it belongs to one already.
///
/// # Errors
/// When the database refuses.
pub async fn attach(tx: &mut Tx, id: ConversationId, foreign: &ForeignId) -> Result<bool> {
    let insert = query(
        "INSERT INTO foreign_ids (tool, kind, value, conversation_id) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tool, kind, value) DO NOTHING",
    );
    let insert = insert.bind(&foreign.tool).bind(&foreign.kind).bind(&foreign.value).bind(id);
    Ok(insert.run(tx).await? == 1)
}

/// Makes sure that a conversation with an id of ours exists, as when a commit names one that no tool has reported.
/// True when it was made just now.
///
/// # Errors
/// When the database refuses.
pub async fn ensure(tx: &mut Tx, id: ConversationId, tool: &str, at: Timestamp) -> Result<bool> {
    let insert = query(
        "INSERT INTO conversations (id, tool, first_seen_at, last_seen_at) VALUES ($1, $2, $3, $3) \
         ON CONFLICT (id) DO NOTHING",
    );
    Ok(insert.bind(id).bind(tool).bind(at).run(tx).await? == 1)
}

/// Notes that a conversation was heard of; times only move outwards.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when there is no such conversation.
pub async fn heard(tx: &mut Tx, id: ConversationId, at: Timestamp) -> Result<()> {
    query(
        "UPDATE conversations SET \
         first_seen_at = CASE WHEN first_seen_at > $1 THEN $1 ELSE first_seen_at END, \
         last_seen_at = CASE WHEN last_seen_at < $1 THEN $1 ELSE last_seen_at END WHERE id = $2",
    )
    .bind(at)
    .bind(id)
    .run_one(tx, WHAT, id)
    .await
}

/// Notes that a conversation's tool said that it ended; false when it had ended before.
///
/// # Errors
/// When the database refuses.
pub async fn end(tx: &mut Tx, id: ConversationId, at: Timestamp) -> Result<bool> {
    let update = "UPDATE conversations SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL";
    Ok(query(update).bind(at).bind(id).run(tx).await? == 1)
}

/// Notes that an ended conversation goes on; false when it had not ended.
///
/// # Errors
/// When the database refuses.
pub async fn reopen(tx: &mut Tx, id: ConversationId) -> Result<bool> {
    let update = "UPDATE conversations SET ended_at = NULL WHERE id = $1 AND ended_at IS NOT NULL";
    Ok(query(update).bind(id).run(tx).await? == 1)
}

/// Sets the description for people.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when there is no such conversation.
pub async fn set_title(tx: &mut Tx, id: ConversationId, title: &str) -> Result<()> {
    let update = "UPDATE conversations SET title = $1 WHERE id = $2";
    query(update).bind(title).bind(id).run_one(tx, WHAT, id).await
}

/// The conversation that a foreign id belongs to.
///
/// # Errors
/// When the database cannot be read.
pub async fn find(ex: &mut impl Executor, foreign: &ForeignId) -> Result<Option<ConversationId>> {
    let select = "SELECT conversation_id FROM foreign_ids WHERE tool = $1 AND kind = $2 AND value = $3";
    query(select)
        .bind(&foreign.tool)
        .bind(&foreign.kind)
        .bind(&foreign.value)
        .optional(ex, |row| row.get("conversation_id"))
        .await
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: ConversationId) -> Result<Option<Conversation>> {
    Ok(many(ex, &[id]).await?.pop())
}

/// Several by id, in no order; unknown ids are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(ex: &mut impl Executor, ids: &[ConversationId]) -> Result<Vec<Conversation>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let mut select = query("SELECT * FROM conversations WHERE id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, read).await?);
    }
    with_foreign_ids(ex, found).await
}

/// A place in the list of conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// When the conversation was last heard from.
    pub last_seen_at: Timestamp,
    /// Its id.
    pub id: ConversationId,
}

/// Conversations, the one heard from last first, after `after`.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor, after: Option<Key>, limit: u32) -> Result<Vec<Conversation>> {
    let mut select = query("SELECT * FROM conversations");
    if let Some(key) = after {
        select.push(" WHERE last_seen_at < ").push_bind(key.last_seen_at);
        select.push(" OR (last_seen_at = ").push_bind(key.last_seen_at);
        select.push(" AND id < ").push_bind(key.id).push(")");
    }
    select.push(" ORDER BY last_seen_at DESC, id DESC LIMIT ").push_bind(limit);
    let found = select.all(ex, read).await?;
    with_foreign_ids(ex, found).await
}

async fn with_foreign_ids(
    ex: &mut impl Executor,
    mut conversations: Vec<Conversation>,
) -> Result<Vec<Conversation>> {
    let mut by_id: HashMap<ConversationId, Vec<ForeignId>> = HashMap::new();
    for chunk in conversations.chunks(500) {
        let mut select = query("SELECT * FROM foreign_ids WHERE conversation_id IN ");
        select.push_list(chunk.iter().map(|c| c.id));
        select.push(" ORDER BY tool, kind, value");
        for (id, foreign) in select.all(ex, read_foreign).await? {
            by_id.entry(id).or_default().push(foreign);
        }
    }
    for conversation in &mut conversations {
        conversation.foreign_ids = by_id.remove(&conversation.id).unwrap_or_default();
    }
    Ok(conversations)
}

fn read_foreign(row: &Row) -> Result<(ConversationId, ForeignId)> {
    let foreign = ForeignId { tool: row.get("tool")?, kind: row.get("kind")?, value: row.get("value")? };
    Ok((row.get("conversation_id")?, foreign))
}

fn read(row: &Row) -> Result<Conversation> {
    Ok(Conversation {
        id: row.get("id")?,
        tool: row.get("tool")?,
        foreign_ids: Vec::new(),
        title: row.opt("title")?,
        first_seen_at: row.get("first_seen_at")?,
        last_seen_at: row.get("last_seen_at")?,
        ended_at: row.opt("ended_at")?,
    })
}
