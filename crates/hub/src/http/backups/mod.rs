//! Backups, for people.

pub(crate) mod accept_target;
pub(crate) mod jobs;
pub(crate) mod overview;
pub(crate) mod recovery;
pub(crate) mod restore;
pub(crate) mod restore_everything;
pub(crate) mod snapshots;
pub(crate) mod standing;
pub(crate) mod start;
pub(crate) mod status;

use std::collections::HashMap;

use backstay_api::v1::{BackupJobView, SnapshotView};
use backstay_engine::backups::Whose;
use backstay_store::{Executor, backups::snapshots::InRepository, nodes};
use backstay_types::{NodeId, NodeName, backup::BackupJob};

use super::{ApiError, find};
use crate::app::App;

/// The name under which the hub's own state is asked for.
const HUB: &str = "hub";

/// Whose data a name means.
async fn whose(app: &App, text: &str) -> Result<Whose, ApiError> {
    if text == HUB {
        return Ok(None);
    }
    Ok(Some(find::node(&mut app.store.read(), text).await?.id))
}

/// The same for a filter.
async fn whose_filter(app: &App, text: Option<&str>) -> Result<Option<Whose>, ApiError> {
    match text {
        None => Ok(None),
        Some(text) => whose(app, text).await.map(Some),
    }
}

async fn names(
    ex: &mut impl Executor,
    of: impl IntoIterator<Item = Whose>,
) -> Result<HashMap<NodeId, NodeName>, ApiError> {
    let mut ids: Vec<NodeId> = of.into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(nodes::many(ex, &ids).await?.into_iter().map(|node| (node.id, node.name)).collect())
}

/// Jobs with the names of their nodes.
async fn job_views(ex: &mut impl Executor, jobs: Vec<BackupJob>) -> Result<Vec<BackupJobView>, ApiError> {
    let names = names(ex, jobs.iter().map(|job| job.node)).await?;
    let name = |node: Whose| match node {
        None => HUB.to_owned(),
        Some(id) => names.get(&id).map_or_else(|| id.to_string(), ToString::to_string),
    };
    Ok(jobs.into_iter().map(|job| BackupJobView { node_name: name(job.node), job }).collect())
}

async fn job_view(ex: &mut impl Executor, job: BackupJob) -> Result<BackupJobView, ApiError> {
    let mut views = job_views(ex, vec![job]).await?;
    views.pop().ok_or_else(|| ApiError::internal("a job without a view"))
}

async fn snapshot_views(
    ex: &mut impl Executor,
    found: Vec<InRepository>,
) -> Result<Vec<SnapshotView>, ApiError> {
    let ids: Vec<NodeId> = found.iter().filter_map(|one| one.whose).collect();
    let there = nodes::many(ex, &ids).await?;
    let is_there = |whose: Whose| match whose {
        None => true,
        Some(id) => there.iter().any(|node| node.id == id && node.revoked_at.is_none()),
    };
    Ok(found
        .into_iter()
        .map(|one| SnapshotView { node_is_there: is_there(one.whose), kept: one.kept })
        .collect())
}
