//! The only SQL: migrations, one file an aggregate, the sealed ledger.
//!
//! A [`Store`] is SQLite or PostgreSQL. Writing functions take a [`Tx`]; reading functions take anything that
//! can answer: [`Store::read`], [`Store::snapshot`] or a [`Tx`]. Where a row moves from one state to another, the
//! old state stands in the `WHERE` and a row that was not there is [`StoreError::Stale`].
//!
//! [`Tx::record`] writes an entry of the ledger in the same transaction as the change it is about; [`Store::run`]
//! seals entries into the chain soon after. No function here records by itself, and none decides anything.

mod crash;
mod db;
mod dialect;
mod error;
mod run;
pub mod safe_mode;
mod store;
mod undone;
mod value;

pub mod agents;
pub mod backups;
pub mod branches;
pub mod changes;
pub mod constraints;
pub mod conversations;
pub mod decisions;
pub mod deliveries;
pub mod deployments;
pub mod desired;
pub mod environments;
pub mod figures;
pub mod graph;
pub mod hub_state;
pub mod leases;
pub mod ledger;
pub mod links;
pub mod migrations;
pub mod nodes;
pub mod patterns;
pub mod related;
pub mod releases;
pub mod reports;
pub mod repositories;
pub mod rollouts;
pub mod search;
pub mod sessions;
pub mod sign_in_links;
pub mod sign_in_tries;
pub mod stacks;
pub mod tokens;
pub mod tool_events;
pub mod undos;
pub mod users;

pub use crash::{crash_point, deaths_are_planned};
pub use db::{Executor, Query, Row};
pub use dialect::is_empty;
pub use error::{Result, StoreError};
pub use leases::Lease;
pub use store::{Backend, Reader, Snapshot, Store, Tx};
pub use undone::undone;
