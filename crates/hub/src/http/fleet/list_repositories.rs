//! `GET /api/v1/repositories`

use backstay_api::v1::{ListRepositories, Page};
use backstay_store::repositories;
use backstay_types::Repository;

use crate::http::{ApiError, Call, paging};

/// All repositories.
pub(crate) async fn list_repositories(call: Call<ListRepositories>) -> Result<Page<Repository>, ApiError> {
    Ok(paging::whole(repositories::list(&mut call.app.store.read()).await?))
}
