//! Figures and joins for lists and monitoring: what would otherwise be one query for each row.

use std::collections::{BTreeMap, HashMap};

use backstay_types::{ConversationId, NodeId, ReleaseId, Timestamp};

use crate::{
    Result,
    db::{Executor, Row, query},
    desired::{self, DesiredStack},
};

/// How many ids go into one query.
const CHUNK: usize = 500;

/// What a conversation led to. Links that are only guesses do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConversationFigures {
    /// Commits.
    pub changes: u64,
    /// Deployments of releases that carry them.
    pub deployments: u64,
    /// Those of them that ended without their release running.
    pub failures: u64,
}

/// The figures of several conversations; those without any are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_conversations(
    ex: &mut impl Executor,
    ids: &[ConversationId],
) -> Result<HashMap<ConversationId, ConversationFigures>> {
    let mut found: HashMap<_, ConversationFigures> = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let mut select = query(
            "SELECT conversation_id, COUNT(*) AS n FROM change_links WHERE source <> 'guess' AND conversation_id IN ",
        );
        select.push_list(chunk).push(" GROUP BY conversation_id");
        let read = |row: &Row| Ok((row.get("conversation_id")?, row.get("n")?));
        for (conversation, changes) in select.all(ex, read).await? {
            found.entry(conversation).or_default().changes = changes;
        }
        let mut select = query(
            "SELECT l.conversation_id, d.state, COUNT(DISTINCT d.id) AS n FROM change_links l \
             JOIN release_commits rc ON rc.commit_id = l.commit_id AND rc.repository_id = l.repository_id \
             JOIN deployments d ON d.release_id = rc.release_id \
             WHERE l.source <> 'guess' AND l.conversation_id IN ",
        );
        select.push_list(chunk).push(" GROUP BY l.conversation_id, d.state");
        let read =
            |row: &Row| Ok((row.get("conversation_id")?, row.get::<String>("state")?, row.get::<u64>("n")?));
        for (conversation, state, count) in select.all(ex, read).await? {
            let figures = found.entry(conversation).or_default();
            figures.deployments += count;
            if matches!(state.as_str(), "rolled_back" | "failed" | "broken") {
                figures.failures += count;
            }
        }
    }
    Ok(found)
}

/// The conversations behind several releases, each pair once, in the order in which the hub first heard of them.
/// Links that are only guesses do not count.
///
/// # Errors
/// When the database cannot be read.
pub async fn conversations_of_releases(
    ex: &mut impl Executor,
    ids: &[ReleaseId],
) -> Result<HashMap<ReleaseId, Vec<ConversationId>>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let mut select = query(
            "SELECT DISTINCT rc.release_id, l.conversation_id FROM release_commits rc \
             JOIN change_links l ON l.commit_id = rc.commit_id AND l.repository_id = rc.repository_id \
             WHERE l.source <> 'guess' AND rc.release_id IN ",
        );
        select.push_list(chunk).push(" ORDER BY l.conversation_id");
        let read = |row: &Row| Ok((row.get("release_id")?, row.get("conversation_id")?));
        for (release, conversation) in select.all(ex, read).await? {
            found.entry(release).or_default().push(conversation);
        }
    }
    Ok(found)
}

/// What several nodes should run, by stack, and why.
///
/// # Errors
/// When the database cannot be read.
pub async fn desired_of_nodes(
    ex: &mut impl Executor,
    ids: &[NodeId],
) -> Result<HashMap<NodeId, Vec<DesiredStack>>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let mut select = query("SELECT * FROM desired_stacks WHERE node_id IN ");
        select.push_list(chunk).push(" ORDER BY node_id, stack");
        for stack in select.all(ex, desired::read_stack).await? {
            found.entry(stack.node).or_default().push(stack);
        }
    }
    Ok(found)
}

/// The newest deployment of each node and stack, counted by the word of its state.
///
/// # Errors
/// When the database cannot be read.
pub async fn latest_deployments_by_state(ex: &mut impl Executor) -> Result<BTreeMap<String, u64>> {
    let select = "SELECT d.state, COUNT(*) AS n FROM deployment_latest l \
                  JOIN deployments d ON d.id = l.deployment_id GROUP BY d.state";
    let counts = query(select).all(ex, |row| Ok((row.get("state")?, row.get("n")?))).await?;
    Ok(counts.into_iter().collect())
}

/// What a source of webhooks sent since a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFigures {
    /// The source.
    pub source: String,
    /// Deliveries.
    pub deliveries: u64,
    /// Those of them that could not be understood.
    pub unrecognised: u64,
}

/// Deliveries that arrived since a time, by source.
///
/// # Errors
/// When the database cannot be read.
pub async fn deliveries_since(ex: &mut impl Executor, since: Timestamp) -> Result<Vec<SourceFigures>> {
    let select = query(
        "SELECT source, COUNT(*) AS n, COUNT(unrecognised) AS unrecognised FROM deliveries \
         WHERE received_at >= $1 GROUP BY source ORDER BY source",
    );
    let read = |row: &Row| {
        Ok(SourceFigures {
            source: row.get("source")?,
            deliveries: row.get("n")?,
            unrecognised: row.get("unrecognised")?,
        })
    };
    select.bind(since).all(ex, read).await
}

/// Ledger entries that wait to be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    /// How many.
    pub entries: u64,
    /// When the oldest was recorded.
    pub oldest: Option<Timestamp>,
}

/// What waits to be sealed.
///
/// # Errors
/// When the database cannot be read.
pub async fn unsealed(ex: &mut impl Executor) -> Result<Unsealed> {
    let select = query("SELECT COUNT(*) AS n, MIN(at) AS oldest FROM ledger_pending");
    let read = |row: &Row| Ok(Unsealed { entries: row.get("n")?, oldest: row.opt("oldest")? });
    Ok(select.optional(ex, read).await?.unwrap_or(Unsealed { entries: 0, oldest: None }))
}
