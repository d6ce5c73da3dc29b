//! One suite for both databases: each test runs on SQLite and on PostgreSQL.
//!
//! PostgreSQL is the server under `BACKSTAY_TEST_POSTGRES` (`postgres://…` without a database) when that is set,
//! else the test kit's.

mod fixture;

mod leases;
mod ledger;
mod store;
