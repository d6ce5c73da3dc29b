//! What someone should look at in a repository that is followed, though it is deployed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use backstay_manifest as manifest;
use backstay_source::Mirror;
use backstay_store::{nodes, repositories};
use backstay_types::{
    CommitId, Event, Labels, NodeName, Refs, Repository, RepositoryId, RepositoryWarning, Timestamp,
};
use jiff::SignedDuration;

use crate::{
    Engine, EngineError,
    sync::{TipError, read_whole},
};

/// A tip that was looked over is looked over again this often: pins run out, and nodes come and go.
const EVERY: SignedDuration = SignedDuration::from_hours(1);
/// No more warnings of a repository are kept.
const MOST: usize = 200;
/// No more of them are in one entry of the ledger.
const TOLD: usize = 10;

/// Which tip of each repository was looked over, and when.
pub(crate) type LookedOver = Mutex<HashMap<RepositoryId, (CommitId, Timestamp)>>;

/// When to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Whatever is known.
    Now,
    /// At a tip that is new, and every hour.
    WhenDue,
}

impl Engine {
    /// Looks a repository's accepted tip over and keeps what it finds; tells of what is new. A tip that cannot be read
    /// keeps the warnings it has, and nothing of this keeps anything from being deployed.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn look_over(&self, id: RepositoryId, look: Look) -> Result<(), EngineError> {
        let repository = self.repository(id).await?;
        let now = self.inner.world.now();
        let Some(tip) = repository.tip.clone() else { return Ok(()) };
        if look == Look::WhenDue && !self.is_due(id, &tip, now) {
            return Ok(());
        }
        let there = nodes::active(&mut self.inner.store.read()).await?;
        let there: Vec<_> = there.into_iter().map(|node| (node.name, node.labels)).collect();
        let mirror = self.inner.mirrors.of(&repository)?;
        let read = move || read(&mirror, &repository, &tip, &there, now).map(|found| (tip, found));
        match tokio::task::spawn_blocking(read).await.map_err(|_| EngineError::Stopping)? {
            Ok((tip, found)) => {
                self.keep_warnings(id, &tip, found).await?;
                self.looked_over().insert(id, (tip, now));
            }
            Err(TipError::Source(error)) => {
                tracing::warn!(%error, repository = %id, "a tip could not be looked over");
            }
            // What could be read when it was accepted: another build of this program may be stricter.
            Err(TipError::Invalid(problems)) => {
                tracing::warn!(problems = problems.len(), repository = %id, "a tip could not be looked over");
            }
        }
        Ok(())
    }

    fn is_due(&self, id: RepositoryId, tip: &CommitId, now: Timestamp) -> bool {
        let looked = self.looked_over();
        let fresh = |(seen, at): &(CommitId, Timestamp)| {
            let passed = now.duration_since(*at);
            // A clock that was set back says nothing of how long ago that was.
            seen == tip && passed < EVERY && !passed.is_negative()
        };
        !looked.get(&id).is_some_and(fresh)
    }

    async fn keep_warnings(
        &self,
        id: RepositoryId,
        tip: &CommitId,
        found: Vec<RepositoryWarning>,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let known = repositories::get(&mut tx, id).await?;
        // At a newer tip it is looked over again.
        let Some(known) = known.filter(|known| known.tip.as_ref() == Some(tip) && known.warnings != found)
        else {
            return Ok(());
        };
        let mut fresh = fresh(&known.warnings, &found);
        repositories::set_warnings(&mut tx, id, tip, &found).await?;
        if !fresh.is_empty() {
            let new = fresh.len() as u64;
            fresh.truncate(TOLD);
            let refs = Refs { repository: Some(id), commit: Some(tip.clone()), ..Refs::default() };
            tx.record(Event::RepositoryWarned { warnings: fresh, new }, refs)?;
        }
        tx.commit().await?;
        Ok(())
    }

    fn looked_over(&self) -> std::sync::MutexGuard<'_, HashMap<RepositoryId, (CommitId, Timestamp)>> {
        // Each value is whole: a panic elsewhere leaves nothing half written.
        self.inner.looked_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything worth a look at a tip, by file and line. Blocks.
fn read(
    mirror: &Mirror,
    repository: &Repository,
    tip: &CommitId,
    nodes: &[(NodeName, Labels)],
    now: Timestamp,
) -> Result<Vec<RepositoryWarning>, TipError> {
    let (fleet, entries) = read_whole(mirror, repository, tip)?;
    // Before there is a node, that nothing matches one says nothing.
    let nodes = (!nodes.is_empty()).then_some(nodes);
    let problems = manifest::check::check(&fleet, &entries, &|path| mirror.read(tip, path).ok(), nodes, now);
    let mut found: Vec<_> = problems.into_iter().map(warning).collect();
    found.sort();
    found.dedup();
    found.truncate(MOST);
    Ok(found)
}

fn warning(problem: manifest::Problem) -> RepositoryWarning {
    let manifest::Problem { code, file, line, field, message, hint, .. } = problem;
    RepositoryWarning { file, line, field, message, hint, code: code.as_str().to_owned() }
}

/// Those that were not there before. Lines move with every edit, and figures with every node: what differs in numbers
/// alone is the same.
fn fresh(before: &[RepositoryWarning], found: &[RepositoryWarning]) -> Vec<RepositoryWarning> {
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for warning in before {
        *known.entry(sense(warning)).or_default() += 1;
    }
    let mut new = Vec::new();
    for warning in found {
        match known.get_mut(&sense(warning)).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => new.push(warning.clone()),
        }
    }
    new
}

fn sense(warning: &RepositoryWarning) -> (&str, &str, Option<&str>, String) {
    let message = warning.message.replace(|c: char| c.is_ascii_digit(), "");
    (&warning.code, &warning.file, warning.field.as_deref(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: u32, message: &str) -> RepositoryWarning {
        RepositoryWarning {
            file: "fleet.toml".to_owned(),
            line: Some(line),
            field: Some("pin.nodes".to_owned()),
            message: message.to_owned(),
            hint: None,
            code: "BS1203".to_owned(),
        }
    }

    #[test]
    fn what_moved_or_counts_otherwise_is_not_new() {
        let before = [one(3, "`a=b` matches none of 2 nodes"), one(9, "`a=c` matches none of 2 nodes")];
        let found = [one(4, "`a=b` matches none of 13 nodes"), one(9, "`a=d` matches none of 13 nodes")];
        assert_eq!(fresh(&before, &found), [found[1].clone()]);
        let twice = [before[0].clone(), one(20, "`a=b` matches none of 2 nodes")];
        assert_eq!(fresh(&before, &twice), [twice[1].clone()], "a second of the same kind is new");
        assert!(fresh(&before, &[]).is_empty());
    }
}
