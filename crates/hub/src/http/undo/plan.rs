//! `POST /api/v1/undos/plan`

use backstay_api::v1::PlanUndo;
use backstay_types::UndoPlan;

use super::wanted::wanted;
use crate::http::{ApiError, Call};

/// What an undo would come to. Changes nothing.
pub(crate) async fn plan(call: Call<PlanUndo>) -> Result<UndoPlan, ApiError> {
    let wanted = wanted(&call.app, call.body).await?;
    Ok(call.app.engine.plan_undo(&wanted).await?)
}
