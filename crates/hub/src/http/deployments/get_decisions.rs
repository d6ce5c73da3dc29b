//! `GET /api/v1/rollouts/{rollout}/decisions`

use backstay_api::v1::{DecisionView, GetRolloutDecisions, RolloutDecisions};
use backstay_engine::ReplayedDecision;
use backstay_store::rollouts;

use crate::http::{ApiError, Call};

/// Every decision about a rollout, made again when asked.
pub(crate) async fn get_decisions(call: Call<GetRolloutDecisions>) -> Result<RolloutDecisions, ApiError> {
    let id = call.path.rollout;
    rollouts::get(&mut call.app.store.read(), id).await?.ok_or_else(|| ApiError::missing("rollout", id))?;
    let found = call.app.engine.decisions(id, call.query.replay.unwrap_or(false)).await?;
    let view = |found: ReplayedDecision| {
        let ReplayedDecision { decision, same, came_out } = found;
        DecisionView { decision, same, came_out }
    };
    Ok(RolloutDecisions { decisions: found.into_iter().map(view).collect() })
}
