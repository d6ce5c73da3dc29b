//! Backups: repositories, snapshots, jobs. `None` for a node is the hub's own state.

pub mod drills;
pub mod jobs;
pub mod repositories;
pub mod snapshots;

use backstay_types::NodeId;

use crate::{
    Result,
    db::Row,
    value::{Value, or_empty},
};

/// Whose it is: a node's, or the hub's own.
pub type Whose = Option<NodeId>;

fn whose(node: Whose) -> Value {
    or_empty(node)
}

fn read_whose(row: &Row) -> Result<Whose> {
    row.filled("node_id")
}
