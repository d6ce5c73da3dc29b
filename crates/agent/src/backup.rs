//! Backups on the node: what the hub asks for is done here, one thing at a time, beside the core. The core is asked to
//! leave a stack alone meanwhile; data is made ready by children that can be given up at any time; the program
//! `backstay-backup` alone speaks with the repository. What stands still for a copy is watched over by a small process
//! that lets it go when the agent dies, and how a job ended is durable until the hub has it.

mod asked;
mod chore;
mod copy;
mod database;
mod desk;
mod drill;
mod error;
mod exchange;
mod exec;
mod hooks;
mod keeper;
mod leave;
mod mounts;
mod plan;
mod program;
mod progress;
mod restore;
mod save;
mod still;
mod store;

use std::{fs, io, path::Path, time::SystemTime};

use self::program::Program;
pub(crate) use self::{
    asked::{Handle, Unsaved},
    chore::main as data_main,
    error::BackupError,
    exchange::Errand,
    keeper::Keeper,
    plan::inside,
    plan::{DataPlan, Use},
    progress::file as progress_file,
    still::main as still_main,
    store::Store,
};
use crate::disk::Layout;

/// The time that files carry.
#[allow(clippy::disallowed_methods, reason = "it is compared with what the kernel wrote into files")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Nothing that was made ready outlives a job, nor what was read of another node's repository.
fn clear_staging(layout: &Layout) {
    for folder in [layout.staging(), layout.lent_cache()] {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %folder.display(), "what was made ready for a backup cannot be removed");
            }
            _ => {}
        }
    }
}

/// A cache that has grown too large is begun anew.
fn bound(cache: &Path, most: u64) {
    if most > 0 && copy::size(cache, &[]).is_ok_and(|bytes| bytes > most) {
        tracing::info!(path = %cache.display(), "the cache of the repository is too large; it is begun anew");
        let _ = fs::remove_dir_all(cache);
    }
}
