//! Opening, making, and adding passwords.

use std::{path::PathBuf, sync::Arc};

use backstay_types::{
    Secret,
    backup::{
        SnapshotId,
        job::{Done, FailedKind, Job, Repository as Wanted},
    },
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytesize::ByteSize;
use rustic_core::{
    ConfigOptions, Credentials, FileType, KeyOptions, OpenStatus, ReadBackend, Repository,
    RepositoryBackends, RepositoryOptions, RusticError, WriteBackend,
    repofile::{KeyFile, MasterKey, SnapshotFile},
};
use serde_json::json;

use crate::{
    Patience,
    fault::Fault,
    keys,
    progress::{LibraryBytes, Progress},
    store::{self, Store},
};

/// Small packs: reading and repacking one takes little memory, and what is next to each other is fetched at once.
const PACK_SIZE: ByteSize = ByteSize::mib(8);
const TREE_PACK_SIZE: ByteSize = ByteSize::mib(4);

/// A job's way to its repository.
pub(crate) struct Access<'a> {
    job: &'a Job,
    patience: Patience,
    pub(crate) progress: &'a Progress,
}

/// Whether what was read before may be used again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// Where the job names a folder for it.
    Used,
    /// Everything comes from the target.
    Passed,
}

/// An open repository.
pub(crate) struct Opened {
    pub(crate) repository: Repository<OpenStatus>,
    pub(crate) store: Arc<Store>,
}

impl<'a> Access<'a> {
    pub(crate) fn new(job: &'a Job, patience: Patience, progress: &'a Progress) -> Self {
        Self { job, patience, progress }
    }

    /// Where a job may keep what is for now only.
    pub(crate) fn scratch(&self) -> Option<&str> {
        self.job.repository.cache.as_deref()
    }

    /// Opens the job's repository.
    pub(crate) fn open(&self, cache: Cache) -> Result<Opened, Fault> {
        self.open_other(&self.job.repository, cache)
    }

    /// Opens another repository than the job's.
    pub(crate) fn open_other(&self, wanted: &Wanted, cache: Cache) -> Result<Opened, Fault> {
        let (closed, store) = self.closed(wanted, cache)?;
        let there = closed.config_id().map_err(|error| store.fault("looking for the repository", &error))?;
        if there.is_none() {
            return Err(Fault::new(
                FailedKind::NoRepository,
                format!("there is no repository at {}: make it first, or correct the place", store.place()),
            ));
        }
        let opened = closed.open(&Credentials::password(wanted.password.expose()));
        let repository = opened
            .map_err(|error| store.fault(format!("opening the repository at {}", store.place()), &error))?;
        Ok(Opened { repository, store })
    }

    fn closed(&self, wanted: &Wanted, cache: Cache) -> Result<(Repository<()>, Arc<Store>), Fault> {
        let store = store::open(&wanted.target, self.job.bytes_per_second, self.patience)?;
        let mut options = RepositoryOptions::default();
        match (&wanted.cache, cache) {
            (Some(folder), Cache::Used) => options.cache_dir = Some(PathBuf::from(folder)),
            _ => options.no_cache = true,
        }
        let target: Arc<dyn WriteBackend> = store.clone();
        let backends = RepositoryBackends::new(target, None);
        let bars = LibraryBytes(self.progress.clone());
        let closed = Repository::new_with_progress(&options, &backends, bars)
            .map_err(|error| Fault::of_library("opening the repository", &error))?;
        Ok((closed, store))
    }
}

impl Opened {
    /// What went wrong while something was done with it.
    pub(crate) fn fault(&self, what: &str, error: &RusticError) -> Fault {
        self.store.fault(format!("{what} at {}", self.store.place()), error)
    }

    /// A snapshot by its whole id.
    pub(crate) fn snapshot(&self, id: SnapshotId) -> Result<SnapshotFile, Fault> {
        let known = self.store.list_with_size(FileType::Snapshot);
        let known = known.map_err(|error| self.fault("listing snapshots", &error))?;
        let wanted = library_id(id)?;
        if !known.iter().any(|(known, _)| *known == wanted) {
            return Err(Fault::new(
                FailedKind::NoSnapshot,
                format!(
                    "there is no snapshot {id} at {}; `list` shows those that are there",
                    self.store.place()
                ),
            ));
        }
        let found = self.repository.get_snapshots(&[id.to_string()]);
        let found = found.map_err(|error| self.fault("reading the snapshot", &error))?;
        found.into_iter().next().ok_or_else(|| {
            Fault::new(
                FailedKind::Damaged,
                format!("snapshot {id} at {} could not be read", self.store.place()),
            )
        })
    }
}

/// The library's id of a snapshot.
pub(crate) fn library_id(id: SnapshotId) -> Result<rustic_core::Id, Fault> {
    let parsed = id.to_string().parse();
    parsed.map_err(|error: Box<RusticError>| Fault::of_library("reading a snapshot's id", &error))
}

/// Our id of a snapshot.
pub(crate) fn own_id(id: &rustic_core::Id) -> Result<SnapshotId, Fault> {
    id.to_hex().as_str().parse().map_err(|error| {
        Fault::new(FailedKind::Other, format!("the library gave a snapshot an id that is none: {error}"))
    })
}

/// Makes the repository where there is none.
pub(crate) fn init(access: &Access<'_>, passwords: &[Secret]) -> Result<Done, Fault> {
    let wanted = &access.job.repository;
    let (closed, store) = access.closed(wanted, Cache::Passed)?;
    let there = closed.config_id().map_err(|error| store.fault("looking for the repository", &error))?;
    let made = there.is_none();
    let opened = if made { make(closed, store, wanted)? } else { access.open(Cache::Passed)? };
    for password in passwords {
        add(access, &opened, password)?;
    }
    Ok(Done::Init { made, id: opened.repository.config().id.to_hex().as_str().to_owned() })
}

fn make(closed: Repository<()>, store: Arc<Store>, wanted: &Wanted) -> Result<Opened, Fault> {
    let known = known_key(&store, wanted)?;
    let config = ConfigOptions::default()
        .set_datapack_size(PACK_SIZE)
        .set_datapack_growfactor(0)
        .set_datapack_size_limit(PACK_SIZE)
        .set_treepack_size(TREE_PACK_SIZE)
        .set_treepack_growfactor(0)
        .set_treepack_size_limit(TREE_PACK_SIZE);
    store
        .create()
        .map_err(|error| store.fault(format!("making the repository at {}", store.place()), &error))?;
    let master = match known {
        Some(master) => master,
        // The key first: a config that nothing opens would be a repository for ever.
        None => {
            let master = MasterKey::new();
            keys::add(&store, &master, &wanted.password)?;
            master
        }
    };
    let made = closed.init(&Credentials::Masterkey(master), &KeyOptions::default(), &config);
    let repository =
        made.map_err(|error| store.fault(format!("making the repository at {}", store.place()), &error))?;
    Ok(Opened { repository, store })
}

/// The key of a repository whose config is not there: what a run left that was cut off, or what is left of one that lost
/// its config. Keys that the password does not open go, unless there is data that they may open.
fn known_key(store: &Store, wanted: &Wanted) -> Result<Option<MasterKey>, Fault> {
    let keys = store.list_with_size(FileType::Key);
    let keys = keys.map_err(|error| store.fault("looking for keys", &error))?;
    for (id, _) in &keys {
        let content = store.read_full(FileType::Key, id);
        let content = content.map_err(|error| store.fault("reading a key", &error))?;
        let file: Option<KeyFile> = serde_json::from_slice(&content).ok();
        let opened = file.and_then(|file| file.key_from_password(&wanted.password.expose()).ok());
        if let Some(key) = opened {
            let (encrypt, k, r) = key.to_keys();
            let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
            let master = json!({ "mac": { "k": text(&k), "r": text(&r) }, "encrypt": text(&encrypt) });
            let master = serde_json::from_value(master);
            return master
                .map(Some)
                .map_err(|error| Fault::new(FailedKind::Other, format!("a key cannot be read: {error}")));
        }
    }
    let packs = store.list_with_size(FileType::Pack);
    let packs = packs.map_err(|error| store.fault("looking for data", &error))?;
    if !keys.is_empty() && !packs.is_empty() {
        let place = store.place();
        let what = format!("{place} has data and keys, and no config: the password opens none of the keys");
        return Err(Fault::new(FailedKind::WrongPassword, what));
    }
    for (key, _) in &keys {
        store.remove(FileType::Key, key, false).map_err(|error| store.fault("removing a key", &error))?;
    }
    Ok(None)
}

/// Adds a password.
pub(crate) fn add_password(access: &Access<'_>, password: &Secret) -> Result<Done, Fault> {
    let opened = access.open(Cache::Passed)?;
    add(access, &opened, password)?;
    Ok(Done::AddPassword)
}

/// Adds one that does not open it yet.
fn add(access: &Access<'_>, opened: &Opened, password: &Secret) -> Result<(), Fault> {
    let wanted = Wanted { password: password.clone(), ..access.job.repository.clone() };
    match access.open_other(&wanted, Cache::Passed) {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == FailedKind::WrongPassword => {
            keys::add(&opened.store, &opened.repository.key(), password)
        }
        Err(fault) => Err(fault),
    }
}
