//! `POST /api/v1/repositories`

use backstay_api::v1::{AddRepository, AddRepositoryRequest};
use backstay_engine::NewRepository;
use backstay_types::{Repository, RepositoryName};

use crate::{
    app::REPOSITORY_CREDENTIAL,
    http::{ApiError, Call},
};

/// Adds a repository and fetches it at once.
pub(crate) async fn add_repository(call: Call<AddRepository>) -> Result<Repository, ApiError> {
    let Call { app, body, .. } = call;
    let AddRepositoryRequest { name, endpoints, branch, stacks_path, credential } = body;
    let name: RepositoryName = name.parse().map_err(|e| ApiError::invalid("name", e))?;
    let seal = |secret| app.keys.seal(&secret, REPOSITORY_CREDENTIAL, &app.world);
    let sealed_credential = credential.map(seal).transpose().map_err(ApiError::internal)?;
    Ok(app
        .engine
        .add_repository(NewRepository { name, endpoints, branch, stacks_path, sealed_credential })
        .await?)
}
