//! `POST /api/v1/repositories/{repository}/sync`

use backstay_api::v1::SyncRepository;
use backstay_types::Repository;

use crate::http::{ApiError, Call, find};

/// Fetches a repository now.
pub(crate) async fn sync_repository(call: Call<SyncRepository>) -> Result<Repository, ApiError> {
    let Call { app, path, .. } = call;
    let repository = find::repository(&mut app.store.read(), &path.repository).await?;
    Ok(app.engine.sync_repository(repository.id).await?)
}
