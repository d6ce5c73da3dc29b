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
    use futures_util::{StreamExt as _, stream};

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

    fn at(listener: &tokio::net::TcpListener) -> Bucket {
        Bucket {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            region: "here".to_owned(),
            bucket: "b".to_owned(),
            prefix: "p".to_owned(),
            access_key: "a".to_owned(),
            secret_key: backstay_types::Secret::new("s"),
        }
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_is_silent_does_not_hold_anybody_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let objects =
            Objects::S3(S3::new_with_times(&at(&listener), std::time::Duration::from_millis(200)).unwrap());
        let error = objects.size(&name("config")).await.unwrap_err();
        assert!(matches!(error, ObjectError::Store { .. }), "{error}");
        assert!(error.to_string().contains("timeout"), "{error}");
    }

    /// A server that answers everything with this.
    async fn answering(status: &'static str, body: &'static str) -> Objects {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let objects = Objects::S3(S3::new(&at(&listener)).unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 64 << 10]).await;
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        objects
    }

    #[tokio::test]
    async fn a_bucket_without_room_is_full() {
        let cap = "<Error><Code>StorageCapExceeded</Code><Message>cap</Message></Error>";
        for (status, body) in [("507 Insufficient Storage", ""), ("403 Forbidden", cap)] {
            let error = answering(status, body).await.replace(&name("config"), vec![1]).await.unwrap_err();
            assert!(matches!(error, ObjectError::Full { .. }), "{status}: {error:?}");
        }
        let error = answering("403 Forbidden", "").await.replace(&name("config"), vec![1]).await.unwrap_err();
        assert!(matches!(error, ObjectError::Refused { .. }), "{error:?}");
    }
}
