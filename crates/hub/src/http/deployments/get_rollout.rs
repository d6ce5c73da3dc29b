//! `GET /api/v1/rollouts/{rollout}`

use backstay_api::v1::{GetRollout, RolloutView};
use backstay_store::rollouts;

use super::view::rollout_views;
use crate::http::{ApiError, Call};

/// One rollout.
pub(crate) async fn get_rollout(call: Call<GetRollout>) -> Result<RolloutView, ApiError> {
    let mut store = call.app.store.read();
    let missing = || ApiError::missing("rollout", call.path.rollout);
    let found = rollouts::get(&mut store, call.path.rollout).await?.ok_or_else(missing)?;
    rollout_views(&call.app, &mut store, vec![found]).await?.pop().ok_or_else(missing)
}
