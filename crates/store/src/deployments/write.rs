//! Making deployments and moving them on. A final state never changes, but for that of one which was given up and done all
//! the same.

use std::collections::BTreeMap;

use backstay_types::{
    Container, Deployment, DeploymentId, DeploymentState, NodeId, StackName, Step, Timestamp, TreeDigest,
};

use super::{WHAT, hours, parts};
use crate::{
    Result, StoreError, Tx,
    db::query,
    dialect,
    value::{Bind as _, json},
};

/// Keeps new deployments, any number at once; each becomes the latest of its node and stack.
///
/// # Errors
/// [`Conflict`](StoreError::Conflict) when there is one with such an id.
pub async fn insert(tx: &mut Tx, deployments: &[Deployment]) -> Result<()> {
    let mut rows = Vec::with_capacity(deployments.len());
    let mut latest: BTreeMap<(NodeId, &StackName), DeploymentId> = BTreeMap::new();
    for d in deployments {
        rows.push(vec![
            d.id.value(),
            d.node.value(),
            d.stack.as_str().value(),
            d.release.value(),
            d.rollout.value(),
            d.previous.value(),
            d.state.word().value(),
            json(&d.state)?.value(),
            d.created_at.value(),
            d.started_at.value(),
            d.finished_at.value(),
            json(&d.containers)?.value(),
            d.data.as_ref().map(json).transpose()?.value(),
        ]);
        let newest = latest.entry((d.node, &d.stack)).or_insert(d.id);
        *newest = (*newest).max(d.id);
    }
    let head = "INSERT INTO deployments (id, node_id, stack, release_id, rollout_id, previous, state, \
                state_json, created_at, started_at, finished_at, containers, data) VALUES ";
    let first = deployments.first().map(|d| d.id.to_string()).unwrap_or_default();
    dialect::bulk(tx, head, "", rows).await.map_err(|e| e.or_conflict(WHAT, first))?;
    for d in deployments.iter().filter(|d| !d.containers.is_empty()) {
        parts::insert_containers(tx, d.id, d.node, &d.containers).await?;
    }
    hours::count_planned(tx, deployments).await?;
    let latest =
        latest.into_iter().map(|((node, stack), id)| vec![node.value(), stack.as_str().value(), id.value()]);
    dialect::bulk(
        tx,
        "INSERT INTO deployment_latest (node_id, stack, deployment_id) VALUES ",
        " ON CONFLICT (node_id, stack) DO UPDATE SET deployment_id = excluded.deployment_id \
         WHERE deployment_latest.deployment_id < excluded.deployment_id",
        latest.collect(),
    )
    .await
    .map(drop)
}

/// Notes that the agent has begun a pending deployment, and what ran before.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when it is not pending.
pub async fn start(tx: &mut Tx, id: DeploymentId, previous: Option<TreeDigest>, at: Timestamp) -> Result<()> {
    let state = DeploymentState::Running { step: Step::Fetch };
    query(
        "UPDATE deployments SET state = $1, state_json = $2, started_at = $3, previous = $4 \
         WHERE id = $5 AND state = 'pending'",
    )
    .bind(state.word())
    .bind(json(&state)?)
    .bind(at)
    .bind(previous)
    .bind(id)
    .run_one(tx, WHAT, id)
    .await
}

/// Notes the step that the agent is at.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when the deployment is final.
pub async fn advance(tx: &mut Tx, id: DeploymentId, step: Step) -> Result<()> {
    let state = DeploymentState::Running { step };
    query("UPDATE deployments SET state = $1, state_json = $2 WHERE id = $3 AND state IN ('pending', 'running')")
        .bind(state.word())
        .bind(json(&state)?)
        .bind(id)
        .run_one(tx, WHAT, id)
        .await
}

/// Ends a deployment in a final state, with what runs now.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when it is final already, or `state` is not.
pub async fn finish(
    tx: &mut Tx,
    id: DeploymentId,
    state: &DeploymentState,
    at: Timestamp,
    containers: &[Container],
) -> Result<()> {
    let update = "UPDATE deployments SET state = $1, state_json = $2, finished_at = $3, containers = $4 \
                  WHERE id = $5 AND state IN ('pending', 'running')";
    end(tx, update, id, state, at, containers).await
}

/// The same for one that had been given up: its node had come to its end before it could hear of that. What was given up
/// has been done by nobody; this is what was.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when it was not given up, or `state` is not final.
pub async fn finish_given_up(
    tx: &mut Tx,
    id: DeploymentId,
    state: &DeploymentState,
    at: Timestamp,
    containers: &[Container],
) -> Result<()> {
    let update = "UPDATE deployments SET state = $1, state_json = $2, finished_at = $3, containers = $4 \
                  WHERE id = $5 AND state = 'superseded'";
    end(tx, update, id, state, at, containers).await
}

async fn end(
    tx: &mut Tx,
    update: &'static str,
    id: DeploymentId,
    state: &DeploymentState,
    at: Timestamp,
    containers: &[Container],
) -> Result<()> {
    if !state.is_final() {
        return Err(StoreError::stale(WHAT, id));
    }
    query(update)
        .bind(state.word())
        .bind(json(state)?)
        .bind(at)
        .bind(json(containers)?)
        .bind(id)
        .run_one(tx, WHAT, id)
        .await?;
    if state.is_failure() {
        hours::count_failure(tx, id).await?;
    }
    if containers.is_empty() {
        return Ok(());
    }
    let node = query("SELECT node_id FROM deployments WHERE id = $1").bind(id);
    let node = node.optional(tx, |row| row.get("node_id")).await?;
    let node = node.ok_or_else(|| StoreError::stale(WHAT, id))?;
    parts::insert_containers(tx, id, node, containers).await
}
