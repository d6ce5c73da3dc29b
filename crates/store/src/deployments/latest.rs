//! The newest attempts of the parts of stacks that are divided.

use std::collections::BTreeMap;

use backstay_types::{Deployment, DeploymentId, NodeId, PartName, StackName};

use super::read_row;
use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    dialect,
    value::Bind as _,
};

/// The newest attempt of a part on a node.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestOfPart {
    /// The part; none for an attempt that moved all of the stack.
    pub part: Option<PartName>,
    /// The attempt.
    pub deployment: Deployment,
}

/// Notes deployments that were just inserted as the newest of the part that each moves; of all of the stack where none
/// is named.
///
/// # Errors
/// When the database refuses.
pub async fn note_parts(tx: &mut Tx, moved: &[(&Deployment, Option<&PartName>)]) -> Result<()> {
    let mut latest: BTreeMap<(NodeId, &StackName, &str), DeploymentId> = BTreeMap::new();
    for (d, part) in moved {
        let newest = latest.entry((d.node, &d.stack, part.map_or("", |part| part.as_str()))).or_insert(d.id);
        *newest = (*newest).max(d.id);
    }
    let rows = latest.into_iter().map(|((node, stack, part), id)| {
        vec![node.value(), stack.as_str().value(), part.value(), id.value()]
    });
    dialect::bulk(
        tx,
        "INSERT INTO deployment_latest_parts (node_id, stack, part, deployment_id) VALUES ",
        " ON CONFLICT (node_id, stack, part) DO UPDATE SET deployment_id = excluded.deployment_id \
         WHERE deployment_latest_parts.deployment_id < excluded.deployment_id",
        rows.collect(),
    )
    .await
    .map(drop)
}

/// The newest attempt of each part of a stack on each node.
///
/// # Errors
/// When the database cannot be read.
pub async fn latest_of_parts(ex: &mut impl Executor, stack: &StackName) -> Result<Vec<LatestOfPart>> {
    let read = |row: &Row| Ok(LatestOfPart { part: row.filled("moved_part")?, deployment: read_row(row)? });
    query(
        "SELECT d.*, l.part AS moved_part FROM deployment_latest_parts l \
         JOIN deployments d ON d.id = l.deployment_id WHERE l.stack = $1",
    )
    .bind(stack)
    .all(ex, read)
    .await
}
