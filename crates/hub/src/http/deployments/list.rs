//! `GET /api/v1/deployments`

use backstay_api::v1::{DeploymentView, ListDeployments, Page};
use backstay_store::deployments::{self, Filter};

use super::view::deployment_views;
use crate::http::{ApiError, Call, find, paging};

/// Deployments, newest first.
pub(crate) async fn list(call: Call<ListDeployments>) -> Result<Page<DeploymentView>, ApiError> {
    let query = call.query;
    let limit = paging::limit(query.limit)?;
    let before = paging::cursor(query.cursor.as_deref())?;
    let mut store = call.app.store.read();
    let filter = Filter {
        node: find::node_id(&mut store, query.node.as_deref()).await?,
        stack: query.stack,
        rollout: query.rollout,
        conversation: query.conversation,
        release: None,
    };
    let found = deployments::list(&mut store, &filter, before, limit + 1).await?;
    let page = paging::page(found, limit, |deployment| deployment.id.to_string());
    let items = deployment_views(&mut store, page.items).await?;
    Ok(Page { items, next: page.next })
}
