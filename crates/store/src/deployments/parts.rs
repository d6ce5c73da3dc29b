//! Steps and containers of deployments.

use std::collections::BTreeMap;

use backstay_types::{Container, DeploymentId, Digest, NodeId, StepRecord};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    dialect,
    value::{Bind as _, json, word},
};

/// A container and the deployment that it was seen in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenContainer {
    /// The runtime's id for it.
    pub id: String,
    /// The deployment at whose end it ran.
    pub deployment: DeploymentId,
    /// The node.
    pub node: NodeId,
    /// The service in the stack.
    pub service: String,
}

/// Adds a step behind those that are there.
///
/// # Errors
/// When the database refuses.
pub async fn add_step(tx: &mut Tx, id: DeploymentId, step: &StepRecord) -> Result<()> {
    query(
        "INSERT INTO deployment_steps (deployment_id, number, step, started_at, millis, outcome, detail) \
         SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5, $6 FROM deployment_steps \
         WHERE deployment_id = $1",
    )
    .bind(id)
    .bind(word(&step.step)?)
    .bind(step.started_at)
    .bind(step.millis)
    .bind(word(&step.outcome)?)
    .bind(step.detail.as_str())
    .run_one(tx, "deployment step", id)
    .await
}

/// A deployment's steps, in order.
///
/// # Errors
/// When the database cannot be read.
pub async fn steps(ex: &mut impl Executor, id: DeploymentId) -> Result<Vec<StepRecord>> {
    let map = |row: &Row| {
        Ok(StepRecord {
            step: row.word("step")?,
            started_at: row.get("started_at")?,
            millis: row.get("millis")?,
            outcome: row.word("outcome")?,
            detail: row.get("detail")?,
        })
    };
    query("SELECT * FROM deployment_steps WHERE deployment_id = $1 ORDER BY number")
        .bind(id)
        .all(ex, map)
        .await
}

/// Digest over a deployment's recorded steps, for the ledger.
///
/// # Errors
/// When the database cannot be read.
pub async fn steps_digest(ex: &mut impl Executor, id: DeploymentId) -> Result<Digest> {
    Ok(Digest::of(json(&steps(ex, id).await?)?.as_bytes()))
}

/// Containers whose id in their runtime begins with `prefix`, newest deployment first.
///
/// # Errors
/// When the database cannot be read.
pub async fn find_container(ex: &mut impl Executor, prefix: &str, limit: u32) -> Result<Vec<SeenContainer>> {
    query(
        "SELECT * FROM deployment_containers WHERE container_id >= $1 AND container_id < $2 \
         ORDER BY deployment_id DESC, container_id LIMIT $3",
    )
    .bind(prefix)
    .bind(format!("{prefix}\u{10ffff}"))
    .bind(limit)
    .all(ex, read_container)
    .await
}

/// Containers that ran at the end of these deployments.
///
/// # Errors
/// When the database cannot be read.
pub async fn containers_of(
    ex: &mut impl Executor,
    deployments: &[DeploymentId],
) -> Result<Vec<SeenContainer>> {
    let mut found = Vec::new();
    for chunk in deployments.chunks(500) {
        let mut select = query("SELECT * FROM deployment_containers WHERE deployment_id IN ");
        select.push_list(chunk);
        select.push(" ORDER BY deployment_id, service, container_id");
        found.extend(select.all(ex, read_container).await?);
    }
    Ok(found)
}

pub(super) async fn insert_containers(
    tx: &mut Tx,
    deployment: DeploymentId,
    node: NodeId,
    containers: &[Container],
) -> Result<()> {
    let by_id: BTreeMap<&str, &str> =
        containers.iter().map(|c| (c.id.as_str(), c.service.as_str())).collect();
    let rows = by_id
        .into_iter()
        .map(|(id, service)| vec![id.value(), deployment.value(), node.value(), service.value()]);
    dialect::bulk(
        tx,
        "INSERT INTO deployment_containers (container_id, deployment_id, node_id, service) VALUES ",
        " ON CONFLICT (container_id, deployment_id) DO NOTHING",
        rows.collect(),
    )
    .await
    .map(drop)
}

fn read_container(row: &Row) -> Result<SeenContainer> {
    Ok(SeenContainer {
        id: row.get("container_id")?,
        deployment: row.get("deployment_id")?,
        node: row.get("node_id")?,
        service: row.get("service")?,
    })
}
