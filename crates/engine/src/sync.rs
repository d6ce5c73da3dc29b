//! From Git to the store: a new tip becomes changes, releases and stacks, all at once or not at all.

mod parts;
mod records;

use std::{collections::BTreeMap, sync::Arc};

use backstay_manifest::{self as manifest, Fleet, Selector};
use backstay_source::{ChangeFacts, Mirror, SourceError};
use backstay_store::{
    StoreError, Tx,
    changes::{self, KnownChange},
    constraints, repositories, stacks,
};
use backstay_types::{
    Change, CommitId, Constraint, ConstraintOrigin, Effect, Event, Refs, Repository, RepositoryHealth,
    RepositoryId, Scope, StackName, Timestamp, tree::below,
};

pub(crate) use records::StackRecord;

pub(crate) use self::parts::{Content, parts_of};
use crate::{Engine, EngineError, mirrors::blocking, parts::declared_at, provenance, warnings::Look};

/// How many commits are read when a repository is seen for the first time.
pub(crate) const FIRST_HISTORY: usize = 20_000;

/// A tip, read whole: everything that [`Engine::apply_tip`] needs.
#[derive(Debug)]
pub(crate) struct Tip {
    pub(crate) commit: CommitId,
    /// Commits new to the branch, oldest first.
    added: Vec<ChangeFacts>,
    /// Commits no longer on it.
    removed: Vec<CommitId>,
    fleet: Fleet,
    trees: BTreeMap<StackName, Content>,
    /// Trees that pins ask for, by stack and commit.
    pinned: Vec<(manifest::Pin, Content)>,
}

/// Why a tip cannot be deployed.
#[derive(Debug)]
pub(crate) enum TipError {
    /// Git could not be read.
    Source(SourceError),
    /// The content is not valid.
    Invalid(Vec<manifest::Problem>),
}

impl From<SourceError> for TipError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// Reads a tip from a mirror. Blocks.
pub(crate) fn read_tip(mirror: &Mirror, repository: &Repository, tip: &CommitId) -> Result<Tip, TipError> {
    let (added, removed) = match &repository.tip {
        None => (mirror.changes(None, tip, FIRST_HISTORY)?.changes, Vec::new()),
        Some(old) => {
            let added = mirror.changes(Some(old), tip, FIRST_HISTORY)?.changes;
            let removed = mirror.changes(Some(tip), old, FIRST_HISTORY)?.changes;
            (added, removed.into_iter().map(|facts| facts.commit).collect())
        }
    };
    let mut added = added;
    for facts in added.iter_mut().filter(|f| !f.reverts.is_empty()) {
        // A message may say more than the commit does.
        facts.reverts = mirror.history_entry(facts)?.reverts;
    }
    let fleet = read_fleet(mirror, repository, tip)?;
    let mut trees = BTreeMap::new();
    // Through environments a stack goes as one.
    let whole = manifest::Parts::default();
    for stack in fleet.stacks.values() {
        let parts = if fleet.manifest.environments.is_empty() { &stack.manifest.parts } else { &whole };
        trees.insert(stack.name.clone(), Content::read(mirror, tip, &stack.path, parts)?);
    }
    let mut pinned = Vec::new();
    for pin in &fleet.manifest.pins {
        if let Some(stack) = fleet.stacks.get(&pin.stack) {
            let parts = match fleet.manifest.environments.is_empty() {
                true => declared_at(mirror, &pin.commit, &stack.path)?,
                false => whole.clone(),
            };
            pinned.push((pin.clone(), Content::read(mirror, &pin.commit, &stack.path, &parts)?));
        }
    }
    Ok(Tip { commit: tip.clone(), added, removed, fleet, trees, pinned })
}

/// The files at a commit or in a draft. Blocks.
fn read_entries<'a>(
    mirror: &Mirror,
    at: impl Into<backstay_source::At<'a>>,
) -> Result<Vec<manifest::Entry>, SourceError> {
    let entry = |entry: backstay_source::Entry| manifest::Entry {
        path: entry.path,
        mode: entry.mode,
        size: entry.size,
    };
    Ok(mirror.tree_at(at, "")?.entries.into_iter().map(entry).collect())
}

/// Reads the manifests at a commit or in a draft. Blocks.
pub(crate) fn read_fleet<'a>(
    mirror: &Mirror,
    repository: &Repository,
    at: impl Into<backstay_source::At<'a>>,
) -> Result<Fleet, TipError> {
    Ok(read_whole(mirror, repository, at)?.0)
}

/// The same, with all that lies there. Blocks.
pub(crate) fn read_whole<'a>(
    mirror: &Mirror,
    repository: &Repository,
    at: impl Into<backstay_source::At<'a>>,
) -> Result<(Fleet, Vec<manifest::Entry>), TipError> {
    let at = at.into();
    let entries = read_entries(mirror, at)?;
    let listing = manifest::Listing {
        repository: &repository.name,
        stacks_path: repository.stacks_path.as_deref(),
        entries: &entries,
    };
    let fleet = manifest::discover(listing, &|path| mirror.read(at, path).ok()).map_err(TipError::Invalid)?;
    Ok((fleet, entries))
}

impl Engine {
    /// Fetches a repository and takes what is new. A repository that cannot be fetched or understood changes
    /// nothing but its own health.
    ///
    /// # Errors
    /// When there is no such repository, or the store fails. What Git says is in the returned health.
    pub async fn sync_repository(&self, id: RepositoryId) -> Result<Repository, EngineError> {
        self.fetch(id).await?;
        self.look_over(id, Look::Now).await?;
        self.repository(id).await
    }

    /// Fetches a repository, takes what is new, and plans.
    pub(crate) async fn fetch(&self, id: RepositoryId) -> Result<(), EngineError> {
        let repository = self.repository(id).await?;
        let mirror = self.inner.mirrors.of(&repository)?;
        let credential = self.credential(id).await?;
        let fetched = {
            let (mirror, credential) = (Arc::clone(&mirror), credential.clone());
            blocking(move || mirror.fetch(credential.as_ref())).await
        };
        match fetched {
            Ok(fetched) => {
                let first = repository.endpoints.first().is_some_and(|e| *e == fetched.endpoint);
                // Another hub may take in the same at the same moment; then what it made of it is looked at.
                let mut again = 0..2;
                while let Err(error) = self.upstream_at(id, &mirror, fetched.tip.clone(), first).await {
                    let stale = matches!(error, EngineError::Store(StoreError::Stale { .. }));
                    if !stale || again.next().is_none() {
                        return Err(error);
                    }
                }
                self.fetch_followed(id, &mirror, credential).await?;
            }
            Err(EngineError::Source(error)) => {
                self.set_health(&repository, unreachable(&error)).await?;
            }
            Err(error) => return Err(error),
        }
        self.reconcile().await
    }

    /// Advances the deployed branch to `tip`; a person or upstream decided that it may.
    pub(crate) async fn advance(
        &self,
        repository: &Repository,
        mirror: &Arc<Mirror>,
        tip: CommitId,
    ) -> Result<bool, EngineError> {
        let read = {
            let (mirror, repository, tip) = (Arc::clone(mirror), repository.clone(), tip.clone());
            tokio::task::spawn_blocking(move || read_tip(&mirror, &repository, &tip))
                .await
                .map_err(|_| EngineError::Stopping)?
        };
        let tip = match read {
            Ok(tip) => tip,
            Err(TipError::Source(error)) => return Err(error.into()),
            Err(TipError::Invalid(problems)) => {
                self.set_health(repository, invalid(&problems)).await?;
                return Ok(false);
            }
        };
        self.keep(mirror, &tip.commit).await?;
        let mut tx = self.inner.store.begin().await?;
        match self.apply_tip(&mut tx, repository, &tip).await {
            Ok(()) => tx.commit().await?,
            Err(EngineError::Store(StoreError::Conflict { what, id })) => {
                drop(tx);
                let message = format!("there is a {what} `{id}` in another repository already");
                let health = RepositoryHealth::Invalid { code: "BS4005".to_owned(), message };
                self.set_health(repository, health).await?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Makes sure that what is about to be deployed stays in the mirror, whatever happens upstream.
    pub(crate) async fn keep(&self, mirror: &Arc<Mirror>, commit: &CommitId) -> Result<(), EngineError> {
        let (mirror, commit) = (Arc::clone(mirror), commit.clone());
        blocking(move || mirror.accept(&commit)).await
    }

    /// Stores a tip: changes with their links, releases, stacks, pins, and the tip itself.
    pub(crate) async fn apply_tip(
        &self,
        tx: &mut Tx,
        repository: &Repository,
        tip: &Tip,
    ) -> Result<(), EngineError> {
        let now = self.inner.world.now();
        for commit in &tip.removed {
            changes::set_position(tx, repository.id, commit, None).await?;
        }
        let before = stacks::of_repository(tx, repository.id).await?;
        let folders = folders(tip, &before);
        let mut position = changes::last_position(tx, repository.id).await?.unwrap_or(0);
        let mut touched: BTreeMap<StackName, Vec<&ChangeFacts>> = BTreeMap::new();
        for facts in &tip.added {
            position += 1;
            let of_stacks = stacks_of(facts, &folders);
            for stack in &of_stacks {
                touched.entry(stack.clone()).or_default().push(facts);
            }
            let first_import = repository.tip.is_none() && facts.commit != tip.commit;
            self.apply_change(tx, repository, facts, of_stacks, Some(position), first_import, now).await?;
        }
        self.apply_stacks(tx, repository, tip, &before, &touched, now).await?;
        self.apply_limits(tx, repository, tip, now).await?;
        repositories::set_tip(tx, repository.id, repository.tip.as_ref(), &tip.commit).await?;
        set_health(tx, repository, RepositoryHealth::Ok, Some(now)).await
    }

    /// Keeps a commit, at a place on the deployed branch or beside it.
    #[expect(clippy::too_many_arguments, reason = "one call, and each is a different thing")]
    pub(crate) async fn apply_change(
        &self,
        tx: &mut Tx,
        repository: &Repository,
        facts: &ChangeFacts,
        stacks: Vec<StackName>,
        position: Option<i64>,
        quiet: bool,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let links = provenance::links(tx, repository.id, facts, now).await?;
        let refs = Refs {
            repository: Some(repository.id),
            commit: Some(facts.commit.clone()),
            conversation: links.iter().find(|l| l.source.is_certain()).map(|l| l.conversation),
            undo: facts.undo.first().copied(),
            stack: stacks.first().cloned(),
            ..Refs::default()
        };
        let change = Change {
            repository: repository.id,
            commit: facts.commit.clone(),
            parents: facts.parents.clone(),
            author: facts.author.clone(),
            authored_at: facts.authored_at,
            committed_at: facts.committed_at,
            seen_at: now,
            subject: facts.subject.clone(),
            stacks,
            links,
            reverts: facts.reverts.clone(),
        };
        let known = KnownChange {
            change,
            undo: facts.undo.first().copied(),
            patch_digest: facts.patch,
            position,
            landed_at: None,
        };
        if !changes::insert(tx, &known).await? {
            if let Some(position) = position {
                changes::land(tx, repository.id, &facts.commit, position, now).await?;
            }
        } else if !quiet {
            let event =
                Event::ChangeSeen { subject: facts.subject.clone(), author: facts.author.name.clone() };
            tx.record(event, refs)?;
        }
        Ok(())
    }

    /// Makes the pins and freezes of `fleet.toml` constraints, and lifts those that it no longer holds.
    async fn apply_limits(
        &self,
        tx: &mut Tx,
        repository: &Repository,
        tip: &Tip,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let origin = ConstraintOrigin::Manifest { repository: repository.id };
        let mut wanted = Vec::new();
        for (pin, content) in &tip.pinned {
            let Some(stack) = tip.fleet.stacks.get(&pin.stack) else { continue };
            let release = self
                .release(tx, repository, &pin.stack, &stack.path, &pin.commit, content.whole(), now)
                .await?;
            let effect = Effect::Pin { stack: pin.stack.clone(), release: release.id };
            wanted.push((effect, &pin.nodes, None, pin.until, &pin.reason));
        }
        for freeze in &tip.fleet.manifest.freezes {
            let effect = Effect::Freeze { stack: freeze.stack.clone() };
            wanted.push((effect, &freeze.nodes, freeze.from, freeze.until, &freeze.reason));
        }
        let mut standing = constraints::of_repository(tx, repository.id).await?;
        // One that has run out stays in the file until somebody takes it out; it is not set again.
        wanted.retain(|(_, _, _, until, _)| until.is_none_or(|until| now < until));
        for (effect, nodes, from, until, reason) in wanted {
            let scope = match nodes.is_everything() && matches!(effect, Effect::Freeze { .. }) {
                true => Scope::Fleet,
                false => Scope::Nodes { selector: nodes.to_string() },
            };
            let same =
                |c: &Constraint| c.effect == effect && c.scope == scope && (c.from, c.until) == (from, until);
            if let Some(at) = standing.iter().position(same) {
                standing.swap_remove(at);
                continue;
            }
            let constraint = Constraint {
                id: self.inner.world.mint(),
                scope,
                effect,
                reason: reason.clone(),
                by: "fleet.toml".to_owned(),
                origin: origin.clone(),
                created_at: now,
                from,
                until,
                lifted_at: None,
            };
            self.set_constraint(tx, &constraint).await?;
        }
        for gone in standing {
            self.lift_constraint(tx, &gone, "no longer in fleet.toml", "fleet.toml").await?;
        }
        Ok(())
    }

    pub(crate) async fn repository(&self, id: RepositoryId) -> Result<Repository, EngineError> {
        let found = repositories::get(&mut self.inner.store.read(), id).await?;
        found.ok_or_else(|| EngineError::not_found("repository", id))
    }

    pub(crate) async fn set_health(
        &self,
        repository: &Repository,
        health: RepositoryHealth,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let fetched = matches!(health, RepositoryHealth::Ok | RepositoryHealth::Invalid { .. });
        let now = self.inner.world.now();
        let current = repositories::get(&mut tx, repository.id).await?;
        let current = current.ok_or_else(|| EngineError::not_found("repository", repository.id))?;
        set_health(&mut tx, &current, health, fetched.then_some(now)).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Sets a repository's health; only a change of it is recorded.
async fn set_health(
    tx: &mut Tx,
    repository: &Repository,
    health: RepositoryHealth,
    fetched_at: Option<Timestamp>,
) -> Result<(), EngineError> {
    repositories::set_health(tx, repository.id, &repository.health, &health, fetched_at).await?;
    if repository.health != health {
        let refs = Refs { repository: Some(repository.id), ..Refs::default() };
        tx.record(Event::RepositoryHealthChanged { health }, refs)?;
    }
    Ok(())
}

/// What Git said.
pub(crate) fn unreachable(error: &SourceError) -> RepositoryHealth {
    RepositoryHealth::Unreachable {
        code: error.code().to_string(),
        message: match error.hint() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        },
    }
}

/// The first problem in full, and how many more there are.
pub(crate) fn invalid(problems: &[manifest::Problem]) -> RepositoryHealth {
    let code = problems.first().map(|p| p.code.as_str().to_owned()).unwrap_or_default();
    RepositoryHealth::Invalid { code, message: describe(problems) }
}

/// Problems as lines for people.
pub(crate) fn describe(problems: &[manifest::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Selectors of the nodes that a stack is assigned to.
pub(crate) fn assignment(fleet: &Fleet, stack: &StackName) -> Vec<Selector> {
    if fleet.manifest.assignments.is_empty() {
        return vec![Selector::everything()];
    }
    fleet.manifest.assignments.iter().filter(|a| a.stack == *stack).map(|a| a.nodes.clone()).collect()
}

/// Folders of stacks, of those that are gone too.
fn folders(tip: &Tip, before: &[stacks::Stack]) -> Vec<(String, StackName)> {
    let now = tip.fleet.stacks.values().map(|s| (s.path.clone(), s.name.clone()));
    let gone = before.iter().filter(|b| !tip.fleet.stacks.contains_key(&b.name));
    now.chain(gone.map(|b| (b.path.clone(), b.name.clone()))).collect()
}

/// Stacks whose folder a commit touches itself.
pub(crate) fn stacks_of(facts: &ChangeFacts, folders: &[(String, StackName)]) -> Vec<StackName> {
    let own = facts.own_paths();
    let touches = |folder: &str| own.iter().any(|path| below(folder, path).is_some());
    let mut found: Vec<_> =
        folders.iter().filter(|(f, _)| touches(f)).map(|(_, stack)| stack.clone()).collect();
    found.sort();
    found.dedup();
    found
}
