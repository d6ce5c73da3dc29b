//! The program as people run it: one file a command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod audit;
mod backups;
mod bundle;
mod check;
mod demo;
mod documented;
mod error_pages;
mod glance;
mod hub;
mod killed;
mod limits;
mod nodes;
mod played;
mod reference;
mod steer;
mod support;
mod track;
mod usage;
