//! A second target is called append-only only after the hub has tried to take something away there.

use std::time::Duration;

use backstay_api::{
    Empty,
    v1::{BackupsView, GetBackups},
};
use backstay_config::{S3Settings, TargetSettings};
use backstay_testkit::{BucketKind, S3Server};

use crate::harness::TestHub;

async fn hub(second: TargetSettings, can_delete: bool) -> TestHub {
    let target = tempfile::tempdir().unwrap().keep();
    TestHub::with(|settings| {
        settings.backup.target = Some(TargetSettings::Folder(target));
        settings.backup.second = Some(second);
        settings.backup.second_can_delete = can_delete;
    })
    .await
}

/// What is said of the second target once it was tried: whether it is append-only, and the warnings about it.
async fn said(hub: &TestHub) -> (bool, Vec<String>) {
    for _ in 0..600 {
        let view: BackupsView =
            hub.admin().call::<GetBackups>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
        let second = view.settings.unwrap().second.unwrap();
        if !second.note.contains("not tried yet") {
            let about = view.warnings.into_iter().map(|one| one.text);
            return (!second.hub_can_delete, about.filter(|text| text.contains("second target")).collect());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was never tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_tried_and_not_believed() {
    let Some(server) = S3Server::require() else { return };
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    std::fs::write(&key_file, "secret\n").unwrap();
    let bucket = |name: &str| {
        TargetSettings::S3(S3Settings {
            endpoint: server.url(),
            region: "us-east-1".to_owned(),
            bucket: name.to_owned(),
            prefix: "fleet".to_owned(),
            access_key: "key".to_owned(),
            secret_key: None,
            secret_key_file: Some(key_file.clone()),
        })
    };
    server.make_bucket("locked", BucketKind::Locked);
    server.make_bucket("plain", BucketKind::Plain);

    assert_eq!(said(&hub(bucket("locked"), false).await).await, (true, Vec::new()));
    let (append_only, warnings) = said(&hub(bucket("plain"), false).await).await;
    assert!(!append_only && warnings.len() == 1 && warnings[0].contains("and it can"), "{warnings:?}");
    // What the settings call deletable is not tried.
    let (append_only, warnings) = said(&hub(bucket("locked"), true).await).await;
    assert!(!append_only && warnings.len() == 1 && warnings[0].contains("too"), "{warnings:?}");
    let (append_only, warnings) = said(&hub(bucket("none"), false).await).await;
    assert!(!append_only && warnings[0].contains("cannot be tried"), "{warnings:?}");
    let folder = TargetSettings::Folder(dir.path().join("second"));
    assert!(!said(&hub(folder, false).await).await.0, "a folder of the hub's own");
}
