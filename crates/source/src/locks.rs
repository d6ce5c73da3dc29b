//! Who may change a mirror when, and what a killed process leaves behind.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use crate::{error::SourceError, mirror::Mirror};

/// The two things that are done to a mirror one at a time. An undo never waits for a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Fetching, and packing what was fetched.
    Fetch,
    /// Writing objects and refs of our own.
    Write,
}

impl Lock {
    fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Write => "write",
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Mirror {
    /// Takes a lock that lasts until the file, and every process that was given it, is gone.
    pub(crate) fn lock(&self, lock: Lock) -> Result<File, SourceError> {
        let path = self.private().join(format!("{}.lock", lock.name()));
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(SourceError::io(&self.dir, "opening its lock"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(2))
                }
                Err(TryLockError::WouldBlock) => return Err(SourceError::Busy(lock.name())),
                Err(TryLockError::Error(error)) => {
                    return Err(SourceError::mirror(&self.dir, "locking it", error));
                }
            }
        }
    }

    /// Removes what a killed fetch left: whoever holds [`Lock::Fetch`] knows that no other is alive.
    pub(crate) fn sweep_once(&self) {
        if self.swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut stale = Vec::new();
        for folder in ["refs/backstay/upstream", "refs/backstay/seen", "refs/backstay/notes"] {
            find(&self.dir.join(folder), &mut |name| name.ends_with(".lock"), &mut stale);
        }
        find(&self.dir.join("objects"), &mut |name| name.starts_with("tmp_"), &mut stale);
        stale.extend(
            ["packed-refs.lock", "config.lock", "HEAD.lock", "shallow.lock"].map(|name| self.dir.join(name)),
        );
        self.sweep(&stale);
    }

    /// After a command was stopped or failed, something may lie about again.
    pub(crate) fn sweep_again(&self) {
        self.swept.store(false, Ordering::Relaxed);
    }

    pub(crate) fn sweep(&self, paths: &[impl AsRef<Path>]) {
        for path in paths {
            let path = path.as_ref();
            if fs::remove_file(path).is_ok() || fs::remove_dir_all(path).is_ok() {
                tracing::info!(path = %path.display(), "removed what an interrupted command left");
            }
        }
    }
}

fn find(folder: &Path, wanted: &mut dyn FnMut(&str) -> bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(&mut *wanted) {
            found.push(entry.path());
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), wanted, found);
        }
    }
}
