//! `POST /api/v1/constraints`

use backstay_api::v1::{CreateConstraint, NewEffect};
use backstay_engine::{LimitEffect, NewLimit};
use backstay_types::Constraint;

use crate::http::{ApiError, Call, reason};

/// Freezes, pins, lets nodes follow another branch, or leaves nodes alone.
pub(crate) async fn create_constraint(call: Call<CreateConstraint>) -> Result<Constraint, ApiError> {
    let Call { app, caller, body, .. } = call;
    let reason = reason(&body.reason)?.to_owned();
    let effect = match body.effect {
        NewEffect::Freeze { stack } => LimitEffect::Freeze { stack },
        NewEffect::Pin { stack, to } => LimitEffect::Pin { stack, to },
        NewEffect::Follow { stack, branch } => LimitEffect::Follow { stack, branch },
        NewEffect::UpdatesOff { stack } => LimitEffect::UpdatesOff { stack },
        NewEffect::Maintenance => LimitEffect::Maintenance,
    };
    let new = NewLimit { effect, nodes: body.nodes, reason, from: body.from, until: body.until };
    Ok(app.engine.limit(new, &caller.by()).await?)
}
