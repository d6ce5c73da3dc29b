//! Walks of the history that read no more of it than they need.

use std::collections::{BTreeSet, HashMap, HashSet};

use backstay_types::CommitId;
use gix::{
    ObjectId, Repository as Git,
    revision::walk::{Info, Sorting},
    traverse::commit::simple::CommitTimeOrder,
};

use crate::{error::SourceError, mirror::Mirror};

/// A commit and its parents.
#[derive(Debug, Clone)]
pub(crate) struct Walked {
    pub id: ObjectId,
    pub parents: Vec<ObjectId>,
}

/// Commits that `tip` contains and none of `hidden` does, newest first by their own clocks.
pub(crate) fn range<'a>(
    mirror: &Mirror,
    git: &Git,
    tip: &CommitId,
    hidden: impl IntoIterator<Item = &'a CommitId>,
    limit: usize,
) -> Result<Vec<Walked>, SourceError> {
    let tip = mirror.commit_oid(git, tip)?;
    let hidden: Vec<ObjectId> =
        hidden.into_iter().map(|id| mirror.commit_oid(git, id)).collect::<Result<_, _>>()?;
    let walk = || -> gix::Result<Vec<Walked>> {
        newest_first(git, tip).with_hidden(hidden).all()?.take(limit).map(|info| Ok(walked(&info?))).collect()
    };
    walk().map_err(|e| mirror.broken("walking the history", &e))
}

/// The wanted commits that `tip` contains, children before parents, and those that it does not contain.
pub(crate) fn ordered(
    mirror: &Mirror,
    git: &Git,
    tip: ObjectId,
    wanted: &[ObjectId],
) -> Result<(Vec<ObjectId>, Vec<ObjectId>), SourceError> {
    let mut missing: HashSet<ObjectId> = wanted.iter().copied().collect();
    let mut seen = Vec::new();
    let mut walk = || -> gix::Result<()> {
        for info in newest_first(git, tip).all()? {
            if missing.is_empty() {
                break;
            }
            let info = info?;
            missing.remove(&info.id);
            seen.push(walked(&info));
        }
        Ok(())
    };
    walk().map_err(|e| mirror.broken("walking the history", &e))?;
    let (absent, wanted): (Vec<ObjectId>, Vec<ObjectId>) =
        wanted.iter().partition(|id| missing.contains(*id));
    let found = children_first(&seen).into_iter().filter(|id| wanted.contains(id)).collect();
    Ok((found, absent))
}

/// Orders commits so that no parent stands before one of its children; otherwise as they were.
pub(crate) fn children_first(commits: &[Walked]) -> Vec<ObjectId> {
    let place: HashMap<ObjectId, usize> = commits.iter().enumerate().map(|(at, c)| (c.id, at)).collect();
    let parents = |at: usize| commits[at].parents.iter().filter_map(|parent| place.get(parent).copied());
    let mut children = vec![0_usize; commits.len()];
    (0..commits.len()).flat_map(parents).for_each(|parent| children[parent] += 1);
    let mut ready: BTreeSet<usize> = (0..commits.len()).filter(|at| children[*at] == 0).collect();
    let mut order = Vec::with_capacity(commits.len());
    while let Some(at) = ready.pop_first() {
        order.push(commits[at].id);
        for parent in parents(at) {
            children[parent] -= 1;
            if children[parent] == 0 {
                ready.insert(parent);
            }
        }
    }
    order
}

fn newest_first(git: &Git, tip: ObjectId) -> gix::revision::walk::Platform<'_> {
    git.rev_walk([tip]).sorting(Sorting::ByCommitTime(CommitTimeOrder::NewestFirst))
}

fn walked(info: &Info<'_>) -> Walked {
    Walked { id: info.id, parents: info.parent_ids.iter().copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[n; 20])
    }

    fn commit(n: u8, parents: &[u8]) -> Walked {
        Walked { id: id(n), parents: parents.iter().map(|n| id(*n)).collect() }
    }

    #[test]
    fn a_wrong_clock_does_not_put_a_parent_first() {
        // 3 → 2 → 1, but 1 claims to be the newest; 4 is a second child of 1.
        let commits = [commit(1, &[]), commit(3, &[2]), commit(4, &[1, 9]), commit(2, &[1])];
        assert_eq!(children_first(&commits), [id(3), id(4), id(2), id(1)]);
    }
}
