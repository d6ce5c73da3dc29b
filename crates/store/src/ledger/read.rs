//! Reading the ledger by position and by the ids that entries carry.

use backstay_types::{
    CommitId, ConstraintId, ConversationId, DeploymentId, Digest, EventId, LedgerEntry, NodeId, Refs,
    ReleaseId, RepositoryId, RolloutId, StackName, Timestamp, UndoId,
};

use super::read_refs;
use crate::{
    Result,
    db::{Executor, Query, Row, query},
    value::Bind,
};

/// Which entries. Fields that are set are and-ed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// About this conversation.
    pub conversation: Option<ConversationId>,
    /// About this repository.
    pub repository: Option<RepositoryId>,
    /// About this commit.
    pub commit: Option<CommitId>,
    /// About this stack.
    pub stack: Option<StackName>,
    /// About this release.
    pub release: Option<ReleaseId>,
    /// About this rollout.
    pub rollout: Option<RolloutId>,
    /// About this deployment.
    pub deployment: Option<DeploymentId>,
    /// About this node.
    pub node: Option<NodeId>,
    /// About this undo.
    pub undo: Option<UndoId>,
    /// About this constraint.
    pub constraint: Option<ConstraintId>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of none of these kinds.
    pub without: Vec<&'static str>,
    /// At or after this position.
    pub from: Option<u64>,
    /// At or after this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// From where, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Newest first, all.
    Newest,
    /// Newest first, before this position.
    Before(u64),
    /// Oldest first, after this position.
    After(u64),
}

/// A row with all that its hash is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// Position, from 1.
    pub seq: u64,
    /// Id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// Kind.
    pub kind: String,
    /// Ids.
    pub refs: Refs,
    /// Hash over salt and body.
    pub body_hash: Digest,
    /// Salt and the body's JSON exactly as stored; absent once erased.
    pub body: Option<(Vec<u8>, String)>,
    /// Hash of the chain up to here.
    pub hash: Digest,
}

const SELECT: &str = "SELECT l.*, b.salt, b.body FROM ledger l LEFT JOIN ledger_bodies b ON b.seq = l.seq";

/// Sealed entries after position `seq`, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn after(ex: &mut impl Executor, seq: u64, limit: u32) -> Result<Vec<LedgerEntry>> {
    timeline(ex, &Filter::default(), Window::After(seq), limit).await
}

/// One entry.
///
/// # Errors
/// When the database cannot be read.
pub async fn entry(ex: &mut impl Executor, seq: u64) -> Result<Option<LedgerEntry>> {
    Ok(after(ex, seq.saturating_sub(1), 1).await?.into_iter().find(|entry| entry.seq == seq))
}

/// Entries that match, in the window's order. An event of a kind that this build does not know has no `event`.
///
/// # Errors
/// When the database cannot be read.
pub async fn timeline(
    ex: &mut impl Executor,
    filter: &Filter,
    window: Window,
    limit: u32,
) -> Result<Vec<LedgerEntry>> {
    let mut select = query(SELECT);
    // One bound alone: SQLite takes only one for where it begins to read.
    let after = if let Window::After(seq) = window { seq } else { 0 };
    let from = filter.from.unwrap_or_default().saturating_sub(1);
    select.push(" WHERE l.seq > ").push_bind(after.max(from));
    if let Window::Before(seq) = window {
        select.push(" AND l.seq < ").push_bind(seq);
    }
    filter.push(&mut select);
    select.push(match window {
        Window::After(_) => " ORDER BY l.seq LIMIT ",
        Window::Newest | Window::Before(_) => " ORDER BY l.seq DESC LIMIT ",
    });
    select.push_bind(limit);
    select.all(ex, |row| read_chain(row).map(ChainRow::into_entry)).await
}

/// Rows as they are chained, after position `seq`, oldest first.
///
/// # Errors
/// When the database cannot be read, or a row does not hold what a sealer writes.
pub async fn chain_rows(ex: &mut impl Executor, seq: u64, limit: u32) -> Result<Vec<ChainRow>> {
    let mut select = query(SELECT);
    select.push(" WHERE l.seq > ").push_bind(seq).push(" ORDER BY l.seq LIMIT ").push_bind(limit);
    select.all(ex, read_chain).await
}

fn read_chain(row: &Row) -> Result<ChainRow> {
    let salt: Option<Vec<u8>> = row.opt("salt")?;
    let body: Option<String> = row.opt("body")?;
    Ok(ChainRow {
        seq: row.get("seq")?,
        id: row.get("id")?,
        at: row.get("at")?,
        kind: row.get("kind")?,
        refs: read_refs(row)?,
        body_hash: row.get("body_hash")?,
        body: salt.zip(body),
        hash: row.get("hash")?,
    })
}

impl ChainRow {
    fn into_entry(self) -> LedgerEntry {
        LedgerEntry {
            seq: self.seq,
            id: self.id,
            at: self.at,
            kind: self.kind,
            refs: self.refs,
            event: self.body.and_then(|(_, body)| serde_json::from_str(&body).ok()),
            body_hash: self.body_hash,
            hash: self.hash,
        }
    }
}

impl Filter {
    fn push(&self, select: &mut Query) {
        equal(select, " AND l.conversation_id = ", self.conversation);
        equal(select, " AND l.repository_id = ", self.repository);
        equal(select, " AND l.commit_id = ", self.commit.as_ref());
        equal(select, " AND l.stack = ", self.stack.as_ref());
        equal(select, " AND l.release_id = ", self.release);
        equal(select, " AND l.rollout_id = ", self.rollout);
        equal(select, " AND l.deployment_id = ", self.deployment);
        equal(select, " AND l.node_id = ", self.node);
        equal(select, " AND l.undo_id = ", self.undo);
        equal(select, " AND l.constraint_id = ", self.constraint);
        equal(select, " AND l.kind = ", self.kind.as_deref());
        if !self.without.is_empty() {
            select.push(" AND l.kind NOT IN ").push_list(self.without.iter().copied());
        }
        equal(select, " AND l.at >= ", self.since);
        equal(select, " AND l.at < ", self.until);
    }
}

fn equal(select: &mut Query, sql: &'static str, value: Option<impl Bind>) {
    if let Some(value) = value {
        select.push(sql).push_bind(value);
    }
}
