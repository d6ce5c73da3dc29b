//! `/api/v1/backups/snapshots`: what there is, what is in it, what is kept whatever retention says.

use backstay_api::v1::{
    AskSnapshotFiles, BackupJobView, GetSnapshot, GetSnapshotFiles, HoldSnapshot, ListSnapshots, Page,
    ReleaseSnapshot, SnapshotFiles, SnapshotView,
};
use backstay_engine::backups::{FoundSnapshot, Wanted as WantedJob};
use backstay_store::backups::{
    jobs,
    snapshots::{self, Wanted},
};
use backstay_types::{
    Timestamp,
    backup::{BackupTask, SnapshotHold, SnapshotId},
};

use super::{job_view, snapshot_views, whose_filter};
use crate::{
    app::App,
    http::{ApiError, Call, paging, reason},
};

/// Newest first.
pub(crate) async fn list(call: Call<ListSnapshots>) -> Result<Page<SnapshotView>, ApiError> {
    let Call { app, query, .. } = call;
    let limit = paging::limit(query.limit)?;
    let wanted = Wanted {
        whose: whose_filter(&app, query.node.as_deref()).await?,
        stack: query.stack,
        proof: query.proof,
        before: query.before,
        after: query.cursor.as_deref().map(after).transpose()?,
        limit: limit + 1,
    };
    let mut store = app.store.read();
    let found = snapshots::list(&mut store, &wanted).await?;
    let key =
        |one: &FoundSnapshot| format!("{}_{}", one.kept.snapshot.at.as_microsecond(), one.kept.snapshot.id);
    let page = paging::page(found, limit, key);
    let Page { items, next } = page;
    Ok(Page { items: snapshot_views(&mut store, items).await?, next })
}

/// Behind which snapshot a page begins.
fn after(cursor: &str) -> Result<(Timestamp, SnapshotId), ApiError> {
    let read = || {
        let (at, id) = cursor.split_once('_')?;
        Some((Timestamp::from_microsecond(at.parse().ok()?).ok()?, id.parse().ok()?))
    };
    read().ok_or_else(|| ApiError::invalid("cursor", "it is not of this list"))
}

/// One.
pub(crate) async fn get(call: Call<GetSnapshot>) -> Result<SnapshotView, ApiError> {
    let found = call.app.engine.find_snapshot(&call.path.snapshot).await?;
    view(&call.app, found).await
}

async fn view(app: &App, found: FoundSnapshot) -> Result<SnapshotView, ApiError> {
    let mut views = snapshot_views(&mut app.store.read(), vec![found]).await?;
    views.pop().ok_or_else(|| ApiError::internal("a snapshot without a view"))
}

/// Keeps one.
pub(crate) async fn hold(call: Call<HoldSnapshot>) -> Result<SnapshotView, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let why = reason(&body.reason)?.to_owned();
    let by = caller.by();
    let found = app.engine.find_snapshot(&path.snapshot).await?;
    let hold = SnapshotHold { reason: why, by: by.clone(), until: body.until };
    app.engine.hold_snapshot(&found, Some(hold), &by).await?;
    let id = found.kept.snapshot.id.to_string();
    view(&app, app.engine.find_snapshot(&id).await?).await
}

/// Lets retention decide again.
pub(crate) async fn release(call: Call<ReleaseSnapshot>) -> Result<SnapshotView, ApiError> {
    let Call { app, caller, path, .. } = call;
    let found = app.engine.find_snapshot(&path.snapshot).await?;
    app.engine.hold_snapshot(&found, None, &caller.by()).await?;
    let id = found.kept.snapshot.id.to_string();
    view(&app, app.engine.find_snapshot(&id).await?).await
}

/// Has the upkeep look into one.
pub(crate) async fn ask_files(call: Call<AskSnapshotFiles>) -> Result<BackupJobView, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let found = app.engine.find_snapshot(&path.snapshot).await?;
    let snapshot = found.kept.snapshot.id;
    let task = BackupTask::Files { snapshot, path: body.path, recursive: body.recursive };
    let wanted = WantedJob { whose: found.whose, task, id: None };
    let mut jobs = app.engine.ask_backups(vec![wanted], &caller.by()).await?;
    app.backups.wake.notify_one();
    let job = jobs.pop().ok_or_else(|| ApiError::internal("no job"))?;
    job_view(&mut app.store.read(), job).await
}

/// What was found.
pub(crate) async fn files(call: Call<GetSnapshotFiles>) -> Result<SnapshotFiles, ApiError> {
    let Call { app, path, .. } = call;
    let mut store = app.store.read();
    let job = jobs::get(&mut store, path.job).await?.ok_or_else(|| ApiError::missing("job", path.job))?;
    let BackupTask::Files { snapshot, path: below, .. } = job.task else {
        return Err(ApiError::missing("list of files of job", path.job));
    };
    let files = jobs::files(&mut store, path.job).await?;
    let files = files.ok_or_else(|| {
        ApiError::missing("list of files, which the job has not made yet or which was kept a day,", path.job)
    })?;
    let count = job.result.and_then(|result| result.files).unwrap_or(files.len() as u64);
    Ok(SnapshotFiles { snapshot, path: below, files, count })
}
