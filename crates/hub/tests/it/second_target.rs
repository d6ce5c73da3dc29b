//! A second target that is away, full or damaged: it is told with since when, and holds up nothing at the first.

use std::{fs, path::Path};

use backstay_api::{
    Empty,
    v1::{self, AttentionKind},
};
use backstay_config::TargetSettings;
use backstay_testkit::SmallDisk;
use backstay_types::backup::{BackupJobState, Proof, job::SnapshotMade};

use crate::{
    backup_targets::{attention, back_up, proven},
    backups::{ended, eventually, eventually_within, program, snapshots, target},
    harness::TestHub,
    saving::{node_with_folder, noise, recovery_key},
};

/// What is said of the second target where people look.
async fn said(hub: &TestHub) -> Vec<String> {
    let lines = attention(hub, AttentionKind::BackupUnwell).await;
    lines.into_iter().filter(|line| line.contains("the second target fails since")).collect()
}

async fn told(hub: &TestHub, what: &str) -> String {
    // The command line says it too.
    eventually(what, async || {
        let view = hub.admin().call::<v1::GetBackups>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
        let fails = |one: &&v1::BackupWarning| one.text.contains("the second target fails since");
        view.warnings.iter().find(fails).map(drop)
    })
    .await;
    eventually(what, async || said(hub).await.into_iter().find(|line| line.contains("web-1"))).await
}

/// The hub tries again after a pause that doubles: what was away long on a slow machine is tried late.
const LOOKS: usize = 4_000;

async fn copied(hub: &TestHub, made: &SnapshotMade) {
    eventually_within(LOOKS, "it is copied", async || {
        let all = snapshots(hub).await;
        all.into_iter()
            .find(|one| one.kept.snapshot.id == made.id && one.kept.snapshot.proof == Proof::Replicated)
    })
    .await;
}

async fn prune(hub: &TestHub) -> v1::BackupJobView {
    let request = v1::PruneBackupsRequest { node: "web-1".to_owned(), dry_run: false };
    let plan = hub.admin().call::<v1::PruneBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    ended(hub, plan.job.job.id).await
}

async fn verify(hub: &TestHub) -> v1::BackupJobView {
    let request = v1::VerifyBackupsRequest { node: "web-1".to_owned(), snapshot: None };
    let asked = hub.admin().call::<v1::VerifyBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    ended(hub, asked.job.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_holds_up_nothing_and_has_everything_once_it_is_back() {
    if program().is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // Where its folder should be is something else.
    let (blocked, folder) = (place.path().join("disk"), place.path().join("disk/second"));
    fs::write(&blocked, "not mounted").unwrap();
    let (hub, agent, data) =
        node_with_folder(|backup| backup.second = Some(TargetSettings::Folder(folder))).await;
    recovery_key(&hub).await;
    fs::write(data.path().join("orders"), noise(1, 200_000)).unwrap();
    let (first, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &first).await;
    let sealed = target(&hub).join(format!("recovery/{}.age", agent.joined.node));
    eventually("its password is sealed at the first", async || sealed.is_file().then_some(())).await;
    let line = told(&hub, "that it is away is told").await;
    assert!(line.contains("since 20"), "{line}");
    // Another backup is proven, and what nobody needs is pruned.
    fs::write(data.path().join("orders"), noise(1, 300_000)).unwrap();
    let (second, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &second).await;
    assert_eq!(prune(&hub).await.job.state, BackupJobState::Done);

    fs::remove_file(&blocked).unwrap();
    fs::create_dir(&blocked).unwrap();
    copied(&hub, &second).await;
    let silent = async || said(&hub).await.is_empty().then_some(());
    eventually_within(LOOKS, "nothing is said any more", silent).await;
    assert!(blocked.join(format!("second/recovery/{}.age", agent.joined.node)).is_file());
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_full_holds_up_nothing_and_goes_on_once_there_is_room() {
    if program().is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path(), "16m") else { return };
    let folder = place.path().to_owned();
    let (hub, agent, data) =
        node_with_folder(|backup| backup.second = Some(TargetSettings::Folder(folder))).await;
    fs::write(data.path().join("large"), noise(1, 40_000_000)).unwrap();
    let (made, _) = back_up(&hub, &agent, data.path()).await;
    proven(&hub, &made).await;
    let line = told(&hub, "that it is full is told").await;
    assert!(line.contains("full"), "{line}");
    assert_eq!(prune(&hub).await.job.state, BackupJobState::Done);
    disk.resize("200m");
    copied(&hub, &made).await;
    let silent = async || said(&hub).await.is_empty().then_some(());
    eventually_within(LOOKS, "nothing is said any more", silent).await;
    hub.hub.stop().await;
}

fn largest_pack(repository: &Path) -> std::path::PathBuf {
    let folders = fs::read_dir(repository.join("data")).unwrap();
    let packs = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    packs.map(|entry| entry.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_there_is_found_told_and_copied_anew() {
    if program().is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_owned();
    let (hub, agent, data) =
        node_with_folder(|backup| backup.second = Some(TargetSettings::Folder(folder))).await;
    fs::write(data.path().join("orders"), noise(1, 2_000_000)).unwrap();
    let (made, _) = back_up(&hub, &agent, data.path()).await;
    copied(&hub, &made).await;
    assert_eq!(verify(&hub).await.job.state, BackupJobState::Done);
    let repository = place.path().join(format!("nodes/{}", agent.joined.node));
    let pack = largest_pack(&repository);
    let mut content = fs::read(&pack).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&pack, content).unwrap();

    let found = verify(&hub).await.job;
    assert_eq!(found.state, BackupJobState::Failed, "{found:?}");
    let why = found.result.unwrap().failed.unwrap();
    assert!(why.contains("second target is damaged"), "{why}");
    // What is at the first is as good as before, and is copied anew.
    copied(&hub, &made).await;
    let right = verify(&hub).await.job;
    assert_eq!(right.state, BackupJobState::Done, "{:?}", right.result);
    let silent = async || said(&hub).await.is_empty().then_some(());
    eventually_within(LOOKS, "nothing is said any more", silent).await;
    hub.hub.stop().await;
}
