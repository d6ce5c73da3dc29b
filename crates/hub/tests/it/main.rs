//! A hub in this process, on loopback, with a real database in a temporary folder.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may")]

mod agents;
mod append_only;
mod backup_damage;
mod backup_targets;
mod backups;
mod bad_input;
mod connections;
mod drills;
mod harness;
mod hub_restore;
mod logs;
mod machines;
mod page;
mod people;
mod postgres;
mod prometheus;
mod restart;
mod restore_everything;
mod roles;
mod saving;
mod second_target;
mod sign_in;
mod stored_logs;
mod telemetry;
mod upkeep;
mod webhooks;
