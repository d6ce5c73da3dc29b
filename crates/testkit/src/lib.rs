//! Dev only: the real parts that tests run against, each as a guard that
//! starts it on loopback with a folder of its own and takes it away when
//! dropped.
//!
//! - [`Docker`]: a container engine with Compose v2, tiny images, a [`Registry`].
//! - [`GitServer`], [`BareRepository`], [`WorkTree`]: Git over HTTP and local.
//! - [`SshServer`]: Git over ssh.
//! - [`Database`], [`PostgresServer`]: PostgreSQL 16 or later.
//! - [`S3Server`], [`Restic`]: where backups go, and another program that reads them.
//! - [`Prometheus`]: whose answers ours are compared with.
//! - [`SystemdNode`]: a machine that systemd runs, in a container.
//! - [`GuestMachine`], [`CachedDisk`]: a machine under QEMU, and a disk whose power can be cut.
//! - [`SmallDisk`]: a file system that is soon full.
//! - [`Network`]: a machine's link, to cut and to slow down. [`Proxy`]: nginx before a hub, with TLS.
//! - [`Program`]: the project's own programs, to start, kill and read.
//! - [`TestWorld`]: a clock that stands until it is moved, and seeded randomness. [`WrongClock`]: a wrong one for a program.
//!
//! A guard of a part that may be missing is had by `require`, which gives
//! `None` where the part is not there: the test returns, and the fact that it
//! was left out is counted (see [`mod@left_out`]). With `CI=true` it fails.
//!
//! Everything here blocks and panics with what went wrong: it is for tests.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "test support: a failure here is a failed test")]

mod command;
mod docker;
mod git;
mod git_server;
mod guest;
pub mod http;
mod image;
pub mod left_out;
mod network;
mod paths;
mod port;
mod postgres;
mod process;
mod program;
mod prometheus;
mod proxy;
mod registry;
mod restic;
mod s3;
mod senders;
pub mod shared;
mod small_disk;
mod ssh_server;
mod systemd;
mod wait;
mod world;
mod wrong_clock;

pub use command::{Failed, capture, run};
pub use docker::{Docker, RunningContainer};
pub use git::{BareRepository, CommitSpec, WorkTree};
pub use git_server::GitServer;
pub use guest::{CachedDisk, Guest, GuestMachine, Loss, Lost};
pub use image::{Image, WEB_PORT};
pub use left_out::Part;
pub use network::{Lose, Network};
pub use paths::{cache_dir, find_tool, scratch_dir};
pub use port::Port;
pub use postgres::{Database, PostgresServer};
pub use process::{is_alive, kill_under, processes_under};
pub use program::{Program, Ready};
pub use prometheus::{Prometheus, WrittenSeries};
pub use proxy::Proxy;
pub use registry::Registry;
pub use restic::Restic;
pub use s3::{BucketKind, S3Server};
pub use senders::Senders;
pub use small_disk::SmallDisk;
pub use ssh_server::SshServer;
pub use systemd::SystemdNode;
pub use wait::{eventually, eventually_within};
pub use world::TestWorld;
pub use wrong_clock::WrongClock;
