//! From Git to the store: a new tip becomes changes, releases and stacks, all at once or not at all.

use std::{collections::BTreeMap, sync::Arc};

use backstay_manifest::{self as manifest, Fleet, Selector};
use backstay_source::{ChangeFacts, Mirror, SourceError, StackTree};
use backstay_store::{
    StoreError, Tx,
    changes::{self, KnownChange},
    constraints, releases, repositories, stacks,
};
use backstay_types::{
    Change, CommitId, Constraint, ConstraintOrigin, Digest, Effect, Event, FleetThresholds, PartName, Refs,
    Release, ReleaseId, Repository, RepositoryHealth, RepositoryId, RolloutStrategy, Scope, StackName,
    Timestamp, UndoId,
    tree::{below, in_folder},
};
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    mirrors::blocking,
    parts::{Divided, PartRecord, declared_at, divided},
    provenance,
};

/// How many commits are read when a repository is seen for the first time.
const FIRST_HISTORY: usize = 20_000;

/// What the engine keeps with a stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StackRecord {
    /// The newest commit that changed it.
    pub(crate) commit: CommitId,
    /// The undo that made that commit, if one did.
    pub(crate) undo: Option<UndoId>,
    /// How many nodes may update at once.
    pub(crate) max_updating: Option<manifest::MaxUpdating>,
    /// The manifest schema that it needs.
    pub(crate) schema: u32,
    /// When nodes may begin something new of it.
    #[serde(default)]
    pub(crate) windows: Vec<manifest::Window>,
    /// How its rollouts go out.
    #[serde(default)]
    pub(crate) strategy: RolloutStrategy,
    /// From when on the health of all nodes slows or stops rollouts.
    #[serde(default)]
    pub(crate) thresholds: FleetThresholds,
    /// From how many nodes it may be taken away at once, when it is no longer assigned to them.
    #[serde(default)]
    pub(crate) prune: Option<manifest::MaxUpdating>,
    /// The newest commit that changed who runs it, and the undo that made that commit.
    #[serde(default)]
    pub(crate) assigned_by: Option<(CommitId, Option<UndoId>)>,
    /// Where its releases go first.
    #[serde(default)]
    pub(crate) environments: Vec<manifest::Environment>,
    /// Stands for how it is divided into parts, where it is.
    #[serde(default)]
    pub(crate) layout: Option<Digest>,
    /// Its parts, with what no part names.
    #[serde(default)]
    pub(crate) parts: Vec<PartRecord>,
    /// Versions of releases of its parts, as far as they say any.
    #[serde(default)]
    pub(crate) versions: BTreeMap<ReleaseId, manifest::Version>,
}

/// A tip, read whole: everything that [`apply`] needs.
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

/// A stack's tree, and how it is divided.
#[derive(Debug)]
struct Content {
    tree: StackTree,
    divided: Option<Divided>,
    /// The versions that its parts say.
    versions: BTreeMap<PartName, manifest::Version>,
}

impl Content {
    fn whole(&self) -> (&StackTree, Option<&Divided>) {
        (&self.tree, self.divided.as_ref())
    }

    /// That of a stack at a commit, where it goes out in parts. Blocks.
    fn read(
        mirror: &Mirror,
        at: &CommitId,
        folder: &str,
        parts: &manifest::Parts,
    ) -> Result<Self, SourceError> {
        let mut versions = BTreeMap::new();
        for part in parts.iter() {
            let Some(place) = &part.version else { continue };
            let text = mirror.try_read(at, &in_folder(folder, &place.file))?;
            versions
                .extend(text.and_then(|text| place.read(&text)).map(|version| (part.name.clone(), version)));
        }
        let (tree, divided) = (mirror.stack_tree(at, folder)?, divided(mirror, at, folder, parts)?);
        Ok(Self { tree, divided, versions })
    }
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
pub(crate) fn read_entries<'a>(
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
    let at = at.into();
    let entries = read_entries(mirror, at)?;
    let listing = manifest::Listing {
        repository: &repository.name,
        stacks_path: repository.stacks_path.as_deref(),
        entries: &entries,
    };
    manifest::discover(listing, &|path| mirror.read(at, path).ok()).map_err(TipError::Invalid)
}

impl Engine {
    /// Fetches a repository and takes what is new. A repository that cannot be fetched or understood changes
    /// nothing but its own health.
    ///
    /// # Errors
    /// When there is no such repository, or the store fails. What Git says is in the returned health.
    pub async fn sync_repository(&self, id: RepositoryId) -> Result<Repository, EngineError> {
        let repository = self.repository(id).await?;
        let mirror = self.inner.mirrors.of(&repository)?;
        let credential = self.credential(id).await?;
        let fetched = {
            let mirror = Arc::clone(&mirror);
            blocking(move || mirror.fetch(credential.as_ref())).await
        };
        match fetched {
            Ok(fetched) => {
                let first = repository.endpoints.first().is_some_and(|e| *e == fetched.endpoint);
                self.upstream_at(id, &mirror, fetched.tip, first).await?;
            }
            Err(EngineError::Source(error)) => {
                let health = RepositoryHealth::Unreachable {
                    code: error.code().to_string(),
                    message: match error.hint() {
                        Some(hint) => format!("{error} ({hint})"),
                        None => error.to_string(),
                    },
                };
                self.set_health(&repository, health).await?;
            }
            Err(error) => return Err(error),
        }
        self.reconcile().await?;
        self.repository(id).await
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
            self.apply_change(tx, repository, facts, of_stacks, position, first_import, now).await?;
        }
        self.apply_stacks(tx, repository, tip, &before, &touched, now).await?;
        self.apply_limits(tx, repository, tip, now).await?;
        repositories::set_tip(tx, repository.id, repository.tip.as_ref(), &tip.commit).await?;
        set_health(tx, repository, RepositoryHealth::Ok, Some(now)).await
    }

    #[expect(clippy::too_many_arguments, reason = "one call, and each is a different thing")]
    async fn apply_change(
        &self,
        tx: &mut Tx,
        repository: &Repository,
        facts: &ChangeFacts,
        stacks: Vec<StackName>,
        position: i64,
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
            position: Some(position),
        };
        if !changes::insert(tx, &known).await? {
            changes::set_position(tx, repository.id, &facts.commit, Some(position)).await?;
        } else if !quiet {
            let event =
                Event::ChangeSeen { subject: facts.subject.clone(), author: facts.author.name.clone() };
            tx.record(event, refs)?;
        }
        Ok(())
    }

    async fn apply_stacks(
        &self,
        tx: &mut Tx,
        repository: &Repository,
        tip: &Tip,
        before: &[stacks::Stack],
        touched: &BTreeMap<StackName, Vec<&ChangeFacts>>,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        for stack in tip.fleet.stacks.values() {
            let Some(content) = tip.trees.get(&stack.name) else { continue };
            let release = self
                .release(tx, repository, &stack.name, &stack.path, &tip.commit, content.whole(), now)
                .await?;
            let brought = touched.get(&stack.name).map(Vec::as_slice).unwrap_or_default();
            for facts in brought {
                releases::add_commit(tx, release.id, repository.id, &facts.commit).await?;
                for part in content.divided.iter().flat_map(|divided| parts_of(facts, &stack.path, divided)) {
                    if let Some(id) = release.parts.get(&part) {
                        releases::add_commit(tx, *id, repository.id, &facts.commit).await?;
                    }
                }
            }
            let assigned = serde_json::to_string(&assignment(&tip.fleet, &stack.name));
            let assigned = assigned.map_err(StoreError::from)?;
            let old_row = before.iter().find(|b| b.name == stack.name);
            let old: Option<StackRecord> = old_row.and_then(|b| serde_json::from_str(&b.manifest).ok());
            let assigned_by = assigned_by(tip, old_row, old.as_ref(), &assigned);
            let (parts, versions) = part_records(tip, stack, content, &release, brought, old.as_ref());
            let newest = brought.last().map(|f| (f.commit.clone(), f.undo.first().copied()));
            let (commit, undo) =
                newest.or(old.map(|o| (o.commit, o.undo))).unwrap_or_else(|| (tip.commit.clone(), None));
            let record = StackRecord {
                commit,
                undo,
                max_updating: tip.fleet.manifest.rollout.max_updating,
                schema: stack.schema,
                windows: windows(&tip.fleet, &stack.name),
                strategy: strategy(&tip.fleet, stack),
                thresholds: tip.fleet.manifest.rollout.fleet,
                prune: prune(&tip.fleet),
                assigned_by,
                environments: tip.fleet.manifest.environments.clone(),
                layout: release.layout,
                parts,
                versions,
            };
            let row = stacks::Stack {
                name: stack.name.clone(),
                repository: repository.id,
                path: stack.path.clone(),
                release: Some(release.id),
                assignment: assigned,
                manifest: serde_json::to_string(&record).map_err(StoreError::from)?,
                present: true,
                updated_at: now,
            };
            stacks::put(tx, &row).await?;
        }
        for gone in before.iter().filter(|b| !tip.fleet.stacks.contains_key(&b.name)) {
            let left = touched.get(&gone.name).and_then(|brought| brought.last());
            let row = without(tip, gone, left.copied(), now)?;
            if gone.present || row.manifest != gone.manifest {
                stacks::put(tx, &row).await?;
            }
        }
        Ok(())
    }

    /// The release of a stack's tree, made at first sight.
    #[expect(clippy::too_many_arguments, reason = "the facts of a release")]
    pub(crate) async fn release(
        &self,
        tx: &mut Tx,
        repository: &Repository,
        stack: &StackName,
        path: &str,
        commit: &CommitId,
        (tree, divided): (&StackTree, Option<&Divided>),
        now: Timestamp,
    ) -> Result<Release, EngineError> {
        let mut parts = BTreeMap::new();
        for (name, tree) in divided.iter().flat_map(|divided| &divided.trees) {
            let release = Release {
                id: self.inner.world.mint(),
                stack: stack.clone(),
                tree: tree.digest,
                repository: repository.id,
                commit: commit.clone(),
                path: path.to_owned(),
                bytes: tree.bytes,
                created_at: now,
                part: Some(name.clone()),
                layout: divided.map(|divided| divided.layout),
                parts: BTreeMap::new(),
            };
            parts.insert(name.clone(), releases::ensure_part(tx, &release).await?.id);
        }
        let release = Release {
            id: self.inner.world.mint(),
            stack: stack.clone(),
            tree: tree.digest,
            repository: repository.id,
            commit: commit.clone(),
            path: path.to_owned(),
            bytes: tree.bytes,
            created_at: now,
            part: None,
            layout: divided.map(|divided| divided.layout),
            parts,
        };
        let (release, new) = releases::ensure(tx, &release).await?;
        if new {
            let refs = Refs {
                repository: Some(repository.id),
                commit: Some(commit.clone()),
                stack: Some(stack.clone()),
                release: Some(release.id),
                ..Refs::default()
            };
            tx.record(Event::ReleaseCreated { tree: tree.digest }, refs)?;
        }
        Ok(release)
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

/// The first problem in full, and how many more there are.
fn invalid(problems: &[manifest::Problem]) -> RepositoryHealth {
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

/// How rollouts of a stack go out: rules about figures that it does not report are not for it.
fn strategy(fleet: &Fleet, stack: &manifest::Stack) -> RolloutStrategy {
    stack_strategy(&fleet.manifest.rollout.strategy, stack)
}

fn stack_strategy(strategy: &RolloutStrategy, stack: &manifest::Stack) -> RolloutStrategy {
    let mut strategy = strategy.clone();
    let reports = |name: &str| stack.manifest.figures.iter().any(|figure| figure.name == name);
    strategy.stop.retain(|rule| {
        rule.parse::<manifest::StopRule>().is_ok_and(|rule| rule.reported().is_none_or(reports))
    });
    strategy
}

/// The parts of a stack that a commit touches itself.
fn parts_of(facts: &ChangeFacts, folder: &str, divided: &Divided) -> Vec<PartName> {
    let own: Vec<_> = facts.own_paths().into_iter().filter_map(|path| below(folder, path)).collect();
    let touches = |name: &&PartName| own.iter().any(|path| divided.declared.is_of(path, name));
    divided.trees.keys().filter(touches).cloned().collect()
}

/// No more versions of releases of parts are kept.
const MOST_VERSIONS: usize = 500;

/// What is kept of a stack's parts, and the versions that their releases say.
fn part_records(
    tip: &Tip,
    stack: &manifest::Stack,
    content: &Content,
    release: &Release,
    brought: &[&ChangeFacts],
    old: Option<&StackRecord>,
) -> (Vec<PartRecord>, BTreeMap<ReleaseId, manifest::Version>) {
    let mut versions = old.map(|old| old.versions.clone()).unwrap_or_default();
    let Some(divided) = &content.divided else { return (Vec::new(), BTreeMap::new()) };
    let mut records = Vec::new();
    for (name, id) in &release.parts {
        let declared = stack.manifest.parts.named(name);
        let channel = declared.and_then(|part| part.channel.clone());
        let rules = channel.as_deref().and_then(|channel| tip.fleet.manifest.channel(channel));
        let rollout = &tip.fleet.manifest.rollout;
        let before = old.and_then(|old| old.parts.iter().find(|part| part.name == *name));
        let newest = brought.iter().rev().find(|facts| parts_of(facts, &stack.path, divided).contains(name));
        let newest = newest.map(|facts| (facts.commit.clone(), facts.undo.first().copied()));
        let known = before.map(|part| (part.commit.clone(), part.undo));
        let (commit, undo) = newest.or(known).unwrap_or_else(|| (tip.commit.clone(), None));
        let version = content.versions.get(name).cloned();
        versions.extend(version.clone().map(|version| (*id, version)));
        records.push(PartRecord {
            name: name.clone(),
            release: *id,
            commit,
            undo,
            strategy: stack_strategy(rules.map_or(&rollout.strategy, |rules| &rules.strategy), stack),
            max_updating: rules.and_then(|rules| rules.max_updating).or(rollout.max_updating),
            channel,
            requires: declared.map(|part| part.requires.clone()).unwrap_or_default(),
            version,
        });
    }
    while versions.len() > MOST_VERSIONS {
        versions.pop_first();
    }
    (records, versions)
}

/// The windows that are for a stack.
fn windows(fleet: &Fleet, stack: &StackName) -> Vec<manifest::Window> {
    fleet.manifest.windows.iter().filter(|window| window.is_for(stack)).cloned().collect()
}

/// From how many nodes stacks may be taken away. A repository that lists nothing takes nothing away, whatever it says.
fn prune(fleet: &Fleet) -> Option<manifest::MaxUpdating> {
    let prune = fleet.manifest.prune;
    let allowed = prune.enabled && !fleet.stacks.is_empty();
    allowed.then(|| prune.max.unwrap_or(manifest::PruneSettings::MAX))
}

/// Who changed last who runs a stack: a new commit that touches `fleet.toml`, when it reads otherwise than before.
fn assigned_by(
    tip: &Tip,
    old: Option<&stacks::Stack>,
    record: Option<&StackRecord>,
    assigned: &str,
) -> Option<(CommitId, Option<UndoId>)> {
    let before = record.and_then(|r| r.assigned_by.clone());
    if old.is_none_or(|old| old.assignment == assigned) {
        return before;
    }
    let touches = |facts: &&ChangeFacts| facts.own_paths().contains(&"fleet.toml");
    let newest = tip.added.iter().rev().find(touches);
    newest.map(|facts| (facts.commit.clone(), facts.undo.first().copied())).or(before)
}

/// The row of a stack that the repository does not carry any more; `left` is the commit that took it out.
fn without(
    tip: &Tip,
    gone: &stacks::Stack,
    left: Option<&ChangeFacts>,
    now: Timestamp,
) -> Result<stacks::Stack, EngineError> {
    let mut row = stacks::Stack { present: false, updated_at: now, ..gone.clone() };
    if let Ok(mut record) = serde_json::from_str::<StackRecord>(&gone.manifest) {
        record.prune = prune(&tip.fleet);
        if let Some(left) = left {
            record.assigned_by = Some((left.commit.clone(), left.undo.first().copied()));
        }
        row.manifest = serde_json::to_string(&record).map_err(StoreError::from)?;
    }
    Ok(row)
}

/// Folders of stacks, of those that are gone too.
fn folders(tip: &Tip, before: &[stacks::Stack]) -> Vec<(String, StackName)> {
    let now = tip.fleet.stacks.values().map(|s| (s.path.clone(), s.name.clone()));
    let gone = before.iter().filter(|b| !tip.fleet.stacks.contains_key(&b.name));
    now.chain(gone.map(|b| (b.path.clone(), b.name.clone()))).collect()
}

/// Stacks whose folder a commit touches itself.
fn stacks_of(facts: &ChangeFacts, folders: &[(String, StackName)]) -> Vec<StackName> {
    let own = facts.own_paths();
    let touches = |folder: &str| own.iter().any(|path| below(folder, path).is_some());
    let mut found: Vec<_> =
        folders.iter().filter(|(f, _)| touches(f)).map(|(_, stack)| stack.clone()).collect();
    found.sort();
    found.dedup();
    found
}
