//! A folder of this machine.

use std::{
    io::{self, SeekFrom},
    path::{Path, PathBuf},
};

use backstay_types::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::{
    fs,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;

use crate::{Listed, ObjectError, ObjectName, Put, Spooled, Stream};

/// How much is read at once.
const PIECE: usize = 256 << 10;

/// A folder. Files in it are durable when they are said to be written.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Files below `root`, which is made with the first of them.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    pub(crate) async fn list(&self, folder: &ObjectName) -> Result<Vec<Listed>, ObjectError> {
        Ok(self.entries(self.path(folder)).await?.0)
    }

    pub(crate) async fn list_below(&self, folder: &ObjectName) -> Result<Vec<Listed>, ObjectError> {
        let (mut found, mut folders) = (Vec::new(), vec![self.path(folder)]);
        while let Some(next) = folders.pop() {
            let (files, below) = self.entries(next).await?;
            found.extend(files);
            folders.extend(below);
        }
        Ok(found)
    }

    /// Files and folders directly in a folder. Those whose names begin with a dot are on their way in.
    async fn entries(&self, folder: PathBuf) -> Result<(Vec<Listed>, Vec<PathBuf>), ObjectError> {
        let failed = |source| ObjectError::io(folder.display(), source);
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        let mut entries = match fs::read_dir(&folder).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((files, folders)),
            entries => entries.map_err(failed)?,
        };
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            match entry.metadata().await {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => files.push(Listed { name, bytes: metadata.len() }),
                // Taken away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok((files, folders))
    }

    pub(crate) async fn size(&self, name: &ObjectName) -> Result<Option<u64>, ObjectError> {
        match fs::metadata(self.path(name)).await {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(ObjectError::io(name, error)),
        }
    }

    pub(crate) async fn read(&self, name: &ObjectName, from: u64, to: u64) -> Result<Stream, ObjectError> {
        let failed = |source| ObjectError::io(name, source);
        let mut file = fs::File::open(self.path(name)).await.map_err(failed)?;
        file.seek(SeekFrom::Start(from)).await.map_err(failed)?;
        let name = name.clone();
        let pieces = ReaderStream::with_capacity(file.take(to.saturating_sub(from)), PIECE);
        Ok(pieces.map_err(move |source| ObjectError::io(&name, source)).boxed())
    }

    pub(crate) async fn put_new(&self, name: &ObjectName, content: Spooled) -> Result<Put, ObjectError> {
        let path = self.path(name);
        if self.size(name).await?.is_some() {
            return Ok(Put::There);
        }
        let temporary = self.bring(&path, content).await?;
        // A link is made only where there is nothing: nobody who writes the same name at once is overwritten.
        let linked = fs::hard_link(&temporary, &path).await;
        let _ = fs::remove_file(&temporary).await;
        match linked {
            Ok(()) => sync_folder(&path).await.map(|()| Put::Written),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::There),
            Err(error) => Err(ObjectError::io(name, error)),
        }
    }

    pub(crate) async fn replace(&self, name: &ObjectName, content: Vec<u8>) -> Result<(), ObjectError> {
        let path = self.path(name);
        let temporary = beside(&path, &Digest::of(&content).to_string());
        let _ = fs::remove_file(&temporary).await;
        let written = async {
            make_folder(&path).await?;
            let mut file = fs::File::create_new(&temporary).await?;
            tokio::io::AsyncWriteExt::write_all(&mut file, &content).await?;
            file.sync_all().await?;
            fs::rename(&temporary, &path).await
        };
        if let Err(source) = written.await {
            let _ = fs::remove_file(&temporary).await;
            return Err(ObjectError::io(name, source));
        }
        sync_folder(&path).await
    }

    pub(crate) async fn delete(&self, name: &ObjectName) -> Result<(), ObjectError> {
        match fs::remove_file(self.path(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ObjectError::io(name, error)),
            _ => Ok(()),
        }
    }

    /// The content as a durable file beside the one that it will be.
    async fn bring(&self, path: &Path, content: Spooled) -> Result<PathBuf, ObjectError> {
        let own = content.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temporary = beside(path, &own);
        let brought = async {
            make_folder(path).await?;
            // On the same file system it is there already.
            if fs::rename(content.path(), &temporary).await.is_err() {
                fs::copy(content.path(), &temporary).await?;
            }
            fs::File::open(&temporary).await?.sync_all().await
        };
        match brought.await {
            Ok(()) => Ok(temporary),
            Err(source) => {
                let _ = fs::remove_file(&temporary).await;
                Err(ObjectError::io(path.display(), source))
            }
        }
    }
}

/// A name under which nothing is listed. `own` is nobody else's.
fn beside(path: &Path, own: &str) -> PathBuf {
    path.with_file_name(format!(".{own}"))
}

/// Makes the folder of a file. One that is new is durable too: what is in it would be lost with its name.
async fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let mut new = Vec::new();
    for folder in folder.ancestors() {
        if folder.as_os_str().is_empty() || fs::try_exists(folder).await? {
            break;
        }
        new.push(folder);
    }
    fs::create_dir_all(folder).await?;
    for above in new.iter().filter_map(|folder| folder.parent()) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        fs::File::open(above).await?.sync_all().await?;
    }
    Ok(())
}

async fn sync_folder(path: &Path) -> Result<(), ObjectError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let synced = async { fs::File::open(folder).await?.sync_all().await };
    synced.await.map_err(|source| ObjectError::io(folder.display(), source))
}
