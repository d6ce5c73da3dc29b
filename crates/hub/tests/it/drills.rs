//! Drills: who is asked for one, what its outcome is taken for, and where it is told.

use std::time::Duration;

use backstay_api::{
    Empty, Role,
    agent::{BackupJobPath, FinishBackup},
    v1::{self, AttentionKind},
};
use backstay_types::{
    BackupJobId, ErrorCode,
    backup::{
        BackupJobState, BackupTask, BackupWork, DrillCheck, DrillCheckKind, DrillReport, DrillResult,
        DrillStart, DrillVerdict, DrillWork, Proof, SnapshotId, WorkOutcome,
    },
};

use crate::{
    backups::{events, eventually, hub_with, job, next, ordered, program, save, snapshots, start, told},
    harness::{Agent, TestHub, code, http},
};

/// A node with a snapshot that the hub has read back.
async fn proven(
    change: impl FnOnce(&mut backstay_config::BackupSettings),
) -> Option<(TestHub, Agent, SnapshotId)> {
    program()?;
    let hub = hub_with(change).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let asked = start(&hub, "web-1").await.job;
    let order = ordered(&hub, &agent).await;
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("orders"), vec![7u8; 10_000]).unwrap();
    let made = save(&hub, &agent, &order.password, data.path()).await;
    let path = BackupJobPath { job: asked.id };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &told(&made, &hub)).await.unwrap();
    eventually("it is proven", async || {
        snapshots(&hub).await.into_iter().find(|one| one.kept.snapshot.proof >= Proof::Verified)
    })
    .await;
    Some((hub, agent, made.id))
}

async fn ask(hub: &TestHub, request: v1::StartDrillRequest) -> v1::StartedBackups {
    hub.admin().call::<v1::StartDrill>(&Empty {}, &Empty {}, &request).await.unwrap()
}

fn of_stack() -> v1::StartDrillRequest {
    v1::StartDrillRequest { stack: Some("shop".parse().unwrap()), ..Default::default() }
}

/// The drill that the node is asked for.
async fn drill(agent: &Agent) -> (BackupJobId, DrillWork) {
    let order = next(agent).await.unwrap().order.unwrap();
    match order.work {
        BackupWork::Drill(work) => (order.job, work),
        other => panic!("{other:?}"),
    }
}

fn report(work: &DrillWork, verdict: DrillVerdict) -> DrillReport {
    let checked =
        DrillCheck { kind: DrillCheckKind::Files, what: "files".to_owned(), result: DrillResult::Passed };
    DrillReport {
        verdict,
        files: 3,
        bytes: 10_000,
        checks: vec![checked],
        start: DrillStart::Yes,
        restore_ms: 1500,
        total_ms: 9000,
        ..DrillReport::new(work)
    }
}

async fn finish(agent: &Agent, job: BackupJobId, report: DrillReport, failed: Option<&str>) {
    let failed = failed.map(str::to_owned);
    let outcome = WorkOutcome { failed, drill: Some(Box::new(report)), ..WorkOutcome::default() };
    agent.client.call::<FinishBackup>(&BackupJobPath { job }, &Empty {}, &outcome).await.unwrap();
}

async fn status(hub: &TestHub) -> v1::BackupStatus {
    let query = v1::BackupStatusQuery { node: Some("web-1".to_owned()), ..Default::default() };
    let mut page = hub.admin().call::<v1::ListBackupStatus>(&Empty {}, &query, &Empty {}).await.unwrap();
    page.items.remove(0)
}

async fn metrics(hub: &TestHub) -> String {
    http().get(format!("{}/metrics", hub.hub.url())).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_by_hand_from_the_order_to_the_proof() {
    let Some((hub, agent, snapshot)) = proven(|_| {}).await else { return };
    let next_at = status(&hub).await.stacks[0].next_drill_at;
    assert!(
        next_at.is_some_and(|at| at <= hub.world().now() + Duration::from_secs(8 * 86_400)),
        "{next_at:?}"
    );
    let started = ask(&hub, of_stack()).await;
    assert_eq!((started.count, started.jobs[0].node_name.as_str()), (1, "web-1"));
    assert_eq!(ask(&hub, of_stack()).await.jobs[0].job.id, started.jobs[0].job.id, "not a second one");
    let (id, work) = drill(&agent).await;
    assert_eq!((id, work.snapshot, work.bytes > 0), (started.jobs[0].job.id, snapshot, true));
    finish(&agent, id, report(&work, DrillVerdict::Passed), None).await;
    // Told again, otherwise: the first is what it was.
    finish(&agent, id, report(&work, DrillVerdict::Failed), Some("no")).await;
    let ended = job(&hub, id).await.job;
    assert_eq!(ended.state, BackupJobState::Done);
    assert_eq!(ended.result.unwrap().work.unwrap().drill.unwrap().verdict, DrillVerdict::Passed);
    let kept = snapshots(&hub).await.remove(0).kept;
    assert_eq!((kept.snapshot.proof, kept.drilled_at.is_some()), (Proof::Drilled, true));
    eventually("it is in the ledger", async || (events(&hub, "drill_finished").await > 0).then_some(()))
        .await;
    assert_eq!((events(&hub, "drill_asked").await, events(&hub, "drill_finished").await), (1, 1));
    let one = eventually("it is counted", async || {
        let one = status(&hub).await;
        (one.drills_90_days == v1::BackupRate { done: 1, failed: 0 }).then_some(one)
    })
    .await;
    let history = one.stacks[0].drill.clone().unwrap();
    assert_eq!((history.restore_ms, history.snapshot, history.started), (Some(1500), Some(snapshot), true));
    assert!(one.stacks[0].next_drill_at.unwrap() > hub.world().now() + Duration::from_secs(20 * 86_400));
    let all = hub.admin().call::<v1::GetBackups>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(all.restore_ms.values().copied().collect::<Vec<_>>(), [1500]);
    assert_eq!(all.oldest_drilled_at, history.snapshot_at);
    let text = metrics(&hub).await;
    for line in [
        "backstay_drills_passed_90d 1\n",
        "backstay_drills_failed_90d 0\n",
        "backstay_drill_restore_seconds{stack=\"shop\"} 1.5\n",
        "backstay_backup_oldest_drilled_age_seconds ",
        "backstay_backups_failed_90d 0\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_needs_a_person_and_one_that_made_way_does_not() {
    let Some((hub, agent, snapshot)) = proven(|_| {}).await else { return };
    ask(&hub, of_stack()).await;
    let (id, work) = drill(&agent).await;
    let put_off = "a deployment of the node came first";
    finish(&agent, id, report(&work, DrillVerdict::PutOff), Some(put_off)).await;
    let ended = job(&hub, id).await.job;
    assert_eq!((ended.state, ended.cancelled_by.as_deref()), (BackupJobState::Cancelled, Some("the node")));
    assert_eq!(snapshots(&hub).await[0].kept.snapshot.proof, Proof::Verified);
    let overview =
        async || hub.admin().call::<v1::GetOverview>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    let found = |overview: &v1::Overview| {
        overview.attention.iter().find(|one| one.kind == AttentionKind::DrillFailed).cloned()
    };
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(found(&overview().await), None);

    let request =
        v1::StartDrillRequest { snapshot: Some(snapshot.to_string()[..10].to_owned()), ..Default::default() };
    let request = v1::StartDrillRequest { files_only: true, ..request };
    let started = ask(&hub, request).await;
    assert!(matches!(&started.jobs[0].job.task, BackupTask::Drill(work) if work.files_only));
    let (id, work) = drill(&agent).await;
    finish(&agent, id, report(&work, DrillVerdict::Failed), Some("app.db: it is malformed (BS9031)")).await;
    assert_eq!(job(&hub, id).await.job.state, BackupJobState::Failed);
    assert_eq!(snapshots(&hub).await[0].kept.snapshot.proof, Proof::Verified);
    let attention = eventually("it is told", async || found(&overview().await)).await;
    assert!(
        attention.summary.contains("shop on web-1") && attention.summary.contains("malformed"),
        "{attention:?}"
    );
    let all = hub.admin().call::<v1::GetBackups>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert!(
        all.warnings.iter().any(|one| one.text.contains("the last drill of shop failed")),
        "{:?}",
        all.warnings
    );
    assert_eq!(all.drills_90_days, v1::BackupRate { done: 0, failed: 1 });

    // Until one passes again.
    ask(&hub, of_stack()).await;
    let (id, work) = drill(&agent).await;
    finish(&agent, id, report(&work, DrillVerdict::Passed), None).await;
    eventually("it is over", async || found(&overview().await).is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_ask_and_only_for_what_is_proven() {
    let Some((hub, agent, snapshot)) = proven(|_| {}).await else { return };
    let asked = async |request: v1::StartDrillRequest| {
        code(hub.admin().call::<v1::StartDrill>(&Empty {}, &Empty {}, &request).await)
    };
    assert_eq!(asked(v1::StartDrillRequest::default()).await, ErrorCode::BS4007);
    let other = v1::StartDrillRequest { stack: Some("other".parse().unwrap()), ..Default::default() };
    assert_eq!(asked(other).await, ErrorCode::BS9017);
    let digits = Some(snapshot.to_string());
    let wrong = v1::StartDrillRequest {
        snapshot: digits.clone(),
        stack: Some("other".parse().unwrap()),
        ..Default::default()
    };
    assert_eq!(asked(wrong).await, ErrorCode::BS4004);
    let viewer = hub.client(Some(hub.token(Role::Viewer).await));
    let request = v1::StartDrillRequest { snapshot: digits, ..Default::default() };
    let refused = viewer.call::<v1::StartDrill>(&Empty {}, &Empty {}, &request).await;
    assert_eq!(code(refused), ErrorCode::BS4003);
    assert_eq!(next(&agent).await.unwrap().order, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_has_its_turn_by_itself_and_not_while_the_node_is_away() {
    let Some((hub, agent, snapshot)) = proven(|settings| settings.drill_every = Duration::from_secs(4)).await
    else {
        return;
    };
    let (id, work) = eventually("its turn", async || {
        agent.say_hello().await;
        match next(&agent).await.unwrap().order {
            Some(order) => match order.work {
                BackupWork::Drill(work) => Some((order.job, work)),
                _ => None,
            },
            None => None,
        }
    })
    .await;
    assert_eq!((work.snapshot, work.files_only), (snapshot, false));
    let asked = job(&hub, id).await.job;
    assert_eq!(asked.by, "schedule");
    finish(&agent, id, report(&work, DrillVerdict::Passed), None).await;
    let again = eventually("its next turn", async || {
        agent.say_hello().await;
        next(&agent).await.unwrap().order
    })
    .await;
    assert!(again.job != id && matches!(again.work, BackupWork::Drill(_)));
    assert_eq!(events(&hub, "drill_asked").await, 0, "nobody asked for it");
}
