//! Reports of agents: each is taken once.

use backstay_types::{NodeId, ReportId, Timestamp};

use crate::{Result, Tx, db::query};

/// Notes a report as taken. False when it was taken before: nothing of it may be done again then.
///
/// # Errors
/// When the database refuses.
pub async fn take(tx: &mut Tx, id: ReportId, node: NodeId, at: Timestamp) -> Result<bool> {
    let insert =
        "INSERT INTO reports (id, node_id, received_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
    Ok(query(insert).bind(id).bind(node).bind(at).run(tx).await? == 1)
}

/// Forgets reports taken before `before`: longer ago than an agent may repeat them. Gives how many.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    query("DELETE FROM reports WHERE received_at < $1").bind(before).run(tx).await
}
