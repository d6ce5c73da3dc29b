//! Looking for a text in names, titles, first lines and ids.

use backstay_types::{
    Conversation, Deployment, DeploymentId, Node, ReleaseId, RepositoryId, Rollout, RolloutId, Undo, UndoId,
};

use crate::{
    Result,
    changes::{self, KnownChange},
    conversations,
    db::{Executor, Query, query},
    deployments, nodes, rollouts, undos,
};

/// How many of the newest commits are looked through.
const COMMITS: u32 = 20_000;

/// Nodes with the text in their name or a label, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn nodes(ex: &mut impl Executor, text: &str, limit: u32) -> Result<Vec<Node>> {
    let mut select = query("SELECT * FROM nodes WHERE ");
    like(&mut select, "name", text);
    select.push(" OR ");
    like(&mut select, "labels", text);
    select.push(" ORDER BY name LIMIT ").push_bind(limit);
    select.all(ex, nodes::read).await
}

/// Conversations with the text in their title, tool or one of their ids, the one heard from last first.
///
/// # Errors
/// When the database cannot be read.
pub async fn conversations(ex: &mut impl Executor, text: &str, limit: u32) -> Result<Vec<Conversation>> {
    let mut select = query("SELECT id FROM conversations c WHERE ");
    for column in ["c.title", "c.tool", "c.id"] {
        like(&mut select, column, text);
        select.push(" OR ");
    }
    select.push("EXISTS (SELECT 1 FROM foreign_ids f WHERE f.conversation_id = c.id AND ");
    like(&mut select, "f.value", text);
    select.push(") ORDER BY c.last_seen_at DESC, c.id DESC LIMIT ").push_bind(limit);
    let ids = select.all(ex, |row| row.get("id")).await?;
    let mut found = conversations::many(ex, &ids).await?;
    found.sort_by_key(|one| std::cmp::Reverse((one.last_seen_at, one.id)));
    Ok(found)
}

/// Commits with the text in their first line or at the beginning of their id, newest first; of the newest ones.
///
/// # Errors
/// When the database cannot be read.
pub async fn changes(ex: &mut impl Executor, text: &str, limit: u32) -> Result<Vec<KnownChange>> {
    let mut select = query("SELECT * FROM (SELECT * FROM changes ORDER BY committed_at DESC LIMIT ");
    select.push_bind(COMMITS).push(") AS newest WHERE ");
    like(&mut select, "subject", text);
    if is_hexadecimal(text) {
        select.push(" OR commit_id LIKE ").push_bind(format!("{}%", text.to_lowercase()));
    }
    select.push(" ORDER BY committed_at DESC LIMIT ").push_bind(limit);
    changes::load(ex, select).await
}

/// A release by its tree's or its id's first or last digits.
///
/// # Errors
/// When the database cannot be read.
pub async fn releases(
    ex: &mut impl Executor,
    text: &str,
    limit: u32,
) -> Result<Vec<(ReleaseId, RepositoryId)>> {
    if !is_id(text) {
        return Ok(Vec::new());
    }
    let mut select = query("SELECT id, repository_id FROM releases WHERE tree LIKE ");
    select.push_bind(format!("{}%", text.to_lowercase())).push(" OR ");
    by_id(&mut select, text);
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, |row| Ok((row.get("id")?, row.get("repository_id")?))).await
}

/// Deployments by their id's first or last digits, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn deployments(ex: &mut impl Executor, text: &str, limit: u32) -> Result<Vec<Deployment>> {
    let ids: Vec<DeploymentId> = ids(ex, "SELECT id FROM deployments WHERE ", text, limit).await?;
    deployments::many(ex, &ids).await
}

/// Rollouts by their id's first or last digits, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn rollouts(ex: &mut impl Executor, text: &str, limit: u32) -> Result<Vec<Rollout>> {
    let ids: Vec<RolloutId> = ids(ex, "SELECT id FROM rollouts WHERE ", text, limit).await?;
    rollouts::many(ex, &ids).await
}

/// Undos by their id's first or last digits, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn undos(ex: &mut impl Executor, text: &str, limit: u32) -> Result<Vec<Undo>> {
    let ids: Vec<UndoId> = ids(ex, "SELECT id FROM undos WHERE ", text, limit).await?;
    undos::many(ex, &ids).await
}

async fn ids<T: crate::value::Column>(
    ex: &mut impl Executor,
    sql: &'static str,
    text: &str,
    limit: u32,
) -> Result<Vec<T>>
where
    T::Raw: crate::db::Raw,
{
    if !is_id(text) {
        return Ok(Vec::new());
    }
    let mut select = query(sql);
    by_id(&mut select, text);
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, |row| row.get("id")).await
}

/// People copy an id's last digits, since its first are the time.
fn by_id(select: &mut Query, digits: &str) {
    let digits = digits.to_lowercase();
    select.push("(id LIKE ").push_bind(format!("{digits}%"));
    select.push(" OR id LIKE ").push_bind(format!("%{digits}")).push(")");
}

/// Whether the text may be a part of an id; shorter ones would fit too many.
fn is_id(text: &str) -> bool {
    (6..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn is_hexadecimal(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn like(select: &mut Query, column: &'static str, text: &str) {
    let mut pattern = String::from("%");
    for char in text.to_lowercase().chars() {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('%');
    select.push("LOWER(").push(column).push(") LIKE ").push_bind(pattern).push(" ESCAPE '\\'");
}
