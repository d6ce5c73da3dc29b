//! `POST /api/v1/undos/plan/diff` and `GET /api/v1/undos/{undo}/diff`

use backstay_api::v1::{GetUndoDiff, PlanUndoDiff};
use backstay_store::undos;
use backstay_types::diff::Diff;

use crate::http::{ApiError, Call, undo::wanted::wanted};

/// What an undo would change in the files.
pub(crate) async fn planned(call: Call<PlanUndoDiff>) -> Result<Diff, ApiError> {
    let wanted = wanted(&call.app, call.body).await?;
    Ok(call.app.engine.plan_undo_diff(&wanted).await?)
}

/// What an undo changed in the files.
pub(crate) async fn made(call: Call<GetUndoDiff>) -> Result<Diff, ApiError> {
    let undo = undos::get(&mut call.app.store.read(), call.path.undo).await?;
    let undo = undo.ok_or_else(|| ApiError::missing("undo", call.path.undo))?;
    Ok(call.app.engine.undo_diff(&undo).await?)
}
