//! The mirrors of all repositories, opened once; Git runs off the runtime's threads.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use backstay_source::{Mirror, MirrorConfig, SourceError, Ssh};
use backstay_types::{Repository, RepositoryId};

use crate::EngineError;

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
        Self { dir: data_dir.join("mirrors"), ssh, open: Mutex::default() }
    }

    /// Keys and known hosts for repositories that are reached over ssh.
    pub(crate) fn ssh(&self) -> Option<&Ssh> {
        self.ssh.as_ref()
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
