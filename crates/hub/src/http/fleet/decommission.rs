//! `POST /api/v1/nodes/{node}/decommission` and `POST /api/v1/nodes/{node}/decommission/cancel`

use backstay_api::{
    Empty,
    v1::{CancelDecommission, DecommissionNode, DecommissionPlan},
};

use crate::http::{ApiError, Call, find, reason};

/// Takes a node out of the fleet.
pub(crate) async fn decommission(call: Call<DecommissionNode>) -> Result<DecommissionPlan, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let node = find::node(&mut app.store.read(), &path.node).await?;
    if body.dry_run {
        return Ok(app.engine.plan_decommission(&node).await?);
    }
    let why = reason(&body.reason)?;
    let plan = app.engine.decommission(&node, body.keep_running, why, &caller.by()).await?;
    if plan.revoked {
        app.roster.forget_nodes();
    }
    Ok(plan)
}

/// Lets it stay.
pub(crate) async fn cancel(call: Call<CancelDecommission>) -> Result<Empty, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let node = find::node(&mut app.store.read(), &path.node).await?;
    app.engine.cancel_decommission(&node, reason(&body.reason)?, &caller.by()).await?;
    Ok(Empty {})
}
