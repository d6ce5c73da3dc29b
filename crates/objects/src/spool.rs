//! Content on its way in: a file of this machine until all of it is there and right.

use std::path::{Path, PathBuf};

use backstay_types::{Digest, World};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::{fs, io::AsyncWriteExt as _};

use crate::ObjectError;

/// A folder for content on its way in. What a process left there when it died is taken away at the next start.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
    world: World,
}

/// Content that is there whole. Taken away when dropped.
#[derive(Debug)]
pub struct Spooled {
    path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
}

impl Spool {
    /// A spool in a folder of its own, which is made, and emptied of what is left in it.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(folder: &Path, world: World) -> Result<Self, ObjectError> {
        let failed = |source| ObjectError::io(folder.display(), source);
        std::fs::create_dir_all(folder).map_err(failed)?;
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let _ = std::fs::remove_file(entry.map_err(failed)?.path());
        }
        Ok(Self { folder: folder.to_owned(), world })
    }

    /// Takes in all that comes, `most` bytes at most. With `expected`, only what has this digest.
    ///
    /// # Errors
    /// When it is cut off, too much, something else than expected, or cannot be kept. Nothing is left of it.
    pub async fn take<E: std::fmt::Display>(
        &self,
        mut content: impl Stream<Item = Result<Bytes, E>> + Unpin,
        most: u64,
        expected: Option<Digest>,
    ) -> Result<Spooled, ObjectError> {
        let name = Digest::of(&self.world.random::<32>()).to_string();
        let path = self.folder.join(name);
        let failed = |source| ObjectError::io(path.display(), source);
        let mut file = fs::File::create_new(&path).await.map_err(failed)?;
        // From here on it is taken away whatever happens.
        let mut spooled = Spooled { path: path.clone(), bytes: 0, digest: Digest::from_bytes([0; 32]) };
        let mut hash = Sha256::new();
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| ObjectError::CutOff(error.to_string()))?;
            spooled.bytes += piece.len() as u64;
            if spooled.bytes > most {
                return Err(ObjectError::TooLarge(most));
            }
            hash.update(&piece);
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        spooled.digest = Digest::from_bytes(hash.finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != spooled.digest) {
            let (expected, found) = (expected.to_string(), spooled.digest.to_string());
            return Err(ObjectError::Digest { expected, found });
        }
        Ok(spooled)
    }
}

impl Spooled {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
