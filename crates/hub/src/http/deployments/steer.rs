//! `POST /api/v1/rollouts/{rollout}/…` and `/api/v1/emergency-stop`: what people may do with rollouts that run.

use backstay_api::v1::{
    AbortRollout, EmergencyStopView, GetEmergencyStop, GetFleetHealth, OverrideRollout, PauseRollout,
    PromoteRollout, ResumeRollout, RolloutView, SetEmergencyStop,
};
use backstay_engine::EmergencyStop;
use backstay_types::{FleetHealth, Rollout};

use super::view::rollout_views;
use crate::{
    app::App,
    http::{ApiError, Call, reason},
};

/// Keeps a rollout from moving anyone new.
pub(crate) async fn pause(call: Call<PauseRollout>) -> Result<RolloutView, ApiError> {
    let (why, by) = (reason(&call.body.reason)?, call.caller.by());
    view(&call.app, call.app.engine.pause_rollout(call.path.rollout, true, why, &by).await?).await
}

/// Lets a paused rollout go on.
pub(crate) async fn resume(call: Call<ResumeRollout>) -> Result<RolloutView, ApiError> {
    let (why, by) = (reason(&call.body.reason)?, call.caller.by());
    view(&call.app, call.app.engine.pause_rollout(call.path.rollout, false, why, &by).await?).await
}

/// Opens the next wave at once.
pub(crate) async fn promote(call: Call<PromoteRollout>) -> Result<RolloutView, ApiError> {
    let (why, by) = (reason(&call.body.reason)?, call.caller.by());
    view(&call.app, call.app.engine.promote_rollout(call.path.rollout, call.body.wave, why, &by).await?).await
}

/// Ends a rollout.
pub(crate) async fn abort(call: Call<AbortRollout>) -> Result<RolloutView, ApiError> {
    let (why, by) = (reason(&call.body.reason)?, call.caller.by());
    view(&call.app, call.app.engine.abort_rollout(call.path.rollout, why, &by).await?).await
}

/// Lets a rollout go on in spite of freezes and closed windows.
pub(crate) async fn override_rollout(call: Call<OverrideRollout>) -> Result<RolloutView, ApiError> {
    let (why, by) = (reason(&call.body.reason)?, call.caller.by());
    view(&call.app, call.app.engine.override_rollout(call.path.rollout, why, &by).await?).await
}

/// How well the whole fleet is.
pub(crate) async fn get_health(call: Call<GetFleetHealth>) -> Result<FleetHealth, ApiError> {
    Ok(call.app.engine.fleet_health().await?)
}

/// Whether everything is stopped.
pub(crate) async fn get_stop(call: Call<GetEmergencyStop>) -> Result<EmergencyStopView, ApiError> {
    Ok(stop_view(call.app.engine.emergency_stop().await?))
}

/// Stops everything, or lifts the stop.
pub(crate) async fn set_stop(call: Call<SetEmergencyStop>) -> Result<EmergencyStopView, ApiError> {
    let (why, by) = (reason(&call.body.reason)?, call.caller.by());
    call.app.engine.set_emergency_stop(call.body.stopped, why, &by).await?;
    Ok(stop_view(call.app.engine.emergency_stop().await?))
}

/// A stop, or that there is none.
pub(in crate::http) fn stop_view(stop: Option<EmergencyStop>) -> EmergencyStopView {
    stop.map_or_else(EmergencyStopView::default, |stop| EmergencyStopView {
        stopped: true,
        by: Some(stop.by),
        reason: Some(stop.reason),
        since: Some(stop.at),
    })
}

async fn view(app: &App, rollout: Rollout) -> Result<RolloutView, ApiError> {
    let views = rollout_views(app, &mut app.store.read(), vec![rollout]).await?;
    views.into_iter().next().ok_or_else(|| ApiError::internal("a rollout without a view"))
}
