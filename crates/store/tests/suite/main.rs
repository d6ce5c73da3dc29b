//! One suite for both databases: each test runs on SQLite and on PostgreSQL.
//!
//! PostgreSQL is the server under `BACKSTAY_TEST_POSTGRES` (`postgres://…` without a database) when that is set,
//! else the test kit's.

mod fixture;

mod changes;
mod constraints;
mod conversations;
mod deliveries;
mod deployments;
mod desired;
mod leases;
mod ledger;
mod nodes;
mod releases;
mod rollouts;
mod store;
mod tokens;
mod undos;
