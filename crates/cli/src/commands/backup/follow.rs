//! Waiting until jobs about backups have ended, with how far they are.

use std::{collections::HashMap, process::ExitCode, time::Duration};

use backstay_api::{
    Empty,
    v1::{BackupJobPath, BackupJobView, BackupJobsQuery, GetBackupJob, ListBackupJobs, StartedBackups},
};
use backstay_types::{
    BackupJobId, ErrorCode,
    backup::{BackupJobState, BackupTaskKind},
};

use crate::{
    api::Api,
    commands::{Outcome, done},
    context::Context,
    error::{CliError, Exit},
    ids,
    ui::{Progress, count},
    views::backup,
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// So many jobs are asked for one by one; more are read as a list.
const ONE_BY_ONE: usize = 4;

/// Shows what was begun, each a `what`, and unless nobody waits follows it to its end, which `view` shows.
///
/// # Errors
/// When the hub refuses.
pub(crate) async fn follow(
    StartedBackups { jobs, count: all }: StartedBackups,
    no_wait: bool,
    what: &str,
    view: impl FnOnce(&[BackupJobView]) -> String,
    api: &Api,
    cx: &Context,
) -> Outcome {
    if no_wait {
        let started = StartedBackups { jobs, count: all };
        cx.ui.data(&started, || {
            let begun = count(usize::try_from(all).unwrap_or(usize::MAX), what);
            format!("{}{begun} asked for.\n", backup::jobs(&started.jobs, &cx.frame()))
        })?;
        return done();
    }
    if all > jobs.len() as u64 {
        cx.ui.note(format!("{all} were asked for; the first {} are followed.", jobs.len()));
    }
    let jobs = until_ended(jobs, api, cx).await?;
    let ended = StartedBackups { jobs, count: all };
    cx.ui.data(&ended, || view(&ended.jobs))?;
    ended_well(&ended.jobs)
}

/// Follows jobs until all have ended; each is shown when it does. A hub that is away is waited for.
///
/// # Errors
/// When the hub refuses.
pub(crate) async fn until_ended(
    mut jobs: Vec<BackupJobView>,
    api: &Api,
    cx: &Context,
) -> Result<Vec<BackupJobView>, CliError> {
    let mut progress = cx.ui.progress();
    jobs.iter().filter(|one| one.job.state.is_final()).for_each(|one| show_end(one, &mut progress));
    while jobs.iter().any(|one| !one.job.state.is_final()) {
        show_now(&jobs, &mut progress);
        tokio::time::sleep(EVERY).await;
        let mut newer = match look(&jobs, api).await {
            Err(error) if error.exit() == Exit::Unreachable => continue,
            looked => looked?,
        };
        for one in jobs.iter_mut().filter(|one| !one.job.state.is_final()) {
            if let Some(newer) = newer.remove(&one.job.id) {
                *one = newer;
                if one.job.state.is_final() {
                    show_end(one, &mut progress);
                }
            }
        }
    }
    progress.clear();
    Ok(jobs)
}

/// The open ones of these jobs as they are now.
async fn look(jobs: &[BackupJobView], api: &Api) -> Result<HashMap<BackupJobId, BackupJobView>, CliError> {
    let open: Vec<_> = jobs.iter().map(|one| &one.job).filter(|job| !job.state.is_final()).collect();
    let mut found = HashMap::new();
    if open.len() <= ONE_BY_ONE {
        for job in open {
            let path = BackupJobPath { job: job.id };
            found.insert(job.id, api.call::<GetBackupJob>(path, Empty {}, Empty {}).await?);
        }
        return Ok(found);
    }
    // Newest first: none of ours is older than the oldest of them.
    let Some(oldest) = open.iter().map(|job| job.id).min() else { return Ok(found) };
    let mut cursor = None;
    loop {
        let query = BackupJobsQuery { limit: Some(1000), cursor, ..BackupJobsQuery::default() };
        let page = api.call::<ListBackupJobs>(Empty {}, query, Empty {}).await?;
        let passed = page.items.last().is_none_or(|one| one.job.id < oldest);
        found.extend(page.items.into_iter().map(|one| (one.job.id, one)));
        cursor = page.next;
        if passed || cursor.is_none() {
            return Ok(found);
        }
    }
}

fn show_now(jobs: &[BackupJobView], progress: &mut Progress) {
    let ended = jobs.iter().filter(|one| one.job.state.is_final()).count();
    let open = || jobs.iter().filter(|one| !one.job.state.is_final());
    let runs = open().find(|one| one.job.state == BackupJobState::Running).or_else(|| open().next());
    let Some(one) = runs else { return };
    let before = if jobs.len() > 1 { format!("{ended} of {} ended; ", jobs.len()) } else { String::new() };
    progress.now(&format!("{before}{}", backup::under_way(one)));
}

fn show_end(one: &BackupJobView, progress: &mut Progress) {
    let sentence = backup::sentence(one);
    match one.job.state {
        BackupJobState::Done => progress.done(&sentence),
        BackupJobState::Cancelled => progress.note(&sentence),
        _ => progress.bad(&sentence),
    }
}

/// Whether all ended well.
///
/// # Errors
/// Says which did not, why, and where the rest is told.
pub(crate) fn ended_well(jobs: &[BackupJobView]) -> Outcome {
    let unwell: Vec<_> = jobs.iter().filter(|one| one.job.state != BackupJobState::Done).collect();
    let Some(first) = unwell.first() else { return Ok(ExitCode::SUCCESS) };
    let code = match (first.job.state, first.job.task.kind()) {
        (BackupJobState::Cancelled, BackupTaskKind::Drill) => ErrorCode::BS9034,
        (BackupJobState::Cancelled, _) => ErrorCode::BS4005,
        (_, BackupTaskKind::Save) => ErrorCode::BS9024,
        (_, BackupTaskKind::Restore) => ErrorCode::BS9026,
        (_, BackupTaskKind::Drill) => ErrorCode::BS9031,
        _ => ErrorCode::BS9016,
    };
    let sentence = backup::sentence(first);
    let detail = match unwell.len() {
        1 => sentence,
        many => format!("{many} of {} jobs did not end well, the first: {sentence}", jobs.len()),
    };
    Err(CliError::new(code, detail).hint(format!("backstay backup jobs {}", ids::short(first.job.id))))
}
