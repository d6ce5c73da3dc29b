//! The engine over real Git and a real store; agents are played by the harness, which reads
//! the signed statements and reports as agents do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod backup_days;
mod backups;
mod branches;
mod clock;
mod conflicts;
mod decommission;
mod elsewhere;
mod environments;
mod explained;
mod fleet;
mod holds;
mod labels;
mod limits;
mod migrations;
mod parts;
mod questions;
mod removal;
mod statements;
mod stolen;
mod sync;
mod undo;
mod undo_data;
mod upstream;
mod warnings;
