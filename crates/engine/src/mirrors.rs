//! The mirrors of all repositories, opened once; Git runs off the runtime's threads.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use backstay_source::{Mirror, MirrorConfig, SourceError};
use backstay_types::{Repository, RepositoryId};

use crate::EngineError;

#[derive(Debug)]
pub(crate) struct Mirrors {
    dir: PathBuf,
    open: Mutex<HashMap<RepositoryId, Arc<Mirror>>>,
}

impl Mirrors {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, open: Mutex::default() }
    }

    /// The mirror of a repository, opened or made.
    pub(crate) fn of(&self, repository: &Repository) -> Result<Arc<Mirror>, EngineError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mirror) = open.get(&repository.id) {
            return Ok(Arc::clone(mirror));
        }
        let dir = self.dir.join(format!("{}.git", repository.id));
        let mirror = Arc::new(Mirror::open_or_init(dir, MirrorConfig::of(repository)?)?);
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
