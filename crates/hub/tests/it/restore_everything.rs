//! Everything put back at once: the same request twice is one restore, and nothing that was saved later goes back.

use backstay_api::{
    Empty,
    agent::{BackupJobPath, FinishBackup},
    v1,
};
use backstay_types::{
    ErrorCode,
    backup::{BackupJobState, BackupTask, WorkOutcome},
};

use crate::{
    backup_targets::{back_up, proven},
    backups::{eventually, job, next, program},
    harness::{TestHub, code},
    saving::{node_with_folder, noise},
};

async fn everything(
    hub: &TestHub,
    request: &v1::RestoreEverythingRequest,
) -> Result<v1::RestoreEverythingView, backstay_client::ClientError> {
    hub.admin().call::<v1::RestoreEverything>(&Empty {}, &Empty {}, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_gets_the_same_jobs_even_when_they_have_ended() {
    if program().is_none() {
        return;
    }
    let (hub, agent, data) = node_with_folder(|_| {}).await;
    let nothing = everything(&hub, &v1::RestoreEverythingRequest::default()).await;
    assert_eq!(code(nothing), ErrorCode::BS9017);
    std::fs::write(data.path().join("orders"), noise(1, 100_000)).unwrap();
    let (first, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    let dry = v1::RestoreEverythingRequest { dry_run: true, ..Default::default() };
    let planned = everything(&hub, &dry).await.unwrap();
    assert!(planned.restores.len() == 1 && planned.restores[0].job.is_none(), "{planned:?}");
    // Saved after it was planned, so that it is not what was agreed to.
    std::fs::write(data.path().join("orders"), noise(2, 100_000)).unwrap();
    let (second, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &second).await;

    // What does not run is put in place by its first deployment, for which nothing is assigned here.
    agent.runs_stack("shop").await;
    let id = Some(hub.world().mint());
    let request = v1::RestoreEverythingRequest { id, at: Some(planned.at), ..Default::default() };
    let begun = everything(&hub, &request).await.unwrap().restores.remove(0).job.unwrap().job;
    assert!(matches!(&begun.task, BackupTask::Restore(work) if work.snapshot == first.id), "{begun:?}");
    let again = everything(&hub, &request).await.unwrap().restores.remove(0).job.unwrap().job;
    assert_eq!(again, begun);
    let order = eventually("an order", async || next(&agent).await.unwrap().order).await;
    assert_eq!(order.job, begun.id);
    let path = BackupJobPath { job: order.job };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &WorkOutcome::default()).await.unwrap();
    assert_eq!(job(&hub, begun.id).await.job.state, BackupJobState::Done);
    let late = everything(&hub, &request).await.unwrap().restores.remove(0).job.unwrap().job;
    assert_eq!((late.id, late.state), (begun.id, BackupJobState::Done), "not a second one");
    hub.hub.stop().await;
}
