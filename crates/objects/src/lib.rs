//! Files under names, in a folder or in a bucket that speaks S3: listed, read in pieces, written once.
//!
//! A file is there whole or not at all, and one that is there is never written again ([`Objects::put_new`]); only
//! [`Objects::replace`] does, for what is not named by its content. What comes in is kept in a file of this machine
//! until all of it is there and its digest is right, so that memory does not grow with it.
//!
//! What is deliberately not here: what the files are for, and who may.

mod append_only;
mod error;
mod folder;
mod name;
mod s3;
mod spool;

use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use crate::{
    error::ObjectError,
    folder::Folder,
    name::ObjectName,
    s3::{Bucket, S3},
    spool::{Spool, Spooled},
};

/// A stream of a file's bytes.
pub type Stream = BoxStream<'static, Result<Bytes, ObjectError>>;

/// A file in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The last part of its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What became of a file that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Written,
    /// There is one of this name; it was left as it is.
    There,
}

/// A place for files.
#[derive(Debug, Clone)]
pub enum Objects {
    /// A folder of this machine.
    Folder(Folder),
    /// A bucket.
    S3(S3),
}

impl Objects {
    /// All files directly in a folder, by name; none when there is no such folder.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub async fn list(&self, folder: &ObjectName) -> Result<Vec<Listed>, ObjectError> {
        let mut found = match self {
            Self::Folder(folder_) => folder_.list(folder).await?,
            Self::S3(s3) => s3.list(folder).await?,
        };
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// All files below a folder, however deep, with the last part of their names; in no order.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub async fn list_below(&self, folder: &ObjectName) -> Result<Vec<Listed>, ObjectError> {
        match self {
            Self::Folder(folder_) => folder_.list_below(folder).await,
            Self::S3(s3) => s3.list_below(folder).await,
        }
    }

    /// How many bytes a file has; nothing when there is none.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn size(&self, name: &ObjectName) -> Result<Option<u64>, ObjectError> {
        match self {
            Self::Folder(folder) => folder.size(name).await,
            Self::S3(s3) => s3.size(name).await,
        }
    }

    /// Bytes of a file, from `from` up to but without `to`, both within it.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn read(&self, name: &ObjectName, from: u64, to: u64) -> Result<Stream, ObjectError> {
        match self {
            Self::Folder(folder) => folder.read(name, from, to).await,
            Self::S3(s3) => s3.read(name, from, to).await,
        }
    }

    /// Makes a file of what was spooled, unless there is one.
    ///
    /// # Errors
    /// When it cannot be written; it is not there then.
    pub async fn put_new(&self, name: &ObjectName, content: Spooled) -> Result<Put, ObjectError> {
        match self {
            Self::Folder(folder) => folder.put_new(name, content).await,
            Self::S3(s3) => s3.put_new(name, content).await,
        }
    }

    /// Makes a file, or puts it in the place of one.
    ///
    /// # Errors
    /// When it cannot be written; what was there stays then.
    pub async fn replace(&self, name: &ObjectName, content: Vec<u8>) -> Result<(), ObjectError> {
        match self {
            Self::Folder(folder) => folder.replace(name, content).await,
            Self::S3(s3) => s3.replace(name, content).await,
        }
    }

    /// A small file, whole; nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>, ObjectError> {
        use futures_util::TryStreamExt as _;
        let Some(bytes) = self.size(name).await? else { return Ok(None) };
        let stream = self.read(name, 0, bytes).await?;
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        Ok(Some(pieces.concat()))
    }

    /// Takes a file away. That it is not there is no error.
    ///
    /// # Errors
    /// When it cannot be taken away.
    pub async fn delete(&self, name: &ObjectName) -> Result<(), ObjectError> {
        match self {
            Self::Folder(folder) => folder.delete(name).await,
            Self::S3(s3) => s3.delete(name).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Arc};

    use backstay_types::{Digest, FixedClock, SeededEntropy, Timestamp, World};
    use futures_util::{StreamExt as _, TryStreamExt as _, stream};

    use super::*;

    fn spool(folder: &Path) -> Spool {
        let clock = Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH));
        Spool::open(&folder.join("spool"), World::new(clock, Arc::new(SeededEntropy::new(1)))).unwrap()
    }

    fn pieces(of: &[&'static [u8]]) -> BoxStream<'static, Result<Bytes, std::io::Error>> {
        stream::iter(of.iter().map(|piece| Ok(Bytes::from_static(piece))).collect::<Vec<_>>()).boxed()
    }

    fn name(text: &str) -> ObjectName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_file_is_written_once_and_read_in_pieces() {
        let home = tempfile::tempdir().unwrap();
        let spool = spool(home.path());
        let objects = Objects::Folder(Folder::new(home.path().join("target")));
        let file = name("nodes/1/data/ab/abc");
        assert_eq!(objects.size(&file).await.unwrap(), None);
        assert!(objects.list(&name("nodes/1/data/ab")).await.unwrap().is_empty());
        let first = spool.take(pieces(&[b"hello ", b"world"]), 11, None).await.unwrap();
        assert_eq!(objects.put_new(&file, first).await.unwrap(), Put::Written);
        let second = spool.take(pieces(&[b"other"]), 11, None).await.unwrap();
        assert_eq!(objects.put_new(&file, second).await.unwrap(), Put::There);
        assert_eq!(objects.get(&file).await.unwrap().unwrap(), b"hello world");
        let part: Vec<Bytes> = objects.read(&file, 6, 9).await.unwrap().try_collect().await.unwrap();
        assert_eq!(part.concat(), b"wor");
        let listed = Listed { name: "abc".to_owned(), bytes: 11 };
        assert_eq!(objects.list(&name("nodes/1/data/ab")).await.unwrap(), std::slice::from_ref(&listed));
        assert_eq!(objects.list_below(&name("nodes/1")).await.unwrap(), [listed]);
        assert!(objects.list(&name("nodes/1/data")).await.unwrap().is_empty(), "folders are no files");
        assert_eq!(fs::read_dir(home.path().join("spool")).unwrap().count(), 0, "nothing is left");
        objects.delete(&file).await.unwrap();
        objects.delete(&file).await.unwrap();
        assert_eq!(objects.get(&file).await.unwrap(), None);
    }

    #[tokio::test]
    async fn only_what_was_expected_is_taken_in_and_never_too_much() {
        let home = tempfile::tempdir().unwrap();
        let spool = spool(home.path());
        let right = Digest::of(b"right");
        let wrong = spool.take(pieces(&[b"wrong"]), 10, Some(right)).await.unwrap_err();
        assert!(matches!(wrong, ObjectError::Digest { .. }), "{wrong}");
        let much = spool.take(pieces(&[b"123456", b"123456"]), 10, None).await.unwrap_err();
        assert!(matches!(much, ObjectError::TooLarge(10)), "{much}");
        let cut = stream::iter([Ok(Bytes::from_static(b"ri")), Err(std::io::Error::other("gone"))]).boxed();
        let cut = spool.take(cut, 10, Some(right)).await.unwrap_err();
        assert!(matches!(cut, ObjectError::CutOff(_)), "{cut}");
        assert_eq!(spool.take(pieces(&[b"right"]), 10, Some(right)).await.unwrap().bytes, 5);
        assert_eq!(fs::read_dir(home.path().join("spool")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn many_who_write_the_same_file_at_once_leave_one_of_them_whole() {
        let home = tempfile::tempdir().unwrap();
        let spool = spool(home.path());
        let objects = Objects::Folder(Folder::new(home.path().join("target")));
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..16u8 {
            let (spool, objects) = (spool.clone(), objects.clone());
            writers.spawn(async move {
                let content = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![number; 100_000]))]);
                let spooled = spool.take(content, 100_000, None).await.unwrap();
                objects.put_new(&name("config"), spooled).await.unwrap()
            });
        }
        let ended = writers.join_all().await;
        assert_eq!(ended.iter().filter(|put| **put == Put::Written).count(), 1);
        let content = objects.get(&name("config")).await.unwrap().unwrap();
        assert!(content.len() == 100_000 && content.iter().all(|byte| *byte == content[0]));
    }

    #[tokio::test]
    async fn a_file_can_be_replaced() {
        let home = tempfile::tempdir().unwrap();
        let objects = Objects::Folder(Folder::new(home.path().to_owned()));
        for content in [b"one".to_vec(), b"two".to_vec()] {
            objects.replace(&name("recovery/hub.age"), content.clone()).await.unwrap();
            assert_eq!(objects.get(&name("recovery/hub.age")).await.unwrap(), Some(content));
        }
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_is_silent_does_not_hold_anybody_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bucket = Bucket {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            region: "here".to_owned(),
            bucket: "b".to_owned(),
            prefix: "p".to_owned(),
            access_key: "a".to_owned(),
            secret_key: backstay_types::Secret::new("s"),
        };
        let objects =
            Objects::S3(S3::new_with_times(&bucket, std::time::Duration::from_millis(200)).unwrap());
        let error = objects.size(&name("config")).await.unwrap_err();
        assert!(matches!(error, ObjectError::Store { .. }), "{error}");
    }
}
