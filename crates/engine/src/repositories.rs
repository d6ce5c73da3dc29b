//! Repositories: adding one.

use backstay_source::Endpoint;
use backstay_store::repositories;
use backstay_types::{Event, Refs, Repository, RepositoryHealth, RepositoryName};

use crate::{Engine, EngineError, mirrors::blocking};

/// A repository to add.
#[derive(Debug, Clone)]
pub struct NewRepository {
    /// Its name.
    pub name: RepositoryName,
    /// Its addresses, in order of preference.
    pub endpoints: Vec<String>,
    /// The branch to deploy; the repository's own default when absent.
    pub branch: Option<String>,
    /// Where stacks are, when not in the usual places.
    pub stacks_path: Option<String>,
    /// A token for its endpoints, sealed by the hub.
    pub sealed_credential: Option<String>,
}

impl Engine {
    /// Adds a repository and fetches it at once; whether that worked is in its health.
    ///
    /// # Errors
    /// When an address cannot be used, the name is taken, or the default branch cannot be found out.
    pub async fn add_repository(&self, new: NewRepository) -> Result<Repository, EngineError> {
        if new.endpoints.is_empty() {
            return Err(EngineError::Invalid("a repository needs at least one address".to_owned()));
        }
        let endpoints: Vec<_> = new.endpoints.iter().map(|e| Endpoint::parse(e)).collect::<Result<_, _>>()?;
        let branch = match new.branch {
            Some(branch) => branch,
            None => self.default_branch(&endpoints, new.sealed_credential.as_deref()).await?,
        };
        let repository = Repository {
            id: self.inner.world.mint(),
            name: new.name,
            endpoints: endpoints.iter().map(ToString::to_string).collect(),
            branch,
            stacks_path: new.stacks_path,
            tip: None,
            health: RepositoryHealth::New,
            fetched_at: None,
            created_at: self.inner.world.now(),
            warnings: Vec::new(),
        };
        let mut tx = self.inner.store.begin().await?;
        repositories::insert(&mut tx, &repository, new.sealed_credential.as_deref()).await?;
        let refs = Refs { repository: Some(repository.id), ..Refs::default() };
        tx.record(Event::RepositoryAdded { name: repository.name.to_string() }, refs)?;
        tx.commit().await?;
        self.sync_repository(repository.id).await
    }

    pub(crate) async fn default_branch(
        &self,
        endpoints: &[Endpoint],
        sealed: Option<&str>,
    ) -> Result<String, EngineError> {
        let token = sealed.and_then(|sealed| self.inner.presence.unseal(sealed));
        let credential = token.map(|token| backstay_source::Credential { username: None, token });
        let (endpoints, ssh) = (endpoints.to_vec(), self.inner.mirrors.ssh().cloned());
        blocking(move || backstay_source::default_branch(&endpoints, credential.as_ref(), ssh.as_ref())).await
    }
}
