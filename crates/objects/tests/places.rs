//! One suite for every place that files can be in: a folder, and a bucket of a real server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path, sync::Arc};

use backstay_objects::{Bucket, Folder, Listed, ObjectError, ObjectName, Objects, Put, S3, Spool, Spooled};
use backstay_testkit::{S3Server, scratch_dir};
use backstay_types::{FixedClock, Secret, SeededEntropy, Timestamp, World};
use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};

/// More than is sent to a bucket in one piece, so that it goes in several parts.
const LARGE: usize = (20 << 20) + 17;

/// A place, and what comes in there.
struct Bench {
    objects: Objects,
    spool: Spool,
    home: tempfile::TempDir,
    server: Option<S3Server>,
}

impl Bench {
    fn folder() -> Option<Self> {
        let home = scratch_dir();
        let objects = Objects::Folder(Folder::new(home.path().join("target")));
        Some(Self { objects, spool: spool(home.path()), home, server: None })
    }

    /// In a folder of a bucket, as `backup.target` says it.
    fn bucket() -> Option<Self> {
        let server = S3Server::require()?;
        let home = scratch_dir();
        let objects = Objects::S3(S3::new(&bucket(&server.url(), S3Server::BUCKET, "a/fleet")).unwrap());
        Some(Self { objects, spool: spool(home.path()), home, server: Some(server) })
    }

    async fn spooled(&self, content: impl Into<Vec<u8>>) -> Spooled {
        let content = Bytes::from(content.into());
        let most = content.len() as u64;
        let pieces = stream::iter([Ok::<_, std::io::Error>(content)]);
        self.spool.take(pieces, most, None).await.unwrap()
    }

    async fn put(&self, file: &str, content: impl Into<Vec<u8>>) -> Put {
        let spooled = self.spooled(content).await;
        self.objects.put_new(&name(file), spooled).await.unwrap()
    }

    async fn part(&self, file: &str, from: u64, to: u64) -> Vec<u8> {
        let stream = self.objects.read(&name(file), from, to).await.unwrap();
        stream.try_collect::<Vec<Bytes>>().await.unwrap().concat()
    }

    fn is_spool_empty(&self) -> bool {
        fs::read_dir(self.home.path().join("spool")).unwrap().count() == 0
    }
}

/// Settings as for Backblaze B2: a region of its own, a folder in the bucket, a key with an id.
fn bucket(endpoint: &str, bucket: &str, prefix: &str) -> Bucket {
    Bucket {
        endpoint: endpoint.to_owned(),
        region: "eu-central-003".to_owned(),
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        access_key: "0031c0ffee".to_owned(),
        secret_key: Secret::new("K003secret"),
    }
}

fn spool(home: &Path) -> Spool {
    let clock = Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH));
    Spool::open(&home.join("spool"), World::new(clock, Arc::new(SeededEntropy::new(1)))).unwrap()
}

fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn noise(bytes: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(bytes).collect()
}

async fn a_file_is_written_once_and_read_in_pieces(at: Bench) {
    let file = "nodes/1/data/ab/abc";
    assert_eq!(at.objects.size(&name(file)).await.unwrap(), None);
    assert_eq!(at.objects.get(&name(file)).await.unwrap(), None);
    assert!(at.objects.list(&name("nodes/1/data/ab")).await.unwrap().is_empty());
    assert!(at.objects.list_below(&name("nodes/1")).await.unwrap().is_empty());
    assert_eq!(at.put(file, *b"hello world").await, Put::Written);
    assert_eq!(at.put(file, *b"other").await, Put::There);
    assert_eq!(at.objects.get(&name(file)).await.unwrap().unwrap(), b"hello world");
    assert_eq!(at.objects.size(&name(file)).await.unwrap(), Some(11));
    assert_eq!(at.part(file, 6, 9).await, b"wor");
    assert_eq!(at.part(file, 4, 4).await, b"");
    let listed = Listed { name: "abc".to_owned(), bytes: 11 };
    assert_eq!(at.objects.list(&name("nodes/1/data/ab")).await.unwrap(), std::slice::from_ref(&listed));
    assert_eq!(at.objects.list_below(&name("nodes/1")).await.unwrap(), [listed]);
    assert!(at.objects.list(&name("nodes/1/data")).await.unwrap().is_empty(), "folders are no files");
    assert!(at.objects.list_below(&name("nodes/11")).await.unwrap().is_empty());
    assert_eq!(at.objects.size(&name("nodes/1")).await.unwrap(), None, "a folder is no file");
    assert!(at.is_spool_empty(), "nothing is left");
    at.objects.delete(&name(file)).await.unwrap();
    at.objects.delete(&name(file)).await.unwrap();
    assert_eq!(at.objects.get(&name(file)).await.unwrap(), None);
}

async fn a_file_that_is_not_there_is_said_to_be_missing(at: Bench) {
    let read = async {
        let stream = at.objects.read(&name("data/x"), 0, 10).await?;
        stream.try_collect::<Vec<Bytes>>().await
    };
    let error = read.await.unwrap_err();
    assert!(matches!(error, ObjectError::Missing(_)), "{error:?}");
}

async fn a_large_file_and_an_empty_one_come_back_as_they_were(at: Bench) {
    let content = noise(LARGE);
    assert_eq!(at.put("data/large", content.clone()).await, Put::Written);
    assert_eq!(at.objects.get(&name("data/large")).await.unwrap().unwrap(), content);
    let (from, to) = (9 << 20, (17 << 20) + 5);
    assert_eq!(at.part("data/large", from as u64, to as u64).await, content[from..to]);
    assert_eq!(at.put("data/empty", Vec::new()).await, Put::Written);
    assert_eq!(at.objects.size(&name("data/empty")).await.unwrap(), Some(0));
    assert_eq!(at.objects.get(&name("data/empty")).await.unwrap().unwrap(), b"");
    let names: Vec<_> =
        at.objects.list(&name("data")).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["empty", "large"]);
}

/// Those of a folder are handed out a thousand at a time by most servers.
async fn a_long_list_is_read_to_its_end(at: Bench) {
    for n in 0..1_050 {
        at.objects.replace(&name(&format!("snapshots/{n:04}")), vec![1]).await.unwrap();
    }
    let listed = at.objects.list(&name("snapshots")).await.unwrap();
    assert_eq!(listed.len(), 1_050);
    assert!(listed.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert_eq!(at.objects.list_below(&name("snapshots")).await.unwrap().len(), 1_050);
}

async fn many_who_write_the_same_file_at_once_leave_one_of_them_whole(at: Bench) {
    let writers = (0..16u8).map(|number| at.put("config", vec![number; 100_000]));
    let ended = futures_util::future::join_all(writers).await;
    let written = ended.iter().filter(|put| **put == Put::Written).count();
    // A bucket tells nobody that another was faster; which of them it was does not matter, since names are digests.
    assert!(written == 1 || at.server.is_some() && written >= 1, "{written}");
    let content = at.objects.get(&name("config")).await.unwrap().unwrap();
    assert!(content.len() == 100_000 && content.iter().all(|byte| *byte == content[0]));
    assert!(at.is_spool_empty());
}

async fn a_file_can_be_replaced(at: Bench) {
    for content in [b"one".to_vec(), b"another".to_vec(), Vec::new()] {
        at.objects.replace(&name("recovery/hub.age"), content.clone()).await.unwrap();
        assert_eq!(at.objects.get(&name("recovery/hub.age")).await.unwrap(), Some(content));
    }
}

macro_rules! suite {
    ($($place:ident: $($test:ident),* $(,)?;)*) => {$(
        mod $place {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let Some(at) = super::Bench::$place() else { return };
                    super::$test(at).await;
                }
            )*
        }
    )*};
}

suite! {
    folder:
        a_file_is_written_once_and_read_in_pieces,
        a_file_that_is_not_there_is_said_to_be_missing,
        a_large_file_and_an_empty_one_come_back_as_they_were,
        a_long_list_is_read_to_its_end,
        many_who_write_the_same_file_at_once_leave_one_of_them_whole,
        a_file_can_be_replaced;
    bucket:
        a_file_is_written_once_and_read_in_pieces,
        a_file_that_is_not_there_is_said_to_be_missing,
        a_large_file_and_an_empty_one_come_back_as_they_were,
        a_long_list_is_read_to_its_end,
        many_who_write_the_same_file_at_once_leave_one_of_them_whole,
        a_file_can_be_replaced;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_a_bucket_are_apart_and_one_may_have_none() {
    let Some(server) = S3Server::require() else { return };
    let at = |prefix: &str| Objects::S3(S3::new(&bucket(&server.url(), S3Server::BUCKET, prefix)).unwrap());
    at("").replace(&name("x"), vec![1]).await.unwrap();
    at("/one/").replace(&name("x"), vec![1, 2]).await.unwrap();
    assert_eq!(at("").size(&name("x")).await.unwrap(), Some(1));
    assert_eq!(at("one").size(&name("x")).await.unwrap(), Some(2));
    assert_eq!(at("").size(&name("one/x")).await.unwrap(), Some(2));
    assert_eq!(at("on").size(&name("e/x")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_takes_nothing_and_says_so() {
    let Some(server) = S3Server::require() else { return };
    let objects = Objects::S3(S3::new(&bucket(&server.url(), "nowhere", "")).unwrap());
    let error = objects.replace(&name("config"), vec![1]).await.unwrap_err();
    assert!(
        !matches!(error, ObjectError::Full { .. }) && error.to_string().contains("NoSuchBucket"),
        "{error}"
    );
    assert!(!error.to_string().contains("K003secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_went_away_is_an_error_and_not_an_empty_place() {
    let Some(mut at) = Bench::bucket() else { return };
    at.put("data/x", *b"x").await;
    at.server.as_mut().unwrap().kill();
    assert!(at.objects.size(&name("data/x")).await.is_err());
    assert!(at.objects.list(&name("data")).await.is_err());
    assert!(at.objects.list_below(&name("data")).await.is_err());
    assert!(at.objects.get(&name("data/x")).await.is_err());
    let spooled = at.spooled(*b"y").await;
    assert!(at.objects.put_new(&name("data/y"), spooled).await.is_err());
    assert!(at.is_spool_empty());
}
