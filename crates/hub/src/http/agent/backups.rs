//! `/agent/v1/backups/…`: orders for nodes, how far they are, and how it ended.

use std::time::Duration;

use backstay_api::{
    Empty,
    agent::{BackupGoOn, FinishBackup, NextBackup, NextBackupResponse, SendBackupProgress},
};
use backstay_engine::backups::NextOrder;
use backstay_store::backups::repositories::KeptRepository;
use backstay_types::{
    ErrorCode, Node, Secret,
    backup::{BackupJob, BackupOrder, BackupTask, BackupWork, RepositoryFacts},
};
use tokio::time::{Instant, sleep};

use crate::{
    app::App,
    auth::Caller,
    backups::open_password,
    http::{ApiError, Call},
};

/// How long a deployment is held until the node's repository is made: a few seconds as a rule, once in its life.
const MAKING: Duration = Duration::from_secs(25);

/// What the node should do; the same until its outcome was taken.
pub(crate) async fn next_backup(call: Call<NextBackup>) -> Result<NextBackupResponse, ApiError> {
    let Call { app, caller, body, .. } = call;
    let node = whole(&caller)?;
    app.backups.hints.asked(node.id);
    let deadline = Instant::now() + MAKING;
    loop {
        let order = match app.engine.next_backup(node, body.before.as_ref()).await? {
            NextOrder::NotSetUp => return Ok(NextBackupResponse { order: None, set_up: false }),
            NextOrder::Nothing => None,
            NextOrder::Do(job, own, lent) => {
                let password = nodes_password(&app, &own)?;
                let other_password = lent.map(|lent| nodes_password(&app, &lent)).transpose()?;
                Some(BackupOrder { other_password, ..order(&app, *job, password)? })
            }
            NextOrder::NotReady(why) => {
                app.backups.wake.notify_one();
                // Only a deployment is worth holding a request for; who asks for what is due is told again.
                if body.before.is_none() {
                    return Ok(NextBackupResponse { order: None, set_up: true });
                }
                if Instant::now() >= deadline {
                    return Err(ApiError::new(ErrorCode::BS9012, why)
                        .with_hint("the hub sees to it as soon as the backup target answers; ask again"));
                }
                sleep(Duration::from_millis(250)).await;
                continue;
            }
        };
        return Ok(NextBackupResponse { order, set_up: true });
    }
}

/// What opens a repository for its node, and for another one while the hub lets that read.
fn nodes_password(app: &App, kept: &KeptRepository) -> Result<Secret, ApiError> {
    let password = open_password(&app.keys, kept.whose, &kept.node_sealed);
    password.ok_or_else(|| ApiError::internal("the node's password does not open"))
}

fn order(app: &App, job: BackupJob, password: Secret) -> Result<BackupOrder, ApiError> {
    let deadline = app.engine.order_deadline(&job).unwrap_or_else(|| app.world.now());
    let work = match job.task {
        BackupTask::Save(work) => BackupWork::Save(work),
        BackupTask::Restore(work) => BackupWork::Restore(work),
        BackupTask::Drill(work) => BackupWork::Drill(work),
        _ => return Err(ApiError::internal("a job that no node does")),
    };
    let bytes_per_second = app.settings.backup.bytes_per_second;
    Ok(BackupOrder { job: job.id, password, other_password: None, deadline, bytes_per_second, work })
}

/// Takes in how far it is.
pub(crate) async fn send_progress(call: Call<SendBackupProgress>) -> Result<BackupGoOn, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let go_on = app.engine.backup_progress(caller.node()?, path.job, body).await?;
    Ok(BackupGoOn { go_on })
}

/// Takes in how it ended.
pub(crate) async fn finish(call: Call<FinishBackup>) -> Result<Empty, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let node = whole(&caller)?;
    app.engine.finish_backup(node, path.job, body).await?;
    app.backups.last_look.forget();
    let written = app.backups.growth.take(node.id);
    if written > 0 {
        let note = |facts: &mut RepositoryFacts| facts.bytes = facts.bytes.saturating_add(written);
        app.engine.note_repository(Some(node.id), note).await?;
    }
    // What it saved is read back at once.
    app.backups.wake.notify_one();
    Ok(Empty {})
}

fn whole(caller: &Caller) -> Result<&Node, ApiError> {
    match caller {
        Caller::Node(node) => Ok(node),
        _ => Err(ApiError::new(ErrorCode::BS4003, "this is for agents")),
    }
}
