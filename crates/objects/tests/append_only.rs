//! Whether a bucket keeps what is written to it is found out, not believed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use backstay_objects::{Bucket, Folder, ObjectName, Objects, S3};
use backstay_testkit::{BucketKind, S3Server};
use backstay_types::Secret;

fn bucket(server: &S3Server, name: &str) -> Objects {
    let bucket = Bucket {
        endpoint: server.url(),
        region: "us-east-1".to_owned(),
        bucket: name.to_owned(),
        prefix: "fleet".to_owned(),
        access_key: "key".to_owned(),
        secret_key: Secret::new("secret"),
    };
    Objects::S3(S3::new(&bucket).unwrap())
}

#[tokio::test]
async fn only_a_bucket_whose_key_can_take_nothing_away_is_append_only() {
    let Some(server) = S3Server::require() else { return };
    let name: ObjectName = "append-only-test".parse().unwrap();
    let kinds = [
        ("plain", BucketKind::Plain, false),
        ("versions", BucketKind::Versioned, false),
        ("locked", BucketKind::Locked, true),
    ];
    for (bucket_name, kind, expected) in kinds {
        server.make_bucket(bucket_name, kind);
        let objects = bucket(&server, bucket_name);
        // A second time nothing is different.
        for _ in 0..2 {
            assert_eq!(objects.is_append_only(&name).await.unwrap(), expected, "{bucket_name}");
        }
    }
    assert!(bucket(&server, "none").is_append_only(&name).await.is_err(), "a bucket that is not there");
    let dir = backstay_testkit::scratch_dir();
    let folder = Objects::Folder(Folder::new(dir.path().to_owned()));
    assert!(!folder.is_append_only(&name).await.unwrap());
}
