//! `GET /api/v1/branches`

use backstay_api::v1::{BranchView, ListBranches, Page};
use backstay_engine::FollowedBranch;
use backstay_store::repositories;

use crate::http::{ApiError, Call, paging};

/// Branches that nodes follow or are to follow, by stack and branch.
pub(crate) async fn list_branches(call: Call<ListBranches>) -> Result<Page<BranchView>, ApiError> {
    let known = repositories::list(&mut call.app.store.read()).await?;
    let view = |FollowedBranch { row, standing, nodes }| {
        let repository = known.iter().find(|one| one.id == row.repository);
        BranchView {
            repository: repository.map(|one| one.name.to_string()).unwrap_or_default(),
            stack: row.stack,
            branch: row.branch,
            tip: row.tip,
            commit: row.commit,
            release: row.release,
            standing,
            health: row.health,
            updated_at: row.updated_at,
            nodes,
        }
    };
    Ok(paging::whole(call.app.engine.followed_branches().await?.into_iter().map(view).collect()))
}
