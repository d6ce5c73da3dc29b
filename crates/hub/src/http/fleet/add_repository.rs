//! `POST /api/v1/repositories`

use backstay_api::v1::{AddRepository, AddRepositoryRequest};
use backstay_engine::NewRepository;
use backstay_types::{Repository, RepositoryName};

use crate::{
    app::{App, REPOSITORY_CREDENTIAL},
    http::{ApiError, Call},
};

/// Adds a repository and fetches it at once.
pub(crate) async fn add_repository(call: Call<AddRepository>) -> Result<Repository, ApiError> {
    Ok(call.app.engine.add_repository(wanted(&call.app, call.body)?).await?)
}

/// What is asked for, its credential sealed.
pub(super) fn wanted(app: &App, body: AddRepositoryRequest) -> Result<NewRepository, ApiError> {
    let AddRepositoryRequest { name, endpoints, branch, stacks_path, credential } = body;
    let name: RepositoryName = name.parse().map_err(|e| ApiError::invalid("name", e))?;
    let seal = |secret| app.keys.seal(&secret, REPOSITORY_CREDENTIAL, &app.world);
    let sealed_credential = credential.map(seal).transpose().map_err(ApiError::internal)?;
    Ok(NewRepository { name, endpoints, branch, stacks_path, sealed_credential })
}
