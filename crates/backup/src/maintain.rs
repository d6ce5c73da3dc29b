//! What a repository holds, and what is taken out of it or copied to another.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use backstay_types::backup::{
    SnapshotId,
    job::{Copied, Done, FailedKind, Listed, Pruned, Repository as Wanted},
};
use jiff::Span;
use rustic_core::{
    FileType, Id, IndexedFull, PruneOptions, PrunePlan, ReadBackend, Repository, RusticError, WriteBackend,
    repofile::{NodeType, SnapshotFile},
};

use crate::{
    access::{Access, Cache, Opened, library_id, own_id},
    compare,
    fault::{Fault, said},
    tree::{self, Step, Walk, entry, from_shown, node_at},
};

/// How long what nothing needs stays after it was marked: longer than any backup takes that might need it again.
const KEEP_MARKED_HOURS: i64 = 23;
/// So often it is looked again at an index to which somebody adds.
const LOOKS: usize = 5;

/// All snapshots, oldest first.
pub(crate) fn list(access: &Access<'_>) -> Result<Done, Fault> {
    let opened = access.open(Cache::Used)?;
    let snapshots = opened.repository.get_all_snapshots();
    let snapshots = snapshots.map_err(|error| opened.fault("reading the snapshots", &error))?;
    opened.store.swallowed()?;
    let mut listed = snapshots.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    listed.sort_by_key(|listed| (listed.at, listed.id));
    Ok(Done::List { snapshots: listed })
}

fn listed(snapshot: &SnapshotFile) -> Result<Listed, Fault> {
    Ok(Listed {
        id: own_id(&snapshot.id)?,
        at: snapshot.time.timestamp(),
        host: snapshot.hostname.clone(),
        tags: snapshot.tags.iter().cloned().collect(),
        paths: snapshot.paths.iter().cloned().collect(),
        original: original(snapshot).map(|id| own_id(&id)).transpose()?,
    })
}

/// What a snapshot holds below a path.
pub(crate) fn files(
    access: &Access<'_>,
    snapshot: SnapshotId,
    path: &str,
    recursive: bool,
) -> Result<Done, Fault> {
    let opened = access.open(Cache::Used)?;
    let snapshot = opened.snapshot(snapshot)?;
    let store = opened.store.clone();
    let fault = |error: Box<_>| store.fault("reading what the snapshot holds", &error);
    // Trees are all that is needed of the index.
    let repository = opened.repository.to_indexed_ids().map_err(fault)?;
    let asked = from_shown(path)?;
    let node = node_at(&repository, snapshot.tree, &asked).map_err(fault)?.ok_or_else(|| {
        Fault::bad_job(format!("the snapshot has no `{path}`; `files` without a path shows what it has"))
    })?;
    let below: &Path = &tree::without_slashes(&asked);
    let Some(tree) = node.subtree else {
        return Ok(Done::Files { files: vec![entry(below, &node)] });
    };
    let mut files = Vec::new();
    for step in Walk::new(&repository, tree, below, recursive).map_err(fault)? {
        match step {
            Step::Node(path, node) => files.push(entry(&path, &node)),
            Step::Unreadable(_, error) => return Err(fault(error)),
        }
    }
    Ok(Done::Files { files })
}

/// Takes snapshots out of the list: exactly these.
pub(crate) fn forget(access: &Access<'_>, snapshots: &[SnapshotId]) -> Result<Done, Fault> {
    let opened = access.open(Cache::Passed)?;
    let fault = |error: Box<_>| opened.fault("forgetting snapshots", &error);
    let known = opened.store.list_with_size(FileType::Snapshot).map_err(fault)?;
    let mut gone = 0;
    for id in snapshots.iter().collect::<BTreeSet<_>>() {
        let id = library_id(*id)?;
        if known.iter().any(|(known, _)| *known == id) {
            opened.store.remove(FileType::Snapshot, &id, true).map_err(fault)?;
            gone += 1;
        }
    }
    Ok(Done::Forget { gone })
}

/// Takes away data that no snapshot needs, in two phases.
pub(crate) fn prune(access: &Access<'_>, dry_run: bool) -> Result<Done, Fault> {
    let opened = access.open(Cache::Used)?;
    let fault = |error: Box<_>| opened.fault("pruning", &error);
    // Never at once: a backup that runs now may need what no snapshot needs yet. There are no locks.
    let options =
        PruneOptions::default().keep_delete(Span::new().hours(KEEP_MARKED_HOURS)).instant_delete(false);
    let snapshots = || opened.store.list(FileType::Snapshot).map(BTreeSet::from_iter).map_err(fault);
    let mut seen: BTreeSet<Id> = snapshots()?;
    let plan = true_plan(&opened, &options)?;
    let pruned = pruned(&plan);
    if !dry_run {
        opened.repository.prune(&options, plan).map_err(fault)?;
        // A snapshot that came meanwhile may need what was marked: the mark is taken away again.
        loop {
            let now = snapshots()?;
            if now.is_subset(&seen) {
                break;
            }
            seen = now;
            let plan = true_plan(&opened, &options)?;
            opened.repository.prune(&options, plan).map_err(fault)?;
        }
    }
    opened.store.swallowed()?;
    Ok(Done::Prune(pruned))
}

/// What a prune would do, by an index that is true: also what came to it while it was looked at.
fn true_plan(opened: &Opened, options: &PruneOptions) -> Result<PrunePlan, Fault> {
    let fault = |error: Box<_>| opened.fault("pruning", &error);
    let indexes = || opened.store.list(FileType::Index).map(BTreeSet::from_iter).map_err(fault);
    let mut seen: BTreeSet<Id> = indexes()?;
    for _ in 0..LOOKS {
        let untrue = compare::untrue(opened)?;
        if !untrue.is_empty() {
            let place = opened.store.place();
            let what = format!("the index of {place} is not true: nothing is taken away by it");
            return Err(Fault::new(FailedKind::Damaged, what).with(untrue.problems()));
        }
        let plan = opened.repository.prune_plan(options).map_err(fault)?;
        let now = indexes()?;
        if now.is_subset(&seen) {
            return Ok(plan);
        }
        seen = now;
    }
    let what =
        format!("somebody writes to {} without pause: it is pruned another time", opened.store.place());
    Err(Fault::new(FailedKind::Other, what))
}

fn pruned(plan: &PrunePlan) -> Pruned {
    let (sizes, marked) = (plan.stats.size_sum(), plan.stats.size_to_delete);
    Pruned {
        bytes_before: sizes.total() + marked.total() + plan.stats.size_unref,
        unused_bytes: sizes.unused + marked.remove + marked.keep + plan.stats.size_unref,
        deleted_bytes: marked.remove,
        marked_bytes: sizes.remove + sizes.repack + marked.keep + plan.stats.size_unref,
    }
}

/// Copies snapshots into another repository.
pub(crate) fn copy(access: &Access<'_>, to: &Wanted, snapshots: &[SnapshotId]) -> Result<Done, Fault> {
    let from = access.open(Cache::Used)?;
    let other = access.open_other(to, Cache::Used)?;
    let wanted = snapshots.iter().map(|id| from.snapshot(*id)).collect::<Result<Vec<_>, _>>()?;
    let there = copies(&other)?;
    let missing: Vec<_> = wanted.iter().filter(|snapshot| !there.contains_key(&*snapshot.id)).collect();
    if !missing.is_empty() {
        let (from_store, other_store) = (from.store.clone(), other.store.clone());
        let source = from.repository.to_indexed();
        let source = source.map_err(|error| from_store.fault("reading the index", &error))?;
        let target = other.repository.to_indexed_ids();
        let target = target.map_err(|error| other_store.fault("reading the index", &error))?;
        // The library leaves out what its index does not have; the snapshot would be copied with a hole.
        for snapshot in &missing {
            is_whole(&source, snapshot)?;
        }
        let named: Vec<_> = missing.into_iter().map(naming_its_original).collect();
        source.copy(&target, &named).map_err(|error| {
            from_store.swallowed().err().unwrap_or_else(|| other_store.fault("copying", &error))
        })?;
        from_store.swallowed()?;
        other_store.swallowed()?;
    }
    let there = copies(&access.open_other(to, Cache::Used)?)?;
    let copied = |id: &SnapshotId| -> Result<Copied, Fault> {
        let found = there.get(&library_id(*id)?);
        let to =
            found.ok_or_else(|| Fault::new(FailedKind::Other, format!("snapshot {id} was not copied")))?;
        Ok(Copied { from: *id, to: own_id(to)? })
    };
    Ok(Done::Copy { copies: snapshots.iter().map(copied).collect::<Result<_, Fault>>()? })
}

/// What in the other repository is a copy of what.
fn copies(opened: &Opened) -> Result<BTreeMap<Id, Id>, Fault> {
    let there = opened.repository.get_all_snapshots();
    let there =
        there.map_err(|error| opened.fault("reading the snapshots of the other repository", &error))?;
    Ok(there.iter().filter_map(|copy| Some((original(copy)?, *copy.id))).collect())
}

/// What a snapshot is a copy of. The library says of one that is none that it is its own.
fn original(snapshot: &SnapshotFile) -> Option<Id> {
    snapshot.original.filter(|original| *original != snapshot.id).map(|original| *original)
}

fn naming_its_original(snapshot: &SnapshotFile) -> SnapshotFile {
    SnapshotFile { original: Some(snapshot.id), ..snapshot.clone() }
}

/// Fails when the index lacks anything that the snapshot needs.
fn is_whole<S: IndexedFull>(repository: &Repository<S>, snapshot: &SnapshotFile) -> Result<(), Fault> {
    let damaged = |error: Box<RusticError>| {
        let what = format!("snapshot {} is not whole and was not copied", snapshot.id.to_hex().as_str());
        Fault::new(FailedKind::Damaged, format!("{what}: {}", said(&error)))
    };
    for step in Walk::new(repository, snapshot.tree, Path::new(""), true).map_err(damaged)? {
        match step {
            Step::Node(_, node) if node.node_type == NodeType::File => {
                for id in node.content.iter().flatten() {
                    repository.get_index_entry(id).map_err(damaged)?;
                }
            }
            Step::Node(..) => {}
            Step::Unreadable(_, error) => return Err(damaged(error)),
        }
    }
    Ok(())
}
