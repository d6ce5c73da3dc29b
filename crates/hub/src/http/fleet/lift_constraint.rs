//! `POST /api/v1/constraints/{constraint}/lift`

use backstay_api::v1::LiftConstraint;
use backstay_types::Constraint;

use crate::http::{ApiError, Call, reason};

/// Lifts a constraint.
pub(crate) async fn lift_constraint(call: Call<LiftConstraint>) -> Result<Constraint, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    Ok(app.engine.lift(path.constraint, reason(&body.reason)?, &caller.by()).await?)
}
