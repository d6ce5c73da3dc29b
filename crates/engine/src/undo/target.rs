//! Where an undo takes a part of the fleet, and whether anybody may go there.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use backstay_plan::{StackFacts, Within};
use backstay_types::{
    CommitId, Constraint, Effect, NodeMove, NodeName, Release, RepositoryId, TreeDigest, UndoPlan,
};

use super::WantedUndo;
use crate::{Engine, EngineError, proven, reconcile::Loaded};

/// What an undo takes back in a repository.
pub(super) type Undone<'a> = (RepositoryId, &'a [CommitId]);

impl Engine {
    /// Whether a release contains any of what an undo takes back.
    pub(super) async fn has_any(
        &self,
        release: &Release,
        (repository, undone): Undone<'_>,
    ) -> Result<bool, EngineError> {
        let mut read = self.inner.store.read();
        for commit in undone {
            if self.is_contained(&mut read, repository, commit, release).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What an environment that does not follow the branch goes back to: the last release that did well there and is
    /// without what is undone. With it what to say of that. None for what follows the branch, and where nothing is left:
    /// there it has to be let in like any other.
    pub(super) async fn own_target(
        &self,
        loaded: &Loaded,
        facts: &StackFacts,
        undone: Undone<'_>,
        plan: &mut UndoPlan,
    ) -> Result<Option<Release>, EngineError> {
        let Within::Environment(environment) = &facts.within else { return Ok(None) };
        if environment.after.is_empty() {
            return Ok(None);
        }
        let (constraints, now) = (&loaded.snapshot.constraints, loaded.snapshot.now);
        let mut read = self.inner.store.read();
        for release in proven::good(&mut read, &facts.name, Some(&environment.name)).await? {
            let stands = self.standing_in(&mut read, &release, constraints, now).await?.is_ok();
            if stands && !self.has_any(&release, undone).await? {
                plan.notes.push(format!(
                    "{}: `{}` goes back to {}, of commit {}, the last that did well there without what is undone; what \
                     came to the branch since is let in as any release",
                    facts.name,
                    environment.name,
                    release.tree.short(),
                    release.commit.short()
                ));
                return Ok(Some(release));
            }
        }
        plan.notes.push(format!(
            "{}: nothing that ran in `{}` is without what is undone; it is rid of it when the release without it is let in \
             (`backstay environments` says what that waits for)",
            facts.name, environment.name
        ));
        Ok(None)
    }

    /// Refuses to send anybody to what is banned, before anything is pushed. Where nobody who would be moved runs what is
    /// undone, the branch may go there: all stay on what they run, which is said.
    pub(super) async fn check_banned(
        &self,
        want: &WantedUndo,
        loaded: &Loaded,
        (row, facts): (usize, &StackFacts),
        tree: TreeDigest,
        undone: Undone<'_>,
        moved: &[NodeMove],
    ) -> Result<Option<String>, EngineError> {
        let bans = |one: &&Constraint| one.effect == Effect::Ban { stack: facts.name.clone(), tree };
        let Some(ban) = loaded.snapshot.constraints.iter().find(bans) else { return Ok(None) };
        if moved.is_empty() {
            return Ok(None);
        }
        let leaves = want.scope.nodes.is_some() || self.runs_any(loaded, row, undone, moved).await?;
        if leaves {
            return Err(EngineError::BannedResult {
                stack: facts.name.to_string(),
                tree: tree.short(),
                by: ban.by.clone(),
                constraint: ban.id.to_string(),
                reason: ban.reason.clone(),
            });
        }
        Ok(Some(format!(
            "{}: what the branch goes back to is banned by {}: {}; no node runs what is undone, and all stay on what they run",
            facts.name, ban.by, ban.reason
        )))
    }

    /// Whether a node of these moves runs, or was told of, any of what is undone.
    async fn runs_any(
        &self,
        loaded: &Loaded,
        row: usize,
        undone: Undone<'_>,
        moved: &[NodeMove],
    ) -> Result<bool, EngineError> {
        let names: HashSet<&NodeName> = moved.iter().map(|one| &one.node).collect();
        let mut asked = HashMap::new();
        for (at, _) in loaded.snapshot.nodes.iter().enumerate().filter(|(_, n)| names.contains(n.name())) {
            let told = loaded.snapshot.past.of(row, at).told();
            for release in told.filter_map(|told| loaded.releases.get(&told)) {
                if let Entry::Vacant(entry) = asked.entry(release.id) {
                    entry.insert(self.has_any(release, undone).await?);
                }
            }
        }
        Ok(asked.values().any(|has| *has))
    }
}
