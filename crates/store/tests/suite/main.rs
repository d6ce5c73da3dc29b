//! One suite for both databases: each test runs on SQLite and on PostgreSQL.
//!
//! PostgreSQL is the server under `BACKSTAY_TEST_POSTGRES` (`postgres://…` without a database) when that is set,
//! else the test kit's.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test, a failure is a failed test")]
#![allow(clippy::cloned_ref_to_slice_refs, reason = "a list of one reads like a list")]

mod fixture;

mod agents;
mod backups;
mod branches;
mod changes;
mod constraints;
mod conversations;
mod crash;
mod decisions;
mod deliveries;
mod deployments;
mod desired;
mod figures;
mod graph;
mod leases;
mod ledger;
mod ledger_properties;
mod nodes;
mod parts;
mod related;
mod releases;
mod rollouts;
mod safe_mode;
mod scale;
mod store;
mod tokens;
mod undos;
mod users;
