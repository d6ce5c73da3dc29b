//! Reading deployments.

use std::collections::BTreeMap;

use backstay_types::{
    ConversationId, Deployment, DeploymentId, NodeId, ReleaseId, RolloutId, StackName, Timestamp,
};

use super::read_row;
use crate::{
    Result,
    db::{Executor, query},
};

/// Which deployments. Fields that are set are and-ed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// On this node.
    pub node: Option<NodeId>,
    /// Of this stack.
    pub stack: Option<StackName>,
    /// Of this rollout.
    pub rollout: Option<RolloutId>,
    /// Of this release.
    pub release: Option<ReleaseId>,
    /// Of releases that carry a commit linked with this conversation; guesses are left out.
    pub conversation: Option<ConversationId>,
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: DeploymentId) -> Result<Option<Deployment>> {
    query("SELECT * FROM deployments WHERE id = $1").bind(id).optional(ex, read_row).await
}

/// Several by id, in no order; unknown ids are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(ex: &mut impl Executor, ids: &[DeploymentId]) -> Result<Vec<Deployment>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let mut select = query("SELECT * FROM deployments WHERE id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, read_row).await?);
    }
    Ok(found)
}

/// Newest first, before id `before`.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    ex: &mut impl Executor,
    filter: &Filter,
    before: Option<DeploymentId>,
    limit: u32,
) -> Result<Vec<Deployment>> {
    let mut select = query("SELECT * FROM deployments WHERE 1 = 1");
    if let Some(node) = filter.node {
        select.push(" AND node_id = ").push_bind(node);
    }
    if let Some(stack) = &filter.stack {
        select.push(" AND stack = ").push_bind(stack);
    }
    if let Some(rollout) = filter.rollout {
        select.push(" AND rollout_id = ").push_bind(rollout);
    }
    if let Some(release) = filter.release {
        select.push(" AND release_id = ").push_bind(release);
    }
    if let Some(conversation) = filter.conversation {
        select.push(
            " AND release_id IN (SELECT rc.release_id FROM change_links l JOIN release_commits rc \
             ON rc.commit_id = l.commit_id AND rc.repository_id = l.repository_id \
             WHERE l.source <> 'guess' AND l.conversation_id = ",
        );
        select.push_bind(conversation).push(")");
    }
    if let Some(before) = before {
        select.push(" AND id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read_row).await
}

/// All of a rollout, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_rollout(ex: &mut impl Executor, rollout: RolloutId) -> Result<Vec<Deployment>> {
    query("SELECT * FROM deployments WHERE rollout_id = $1 ORDER BY id").bind(rollout).all(ex, read_row).await
}

/// Those of other stacks that were planned at or after `from` and failed, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn failed_of_others(
    ex: &mut impl Executor,
    stack: &StackName,
    from: Timestamp,
    limit: u32,
) -> Result<Vec<Deployment>> {
    query(
        "SELECT * FROM deployments WHERE created_at >= $1 AND stack <> $2 \
         AND state IN ('rolled_back', 'failed', 'broken') ORDER BY created_at DESC, id DESC LIMIT $3",
    )
    .bind(from)
    .bind(stack)
    .bind(limit)
    .all(ex, read_row)
    .await
}

/// How many deployments of a rollout are in which state, by [word](backstay_types::DeploymentState::word).
///
/// # Errors
/// When the database cannot be read.
pub async fn count_by_state(ex: &mut impl Executor, rollout: RolloutId) -> Result<BTreeMap<String, u64>> {
    let select = "SELECT state, COUNT(*) AS n FROM deployments WHERE rollout_id = $1 GROUP BY state";
    let counts = query(select).bind(rollout).all(ex, |row| Ok((row.get("state")?, row.get("n")?))).await?;
    Ok(counts.into_iter().collect())
}

/// All that are not final, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open(ex: &mut impl Executor) -> Result<Vec<Deployment>> {
    query("SELECT * FROM deployments WHERE state IN ('pending', 'running') ORDER BY id")
        .all(ex, read_row)
        .await
}

/// Those of a stack on a node that are not final and were made before another, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open_before(
    ex: &mut impl Executor,
    node: NodeId,
    stack: &StackName,
    before: DeploymentId,
) -> Result<Vec<Deployment>> {
    query(
        "SELECT * FROM deployments WHERE node_id = $1 AND stack = $2 AND id < $3 AND state IN ('pending', 'running') \
         ORDER BY id",
    )
    .bind(node)
    .bind(stack)
    .bind(before)
    .all(ex, read_row)
    .await
}

/// When a release was first planned for a node.
///
/// # Errors
/// When the database cannot be read.
pub async fn first_of_release(ex: &mut impl Executor, release: ReleaseId) -> Result<Option<Timestamp>> {
    let select = "SELECT created_at FROM deployments WHERE release_id = $1 ORDER BY id LIMIT 1";
    query(select).bind(release).optional(ex, |row| row.get("created_at")).await
}

/// Nodes and stacks whose newest deployment failed and whose way back did too, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn broken(ex: &mut impl Executor, limit: u32) -> Result<Vec<Deployment>> {
    query(
        "SELECT d.* FROM deployments d JOIN deployment_latest l ON l.deployment_id = d.id \
         WHERE d.state = 'broken' ORDER BY d.id DESC LIMIT $1",
    )
    .bind(limit)
    .all(ex, read_row)
    .await
}

/// The newest of a node and stack, whatever its state.
///
/// # Errors
/// When the database cannot be read.
pub async fn latest(ex: &mut impl Executor, node: NodeId, stack: &StackName) -> Result<Option<Deployment>> {
    query(
        "SELECT d.* FROM deployment_latest l JOIN deployments d ON d.id = l.deployment_id \
         WHERE l.node_id = $1 AND l.stack = $2",
    )
    .bind(node)
    .bind(stack)
    .optional(ex, read_row)
    .await
}

/// The newest of each stack of a node, by stack.
///
/// # Errors
/// When the database cannot be read.
pub async fn latest_of_node(ex: &mut impl Executor, node: NodeId) -> Result<Vec<Deployment>> {
    query(
        "SELECT d.* FROM deployment_latest l JOIN deployments d ON d.id = l.deployment_id \
         WHERE l.node_id = $1 ORDER BY l.stack",
    )
    .bind(node)
    .all(ex, read_row)
    .await
}

/// The newest of every node, of one stack or all.
///
/// # Errors
/// When the database cannot be read.
pub async fn latest_of_all(ex: &mut impl Executor, stack: Option<&StackName>) -> Result<Vec<Deployment>> {
    let mut select =
        query("SELECT d.* FROM deployment_latest l JOIN deployments d ON d.id = l.deployment_id");
    if let Some(stack) = stack {
        select.push(" WHERE l.stack = ").push_bind(stack);
    }
    select.all(ex, read_row).await
}

/// The last deployment of a node and stack to succeed that ended before `before`.
///
/// # Errors
/// When the database cannot be read.
pub async fn previous_good(
    ex: &mut impl Executor,
    node: NodeId,
    stack: &StackName,
    before: Timestamp,
) -> Result<Option<Deployment>> {
    query(
        "SELECT * FROM deployments WHERE node_id = $1 AND stack = $2 AND state = 'succeeded' \
         AND finished_at < $3 ORDER BY id DESC LIMIT 1",
    )
    .bind(node)
    .bind(stack)
    .bind(before)
    .optional(ex, read_row)
    .await
}

/// The last deployment of a node and stack to succeed that did not take the stack away.
///
/// # Errors
/// When the database cannot be read.
pub async fn ran_last(ex: &mut impl Executor, node: NodeId, stack: &StackName) -> Result<Option<Deployment>> {
    query(
        "SELECT * FROM deployments d WHERE d.node_id = $1 AND d.stack = $2 AND d.state = 'succeeded' \
         AND NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.id = d.rollout_id AND r.kind = 'removal') \
         ORDER BY d.id DESC LIMIT 1",
    )
    .bind(node)
    .bind(stack)
    .optional(ex, read_row)
    .await
}

/// What each node ran of each stack at a time: the last deployment to succeed that ended at or before it. Last is which was
/// made last: what the clock said when it ended may be before an earlier one's end. A node from which the stack had been
/// taken away ran nothing of it.
///
/// # Errors
/// When the database cannot be read.
pub async fn ran_at(ex: &mut impl Executor, at: Timestamp) -> Result<Vec<Deployment>> {
    query(
        "SELECT d.* FROM deployment_latest l JOIN deployments d ON d.id = \
         (SELECT g.id FROM deployments g WHERE g.node_id = l.node_id AND g.stack = l.stack \
          AND g.state = 'succeeded' AND g.finished_at <= $1 ORDER BY g.id DESC LIMIT 1) \
         WHERE NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.id = d.rollout_id AND r.kind = 'removal')",
    )
    .bind(at)
    .all(ex, read_row)
    .await
}

/// What each of these nodes runs of each stack: the last deployment to succeed there, unless it took the stack away.
///
/// # Errors
/// When the database cannot be read.
pub async fn run_by(ex: &mut impl Executor, nodes: &[NodeId]) -> Result<Vec<Deployment>> {
    let mut found = Vec::new();
    for chunk in nodes.chunks(500) {
        let mut select = query(
            "SELECT d.* FROM deployment_latest l JOIN deployments d ON d.id = \
             (SELECT g.id FROM deployments g WHERE g.node_id = l.node_id AND g.stack = l.stack \
              AND g.state = 'succeeded' ORDER BY g.id DESC LIMIT 1) \
             WHERE NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.id = d.rollout_id AND r.kind = 'removal') \
             AND l.node_id IN ",
        );
        select.push_list(chunk);
        found.extend(select.all(ex, read_row).await?);
    }
    Ok(found)
}

/// The nodes on which a release has come to a good end.
///
/// # Errors
/// When the database cannot be read.
pub async fn ran_well(ex: &mut impl Executor, release: ReleaseId) -> Result<Vec<NodeId>> {
    query("SELECT DISTINCT node_id FROM deployments WHERE release_id = $1 AND state = 'succeeded'")
        .bind(release)
        .all(ex, |row| row.get("node_id"))
        .await
}
