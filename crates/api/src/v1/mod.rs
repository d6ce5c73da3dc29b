//! The API for people, the CLI and the page. Lists are newest first unless they say otherwise.

mod backups;
mod conversations;
mod deployments;
mod diff;
mod environments;
mod fleet;
mod graph;
mod hub;
mod logs;
mod membership;
mod migrations;
mod page;
mod releases;
mod restores;
mod telemetry;
mod timeline;
mod undo;
mod upkeep;
mod users;

pub use backups::*;
pub use conversations::*;
pub use deployments::*;
pub use diff::*;
pub use environments::*;
pub use fleet::*;
pub use graph::*;
pub use hub::*;
pub use logs::*;
pub use membership::*;
pub use migrations::*;
pub use page::*;
pub use releases::*;
pub use restores::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use telemetry::*;
pub use timeline::*;
pub use undo::*;
pub use upkeep::*;
pub use users::*;

pub(crate) fn declarations() -> Vec<crate::Declaration> {
    [
        backups::declarations(),
        conversations::declarations(),
        deployments::declarations(),
        diff::declarations(),
        environments::declarations(),
        fleet::declarations(),
        graph::declarations(),
        hub::declarations(),
        logs::declarations(),
        membership::declarations(),
        migrations::declarations(),
        page::declarations(),
        releases::declarations(),
        restores::declarations(),
        timeline::declarations(),
        undo::declarations(),
        telemetry::declarations(),
        upkeep::declarations(),
        users::declarations(),
    ]
    .concat()
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; absent on the last.
    pub next: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Paging {
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
