//! What happened in conversations, as their tools reported it.

use backstay_types::{CommitId, ConversationId, Digest, EventId, Timestamp, ToolEvent};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    dialect,
    value::{Bind as _, json, word},
};

/// The shortest abbreviation of a commit that is taken for one.
const SHORTEST_COMMIT: usize = 7;

/// Keeps events. A commit that an event names can be looked up with [`naming_commit`].
///
/// # Errors
/// When the database refuses.
pub async fn insert(tx: &mut Tx, events: &[ToolEvent]) -> Result<()> {
    let mut rows = Vec::with_capacity(events.len());
    let mut commits = Vec::new();
    for event in events {
        rows.push(vec![
            event.id.value(),
            event.conversation.value(),
            event.delivery.value(),
            event.at.value(),
            word(&event.kind)?.value(),
            event.summary.as_str().value(),
            json(&event.commits)?.value(),
        ]);
        let mut named: Vec<String> = event.commits.iter().map(|c| c.to_ascii_lowercase()).collect();
        named.sort_unstable();
        named.dedup();
        commits.extend(named.into_iter().map(|commit| vec![commit.value(), event.id.value()]));
    }
    let head =
        "INSERT INTO tool_events (id, conversation_id, delivery_id, at, kind, summary, commits) VALUES ";
    dialect::bulk(tx, head, "", rows).await?;
    let head = "INSERT INTO tool_event_commits (commit_text, event_id) VALUES ";
    dialect::bulk(tx, head, "", commits).await.map(drop)
}

/// Events of a conversation, oldest first: the newest `limit`.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_conversation(
    ex: &mut impl Executor,
    conversation: ConversationId,
    limit: u32,
) -> Result<Vec<ToolEvent>> {
    let select = "SELECT * FROM tool_events WHERE conversation_id = $1 ORDER BY at DESC, id DESC LIMIT $2";
    let mut events = query(select).bind(conversation).bind(limit).all(ex, read).await?;
    events.reverse();
    Ok(events)
}

/// Events with a known conversation from `from` up to and with `to`, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn between(
    ex: &mut impl Executor,
    from: Timestamp,
    to: Timestamp,
    limit: u32,
) -> Result<Vec<ToolEvent>> {
    query(
        "SELECT * FROM tool_events WHERE at >= $1 AND at <= $2 AND conversation_id IS NOT NULL \
         ORDER BY at, id LIMIT $3",
    )
    .bind(from)
    .bind(to)
    .bind(limit)
    .all(ex, read)
    .await
}

/// Events that name this commit, whole or abbreviated to 7 digits or more, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn naming_commit(ex: &mut impl Executor, commit: &CommitId) -> Result<Vec<ToolEvent>> {
    let text = commit.as_str();
    let mut select = query(
        "SELECT * FROM tool_events WHERE id IN (SELECT event_id FROM tool_event_commits WHERE commit_text IN ",
    );
    select.push_list((SHORTEST_COMMIT..=text.len()).map(|len| &text[..len]));
    select.push(") ORDER BY at, id");
    select.all(ex, read).await
}

/// How many events of a conversation are kept, and a digest over their ids and kinds, in order.
///
/// # Errors
/// When the database cannot be read.
pub async fn digest(ex: &mut impl Executor, conversation: ConversationId) -> Result<(u64, Digest)> {
    let select = "SELECT id, kind FROM tool_events WHERE conversation_id = $1 ORDER BY at, id";
    let map = |row: &Row| Ok((row.get::<EventId>("id")?, row.get::<String>("kind")?));
    let events = query(select).bind(conversation).all(ex, map).await?;
    let text: String = events.iter().map(|(id, kind)| format!("{id} {kind}\n")).collect();
    Ok((events.len() as u64, Digest::of(text.as_bytes())))
}

/// Deletes events that happened before `before`; gives how many.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    let commits =
        "DELETE FROM tool_event_commits WHERE event_id IN (SELECT id FROM tool_events WHERE at < $1)";
    query(commits).bind(before).run(tx).await?;
    query("DELETE FROM tool_events WHERE at < $1").bind(before).run(tx).await
}

fn read(row: &Row) -> Result<ToolEvent> {
    Ok(ToolEvent {
        id: row.get("id")?,
        conversation: row.opt("conversation_id")?,
        delivery: row.get("delivery_id")?,
        at: row.get("at")?,
        kind: row.word("kind")?,
        summary: row.get("summary")?,
        commits: row.json("commits")?,
    })
}
