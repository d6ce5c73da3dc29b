//! Reading back: one snapshot, or the whole repository.

use std::{collections::BTreeSet, path::Path};

use backstay_types::backup::{
    SnapshotId,
    job::{Done, FailedKind, Problem},
};
use rustic_core::{
    CheckOptions, CheckResults, IndexedFull, PackedId, ReadSubsetOption, Repository, TreeId,
    repofile::{NodeType, PackId},
};

use crate::{
    access::{Access, Cache, Opened, library_id},
    fault::{Fault, TOLD, plain, problem, said},
    tree::{Step, Walk, shown},
};

/// Reads back all that a snapshot needs. The cache is passed: what counts is what the target gives.
pub(crate) fn verify(access: &Access<'_>, id: SnapshotId) -> Result<Done, Fault> {
    let opened = access.open(Cache::Passed)?;
    let snapshot = opened.snapshot(id)?;
    let options = CheckOptions::default().read_data(true);
    let checked = opened.repository.check_with_trees(options, vec![snapshot.tree]);
    let found = checked.map_err(|error| opened.fault("reading the snapshot back", &error))?;
    opened.store.swallowed()?;
    let store = opened.store.clone();
    let problems = own_problems(opened, snapshot.tree, errors(&found))?;
    if problems.is_empty() {
        return Ok(Done::Verify { bytes: store.bytes_read() });
    }
    let message =
        format!("snapshot {id} at {} cannot be read back whole; it must not be relied on", store.place());
    Err(Fault::new(FailedKind::Damaged, message).with(problems))
}

/// What the library found to be wrong; what it only warns of (data that nothing needs) is left out.
fn errors(found: &CheckResults) -> Vec<String> {
    // Neither the levels nor the errors have public names: what they say is all there is.
    let errors = found.0.iter().filter(|(level, _)| format!("{level:?}") == "Error");
    errors.map(|(_, error)| shortened(&plain(&error.to_string())).to_owned()).collect()
}

/// Without the advice to use a program of the library's own, which knows nothing of the hub.
fn shortened(text: &str) -> &str {
    text.split(" To repair:").next().unwrap_or(text)
}

/// The first eight digits of the pack that an error is about.
fn pack_in(error: &str) -> Option<&str> {
    let after = error.to_ascii_lowercase().find("pack ").and_then(|at| error.get(at + 5..))?;
    after.get(..8).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The problems that concern this tree: the library looks at the list of all packs, too, and what is wrong with one that
/// only others need is not this one's. Files whose content does not add up to their size come on top.
fn own_problems(opened: Opened, tree: TreeId, errors: Vec<String>) -> Result<Vec<Problem>, Fault> {
    let store = opened.store.clone();
    let indexed = opened.repository.to_indexed();
    let indexed = indexed.map_err(|error| store.fault("reading the index", &error))?;
    let mut own = Vec::new();
    let packs = packs_of(&indexed, tree, &mut own);
    let own_packs: BTreeSet<_> = packs.iter().map(|pack| pack.to_string()).collect();
    let is_own = |error: &String| pack_in(error).is_none_or(|pack| own_packs.contains(pack));
    own.extend(errors.into_iter().filter(is_own).map(told));
    Ok(own)
}

fn told(error: String) -> Problem {
    let at = pack_in(&error)
        .map_or_else(|| "the repository".to_owned(), |pack| format!("data/{}/{pack}…", &pack[..2]));
    problem(at, error)
}

/// The packs that a tree needs.
fn packs_of<S: IndexedFull>(
    repository: &Repository<S>,
    tree: TreeId,
    own: &mut Vec<Problem>,
) -> BTreeSet<PackId> {
    let mut packs = BTreeSet::new();
    let mut add = |pack: Option<PackId>| {
        packs.extend(pack);
    };
    add(pack_of(repository, &tree));
    let walk = match Walk::new(repository, tree, Path::new(""), true) {
        Ok(walk) => walk,
        Err(error) => {
            own.push(problem("/", said(&error)));
            return packs;
        }
    };
    for step in walk {
        let (path, node) = match step {
            Step::Node(path, node) => (path, node),
            Step::Unreadable(path, error) => {
                own.push(problem(shown(&path), said(&error)));
                continue;
            }
        };
        if let Some(tree) = node.subtree {
            add(pack_of(repository, &tree));
        }
        if node.node_type == NodeType::File {
            let mut bytes = 0;
            for id in node.content.iter().flatten() {
                let entry = repository.get_index_entry(id).ok();
                add(entry.map(|entry| entry.pack));
                bytes += entry.map_or(0, |entry| u64::from(entry.data_length()));
            }
            if bytes != node.meta.size {
                own.push(problem(
                    shown(&path),
                    format!("has {bytes} bytes of content, expected {} as the snapshot says", node.meta.size),
                ));
            }
        }
    }
    packs
}

fn pack_of<S: IndexedFull, T: PackedId>(repository: &Repository<S>, id: &T) -> Option<PackId> {
    repository.get_index_entry(id).ok().map(|entry| entry.pack)
}

/// Checks the structure of all but some snapshots, and reads part `n` of `m` of the data.
pub(crate) fn check(
    access: &Access<'_>,
    read: Option<(u32, u32)>,
    except: &[SnapshotId],
) -> Result<Done, Fault> {
    let mut options = CheckOptions::default();
    if let Some((part, of)) = read {
        if of == 0 || part >= of {
            return Err(Fault::bad_job(format!("there is no part {part} of {of}; parts count from 0")));
        }
        options = options.read_data(true).read_data_subset(ReadSubsetOption::IdSubSet((part, of)));
    }
    let opened = access.open(Cache::Passed)?;
    let all = opened.repository.get_all_snapshots();
    let all = all.map_err(|error| opened.fault("reading the snapshots", &error))?;
    let except = except.iter().map(|id| library_id(*id)).collect::<Result<Vec<_>, _>>()?;
    let trees = all.iter().filter(|one| !except.contains(&*one.id)).map(|one| one.tree).collect();
    let checked = opened.repository.check_with_trees(options, trees);
    let found = checked.map_err(|error| opened.fault("checking the repository", &error))?;
    opened.store.swallowed()?;
    let problems = errors(&found).into_iter().map(told).take(TOLD).collect();
    Ok(Done::Check { bytes: opened.store.bytes_read(), problems })
}
