//! Where a repository's files are, below the library: what a target must be able to do ([`Files`]), and what all targets
//! share ([`Store`]).

mod ahead;
mod behind;
mod folder;
mod http;
mod limit;
mod rest;
mod s3;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use backstay_types::backup::job::{FailedKind, Target};
use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use self::{ahead::Ahead, behind::Behind, limit::Limit};
use crate::{Patience, fault::Fault};

/// A part of a file: from where, and how many bytes.
type Part = (u32, u32);

/// A target. Whatever it does is done when it returns: a file that was written stays after a power cut.
trait Files: fmt::Debug + Send + Sync + 'static {
    /// Where, for people; without credentials.
    fn place(&self) -> String;

    /// Makes what a repository needs before its first file. It may be there already.
    fn create(&self) -> Result<(), Fault>;

    /// All files of a kind, with their sizes. A target without any has none; that is not a fault.
    fn list(&self, kind: FileType) -> Result<Vec<(Id, u32)>, Fault>;

    /// A file, or a part of it, as far as it is there. A file that is not there is [`FailedKind::Damaged`].
    fn read(&self, kind: FileType, id: &Id, part: Option<Part>) -> Result<Bytes, Fault>;

    /// Writes a file at once, or not. One that is there already under this name is left as it is: names are digests.
    fn write(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), Fault>;

    /// Takes a file away. One that is not there is no fault.
    fn remove(&self, kind: FileType, id: &Id) -> Result<(), Fault>;
}

/// Where a file is, below the repository's place. The config has no id.
fn path_of(kind: FileType, id: &Id) -> String {
    let hex = id.to_hex();
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{}", &hex.as_str()[..2], hex.as_str()),
        FileType::Key | FileType::Snapshot | FileType::Index => {
            format!("{}/{}", kind.dirname(), hex.as_str())
        }
    }
}

/// The fault of a file that should be there.
fn is_missing(place: &str, kind: FileType, id: &Id) -> Fault {
    let fault = Fault::new(FailedKind::Damaged, format!("{} is missing in {place}", path_of(kind, id)));
    // These are named by nothing but the list.
    Fault { is_overtaken: matches!(kind, FileType::Index | FileType::Snapshot), ..fault }
}

/// A target as the library sees it.
#[derive(Debug)]
pub(crate) struct Store {
    files: Arc<dyn Files>,
    behind: Behind,
    read: AtomicU64,
    /// What of a new snapshot is kept back until it is known to be right.
    held: Mutex<Held>,
    /// The first fault that no other try would mend: full, refused, or no answer. The library swallows some.
    grave: Mutex<Option<Fault>>,
}

#[derive(Debug, Default)]
struct Held {
    holds: bool,
    snapshot: Option<(Id, BytesList)>,
}

/// Opens a target.
pub(crate) fn open(
    target: &Target,
    bytes_per_second: Option<u64>,
    patience: Patience,
) -> Result<Arc<Store>, Fault> {
    let limit = Limit::new(bytes_per_second);
    let files: Arc<dyn Files> = match target {
        Target::Folder { path } => Arc::new(folder::Folder::new(path, limit)?),
        Target::Rest { url, credential, ca_file } => {
            Arc::new(Ahead::new(rest::Rest::new(url, credential, ca_file.as_deref(), limit, patience)?))
        }
        Target::S3 { endpoint, region, bucket, prefix, access_key, secret_key } => {
            let settings = s3::Settings { endpoint, region, bucket, prefix, access_key, secret_key };
            Arc::new(Ahead::new(s3::S3::new(&settings, limit, patience)?))
        }
    };
    Ok(Arc::new(Store {
        behind: Behind::new(files.clone()),
        files,
        read: AtomicU64::new(0),
        held: Mutex::default(),
        grave: Mutex::default(),
    }))
}

impl Store {
    /// Where, for people.
    pub(crate) fn place(&self) -> String {
        self.files.place()
    }

    /// Bytes that were read from the target so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// From now on snapshots are not written but kept back, see [`Store::release`].
    pub(crate) fn hold_snapshots(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).holds = true;
    }

    /// Writes the snapshot that was kept back: the last step of a backup, after which it exists.
    pub(crate) fn release(&self) -> Result<(), Fault> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).snapshot.take();
        let Some((id, content)) = held else {
            return Err(Fault::new(FailedKind::Other, "no snapshot came out of the backup; try again"));
        };
        self.behind.settle()?;
        self.files.write(FileType::Snapshot, &id, content)
    }

    /// Whether something failed that no other try would mend.
    pub(crate) fn is_lost(&self) -> bool {
        self.grave.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What went wrong: the first grave fault where there was one, else what the library says.
    pub(crate) fn fault(&self, what: impl fmt::Display, error: &RusticError) -> Fault {
        let grave = self.grave.lock().unwrap_or_else(PoisonError::into_inner).clone();
        grave.unwrap_or_else(|| Fault::of_library(what, error))
    }

    /// The grave fault, if there was one that the library did not tell.
    pub(crate) fn swallowed(&self) -> Result<(), Fault> {
        self.grave.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    fn told<T>(&self, result: Result<T, Fault>) -> RusticResult<T> {
        result.map_err(|fault| {
            if matches!(fault.kind, FailedKind::Full | FailedKind::Refused | FailedKind::Unreachable) {
                let mut grave = self.grave.lock().unwrap_or_else(PoisonError::into_inner);
                grave.get_or_insert_with(|| fault.clone());
            }
            RusticError::with_source(ErrorKind::Backend, "the target failed", fault)
        })
    }

    fn is_cut_off(&self, kind: FileType, id: &Id) -> Fault {
        Fault::new(FailedKind::Damaged, format!("{} in {} is cut off", path_of(kind, id), self.place()))
    }

    fn counted(&self, result: Result<Bytes, Fault>) -> Result<Bytes, Fault> {
        result.inspect(|bytes| {
            self.read.fetch_add(bytes.len() as u64, Relaxed);
        })
    }
}

impl ReadBackend for Store {
    fn location(&self) -> String {
        self.files.place()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.told(self.behind.settle().and_then(|()| self.files.list(kind)))
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.told(self.behind.wait_for(id).and_then(|()| self.counted(self.files.read(kind, id, None))))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let read = || {
            let bytes = self.counted(self.files.read(kind, id, Some((offset, length))))?;
            if bytes.len() == length as usize { Ok(bytes) } else { Err(self.is_cut_off(kind, id)) }
        };
        self.told(self.behind.wait_for(id).and_then(|()| read()))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        path_of(kind, id)
    }
}

impl WriteBackend for Store {
    fn create(&self) -> RusticResult<()> {
        self.told(self.files.create())
    }

    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        if kind == FileType::Pack {
            return self.told(self.behind.write(*id, content));
        }
        if kind == FileType::Snapshot {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.holds {
                held.snapshot = Some((*id, content));
                return Ok(());
            }
        }
        // An index names packs: they must be there before it is.
        self.told(self.behind.settle().and_then(|()| self.files.write(kind, id, content)))
    }

    fn remove(&self, kind: FileType, id: &Id, _: bool) -> RusticResult<()> {
        self.told(self.behind.settle().and_then(|()| self.files.remove(kind, id)))
    }
}
