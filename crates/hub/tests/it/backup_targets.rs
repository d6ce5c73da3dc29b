//! Targets of backups: a bucket as the hub's own store of repositories, and servers that go away or say nothing.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use age::secrecy::ExposeSecret as _;
use backstay_api::{
    Empty,
    agent::{BackupJobPath, FinishBackup},
    v1::{self, AttentionKind, BackupHealth},
};
use backstay_config::{S3Settings, TargetSettings};
use backstay_objects::{Bucket, Objects, S3};
use backstay_testkit::{Restic, S3Server};
use backstay_types::{
    Digest, Secret,
    backup::{
        BackupJobState, Proof, WorkOutcome,
        job::{Done, Job, Place, Repository, RestoreTask, SnapshotMade, Target, Task},
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    backups::{
        REPOSITORY, ended, eventually, file, get, hub_with, ordered, program, put, run, save, snapshots,
        start, told,
    },
    harness::{Agent, TestHub},
    saving::{node_with_folder, recovery_key},
};

/// Settings as for Backblaze B2: a region of its own, a folder in the bucket, a key with an id.
pub(crate) fn in_bucket(endpoint: &str) -> TargetSettings {
    TargetSettings::S3(S3Settings {
        endpoint: endpoint.to_owned(),
        region: "eu-central-003".to_owned(),
        bucket: S3Server::BUCKET.to_owned(),
        prefix: "fleet/one".to_owned(),
        access_key: "0031c0ffee".to_owned(),
        secret_key: Some(Secret::new("K003secret")),
        secret_key_file: None,
    })
}

/// Has a node save a folder as it does by itself, and tell of it.
pub(crate) async fn back_up(hub: &TestHub, agent: &Agent, folder: &Path) -> (SnapshotMade, Secret) {
    let job = start(hub, "web-1").await.job;
    let order = ordered(hub, agent).await;
    let made = save(hub, agent, &order.password, folder).await;
    let path = BackupJobPath { job: job.id };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &told(&made, hub)).await.unwrap();
    (made, order.password)
}

/// The snapshot, once the hub has read it back.
pub(crate) async fn proven(hub: &TestHub, made: &SnapshotMade) -> v1::SnapshotView {
    eventually("it is read back", async || {
        let all = snapshots(hub).await;
        all.into_iter()
            .find(|one| one.kept.snapshot.id == made.id && one.kept.snapshot.proof >= Proof::Verified)
    })
    .await
}

/// Restores as a node does, through the hub.
pub(crate) async fn restore(
    hub: &TestHub,
    agent: &Agent,
    password: &Secret,
    made: &SnapshotMade,
    into: &Path,
) -> Result<Done, String> {
    let url = format!("{}{REPOSITORY}", hub.hub.url());
    let target = Target::Rest { url, credential: agent.joined.credential.clone(), ca_file: None };
    let place = Place { path: "data".to_owned(), into: into.display().to_string() };
    let task = RestoreTask {
        snapshot: made.id,
        places: vec![place],
        delete_others: false,
        reuse: false,
        keep_free: 0,
    };
    let repository = Repository { target, password: password.clone(), cache: None };
    run(&Job { repository, bytes_per_second: None, task: Task::Restore(task) }).await
}

pub(crate) async fn attention(hub: &TestHub, kind: AttentionKind) -> Vec<String> {
    let view = hub.admin().call::<v1::GetOverview>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    view.attention.into_iter().filter(|one| one.kind == kind).map(|one| one.summary).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_the_hubs_own_store_and_restic_reads_it_with_the_owners_key() {
    let Some(server) = S3Server::require() else { return };
    if program().is_none() {
        return;
    }
    let (hub, agent, data) = node_with_folder(|backup| backup.target = Some(in_bucket(&server.url()))).await;
    let key = recovery_key(&hub).await;
    std::fs::create_dir(data.path().join("deep")).unwrap();
    let large: Vec<u8> =
        (0u32..3_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(data.path().join("deep/large"), &large).unwrap();
    std::fs::write(data.path().join("orders"), b"one").unwrap();
    let (first, password) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    std::fs::write(data.path().join("orders"), b"two").unwrap();
    let (second, _) = back_up(&hub, &agent, data.path()).await;
    assert!(second.added_bytes < 100_000, "what is there is not sent again: {second:?}");
    proven(&hub, &second).await;

    // A node changes and takes away nothing, in a bucket as in a folder.
    let name = Digest::of(b"x").to_string();
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), b"y").await, 422);
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), b"x").await, 200);
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), b"other").await, 403);
    assert_eq!(get(&hub, &agent, &format!("data/{name}")).await, (200, b"x".to_vec()));
    let delete = file(&hub, &agent, reqwest::Method::DELETE, &format!("data/{name}")).send().await.unwrap();
    assert_eq!(delete.status(), 403);

    // The hub looks after it there: all of it is read, and a prune leaves what is kept.
    let request = v1::VerifyBackupsRequest { node: "web-1".to_owned(), snapshot: None };
    let asked = hub.admin().call::<v1::VerifyBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    let result = ended(&hub, asked.job.id).await.job.result.unwrap();
    assert!(result.failed.is_none() && result.bytes_read.unwrap() > 10_000_000, "{result:?}");
    let request = v1::PruneBackupsRequest { node: "web-1".to_owned(), dry_run: false };
    let plan = hub.admin().call::<v1::PruneBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    let result = ended(&hub, plan.job.job.id).await.job.result.unwrap();
    assert!(result.failed.is_none() && result.pruned.unwrap().bytes_before > 10_000_000);

    let into = tempfile::tempdir().unwrap();
    let restored = restore(&hub, &agent, &password, &first, into.path()).await.unwrap();
    assert!(matches!(&restored, Done::Restore(restored) if restored.damaged.is_empty()), "{restored:?}");
    assert_eq!(std::fs::read(into.path().join("orders")).unwrap(), b"one");
    assert!(std::fs::read(into.path().join("deep/large")).unwrap() == large);

    // The owner, with restic and the recovery key, without the hub's help but for the place.
    let Some(restic) = Restic::require() else { return };
    let path = v1::BackupRepositoryPath { node: "web-1".to_owned() };
    let way = hub.admin().call::<v1::GetRepositoryRecovery>(&path, &Empty {}, &Empty {}).await.unwrap();
    let identity = Secret::new(key.to_string().expose_secret().to_owned());
    let password = backstay_hub::open_sealed(way.sealed.expose().as_bytes(), &identity).unwrap();
    let out = tempfile::tempdir().unwrap();
    for arguments in
        [vec!["check", "--read-data"], vec!["restore", "latest", "--target", out.path().to_str().unwrap()]]
    {
        let mut command = tokio::process::Command::from(restic.command(&way.place, password.expose()));
        command.env("AWS_ACCESS_KEY_ID", "0031c0ffee").env("AWS_SECRET_ACCESS_KEY", "K003secret");
        let output =
            command.env("AWS_DEFAULT_REGION", "eu-central-003").args(&arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} at {}: {said}", way.place);
    }
    assert_eq!(std::fs::read(out.path().join("data/orders")).unwrap(), b"two");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_vanishes_half_way_is_told_everywhere() {
    let Some(mut server) = S3Server::require() else { return };
    if program().is_none() {
        return;
    }
    let hub = hub_with(|backup| backup.target = Some(in_bucket(&server.url()))).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let job = start(&hub, "web-1").await.job;
    let order = ordered(&hub, &agent).await;
    let data = tempfile::tempdir().unwrap();
    let large: Vec<u8> =
        (0u32..8_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(data.path().join("large"), large).unwrap();
    let spool = hub.hub.data_dir().join("backup-spool");
    let failed = {
        let saving = crate::backups::try_save(&hub, &agent, &order.password, data.path(), Some(8_000_000));
        let killing = async {
            // Something is on its way.
            eventually("it is written to", async || {
                (std::fs::read_dir(&spool).unwrap().count() > 0).then_some(())
            })
            .await;
            server.kill();
        };
        tokio::join!(saving, killing).0.unwrap_err()
    };
    assert!(failed.contains("Unreachable") && failed.contains("BS9016"), "{failed}");
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "nothing is left of it");
    let failed = Some("the backup target cannot be used".to_owned());
    let outcome = WorkOutcome { failed, ..WorkOutcome::default() };
    let path = BackupJobPath { job: job.id };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &outcome).await.unwrap();
    assert_eq!(ended(&hub, job.id).await.job.state, BackupJobState::Failed);
    let lines = eventually("it needs a person", async || {
        Some(attention(&hub, AttentionKind::BackupUnwell).await).filter(|lines| !lines.is_empty())
    })
    .await;
    assert!(
        lines.iter().any(|line| line.contains("web-1") && line.contains("1 in a row failed")),
        "{lines:?}"
    );
    // What is asked of the target by hand says why it cannot be done.
    let request = v1::VerifyBackupsRequest { node: "web-1".to_owned(), snapshot: None };
    let asked = hub.admin().call::<v1::VerifyBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    let result = ended(&hub, asked.job.id).await.job.result.unwrap();
    assert!(result.failed.unwrap().contains("look at the server and the way to it"));
    hub.hub.stop().await;
}

/// A way to a server that can go silent: nothing more gets through, and nothing is closed.
async fn way_to(server: String) -> (String, Arc<AtomicBool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, silent) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let shared = silent.clone();
    tokio::spawn(async move {
        while let Ok((inward, _)) = listener.accept().await {
            let Ok(outward) = tokio::net::TcpStream::connect(&server).await else { continue };
            let ((from_in, to_in), (from_out, to_out)) = (inward.into_split(), outward.into_split());
            for (mut from, mut to) in [(from_in, to_out), (from_out, to_in)] {
                let silent = shared.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(read @ 1..) = from.read(&mut buffer).await {
                        while silent.load(SeqCst) {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        if to.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    (format!("http://{address}"), silent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_says_nothing_holds_nobody_up_for_ever_and_loses_nothing() {
    let Some(server) = S3Server::require() else { return };
    if program().is_none() {
        return;
    }
    let (endpoint, silent) = way_to(server.url().trim_start_matches("http://").to_owned()).await;
    let (hub, agent, data) = node_with_folder(|backup| backup.target = Some(in_bucket(&endpoint))).await;
    std::fs::write(data.path().join("orders"), b"one").unwrap();
    let (first, password) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    silent.store(true, SeqCst);
    let name = Digest::of(b"x").to_string();
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), b"x").await, 502);
    silent.store(false, SeqCst);
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), b"x").await, 200, "and the next try is well");
    std::fs::write(data.path().join("orders"), b"two").unwrap();
    let (second, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &second).await;
    let into = tempfile::tempdir().unwrap();
    restore(&hub, &agent, &password, &first, into.path()).await.unwrap();
    assert_eq!(std::fs::read(into.path().join("orders")).unwrap(), b"one");
    let status = v1::BackupStatusQuery { node: Some("web-1".to_owned()), ..Default::default() };
    eventually("it is good", async || {
        let page = hub.admin().call::<v1::ListBackupStatus>(&Empty {}, &status, &Empty {}).await.unwrap();
        page.items.into_iter().find(|one| one.state == BackupHealth::Good)
    })
    .await;
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_was_emptied_is_not_taken_for_a_new_one() {
    let Some(server) = S3Server::require() else { return };
    if program().is_none() {
        return;
    }
    let (hub, agent, data) = node_with_folder(|backup| backup.target = Some(in_bucket(&server.url()))).await;
    std::fs::write(data.path().join("orders"), b"one").unwrap();
    let (first, password) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    let bucket = Bucket {
        endpoint: server.url(),
        region: "eu-central-003".to_owned(),
        bucket: S3Server::BUCKET.to_owned(),
        prefix: "fleet/one".to_owned(),
        access_key: "0031c0ffee".to_owned(),
        secret_key: Secret::new("K003secret"),
    };
    let objects = Objects::S3(S3::new(&bucket).unwrap());
    let config = format!("nodes/{}/config", agent.joined.node).parse().unwrap();
    for name in [&"backstay-target.json".parse().unwrap(), &config] {
        assert!(objects.size(name).await.unwrap().is_some(), "{name}");
        objects.delete(name).await.unwrap();
    }
    // The node does not find its repository; that it is gone is not believed.
    let url = format!("{}{REPOSITORY}", hub.hub.url());
    let target = Target::Rest { url, credential: agent.joined.credential.clone(), ca_file: None };
    let repository = Repository { target, password, cache: None };
    assert!(run(&Job { repository, bytes_per_second: None, task: Task::List }).await.is_err());
    eventually("it is said", async || {
        let lines = attention(&hub, AttentionKind::BackupUnwell).await;
        lines.into_iter().find(|line| line.contains("is not the one that this hub knows"))
    })
    .await;
    assert_eq!(objects.size(&config).await.unwrap(), None, "nothing is made anew");
    let kept = snapshots(&hub).await;
    assert!(kept.iter().all(|one| one.kept.damaged_at.is_none()), "{kept:?}");
    hub.hub.stop().await;
}
