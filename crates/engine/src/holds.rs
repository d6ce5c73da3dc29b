//! Holds and other constraints, set and lifted by people and by undos.

use std::collections::HashSet;

use backstay_store::{Executor, Tx, branches, changes, constraints, links, releases};
use backstay_types::{
    CommitId, Constraint, ConstraintId, ConstraintOrigin, ConversationId, Effect, Event, Refs, Release,
    ReleaseStanding, RepositoryId, Scope, Timestamp,
};

use crate::{Engine, EngineError};

impl Engine {
    /// Holds a change: no release that contains it without its undo is planned from now on.
    ///
    /// # Errors
    /// When the change is not known, or the store fails.
    pub async fn hold_commit(
        &self,
        repository: RepositoryId,
        commit: CommitId,
        reason: &str,
        until: Option<Timestamp>,
        by: &str,
    ) -> Result<Constraint, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        if changes::get(&mut tx, repository, &commit).await?.is_none() {
            return Err(EngineError::not_found("commit", commit));
        }
        let wanted = self.hold(repository, commit, ConstraintOrigin::Person, reason, until, by);
        let constraint = self.hold_once(&mut tx, wanted).await?;
        tx.commit().await?;
        self.wake();
        Ok(constraint)
    }

    /// Holds everything that a conversation certainly changed.
    ///
    /// # Errors
    /// When it changed nothing, or the store fails.
    pub async fn hold_conversation(
        &self,
        conversation: ConversationId,
        reason: &str,
        until: Option<Timestamp>,
        by: &str,
    ) -> Result<Vec<Constraint>, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let mut made = Vec::new();
        for known in links::changes_of(&mut tx, conversation).await? {
            let certain = |l: &backstay_types::Link| l.conversation == conversation && l.source.is_certain();
            if known.change.links.iter().any(certain) {
                let (repository, commit) = (known.change.repository, known.change.commit);
                let wanted = self.hold(repository, commit, ConstraintOrigin::Person, reason, until, by);
                made.push(self.hold_once(&mut tx, wanted).await?);
            }
        }
        if made.is_empty() {
            return Err(EngineError::Refused(backstay_plan::Refusal::Nothing));
        }
        tx.commit().await?;
        self.wake();
        Ok(made)
    }

    /// Sets a person's hold or limit, or gives the same one that is set already: who asks again because no answer
    /// came has one hold to lift, not two.
    pub(crate) async fn hold_once(&self, tx: &mut Tx, wanted: Constraint) -> Result<Constraint, EngineError> {
        let same = |c: &Constraint| {
            (&c.effect, &c.scope, &c.origin, &c.from, &c.until)
                == (&wanted.effect, &wanted.scope, &wanted.origin, &wanted.from, &wanted.until)
                && (&c.reason, &c.by) == (&wanted.reason, &wanted.by)
        };
        let standing = constraints::set_at(tx, wanted.created_at).await?;
        if let Some(found) = standing.into_iter().find(same) {
            return Ok(found);
        }
        self.set_constraint(tx, &wanted).await?;
        Ok(wanted)
    }

    /// Lifts a constraint.
    ///
    /// # Errors
    /// When there is none in force with this id, or the store fails.
    pub async fn lift(&self, id: ConstraintId, reason: &str, by: &str) -> Result<Constraint, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let found = constraints::get(&mut tx, id).await?;
        let found = found.ok_or_else(|| EngineError::not_found("constraint", id))?;
        if found.effect == Effect::Decommission {
            let message =
                "a node is being taken out by it; `backstay nodes decommission NODE --cancel` lets it stay";
            return Err(EngineError::Conflict(message.to_owned()));
        }
        if let ConstraintOrigin::Migration { migration } = found.origin {
            let message = format!(
                "it says where a stack was moved to: it ends when `fleet.toml` says the same, or with \
                 `backstay migrate --back {migration}`"
            );
            return Err(EngineError::Conflict(message));
        }
        self.lift_constraint(&mut tx, &found, reason, by).await?;
        tx.commit().await?;
        self.changed_by_hand();
        let lifted = constraints::get(&mut self.inner.store.read(), id).await?;
        lifted.ok_or_else(|| EngineError::not_found("constraint", id))
    }

    /// Whether a release may be planned.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn standing(&self, release: &Release) -> Result<ReleaseStanding, EngineError> {
        let mut read = self.inner.store.read();
        let now = self.inner.world.now();
        let constraints = constraints::in_force(&mut read, now).await?;
        Ok(match self.standing_in(&mut read, release, &constraints, now).await? {
            Ok(()) => ReleaseStanding::Eligible,
            Err(reason) if reason.starts_with("banned") => ReleaseStanding::Banned { reason },
            Err(reason) => ReleaseStanding::Held { reason },
        })
    }

    pub(crate) fn hold(
        &self,
        repository: RepositoryId,
        commit: CommitId,
        origin: ConstraintOrigin,
        reason: &str,
        until: Option<Timestamp>,
        by: &str,
    ) -> Constraint {
        Constraint {
            id: self.inner.world.mint(),
            scope: Scope::Fleet,
            effect: Effect::Hold { repository, commit },
            reason: reason.to_owned(),
            by: by.to_owned(),
            origin,
            created_at: self.inner.world.now(),
            from: None,
            until,
            lifted_at: None,
        }
    }

    pub(crate) async fn set_constraint(
        &self,
        tx: &mut Tx,
        constraint: &Constraint,
    ) -> Result<(), EngineError> {
        constraints::insert(tx, constraint).await?;
        let event = Event::ConstraintSet {
            effect: constraint.effect.clone(),
            reason: constraint.reason.clone(),
            by: constraint.by.clone(),
        };
        tx.record(event, constraint_refs(constraint))?;
        Ok(())
    }

    pub(crate) async fn lift_constraint(
        &self,
        tx: &mut Tx,
        constraint: &Constraint,
        reason: &str,
        by: &str,
    ) -> Result<(), EngineError> {
        constraints::lift(tx, constraint.id, self.inner.world.now()).await?;
        let event = Event::ConstraintLifted { reason: reason.to_owned(), by: by.to_owned() };
        tx.record(event, constraint_refs(constraint))?;
        Ok(())
    }

    /// Whether a release contains a change (or the same change under another id) that touches its stack and is not
    /// taken back. What came on the branch after the first commit with the release's tree is not in it.
    pub(crate) async fn is_contained(
        &self,
        ex: &mut impl Executor,
        repository: RepositoryId,
        commit: &CommitId,
        release: &Release,
    ) -> Result<bool, EngineError> {
        if release.part.is_none() && !release.parts.is_empty() {
            let ids: Vec<_> = release.parts.values().copied().collect();
            for part in releases::many(ex, &ids).await? {
                if self.is_in(ex, repository, commit, &part).await? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        self.is_in(ex, repository, commit, release).await
    }

    /// The same of one that is not put together of others.
    async fn is_in(
        &self,
        ex: &mut impl Executor,
        repository: RepositoryId,
        commit: &CommitId,
        release: &Release,
    ) -> Result<bool, EngineError> {
        let line = line_of(ex, repository, release).await?;
        let Some(held) = changes::get(ex, repository, commit).await? else { return Ok(false) };
        let mut same = match held.patch_digest {
            Some(patch) => changes::by_patch(ex, repository, patch).await?,
            None => Vec::new(),
        };
        if !same.iter().any(|k| k.change.commit == *commit) {
            same.push(held);
        }
        // An undo that brought it back is judged by what it undid, not by its diff.
        for known in same.into_iter().filter(|k| k.undo.is_none() || k.change.commit == *commit) {
            if known.change.stacks.contains(&release.stack)
                && touches(ex, repository, &known.change.commit, release).await?
                && is_effective(ex, repository, &known, &line).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a commit that touches a stack touches what a release holds of it. One from before the stack was divided so is
/// taken to.
async fn touches(
    ex: &mut impl Executor,
    repository: RepositoryId,
    commit: &CommitId,
    release: &Release,
) -> Result<bool, EngineError> {
    let Some(part) = &release.part else { return Ok(true) };
    let parts = releases::parts_of_commit(ex, &release.stack, repository, commit).await?;
    Ok(parts.is_empty() || parts.contains(part))
}

/// The commits that a release may contain.
struct Line {
    /// Those on the deployed branch up to this place.
    upto: i64,
    /// And these, of a branch that nodes follow instead.
    own: HashSet<CommitId>,
}

impl Line {
    fn has(&self, known: &changes::KnownChange) -> bool {
        known.position.is_some_and(|position| position <= self.upto)
            || self.own.contains(&known.change.commit)
    }
}

/// The line of history that a release stands on.
async fn line_of(
    ex: &mut impl Executor,
    repository: RepositoryId,
    release: &Release,
) -> Result<Line, EngineError> {
    let first = changes::get(ex, repository, &release.commit).await?;
    if let Some(upto) = first.and_then(|known| known.position) {
        return Ok(Line { upto, own: HashSet::new() });
    }
    let Some(branch) = branches::with_release(ex, &release.stack, release.id, &release.commit).await? else {
        // One that is on no branch, such as what an undo made for some nodes, is judged by all of the deployed one.
        return Ok(Line { upto: i64::MAX, own: HashSet::new() });
    };
    // Its content may have come to the deployed branch by other commits.
    let commits = releases::commits(ex, release.id).await?;
    let landed = changes::each(ex, commits).await?.into_iter().filter_map(|known| known.position).max();
    Ok(Line {
        upto: landed.max(branch.base).unwrap_or(i64::MIN),
        own: branches::commits(ex, &branch.stack, &branch.branch).await?,
    })
}

/// On the line, and no revert of it there that is itself in effect.
async fn is_effective(
    ex: &mut impl Executor,
    repository: RepositoryId,
    known: &changes::KnownChange,
    line: &Line,
) -> Result<bool, EngineError> {
    if !line.has(known) {
        return Ok(false);
    }
    for reverting in changes::reverting(ex, repository, &known.change.commit).await? {
        if reverting.change.commit != known.change.commit
            && Box::pin(is_effective(ex, repository, &reverting, line)).await?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn constraint_refs(constraint: &Constraint) -> Refs {
    let undo = match constraint.origin {
        ConstraintOrigin::Undo { undo } => Some(undo),
        _ => None,
    };
    let mut refs = Refs { constraint: Some(constraint.id), undo, ..Refs::default() };
    match &constraint.effect {
        Effect::Pin { stack, release } => {
            refs.stack = Some(stack.clone());
            refs.release = Some(*release);
        }
        Effect::Hold { repository, commit } => {
            refs.repository = Some(*repository);
            refs.commit = Some(commit.clone());
        }
        effect => refs.stack = effect.stack().cloned(),
    }
    refs
}
