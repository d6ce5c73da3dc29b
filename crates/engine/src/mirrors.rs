//! The mirrors of all repositories, opened once; Git runs off the runtime's threads.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use backstay_source::{Mirror, MirrorConfig, SourceError, Ssh};
use backstay_types::{Repository, RepositoryId};

use crate::EngineError;

/// What the names of mirrors begin with that are thrown away.
const SCRATCH: &str = "look-";

#[derive(Debug)]
pub(crate) struct Mirrors {
    dir: PathBuf,
    ssh: Option<Ssh>,
    open: Mutex<HashMap<RepositoryId, Arc<Mirror>>>,
}

impl Mirrors {
    pub(crate) fn new(data_dir: &Path) -> Self {
        let ssh = Ssh::prepare(&data_dir.join("ssh"));
        let ssh = ssh.inspect_err(|error| tracing::warn!(%error, "only the user's own ssh keys serve")).ok();
        let mirrors = Self { dir: data_dir.join("mirrors"), ssh, open: Mutex::default() };
        mirrors.sweep();
        mirrors
    }

    /// Keys and known hosts for repositories that are reached over ssh.
    pub(crate) fn ssh(&self) -> Option<&Ssh> {
        self.ssh.as_ref()
    }

    /// A place for a mirror that is thrown away.
    pub(crate) fn scratch(&self, id: RepositoryId) -> PathBuf {
        self.dir.join(format!("{SCRATCH}{id}.git"))
    }

    /// Removes what a hub that was killed could not throw away.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten().filter(|one| one.file_name().to_string_lossy().starts_with(SCRATCH)) {
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, folder = %entry.path().display(), "cannot be removed");
            }
        }
    }

    /// The mirror of a repository, opened or made.
    pub(crate) fn of(&self, repository: &Repository) -> Result<Arc<Mirror>, EngineError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mirror) = open.get(&repository.id) {
            return Ok(Arc::clone(mirror));
        }
        let dir = self.dir.join(format!("{}.git", repository.id));
        let config = MirrorConfig { ssh: self.ssh.clone(), ..MirrorConfig::of(repository)? };
        let mirror = Arc::new(Mirror::open_or_init(dir, config)?);
        open.insert(repository.id, Arc::clone(&mirror));
        Ok(mirror)
    }
}

/// Runs Git work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!(%error, "work on a mirror ended early");
            Err(EngineError::Stopping)
        }
    }
}
