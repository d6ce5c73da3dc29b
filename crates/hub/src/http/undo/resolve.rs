//! `POST /api/v1/undos/{undo}/resolve` and `…/resolve/plan`

use backstay_api::v1::{PlanResolvedUndo, ResolveUndo, ResolveUndoRequest};
use backstay_engine::Resolution;
use backstay_types::{Undo, UndoPlan};

use crate::http::{ApiError, Call};

/// What a conflicted undo would come to. Changes nothing.
pub(crate) async fn plan(call: Call<PlanResolvedUndo>) -> Result<UndoPlan, ApiError> {
    Ok(call.app.engine.plan_resolved_undo(call.path.undo, resolution(call.body)).await?)
}

/// Gives the contents of conflicting files, and goes on.
pub(crate) async fn resolve(call: Call<ResolveUndo>) -> Result<Undo, ApiError> {
    Ok(call.app.engine.resolve_undo(call.path.undo, resolution(call.body)).await?)
}

fn resolution(request: ResolveUndoRequest) -> Resolution {
    let ResolveUndoRequest { files, without_data, shared_data, confirm } = request;
    Resolution { files, without_data, shared_data, confirm }
}
