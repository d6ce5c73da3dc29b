//! A hub from its own backup: of a time, from the second target, after a restore that was cut off; never over a database
//! in which something is.

use std::{fs, path::PathBuf};

use age::secrecy::ExposeSecret as _;
use backstay_api::{Empty, v1};
use backstay_client::{Client, Options};
use backstay_config::{Settings, TargetSettings};
use backstay_hub::{Hub, WantedHub, restore_hub};
use backstay_testkit::Database;
use backstay_types::{ErrorCode, Secret, Timestamp, World, backup::BackupJobState};

use crate::{
    backups::{ended, eventually, hub_with, program, target},
    harness::TestHub,
};

struct Lost {
    settings: Settings,
    world: World,
    key: String,
    /// When the first backup was begun, which knows one node; the second knows two.
    first: Timestamp,
    second: PathBuf,
    _kept: Vec<tempfile::TempDir>,
}

async fn save(hub: &TestHub) -> Timestamp {
    let request = v1::StartBackupRequest { hub: true, ..Default::default() };
    let started = hub.admin().call::<v1::StartBackup>(&Empty {}, &Empty {}, &request).await.unwrap();
    let done = ended(hub, started.jobs[0].job.id).await;
    assert_eq!(done.job.state, BackupJobState::Done, "{:?}", done.job.result);
    done.job.result.unwrap().work.unwrap().snapshots[0].at
}

/// A hub that saved itself twice, at both targets, and is gone.
async fn lost() -> Lost {
    let place = tempfile::tempdir().unwrap();
    let second = place.path().to_owned();
    let hub = hub_with(|backup| backup.second = Some(TargetSettings::Folder(second.clone()))).await;
    let key = age::x25519::Identity::generate();
    let request = v1::SetRecoveryKeyRequest { recipient: key.to_public().to_string(), replace: false };
    hub.admin().call::<v1::SetRecoveryKey>(&Empty {}, &Empty {}, &request).await.unwrap();
    hub.join("web-1").await;
    let first = save(&hub).await;
    hub.join("web-2").await;
    save(&hub).await;
    eventually("both are at the second target, with the sealed password", async || {
        let count = fs::read_dir(second.join("hub/snapshots")).map_or(0, Iterator::count);
        (count == 2 && second.join("recovery/hub.age").is_file()).then_some(())
    })
    .await;
    assert!(target(&hub).join("recovery/hub.age").is_file());
    let (settings, world) = (hub.settings(), hub.world());
    let folder = hub.folder;
    hub.hub.stop().await;
    drop(folder);
    let new = tempfile::tempdir().unwrap();
    let hub = backstay_config::HubSettings { data_dir: new.path().join("hub"), ..settings.hub.clone() };
    let settings = Settings { hub, ..settings };
    let key = key.to_string().expose_secret().to_owned();
    Lost { settings, world, key, first, second, _kept: vec![place, new] }
}

impl Lost {
    fn wanted(&self, at: Timestamp) -> WantedHub {
        WantedHub { settings: self.settings.clone(), recovery_key: Secret::new(self.key.clone()), at }
    }

    async fn restore(&self, at: Timestamp) {
        restore_hub(self.wanted(at), self.world.clone(), |_| {}).await.unwrap();
    }

    /// The names of the nodes that a hub there knows.
    async fn nodes(&self) -> Vec<String> {
        let hub = Hub::start(self.settings.clone(), self.world.clone()).await.unwrap();
        let admin =
            Client::with_options(&hub.url(), Some(hub.admin_token().clone()), Options::default()).unwrap();
        let nodes = admin.call::<v1::ListNodes>(&Empty {}, &Default::default(), &Empty {}).await.unwrap();
        hub.stop().await;
        nodes.items.iter().map(|node| node.node.name.to_string()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_says_which_backup_it_is() {
    if program().is_none() {
        return;
    }
    let lost = lost().await;
    lost.restore(lost.first).await;
    assert_eq!(lost.nodes().await, ["web-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_second_target_it_comes_back_too() {
    if program().is_none() {
        return;
    }
    let mut lost = lost().await;
    lost.settings.backup.target = Some(TargetSettings::Folder(lost.second.clone()));
    lost.settings.backup.second = None;
    lost.restore(lost.world.now()).await;
    assert_eq!(lost.nodes().await, ["web-1", "web-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_is_no_hub_and_the_next_restore_begins_anew() {
    if program().is_none() {
        return;
    }
    let lost = lost().await;
    // As a restore leaves it that was killed between its database and its keys.
    let folder = lost.settings.hub.data_dir.clone();
    fs::create_dir_all(folder.join("ssh")).unwrap();
    fs::write(folder.join("hub.db"), "half of it").unwrap();
    fs::write(folder.join("restoring"), "x").unwrap();
    let refused = Hub::start(lost.settings.clone(), lost.world.clone()).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BS9019, "{refused}");
    assert!(refused.to_string().contains("cut off"), "{refused}");
    lost.restore(lost.world.now()).await;
    assert!(!folder.join("restoring").exists());
    assert_eq!(lost.nodes().await, ["web-1", "web-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_which_something_is_stays_as_it_is() {
    let Some(database) = Database::require() else { return };
    if program().is_none() {
        return;
    }
    let mut lost = lost().await;
    lost.settings.hub.database_url = Some(Secret::new(database.url()));
    database.sql("CREATE TABLE shop (orders TEXT)");
    let refused = restore_hub(lost.wanted(lost.world.now()), lost.world.clone(), |_| {}).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BS9019, "{refused}");
    assert!(refused.to_string().contains("not empty"), "{refused}");
    assert!(database.sql("SELECT COUNT(*) FROM shop").contains('0'));
}
