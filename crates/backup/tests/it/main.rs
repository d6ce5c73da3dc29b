//! The program against real repositories: in folders, behind REST and in S3, with restic beside it.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod broken;
mod crash;
mod forged;
mod hazards;
mod interchange;
mod job;
mod remote;
mod repair;
mod rest_server;
mod round_trip;
mod silent;
mod tree;
