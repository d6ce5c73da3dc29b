//! Packs of releases, cached on disk. They are named by their content, so a cached one is never stale.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use backstay_store::crash_point;
use backstay_types::TreeDigest;
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt as _,
    sync::Mutex as AsyncMutex,
};

/// The cache.
#[derive(Debug)]
pub(crate) struct Packs {
    folder: PathBuf,
    max_bytes: u64,
    /// Packs that are being made: whoever else wants one waits for it.
    making: Mutex<HashMap<TreeDigest, Arc<AsyncMutex<()>>>>,
}

impl Packs {
    /// A cache in `folder`, of about `max_bytes` at most.
    pub(crate) fn new(folder: PathBuf, max_bytes: u64) -> Self {
        Self { folder, max_bytes, making: Mutex::default() }
    }

    /// An open pack and its length in bytes; `make` makes it when it is not cached.
    ///
    /// # Errors
    /// What `make` gives, or when the cache cannot be written.
    pub(crate) async fn open<E: From<io::Error>>(
        &self,
        tree: TreeDigest,
        make: impl AsyncFnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<(File, u64), E> {
        let path = self.folder.join(format!("{tree}.pack"));
        if let Some(open) = open(&path).await? {
            return Ok(open);
        }
        let lock =
            self.making.lock().unwrap_or_else(PoisonError::into_inner).entry(tree).or_default().clone();
        let made = async {
            let _turn = lock.lock().await;
            if let Some(open) = open(&path).await? {
                return Ok(open);
            }
            self.keep(&path, &make().await?).await?;
            open(&path).await?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
        }
        .await;
        self.making.lock().unwrap_or_else(PoisonError::into_inner).remove(&tree);
        made
    }

    /// Writes a pack whole or not at all: its data is on the disk before its name is.
    async fn keep(&self, path: &Path, pack: &[u8]) -> io::Result<()> {
        self.make_room(pack.len() as u64).await?;
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary).await?;
        file.write_all(pack).await?;
        file.sync_data().await?;
        crash_point("hub/packs.before");
        fs::rename(&temporary, path).await?;
        crash_point("hub/packs.after");
        Ok(())
    }

    /// Removes the packs that were made longest ago until `wanted` more bytes fit.
    async fn make_room(&self, wanted: u64) -> io::Result<()> {
        let mut packs = Vec::new();
        let mut entries = fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let meta = entry.metadata().await?;
            packs.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), entry.path()));
        }
        packs.sort();
        let mut used: u64 = packs.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in packs {
            if used.saturating_add(wanted) <= self.max_bytes {
                break;
            }
            // Someone who is reading it keeps it open.
            fs::remove_file(path).await?;
            used -= length;
        }
        Ok(())
    }
}

async fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    match File::open(path).await {
        Ok(file) => {
            let length = file.metadata().await?.len();
            Ok(Some((file, length)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use backstay_types::Digest;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_pack_is_made_once_however_many_ask() {
        let folder = tempfile::tempdir().unwrap();
        let packs = Packs::new(folder.path().to_owned(), 1000);
        let made = AtomicU32::new(0);
        let ask = || {
            packs.open::<io::Error>(Digest::of(b"1"), async || {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                made.fetch_add(1, Ordering::Relaxed);
                Ok(b"content".to_vec())
            })
        };
        for opened in futures_util::future::join_all((0..5).map(|_| ask())).await {
            let (mut file, length) = opened.unwrap();
            let mut content = String::new();
            file.read_to_string(&mut content).await.unwrap();
            assert_eq!((content.as_str(), length), ("content", 7));
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let failed = packs.open(Digest::of(b"2"), async || Err(io::Error::other("no"))).await;
        assert!(failed.is_err());
        assert!(packs.making.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_oldest_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let packs = Packs::new(folder.path().to_owned(), 25);
        for (name, times) in [(b"1", 10), (b"2", 10), (b"3", 10)] {
            packs.open::<io::Error>(Digest::of(name), async || Ok(vec![0; times])).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(15)).await;
        }
        let has = |name: &[u8]| folder.path().join(format!("{}.pack", Digest::of(name))).exists();
        assert!(!has(b"1"));
        assert!(has(b"2") && has(b"3"));
    }
}
