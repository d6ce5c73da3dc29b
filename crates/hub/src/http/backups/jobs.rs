//! `/api/v1/backups/jobs`: what was done, what is done now.

use backstay_api::v1::{BackupJobView, CancelBackupJob, GetBackupJob, ListBackupJobs, Page};
use backstay_store::backups::jobs::{self, Wanted};
use backstay_types::backup::BackupJob;

use super::{job_view, job_views, whose_filter};
use crate::http::{ApiError, Call, paging};

/// Newest first.
pub(crate) async fn list(call: Call<ListBackupJobs>) -> Result<Page<BackupJobView>, ApiError> {
    let Call { app, query, .. } = call;
    let limit = paging::limit(query.limit)?;
    let wanted = Wanted {
        whose: whose_filter(&app, query.node.as_deref()).await?,
        task: query.task,
        state: query.state,
        after: paging::cursor(query.cursor.as_deref())?,
        limit: limit + 1,
    };
    let mut store = app.store.read();
    let found = jobs::list(&mut store, &wanted).await?;
    let Page { items, next } = paging::page(found, limit, |job: &BackupJob| job.id.to_string());
    Ok(Page { items: job_views(&mut store, items).await?, next })
}

/// One.
pub(crate) async fn get(call: Call<GetBackupJob>) -> Result<BackupJobView, ApiError> {
    let mut store = call.app.store.read();
    let job = jobs::get(&mut store, call.path.job).await?;
    let job = job.ok_or_else(|| ApiError::missing("backup job", call.path.job))?;
    job_view(&mut store, job).await
}

/// Ends one.
pub(crate) async fn cancel(call: Call<CancelBackupJob>) -> Result<BackupJobView, ApiError> {
    let job = call.app.engine.cancel_backup(call.path.job, &call.caller.by()).await?;
    job_view(&mut call.app.store.read(), job).await
}
