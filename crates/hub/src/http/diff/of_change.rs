//! `GET /api/v1/repositories/{repository}/commits/{commit}/diff`

use backstay_api::v1::GetChangeDiff;
use backstay_types::diff::Diff;

use crate::http::{ApiError, Call, find};

/// What a commit changed.
pub(crate) async fn of_change(call: Call<GetChangeDiff>) -> Result<Diff, ApiError> {
    let Call { app, path, .. } = call;
    let repository = find::repository(&mut app.store.read(), &path.repository).await?;
    Ok(app.engine.change_diff(&repository, &path.commit).await?)
}
