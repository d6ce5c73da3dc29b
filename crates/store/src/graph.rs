//! What happened in a window of time, for drawing it.

use std::collections::{BTreeSet, HashMap};

use backstay_types::{
    Conversation, ConversationId, Deployment, LedgerEntry, NodeId, Rollout, StackName, Timestamp, Undo,
};

use crate::{
    Result, StoreError,
    changes::{self, KnownChange},
    conversations,
    db::{Executor, Query, Row, query},
    deployments::{hours, read_row},
    ledger::{self, Filter, Window},
    rollouts, undos,
};

/// A window of time, and of what.
#[derive(Debug, Clone)]
pub struct Span {
    /// From this time on.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// Only of this stack.
    pub stack: Option<StackName>,
    /// Only on this node.
    pub node: Option<NodeId>,
}

/// Deployments of a stack or node that were planned within a bucket of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The stack's name or the node's id.
    pub lane: String,
    /// When the bucket begins.
    pub at: Timestamp,
    /// How many.
    pub count: u64,
    /// How many of them ended without their release running.
    pub failures: u64,
}

/// Conversations that were heard from in the window, the one heard from last first.
///
/// # Errors
/// When the database cannot be read.
pub async fn conversations(ex: &mut impl Executor, span: &Span, limit: u32) -> Result<Vec<Conversation>> {
    let select = query(
        "SELECT id FROM conversations WHERE last_seen_at >= $1 AND first_seen_at < $2 \
         ORDER BY last_seen_at DESC, id DESC LIMIT $3",
    );
    let ids = select.bind(span.since).bind(span.until).bind(limit).all(ex, |row| row.get("id")).await?;
    conversations::many(ex, &ids).await
}

/// The stacks that conversations changed. Links that are only guesses do not count.
///
/// # Errors
/// When the database cannot be read.
pub async fn stacks_of(
    ex: &mut impl Executor,
    ids: &[ConversationId],
) -> Result<HashMap<ConversationId, BTreeSet<StackName>>> {
    let mut found: HashMap<_, BTreeSet<_>> = HashMap::new();
    for chunk in ids.chunks(500) {
        let mut select = query(
            "SELECT l.conversation_id, c.stacks FROM change_links l \
             JOIN changes c ON c.repository_id = l.repository_id AND c.commit_id = l.commit_id \
             WHERE l.source <> 'guess' AND l.conversation_id IN ",
        );
        select.push_list(chunk);
        let read = |row: &Row| Ok((row.get("conversation_id")?, row.json::<Vec<StackName>>("stacks")?));
        for (conversation, stacks) in select.all(ex, read).await? {
            found.entry(conversation).or_default().extend(stacks);
        }
    }
    Ok(found)
}

/// Commits on deployed branches by when they were committed, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn changes(ex: &mut impl Executor, span: &Span, limit: u32) -> Result<Vec<KnownChange>> {
    let select = query(
        "SELECT * FROM changes WHERE committed_at >= $1 AND committed_at < $2 AND position IS NOT NULL \
         ORDER BY committed_at DESC, position DESC LIMIT $3",
    );
    changes::load(ex, select.bind(span.since).bind(span.until).bind(limit)).await
}

/// Deployments that were planned in the window, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn deployments(ex: &mut impl Executor, span: &Span, limit: u32) -> Result<Vec<Deployment>> {
    let mut select = query("SELECT * FROM deployments");
    narrow(&mut select, span);
    select.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(limit);
    select.all(ex, read_row).await
}

/// Whether more than `limit` deployments were planned in the window.
///
/// # Errors
/// When the database cannot be read.
pub async fn has_more_than(ex: &mut impl Executor, span: &Span, limit: u32) -> Result<bool> {
    let mut select = query("SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM deployments");
    narrow(&mut select, span);
    select.push(" LIMIT ").push_bind(limit.saturating_add(1)).push(") AS found");
    let n: Option<u64> = select.optional(ex, |row| row.get("n")).await?;
    Ok(n.unwrap_or_default() > u64::from(limit))
}

/// Deployments counted by stack, or by node, and by buckets of `seconds`, oldest first. Buckets of whole hours are of
/// whole hours at both ends of the window too.
///
/// # Errors
/// When the database cannot be read.
pub async fn counted(
    ex: &mut impl Executor,
    span: &Span,
    by_node: bool,
    seconds: u32,
) -> Result<Vec<Counted>> {
    if !by_node && span.node.is_none() && seconds > 0 && seconds.is_multiple_of(3600) {
        let found =
            hours::by_stack(ex, (span.since, span.until), span.stack.as_ref(), seconds / 3600).await?;
        let count = |(stack, hour): (StackName, hours::Hour)| Counted {
            lane: stack.to_string(),
            at: hour.at,
            count: hour.deployments,
            failures: hour.failures,
        };
        return Ok(found.into_iter().map(count).collect());
    }
    let width = i64::from(seconds.max(1)) * 1_000_000;
    let mut select = query(if by_node { "SELECT node_id AS lane, " } else { "SELECT stack AS lane, " });
    select.push("created_at / ").push_bind(width);
    select.push(" AS bucket, COUNT(*) AS n, ");
    select.push("COUNT(CASE WHEN state IN ('rolled_back', 'failed', 'broken') THEN 1 END) AS failures");
    select.push(" FROM deployments");
    narrow(&mut select, span);
    select.push(" GROUP BY 1, 2 ORDER BY 2");
    let read = |row: &Row| {
        let bucket: i64 = row.get("bucket")?;
        let at = Timestamp::from_microsecond(bucket * width);
        let at = at.map_err(|e| StoreError::corrupt("created_at", e))?;
        Ok(Counted { lane: row.get("lane")?, at, count: row.get("n")?, failures: row.get("failures")? })
    };
    select.all(ex, read).await
}

/// Rollouts that began in the window and stopped by themselves, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn halted(ex: &mut impl Executor, span: &Span, limit: u32) -> Result<Vec<Rollout>> {
    let mut select = query("SELECT id FROM rollouts WHERE state = 'halted' AND created_at >= ");
    select.push_bind(span.since).push(" AND created_at < ").push_bind(span.until);
    if let Some(stack) = &span.stack {
        select.push(" AND stack = ").push_bind(stack);
    }
    select.push(" ORDER BY created_at DESC LIMIT ").push_bind(limit);
    let ids = select.all(ex, |row| row.get("id")).await?;
    rollouts::many(ex, &ids).await
}

/// Undos that were asked for in the window, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn undos(ex: &mut impl Executor, span: &Span, limit: u32) -> Result<Vec<Undo>> {
    let select = query(
        "SELECT id FROM undos WHERE created_at >= $1 AND created_at < $2 ORDER BY created_at DESC LIMIT $3",
    );
    let ids = select.bind(span.since).bind(span.until).bind(limit).all(ex, |row| row.get("id")).await?;
    undos::many(ex, &ids).await
}

/// Ledger entries of a kind in the window, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn entries(
    ex: &mut impl Executor,
    span: &Span,
    kind: &'static str,
    limit: u32,
) -> Result<Vec<LedgerEntry>> {
    // Entries of a kind are found by position: from the window's first one, older ones are not looked at.
    let first = query("SELECT seq FROM ledger WHERE at >= $1 ORDER BY at, seq LIMIT 1").bind(span.since);
    let Some(first) = first.optional(ex, |row| row.get::<u64>("seq")).await? else { return Ok(Vec::new()) };
    let filter = Filter {
        kind: Some(kind.to_owned()),
        stack: span.stack.clone(),
        node: span.node,
        since: Some(span.since),
        until: Some(span.until),
        // Positions go by when an entry was sealed, which may be a little after its time.
        from: Some(first.saturating_sub(1000)),
        ..Filter::default()
    };
    ledger::timeline(ex, &filter, Window::Newest, limit).await
}

fn narrow(select: &mut Query, span: &Span) {
    select.push(" WHERE created_at >= ").push_bind(span.since);
    select.push(" AND created_at < ").push_bind(span.until);
    if let Some(stack) = &span.stack {
        select.push(" AND stack = ").push_bind(stack);
    }
    if let Some(node) = span.node {
        select.push(" AND node_id = ").push_bind(node);
    }
}
