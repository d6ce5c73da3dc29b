//! Making a snapshot: what is saved is walked here, a manifest of it is kept, and the snapshot is written only when it
//! holds all of the manifest.

mod manifest;
mod source;
mod spool;
mod walk;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use backstay_types::backup::{
    Proof,
    job::{Done, FailedKind, Root, RootMade, SnapshotMade, SnapshotTask},
};
use jiff::tz::TimeZone;
use rustic_core::{
    BackupOptions, FileType, Id, OpenStatus, ParentOptions, ReadBackend, Repository, RusticError,
    repofile::{SnapshotFile, StringList},
};

use self::{
    manifest::{Counts, Differences, Manifest},
    source::{Roots, Walked},
};
use crate::{
    access::{Access, Cache, own_id},
    fault::Fault,
    store::Store,
};

/// How often it is begun anew when a prune took away, meanwhile, what it relied on.
const ATTEMPTS: u32 = 4;

/// Makes a snapshot.
pub(crate) fn make(access: &Access<'_>, task: &SnapshotTask) -> Result<Done, Fault> {
    are_named(task)?;
    let roots = Arc::new(Roots::open(task, access.scratch())?);
    let opened = access.open(Cache::Used)?;
    let store = opened.store.clone();
    store.hold_snapshots();
    let described = described(task)?;
    let parent = parent_of(&opened.repository, &store, &described)?;
    let saving = Saving { access, roots, store, described, parent };
    let mut repository = opened.repository;
    for _ in 0..ATTEMPTS {
        let saved;
        (saved, repository) = saving.save(repository)?;
        if let Some(saved) = saved {
            return Ok(Done::Snapshot(made(task, saved)?));
        }
        // What was marked meanwhile is no longer in the index, and is saved once more.
        access.progress.restart();
    }
    let message =
        "the repository was pruned again and again while this was saved, so there is no snapshot; try again";
    Err(Fault::new(FailedKind::Other, message))
}

/// A snapshot that is there, with what it holds.
struct Saved {
    snapshot: SnapshotFile,
    manifest: Manifest,
}

/// A snapshot while it is made.
struct Saving<'a> {
    access: &'a Access<'a>,
    roots: Arc<Roots>,
    store: Arc<Store>,
    described: SnapshotFile,
    parent: Option<String>,
}

impl Saving<'_> {
    /// Saves, and names the snapshot when it holds all that was to be saved. None when a prune came between.
    fn save(
        &self,
        repository: Repository<OpenStatus>,
    ) -> Result<(Option<Saved>, Repository<OpenStatus>), Fault> {
        let fault = |what: &str, error: Box<RusticError>| self.store.fault(what, &error);
        let indexed = repository.to_indexed_ids().map_err(|error| fault("reading the index", error))?;
        let (scratch, progress) = (self.access.scratch(), self.access.progress);
        let source = Walked::new(self.roots.clone(), self.store.clone(), scratch, progress)?;
        let paths: Vec<_> = self.roots.names().map(|name| PathBuf::from("/").join(name)).collect();
        let archived = indexed.archive(&self.options(), &source, self.described.clone(), &paths);
        // What was wrong with the source or the target is told before what followed from it.
        self.store.swallowed()?;
        let mut manifest = source.finish()?;
        let snapshot = archived.map_err(|error| fault("saving", error))?;
        let mut repository = indexed.drop_index();
        let mut released = false;
        loop {
            let seen = self.indexes()?;
            let full = repository.to_indexed().map_err(|error| fault("reading the index", error))?;
            let differences = manifest::compare(&full, &self.store, snapshot.tree, &mut manifest)?;
            repository = full.drop_index();
            match differences {
                Differences::None => {}
                Differences::Missing => return Ok((None, repository)),
                Differences::Some(fault) => return Err(fault),
            }
            if !released {
                self.store.release()?;
                released = true;
            }
            // A prune that ended before the snapshot was there may have marked what it needs; one that ends later looks
            // for new snapshots at its end.
            if self.indexes()? == seen {
                return Ok((Some(Saved { snapshot, manifest }), repository));
            }
        }
    }

    fn options(&self) -> BackupOptions {
        let mut options = BackupOptions::default();
        options.parent_opts = match &self.parent {
            Some(id) => {
                let mut options = ParentOptions::default();
                options.parents = vec![id.clone()];
                options
            }
            None => ParentOptions::default().force(true),
        };
        options
    }

    fn indexes(&self) -> Result<BTreeSet<Id>, Fault> {
        let listed = self.store.list(FileType::Index);
        listed.map(BTreeSet::from_iter).map_err(|error| self.store.fault("listing the index", &error))
    }
}

fn made(task: &SnapshotTask, Saved { snapshot, manifest }: Saved) -> Result<SnapshotMade, Fault> {
    let counts = |root: &Root| {
        let Counts { files, bytes } = manifest.roots.get(&root.name).copied().unwrap_or_default();
        RootMade { name: root.name.clone(), files, bytes }
    };
    Ok(SnapshotMade {
        id: own_id(&snapshot.id)?,
        files: manifest.all.files,
        bytes: manifest.all.bytes,
        added_bytes: snapshot.summary.unwrap_or_default().data_added_packed,
        manifest: manifest.digest,
        roots: task.roots.iter().map(counts).collect(),
        proof: Proof::Matched,
    })
}

/// Each root needs a name of its own that can be a folder's.
fn are_named(task: &SnapshotTask) -> Result<(), Fault> {
    if task.roots.is_empty() {
        return Err(Fault::bad_job("nothing is to be saved: the job has no roots"));
    }
    let mut names = BTreeSet::new();
    for root in &task.roots {
        let name = &root.name;
        let is_name = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        if !is_name || !names.insert(name) {
            return Err(Fault::bad_job(format!(
                "the root `{name}` has no name of its own; expected one that can be a folder's, once"
            )));
        }
    }
    match task.tags.iter().find(|tag| tag.contains(',')) {
        Some(tag) => {
            Err(Fault::bad_job(format!("the tag `{tag}` has a comma; tags are separated by commas")))
        }
        None => Ok(()),
    }
}

/// The snapshot before it has content.
fn described(task: &SnapshotTask) -> Result<SnapshotFile, Fault> {
    let mut tags = StringList::default();
    for tag in &task.tags {
        tags.add(tag.clone());
    }
    Ok(SnapshotFile {
        time: task.at.to_zoned(TimeZone::UTC),
        program_version: format!("backstay {}", env!("CARGO_PKG_VERSION")),
        hostname: task.host.clone(),
        tags,
        ..SnapshotFile::default()
    })
}

/// The newest snapshot of the same host with most of the same tags: files that are as they were there are not read again.
/// A wrong choice costs time, nothing else.
fn parent_of(
    repository: &Repository<OpenStatus>,
    store: &Store,
    snapshot: &SnapshotFile,
) -> Result<Option<String>, Fault> {
    let all = repository.get_matching_snapshots(|other| other.hostname == snapshot.hostname);
    let all = all.map_err(|error| store.fault("reading the snapshots", &error))?;
    store.swallowed()?;
    let alike = |other: &SnapshotFile| snapshot.tags.iter().filter(|tag| other.tags.contains(tag)).count();
    let best = all.iter().max_by_key(|other| (alike(other), other.time.timestamp()));
    Ok(best.map(|best| best.id.to_hex().as_str().to_owned()))
}

/// The fault of sources that could not be saved.
fn source_fault(what: impl Into<String>) -> Fault {
    Fault::new(FailedKind::Source, what)
}
