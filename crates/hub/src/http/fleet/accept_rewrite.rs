//! `POST /api/v1/repositories/{repository}/accept`

use backstay_api::v1::AcceptRewrite;
use backstay_types::Repository;

use crate::http::{ApiError, Call, find};

/// Accepts that upstream rewrote the branch's history.
pub(crate) async fn accept_rewrite(call: Call<AcceptRewrite>) -> Result<Repository, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let repository = find::repository(&mut app.store.read(), &path.repository).await?;
    Ok(app.engine.accept_rewrite(repository.id, body.tip, &caller.by()).await?)
}
