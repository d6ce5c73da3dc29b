//! `GET /api/v1/deployments/{deployment}`

use backstay_api::v1::{DeploymentDetail, GetDeployment};
use backstay_store::deployments;

use super::view::deployment_views;
use crate::http::{ApiError, Call};

/// One deployment with its steps.
pub(crate) async fn get(call: Call<GetDeployment>) -> Result<DeploymentDetail, ApiError> {
    let mut store = call.app.store.read();
    let id = call.path.deployment;
    let missing = || ApiError::missing("deployment", id);
    let found = deployments::get(&mut store, id).await?.ok_or_else(missing)?;
    let steps = deployments::steps(&mut store, id).await?;
    let view = deployment_views(&mut store, vec![found]).await?.pop().ok_or_else(missing)?;
    Ok(DeploymentDetail { view, steps })
}
