//! Repositories that lose data or are gone, targets that are full or not mounted, ceilings: told, mended, nothing good lost.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_api::{
    Empty,
    agent::{BackupJobPath, FinishBackup},
    v1::{self, AttentionKind, BackupHealth},
};
use backstay_config::TargetSettings;
use backstay_testkit::SmallDisk;
use backstay_types::{
    Digest, ErrorCode,
    backup::{BackupTaskKind, Destination, Proof, WorkOutcome, job::SnapshotMade},
};

use crate::{
    backup_targets::{attention, back_up, proven, restore},
    backups::{
        ended, eventually, hub_with, next, ordered, program, put, save, snapshots, start, target, try_save,
    },
    harness::{Agent, TestHub, code},
    saving::{node_with_folder, noise, recovery_key},
};

fn repository(hub: &TestHub, agent: &Agent) -> PathBuf {
    target(hub).join(format!("nodes/{}", agent.joined.node))
}

fn packs(repository: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(repository.join("data")).unwrap();
    let mut found: Vec<_> = folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort_by_key(|path| fs::metadata(path).unwrap().len());
    found
}

async fn status(hub: &TestHub) -> v1::BackupStatus {
    let query = v1::BackupStatusQuery { node: Some("web-1".to_owned()), ..Default::default() };
    let page = hub.admin().call::<v1::ListBackupStatus>(&Empty {}, &query, &Empty {}).await.unwrap();
    page.items.into_iter().next().unwrap()
}

/// A backup that fails at the target, told as the node tells it.
async fn fails(hub: &TestHub, agent: &Agent, folder: &Path) -> String {
    let job = start(hub, "web-1").await.job;
    let order = ordered(hub, agent).await;
    let why = try_save(hub, agent, &order.password, folder, None).await.unwrap_err();
    let outcome = WorkOutcome { failed: Some(why.clone()), ..WorkOutcome::default() };
    let path = BackupJobPath { job: job.id };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &outcome).await.unwrap();
    why
}

async fn verify(hub: &TestHub) -> backstay_types::backup::BackupResult {
    let request = v1::VerifyBackupsRequest { node: "web-1".to_owned(), snapshot: None };
    let asked = hub.admin().call::<v1::VerifyBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    ended(hub, asked.job.id).await.job.result.unwrap()
}

fn wanted(made: &SnapshotMade) -> v1::RestoreRequest {
    v1::RestoreRequest {
        id: None,
        node: None,
        stack: None,
        from: v1::RestoreFrom::Snapshot(made.id.to_string()),
        items: Vec::new(),
        paths: Vec::new(),
        on: None,
        destination: Destination::InPlace,
        confirm: None,
        dry_run: true,
    }
}

async fn kept(hub: &TestHub, made: &SnapshotMade) -> backstay_types::backup::KeptSnapshot {
    snapshots(hub).await.into_iter().find(|one| one.kept.snapshot.id == made.id).unwrap().kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_gone_is_made_anew_and_what_was_lost_is_named() {
    if program().is_none() {
        return;
    }
    let (hub, agent, data) = node_with_folder(|_| {}).await;
    fs::write(data.path().join("orders"), noise(1, 200_000)).unwrap();
    let (first, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    fs::remove_dir_all(repository(&hub, &agent)).unwrap();
    let why = fails(&hub, &agent, data.path()).await;
    assert!(why.contains("NoRepository"), "{why}");
    eventually("what was lost is noted", async || kept(&hub, &first).await.damaged_at).await;
    let refused = hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &wanted(&first)).await;
    assert_eq!(code(refused), ErrorCode::BS9017);
    let query =
        v1::TimelineQuery { kind: Some("backup_repository_checked".to_owned()), ..Default::default() };
    eventually("the ledger says so", async || {
        let entries = hub.admin().call::<v1::ListTimeline>(&Empty {}, &query, &Empty {}).await.unwrap();
        let said = serde_json::to_string(&entries.items).unwrap();
        said.contains("gone from the target, and with it 1 snapshots").then_some(())
    })
    .await;

    // The next one is right, by itself; what was lost stays said until it is forgotten.
    let (second, password) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &second).await;
    let into = tempfile::tempdir().unwrap();
    restore(&hub, &agent, &password, &second, into.path()).await.unwrap();
    assert_eq!(fs::read(into.path().join("orders")).unwrap(), noise(1, 200_000));
    eventually("it is good again", async || {
        Some(status(&hub).await).filter(|one| one.state == BackupHealth::Good)
    })
    .await;
    let lines = attention(&hub, AttentionKind::BackupDamaged).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("web-1: 1 snapshot lost data") && lines[0].contains("is right"), "{lines:?}");
    assert!(kept(&hub, &first).await.damaged_at.is_some());
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_lost_is_taken_out_of_the_index_and_the_next_backup_saves_it_anew() {
    if program().is_none() {
        return;
    }
    let (hub, agent, data) = node_with_folder(|_| {}).await;
    fs::write(data.path().join("orders"), noise(1, 200_000)).unwrap();
    let (first, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    fs::remove_file(packs(&repository(&hub, &agent)).last().unwrap()).unwrap();
    let result = verify(&hub).await;
    assert!(result.failed.is_some() && !result.problems.is_empty(), "{result:?}");
    eventually("it is repaired", async || {
        let facts = status(&hub).await.repository;
        (facts.repaired_at.is_some() && facts.damaged.is_none()).then_some(())
    })
    .await;
    assert!(kept(&hub, &first).await.damaged_at.is_some());
    let (second, _) = back_up(&hub, &agent, data.path()).await;
    assert!(second.added_bytes > 200_000, "what was lost is sent again: {second:?}");
    proven(&hub, &second).await;
    // With it the first is whole again, which is found out.
    let result = verify(&hub).await;
    assert_eq!(result.failed, None, "{result:?}");
    let healed = kept(&hub, &first).await;
    assert!(healed.damaged_at.is_none() && healed.snapshot.proof >= Proof::Verified, "{healed:?}");
    assert!(hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &wanted(&first)).await.is_ok());
    hub.hub.stop().await;
}

/// A program that waits before it repairs, until a file says to go on; with that file.
fn slow_to_repair(folder: &Path) -> (PathBuf, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let (path, go) = (folder.join("slow"), folder.join("go"));
    let script = format!(
        "#!/bin/sh\njob=$(cat)\ncase \"$job\" in *'\"task\":\"repair\"'*) while [ ! -e {} ]; do sleep 0.05; done;; esac\n\
         printf %s \"$job\" | {}\n",
        go.display(),
        program().unwrap().display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (path, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_while_its_repository_is_repaired() {
    if program().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (slow, go) = slow_to_repair(folder.path());
    let (hub, agent, data) = node_with_folder(|backup| backup.program = Some(slow)).await;
    fs::write(data.path().join("orders"), noise(1, 200_000)).unwrap();
    let (first, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    fs::remove_file(packs(&repository(&hub, &agent)).last().unwrap()).unwrap();
    assert!(verify(&hub).await.failed.is_some());
    let repairing = async || status(&hub).await.repository.repairing_until;
    eventually("it is being repaired", repairing).await;
    start(&hub, "web-1").await;
    for _ in 0..10 {
        let answer = next(&agent).await.unwrap();
        assert!(answer.set_up && answer.order.is_none(), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(repairing().await.is_some());
    fs::write(&go, "").unwrap();
    let order = ordered(&hub, &agent).await;
    let made = save(&hub, &agent, &order.password, data.path()).await;
    assert!(made.added_bytes > 200_000, "what was lost is sent again: {made:?}");
    hub.hub.stop().await;
}

/// What is said of a target that is not the known one, once it is.
async fn missed(hub: &TestHub) -> String {
    eventually("it is said", async || {
        let lines = attention(hub, AttentionKind::BackupUnwell).await;
        lines.into_iter().find(|line| line.contains("is not the one that this hub knows"))
    })
    .await
}

async fn well_again(hub: &TestHub) {
    eventually("it is well again", async || {
        let view = hub.admin().call::<v1::GetBackups>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
        let settings = view.settings.unwrap();
        let unused = settings.target.not_used.or(settings.second.and_then(|second| second.not_used));
        unused.is_none().then_some(())
    })
    .await;
}

async fn accept(hub: &TestHub, second: bool) {
    let request = v1::AcceptTargetRequest { second };
    hub.admin().call::<v1::AcceptBackupTarget>(&Empty {}, &Empty {}, &request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_disk_is_not_mounted_is_not_taken_for_an_empty_one() {
    if program().is_none() {
        return;
    }
    let (hub, agent, data) = node_with_folder(|_| {}).await;
    fs::write(data.path().join("orders"), b"one").unwrap();
    let (first, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    let (folder, elsewhere) = (target(&hub), target(&hub).with_extension("elsewhere"));
    fs::rename(&folder, &elsewhere).unwrap();
    // Where the disk was there is a folder in which something lies: nobody has to be told that it is empty.
    fs::create_dir_all(folder.join("nodes")).unwrap();
    fs::write(folder.join("nodes/note"), "mount the disk here").unwrap();
    let content = b"new";
    let name = Digest::of(content).to_string();
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), content).await, 409, "a node writes nothing there");
    fails(&hub, &agent, data.path()).await;
    let said = missed(&hub).await;
    assert!(said.contains("is its disk mounted?") && said.contains("accept-target"), "{said}");
    // A node that has never saved anything makes nothing anew, either.
    let other = hub.join("web-2").await;
    other.say_hello().await;
    start(&hub, "web-2").await;
    assert!(next(&other).await.unwrap().order.is_none());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let entries =
        fs::read_dir(folder.join("nodes")).unwrap().count() + fs::read_dir(&folder).unwrap().count();
    assert_eq!(entries, 2, "nothing is made in its place");
    assert!(kept(&hub, &first).await.damaged_at.is_none(), "nothing is lost");

    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    well_again(&hub).await;
    assert!(hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &wanted(&first)).await.is_ok());
    let (second, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &second).await;

    // Another target in its place is as little the known one.
    let marker = folder.join("backstay-target.json");
    let own = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, r#"{ "id": "another" }"#).unwrap();
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), content).await, 409);
    assert!(missed(&hub).await.contains("another one's (another)"));
    // A hub that begins only now knows no less.
    let hub = hub.restart().await;
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), content).await, 409);
    missed(&hub).await;
    fs::write(&marker, own).unwrap();
    well_again(&hub).await;
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), content).await, 200);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_target_that_was_emptied_on_purpose_it_begins_anew_once_somebody_says_so() {
    if program().is_none() {
        return;
    }
    let second = tempfile::tempdir().unwrap();
    let place = second.path().to_owned();
    let (hub, agent, data) = node_with_folder(|backup| {
        backup.second = Some(TargetSettings::Folder(place.clone()));
        backup.second_can_delete = true;
    })
    .await;
    fs::write(data.path().join("orders"), b"one").unwrap();
    let (first, _) = back_up(&hub, &agent, data.path()).await;
    let replicated = |id| {
        let hub = &hub;
        async move {
            eventually("it is copied", async || {
                let all = snapshots(hub).await;
                all.into_iter().find(|one| one.kept.snapshot.id == id && one.kept.copy.is_some())
            })
            .await
        }
    };
    replicated(first.id).await;
    for target in [target(&hub), place.clone()] {
        for entry in fs::read_dir(&target).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
    missed(&hub).await;
    assert_eq!(fs::read_dir(target(&hub)).unwrap().count(), 0);
    accept(&hub, false).await;
    // A node finds nothing, and what was there is gone, by name.
    fails(&hub, &agent, data.path()).await;
    eventually("what was lost is noted", async || kept(&hub, &first).await.damaged_at).await;
    let (anew, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &anew).await;
    // Of the second one nobody has said so yet.
    assert!(missed(&hub).await.contains("--second"));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is copied there");
    accept(&hub, true).await;
    replicated(anew.id).await;
    well_again(&hub).await;
    let query = v1::TimelineQuery { kind: Some("backup_target_accepted".to_owned()), ..Default::default() };
    accept(&hub, false).await;
    let entries = hub.admin().call::<v1::ListTimeline>(&Empty {}, &query, &Empty {}).await.unwrap();
    assert_eq!(entries.items.len(), 2, "where nothing is amiss nothing is accepted");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_says_so_keeps_what_it_has_and_takes_the_next_one_once_there_is_room() {
    if program().is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path(), "16m") else { return };
    let folder = place.path().to_owned();
    let (hub, agent, data) =
        node_with_folder(|backup| backup.target = Some(TargetSettings::Folder(folder))).await;
    fs::write(data.path().join("orders"), noise(1, 2_000_000)).unwrap();
    let (first, password) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    fs::write(data.path().join("large"), noise(2, 40_000_000)).unwrap();
    let why = fails(&hub, &agent, data.path()).await;
    assert!(why.contains("Full") && why.contains("BS9015") && why.contains("make room"), "{why}");
    let lines = eventually("it needs a person", async || {
        Some(attention(&hub, AttentionKind::BackupUnwell).await).filter(|lines| !lines.is_empty())
    })
    .await;
    assert!(lines.iter().any(|line| line.contains("web-1") && line.contains("BS9015")), "{lines:?}");
    // Nothing good is lost, and it can be restored from the full target.
    assert!(verify(&hub).await.failed.is_none());
    let into = tempfile::tempdir().unwrap();
    restore(&hub, &agent, &password, &first, into.path()).await.unwrap();
    assert!(fs::read(into.path().join("orders")).unwrap() == noise(1, 2_000_000));
    disk.resize("120m");
    let (second, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &second).await;
    eventually("it is good again", async || {
        Some(status(&hub).await).filter(|one| one.state == BackupHealth::Good)
    })
    .await;
    assert!(verify(&hub).await.failed.is_none());
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_ceiling_retention_keeps_what_must_be_kept_and_the_schedule_makes_no_more() {
    if program().is_none() {
        return;
    }
    let (hub, agent, data) = node_with_folder(|backup| {
        backup.max_bytes_per_node = Some(700_000);
        backup.keep_at_least = 1;
        (backup.every, backup.jitter) = (Duration::from_secs(3600), Duration::ZERO);
    })
    .await;
    let mut made = Vec::new();
    for seed in 1..=3 {
        fs::write(data.path().join("orders"), noise(seed, 300_000)).unwrap();
        let (one, _) = back_up(&hub, &agent, data.path()).await;
        proven(&hub, &one).await;
        if seed == 1 {
            let path = v1::SnapshotPath { snapshot: one.id.to_string() };
            let hold = v1::HoldSnapshotRequest { reason: "the audit".to_owned(), until: None };
            hub.admin().call::<v1::HoldSnapshot>(&path, &Empty {}, &hold).await.unwrap();
        }
        made.push(one.id);
        hub.clock.advance(Duration::from_secs(60));
    }
    let left = eventually("what need not be kept is forgotten", async || {
        let left: Vec<_> = snapshots(&hub).await.into_iter().map(|one| one.kept.snapshot.id).collect();
        (left.len() == 2).then_some(left)
    })
    .await;
    assert_eq!(left, [made[2], made[0]], "the newest proven one, and what is held");
    eventually("it is said", async || Some(status(&hub).await).filter(|one| one.state == BackupHealth::Full))
        .await;
    let lines = attention(&hub, AttentionKind::BackupUnwell).await;
    assert!(lines.len() == 1 && lines[0].contains("backup.max_bytes_per_node"), "{lines:?}");
    // Its time has come, and nothing is made; the hub's own state is saved all the same.
    let jobs = async |node: &str| {
        let query = v1::BackupJobsQuery { node: Some(node.to_owned()), ..Default::default() };
        let jobs = hub.admin().call::<v1::ListBackupJobs>(&Empty {}, &query, &Empty {}).await.unwrap().items;
        jobs.iter()
            .filter(|one| one.job.task.kind() == BackupTaskKind::Save && one.job.by == "schedule")
            .count()
    };
    let (of_node, of_hub) = (jobs("web-1").await, jobs("hub").await);
    hub.clock.advance(Duration::from_secs(3 * 3600));
    agent.say_hello().await;
    eventually("the hub saves itself", async || (jobs("hub").await > of_hub).then_some(())).await;
    agent.say_hello().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(jobs("web-1").await, of_node);
    // By hand it is made: somebody knows why.
    let (by_hand, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &by_hand).await;
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_person_is_said_once() {
    if program().is_none() {
        return;
    }
    let hub =
        hub_with(|backup| (backup.every, backup.jitter) = (Duration::from_secs(3600), Duration::ZERO)).await;
    let key = attention(&hub, AttentionKind::RecoveryKeyMissing).await;
    assert!(key.len() == 1 && key[0].contains("nobody can open any backup"), "{key:?}");
    recovery_key(&hub).await;
    assert!(attention(&hub, AttentionKind::RecoveryKeyMissing).await.is_empty());
    // A node of which none was ever made is late, too.
    let agent = hub.join("web-1").await;
    hub.clock.advance(Duration::from_secs(3 * 3600));
    let lines = eventually("it is late", async || {
        let lines = attention(&hub, AttentionKind::BackupUnwell).await;
        Some(lines).filter(|lines| lines.iter().any(|line| line.contains("web-1")))
    })
    .await;
    let of_node: Vec<_> = lines.iter().filter(|line| line.contains("web-1")).collect();
    assert!(of_node.len() == 1 && of_node[0].contains("none was made since it joined"), "{lines:?}");
    agent.say_hello().await;
    hub.hub.stop().await;
    // Without a target there are no backups, and nothing to say about them.
    let hub = TestHub::start().await;
    assert!(attention(&hub, AttentionKind::RecoveryKeyMissing).await.is_empty());
}
