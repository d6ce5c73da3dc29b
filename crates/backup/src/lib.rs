//! Saves, checks and restores: repositories in restic's format, one job at a time.
//!
//! The program `backstay-backup` reads one [`Job`] and prints [`Line`]s; it is run as a child, with a deadline and a
//! memory limit, because the library below it (`rustic_core`) takes what memory it needs and panics on some damage.
//!
//! What is not left to that library: where files are ([`store`]: every request has a deadline, every write is durable
//! before it is told), what is saved (a walk and a manifest of our own, compared with what the snapshot holds before the
//! snapshot is written at all), and restoring (file by file, so that damage costs the damaged file only).

mod access;
mod compare;
mod fault;
mod folder;
mod keys;
mod maintain;
mod progress;
mod proof;
mod repair;
mod restore;
mod snapshot;
mod store;
mod tree;

use std::time::Duration;

use backstay_types::backup::job::{Done, Failed, FailedKind, Job, Line, Task};

use crate::{fault::Fault, progress::Progress};

/// A variable that is for this program alone, and not for those that it runs.
pub const ARENAS: &str = "MALLOC_ARENA_MAX";

/// How long a target may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A request on which nothing moves for this long, neither sent nor received, has failed.
    pub silence: Duration,
    /// How often a request is tried.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(30), attempts: 4 }
    }
}

/// Does a job. `tell` is called about once a second with how far it is; the last line is the returned one.
///
/// # Errors
/// With what kind of failure it was, and what it concerns.
pub fn run(job: &Job, patience: Patience, tell: impl Fn(Line) + Send + Sync) -> Result<Done, Failed> {
    let progress = Progress::default();
    progress::telling(&progress, tell, || insisting(job, patience, &progress)).map_err(Failed::from)
}

/// How often a job is begun anew because another changed the repository meanwhile.
const OVERTAKEN: u32 = 4;

fn insisting(job: &Job, patience: Patience, progress: &Progress) -> Result<Done, Fault> {
    for _ in 0..OVERTAKEN {
        match task(job, patience, progress) {
            Err(fault) if fault.is_overtaken => progress.restart(),
            result => return result,
        }
    }
    task(job, patience, progress)
}

fn task(job: &Job, patience: Patience, progress: &Progress) -> Result<Done, Fault> {
    let access = access::Access::new(job, patience, progress);
    match &job.task {
        Task::Init { passwords } => access::init(&access, passwords),
        Task::AddPassword { password } => access::add_password(&access, password),
        Task::Snapshot(task) => snapshot::make(&access, task),
        Task::Verify { snapshot } => proof::verify(&access, *snapshot),
        Task::Check { read, except } => proof::check(&access, *read, except),
        Task::Repair => repair::repair(&access),
        Task::List => maintain::list(&access),
        Task::Files { snapshot, path, recursive } => maintain::files(&access, *snapshot, path, *recursive),
        Task::Restore(task) => restore::restore(&access, task),
        Task::Forget { snapshots } => maintain::forget(&access, snapshots),
        Task::Prune { dry_run } => maintain::prune(&access, *dry_run),
        Task::Copy { to, snapshots } => maintain::copy(&access, to, snapshots),
    }
}

/// The failure that a panic is told as.
pub fn panicked(what: &str) -> Failed {
    Failed {
        kind: FailedKind::Other,
        message: format!(
            "the job broke off: {what}. The repository is as it was before it, or has data more that no snapshot needs. \
             Run `check` and try again"
        ),
        problems: Vec::new(),
    }
}
