//! When stacks of nodes were drilled, and how that went.

use backstay_types::{NodeId, StackName, backup::DrillHistory};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::json,
};

/// A stack of a node with how its drills went.
pub type Drilled = (NodeId, StackName, DrillHistory);

/// Of all that had any.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(ex: &mut impl Executor) -> Result<Vec<Drilled>> {
    query("SELECT * FROM backup_drills ORDER BY node_id, stack").all(ex, read).await
}

/// Of one stack.
///
/// # Errors
/// When the database cannot be read.
pub async fn history(ex: &mut impl Executor, node: NodeId, stack: &StackName) -> Result<DrillHistory> {
    let select = query("SELECT history FROM backup_drills WHERE node_id = $1 AND stack = $2");
    let found = select.bind(node).bind(stack.as_str()).optional(ex, |row| row.json("history")).await?;
    Ok(found.unwrap_or_default())
}

/// Notes how they went.
///
/// # Errors
/// When the database refuses.
pub async fn set_history(tx: &mut Tx, node: NodeId, stack: &StackName, history: &DrillHistory) -> Result<()> {
    let upsert = "INSERT INTO backup_drills (node_id, stack, history) VALUES ($1, $2, $3) \
                  ON CONFLICT (node_id, stack) DO UPDATE SET history = excluded.history";
    query(upsert).bind(node).bind(stack.as_str()).bind(json(history)?).run(tx).await.map(drop)
}

fn read(row: &Row) -> Result<Drilled> {
    Ok((row.get("node_id")?, row.get("stack")?, row.json("history")?))
}
