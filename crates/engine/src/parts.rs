//! Stacks that are divided into parts: what each part is at a commit, and putting parts of different commits together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstay_manifest::{BASE_PART, MaxUpdating, Parts, Requirement, StackManifest, Version, compose};
use backstay_plan::{FleetPlan, GoBack, MaxUpdating as Limit, Need, Origin, Share, StackFacts};
use backstay_source::{Holds, Mirror, NewCommit, SourceError, StackTree};
use backstay_store::{Executor, releases, rollouts, stacks};
use backstay_types::{
    CommitId, Constraint, Digest, Effect, PartName, Person, Release, ReleaseId, Repository, RolloutStrategy,
    StackName, Timestamp, UndoId, tree::in_folder,
};
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    mirrors::blocking,
    proven::{is_taken_back, runs_forward},
    reconcile::{Known, Loaded, limit},
    sync::StackRecord,
};

/// The releases of a stack's parts, by name.
pub(crate) type Composition = BTreeMap<PartName, ReleaseId>;

/// How a stack is divided at a commit.
#[derive(Debug, Clone)]
pub(crate) struct Divided {
    /// Stands for the names and paths of the parts.
    pub(crate) layout: Digest,
    /// As `stack.toml` has them.
    pub(crate) declared: Parts,
    /// The tree of each, with that of what no part names.
    pub(crate) trees: BTreeMap<PartName, StackTree>,
}

/// What the engine keeps of a part with its stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) name: PartName,
    /// What the branch asks for.
    pub(crate) release: ReleaseId,
    /// The newest commit that changed it, and the undo that made that commit.
    pub(crate) commit: CommitId,
    pub(crate) undo: Option<UndoId>,
    pub(crate) channel: Option<String>,
    pub(crate) strategy: RolloutStrategy,
    pub(crate) max_updating: Option<MaxUpdating>,
    pub(crate) requires: Vec<Requirement>,
    /// Its version, where it says one.
    pub(crate) version: Option<Version>,
}

/// A part of a stack as it stands.
#[derive(Debug, Clone)]
pub struct StackPartState {
    /// Its name.
    pub name: PartName,
    /// The channel by whose rules it rolls out.
    pub channel: Option<String>,
    /// The release that the branch asks for.
    pub release: Release,
    /// The newest commit that changed it.
    pub commit: CommitId,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// What it needs of other parts, in words.
    pub requires: Vec<String>,
}

/// The name of what no part names.
pub(crate) fn base() -> Result<PartName, EngineError> {
    BASE_PART.parse().map_err(|_| EngineError::Stopping)
}

/// How a stack with these parts is divided at a commit; none where it moves as one. Blocks.
pub(crate) fn divided(
    mirror: &Mirror,
    at: &CommitId,
    folder: &str,
    parts: &Parts,
) -> Result<Option<Divided>, SourceError> {
    let Some(base) = BASE_PART.parse::<PartName>().ok().filter(|_| !parts.is_empty()) else {
        return Ok(None);
    };
    let names: Vec<_> = std::iter::once(base).chain(parts.iter().map(|part| part.name.clone())).collect();
    let place = |path: &str| parts.iter().position(|part| part.holds(path)).map_or(0, |at| at + 1);
    let trees = mirror.trees_of(at, folder, names.len(), &place)?;
    let named: Vec<_> = parts.iter().map(|part| (&part.name, &part.paths, &part.version)).collect();
    let layout = Digest::of(serde_json::to_string(&named).unwrap_or_default().as_bytes());
    Ok(Some(Divided { layout, declared: parts.clone(), trees: names.into_iter().zip(trees).collect() }))
}

/// The same of a commit whose manifest is not read yet. One that cannot be read moves as one. Blocks.
pub(crate) fn divided_at(
    mirror: &Mirror,
    at: &CommitId,
    folder: &str,
) -> Result<Option<Divided>, SourceError> {
    divided(mirror, at, folder, &declared_at(mirror, at, folder)?)
}

/// The parts that a stack declares at a commit. Blocks.
pub(crate) fn declared_at(mirror: &Mirror, at: &CommitId, folder: &str) -> Result<Parts, SourceError> {
    let read = |file: &str| mirror.try_read(at, &in_folder(folder, file));
    let Some(text) = read("stack.toml")? else { return Ok(Parts::default()) };
    let found = compose::FILE_NAMES.into_iter().find(|file| matches!(read(file), Ok(Some(_))));
    let manifest = StackManifest::parse("stack.toml", &text, found);
    Ok(manifest.map(|manifest| manifest.parts).unwrap_or_default())
}

/// What a stack declares at a commit that is saved of it; nothing when that cannot be understood. Blocks.
pub(crate) fn saved_at(
    mirror: &Mirror,
    at: &CommitId,
    folder: &str,
) -> Result<Vec<backstay_manifest::BackupItem>, SourceError> {
    let read = |file: &str| mirror.try_read(at, &in_folder(folder, file));
    let Some(text) = read("stack.toml")? else { return Ok(Vec::new()) };
    let found = compose::FILE_NAMES.into_iter().find(|file| matches!(read(file), Ok(Some(_))));
    let manifest = StackManifest::parse("stack.toml", &text, found);
    Ok(manifest.map(|manifest| manifest.backups.items).unwrap_or_default())
}

/// What was made of a step's attempts, or has to be made first.
#[derive(Debug, Default)]
pub(crate) struct Composed {
    /// The release of the whole stack for each set of parts.
    pub(crate) found: HashMap<(StackName, Composition), ReleaseId>,
    /// Sets of which there is no release yet.
    pub(crate) missing: BTreeSet<(StackName, Composition)>,
}

/// What a node would run after an attempt of a part: what it runs, with that part's release.
pub(crate) fn after(loaded: &Loaded, attempt: &backstay_plan::Attempt) -> Option<Composition> {
    let part = attempt.part.clone()?;
    let runs = loaded.settled.get(&(attempt.node, attempt.stack.clone()))?;
    let mut parts = loaded.releases.get(runs)?.parts.clone();
    parts.insert(part, attempt.release);
    Some(parts)
}

impl Engine {
    /// The releases that a plan's attempts need of divided stacks.
    pub(crate) async fn compositions(
        &self,
        ex: &mut impl Executor,
        loaded: &Loaded,
        plan: &FleetPlan,
    ) -> Result<Composed, EngineError> {
        let mut composed = Composed { missing: loaded.wanted.clone(), ..Composed::default() };
        for attempt in &plan.attempts {
            let Some(parts) = after(loaded, attempt) else { continue };
            let key = (attempt.stack.clone(), parts);
            if composed.found.contains_key(&key) || composed.missing.contains(&key) {
                continue;
            }
            match releases::of_parts(ex, &key.0, &key.1).await? {
                Some(release) => drop(composed.found.insert(key, release.id)),
                None => drop(composed.missing.insert(key)),
            }
        }
        Ok(composed)
    }

    /// Puts parts of different commits together: a commit of the mirror's own, on no branch, and its release.
    pub(crate) async fn compose(
        &self,
        missing: BTreeSet<(StackName, Composition)>,
    ) -> Result<(), EngineError> {
        for (stack, parts) in missing {
            if let Err(error) = self.compose_one(&stack, &parts).await {
                // Nobody is moved there; what runs stays, and it is tried again.
                tracing::warn!(%stack, %error, "parts of a stack cannot be put together");
                self.inner.uncomposed.note(stack, error.to_string(), self.inner.world.now());
            }
        }
        Ok(())
    }

    async fn compose_one(&self, stack: &StackName, parts: &Composition) -> Result<(), EngineError> {
        let ids: Vec<_> = parts.values().copied().collect();
        let found = releases::many(&mut self.inner.store.read(), &ids).await?;
        let of = |name: &PartName| {
            let id = parts.get(name);
            found.iter().find(|release| Some(&release.id) == id).cloned()
        };
        let base = of(&base()?).ok_or_else(|| EngineError::not_found("release of a part", stack))?;
        let others: Vec<Release> =
            parts.keys().filter(|name| name.as_str() != BASE_PART).filter_map(of).collect();
        if others.len() + 1 != parts.len() {
            return Err(EngineError::not_found("release of a part", stack));
        }
        let repository: Repository = self.repository(base.repository).await?;
        let mirror = self.inner.mirrors.of(&repository)?;
        let now = self.inner.world.now();
        let (commit, tree, divided) = {
            let (stack, base) = (stack.clone(), base.clone());
            blocking(move || put_together(&mirror, &stack, &base, &others, now)).await?
        };
        let divided =
            divided.ok_or_else(|| EngineError::Conflict("the stack is not divided any more".to_owned()))?;
        let mut tx = self.inner.store.begin().await?;
        let made = self
            .release(&mut tx, &repository, stack, &base.path, &commit, (&tree, Some(&divided)), now)
            .await?;
        if made.parts != *parts {
            return Err(EngineError::Conflict(format!(
                "parts of `{stack}` that are divided differently do not go together"
            )));
        }
        tx.commit().await?;
        Ok(())
    }

    /// The channel by whose rules a stack's rollouts go out; none where those of `[rollout]` do.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stack_channel(&self, stack: &StackName) -> Result<Option<String>, EngineError> {
        let stored = stacks::get(&mut self.inner.store.read(), stack).await?;
        let record = stored.and_then(|stored| serde_json::from_str::<StackRecord>(&stored.manifest).ok());
        Ok(record.and_then(|record| record.channel))
    }

    /// The parts of a stack; none where it moves as one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stack_parts(&self, stack: &StackName) -> Result<Vec<StackPartState>, EngineError> {
        let mut read = self.inner.store.read();
        let stored = stacks::get(&mut read, stack).await?;
        let record = stored.and_then(|stored| serde_json::from_str::<StackRecord>(&stored.manifest).ok());
        let mut parts = Vec::new();
        for part in record.into_iter().flat_map(|record| record.parts) {
            let Some(release) = releases::get(&mut read, part.release).await? else { continue };
            let words = |required: &Requirement| match &required.at_least {
                Some(least) => format!("{} at least {least}", required.part),
                None => required.part.to_string(),
            };
            parts.push(StackPartState {
                name: part.name,
                channel: part.channel,
                release,
                commit: part.commit,
                version: part.version.map(|version| version.to_string()),
                requires: part.requires.iter().map(words).collect(),
            });
        }
        Ok(parts)
    }

    /// A divided stack as it is planned: its parts, and all of them together where a node does not run it divided so.
    pub(crate) async fn shares(
        &self,
        ex: &mut impl Executor,
        base: StackFacts,
        (stack, record): (&stacks::Stack, &StackRecord),
        known: Known<'_>,
        wanted: &mut BTreeSet<(StackName, Composition)>,
    ) -> Result<Vec<StackFacts>, EngineError> {
        let Known { releases: all, constraints, now, .. } = known;
        let Some(layout) = record.layout.filter(|_| record.environments.is_empty()) else {
            return Ok(vec![base]);
        };
        let stuck = self.inner.uncomposed.of(&stack.name, now);
        let mut lines = Vec::new();
        let mut asked = Composition::new();
        for part in &record.parts {
            let good = completed(ex, &stack.name, &part.name, layout, now).await?;
            let line = self.part_line(ex, &base, (stack, record, part), (layout, good), known).await?;
            let mut may = Vec::new();
            for id in good.into_iter().chain(line.release.as_ref().ok().copied()) {
                let Some(release) = releases::get(ex, id).await? else { continue };
                if self.standing_in(ex, &release, constraints, now).await?.is_ok() {
                    may.push(id);
                }
            }
            asked.extend(may.first().map(|id| (part.name.clone(), *id)));
            lines.push(match &stuck {
                Some(reason) => StackFacts { release: Err(reason.clone()), ..line },
                None => line,
            });
        }
        let own = |release: &&Release| release.stack == stack.name;
        let divided = all.values().filter(own).filter(|r| r.layout == Some(layout) && r.part.is_none());
        let parts = all.values().filter(own).filter(|release| release.part.is_some());
        let share = Share::Together {
            divided: divided.map(|release| release.id).collect(),
            parts: parts.map(|release| release.id).collect(),
        };
        let release = match (asked.len() == record.parts.len(), &stuck) {
            (false, _) => Err("of parts that may not be planned".to_owned()),
            (true, Some(reason)) => Err(reason.clone()),
            (true, None) => match releases::of_parts(ex, &stack.name, &asked).await? {
                Some(release) => self.standing_in(ex, &release, constraints, now).await?.map(|()| release.id),
                None => {
                    wanted.insert((stack.name.clone(), asked));
                    Err("being put together".to_owned())
                }
            },
        };
        let release = if stack.present { release } else { base.release.clone() };
        let last_good =
            rollouts::completed_of(ex, &stack.name, None, now).await?.map(|rollout| rollout.release);
        let mut together =
            StackFacts { release, share, go_back: None, undone: BTreeSet::new(), last_good, ..base };
        let runs = runs_forward(&stack.name, None, None, known.rollouts);
        let whole = all.values().filter(own).filter(|release| release.part.is_none());
        let asks = (record.undo.is_some(), runs);
        self.look_at_undone(ex, &mut together, stack, asks, whole, known).await?;
        Ok(std::iter::once(together).chain(lines).collect())
    }

    /// One part of a stack; `good` is the release of the last rollout of it that came to a good end.
    async fn part_line(
        &self,
        ex: &mut impl Executor,
        base: &StackFacts,
        (stack, record, part): (&stacks::Stack, &StackRecord, &PartRecord),
        (layout, good): (Digest, Option<ReleaseId>),
        known: Known<'_>,
    ) -> Result<StackFacts, EngineError> {
        let Known { releases, rollouts, constraints, now, .. } = known;
        let asked = releases.get(&part.release);
        let release = match asked {
            _ if !stack.present => base.release.clone(),
            None => Err("not made yet".to_owned()),
            Some(release) => self.standing_in(ex, release, constraints, now).await?.map(|()| release.id),
        };
        let (mut pins, mut pin_origins) = (BTreeMap::new(), BTreeMap::new());
        for constraint in constraints {
            let Effect::Pin { stack: of, release } = &constraint.effect else { continue };
            let Some(pinned) =
                releases.get(release).filter(|pinned| *of == stack.name && pinned.layout == Some(layout))
            else {
                continue;
            };
            let own = match &pinned.part {
                None => pinned.parts.get(&part.name).copied(),
                Some(name) => (*name == part.name).then_some(pinned.id),
            };
            if let Some(own) = own {
                pins.insert(*release, own);
                pin_origins.extend(base.pin_origins.get(release).map(|origin| (own, origin.clone())));
            }
        }
        let runs = runs_forward(&stack.name, None, Some(&part.name), rollouts);
        let strategy = part.strategy.clone();
        let mut line = StackFacts {
            release,
            origin: Origin::of(part.undo, stack.repository, &part.commit),
            pin_origins,
            max_updating: part.max_updating.map_or(Limit::All, limit),
            go_back: go_back_of(asked, &strategy, good, constraints),
            strategy,
            last_good: good.filter(|_| runs),
            prune: None,
            share: Share::Part { name: part.name.clone(), pins, needs: needs(part, record, releases) },
            ..base.clone()
        };
        let own = releases.values().filter(|r| r.stack == stack.name && r.part.as_ref() == Some(&part.name));
        self.look_at_undone(ex, &mut line, stack, (part.undo.is_some(), runs), own, known).await?;
        Ok(line)
    }
}

/// Where nodes go back to from a release that was stopped by its rollout and is to be taken back everywhere.
fn go_back_of(
    from: Option<&Release>,
    strategy: &RolloutStrategy,
    good: Option<ReleaseId>,
    constraints: &[Constraint],
) -> Option<GoBack> {
    let from = from.filter(|from| is_taken_back(from, strategy, constraints))?;
    good.filter(|to| *to != from.id).map(|to| GoBack { from: from.id, to })
}

/// What a part needs of others, with the releases that will do.
fn needs(part: &PartRecord, record: &StackRecord, known: &HashMap<ReleaseId, Release>) -> Vec<Need> {
    let need = |required: &Requirement| {
        let other = record.parts.iter().find(|other| other.name == required.part)?;
        let fits = |release: &Release| match (&required.at_least, record.versions.get(&release.id)) {
            (Some(least), Some(version)) => version >= least,
            _ => false,
        };
        let mut accepts: BTreeSet<_> = known
            .values()
            .filter(|release| release.part.as_ref() == Some(&required.part) && fits(release))
            .map(|release| release.id)
            .collect();
        accepts.insert(other.release);
        let reason = match &required.at_least {
            Some(least) => format!("part `{}` needs `{}` at least {least}", part.name, required.part),
            None => format!("part `{}` comes after `{}`", part.name, required.part),
        };
        Some(Need { part: required.part.clone(), accepts, reason: reason.into() })
    };
    part.requires.iter().filter_map(need).collect()
}

/// The release of a part that the last rollout brought which came to a good end: of the part, or of all of the stack.
pub(crate) async fn completed(
    ex: &mut impl Executor,
    stack: &StackName,
    part: &PartName,
    layout: Digest,
    at: Timestamp,
) -> Result<Option<ReleaseId>, EngineError> {
    let own = rollouts::completed_of(ex, stack, Some(part), at).await?;
    let all = rollouts::completed_of(ex, stack, None, at).await?;
    let newest = own.into_iter().chain(all).max_by_key(|rollout| (rollout.finished_at, rollout.id));
    let Some(rollout) = newest else { return Ok(None) };
    let release = releases::get(ex, rollout.release).await?.filter(|release| release.layout == Some(layout));
    Ok(release.and_then(|release| match release.part {
        Some(_) => Some(release.id),
        None => release.parts.get(part).copied(),
    }))
}

/// The release of a whole stack that the last rollouts which came to a good end brought by a time: for one that is divided,
/// of each part.
pub(crate) async fn completed_whole(
    ex: &mut impl Executor,
    stack: &StackName,
    at: Timestamp,
) -> Result<Option<Release>, EngineError> {
    let Some(rollout) = rollouts::completed_at(ex, stack, at).await? else { return Ok(None) };
    let Some(release) = releases::get(ex, rollout.release).await? else { return Ok(None) };
    let (Some(layout), Some(whole)) = (release.layout, rollouts::completed_of(ex, stack, None, at).await?)
    else {
        return Ok(Some(release).filter(|release| release.part.is_none()));
    };
    let Some(whole) = releases::get(ex, whole.release).await? else { return Ok(None) };
    let mut parts = Composition::new();
    for name in whole.parts.keys() {
        if let Some(id) = completed(ex, stack, name, layout, at).await? {
            parts.insert(name.clone(), id);
        }
    }
    Ok(releases::of_parts(ex, stack, &parts).await?)
}

/// Makes the commit in which the parts of a stack are those of several commits. Blocks.
fn put_together(
    mirror: &Mirror,
    stack: &StackName,
    base: &Release,
    others: &[Release],
    now: Timestamp,
) -> Result<(CommitId, StackTree, Option<Divided>), SourceError> {
    let declared = declared_at(mirror, &base.commit, &base.path)?;
    let holds: Vec<_> = others
        .iter()
        .map(|release| {
            let part = release.part.as_ref().and_then(|name| declared.named(name)).cloned();
            (release.commit.clone(), move |path: &str| part.as_ref().is_some_and(|part| part.holds(path)))
        })
        .collect();
    let from: Vec<(CommitId, &Holds<'_>)> =
        holds.iter().map(|(commit, holds)| (commit.clone(), holds as &Holds<'_>)).collect();
    let draft = mirror.composed(&base.commit, &base.path, &from)?;
    let mut parents = vec![base.commit.clone()];
    for release in others {
        if !parents.contains(&release.commit) {
            parents.push(release.commit.clone());
        }
    }
    let of = |release: &Release| {
        let name = release.part.as_ref().map_or(BASE_PART, PartName::as_str);
        format!("{name} of {}", release.commit.short())
    };
    let lines: Vec<_> = std::iter::once(base).chain(others).map(of).collect();
    let message = format!("Put the parts of {stack} together\n\n{}\n", lines.join("\n"));
    let by = Person { name: "Backstay".to_owned(), email: "backstay@localhost".to_owned() };
    let new = NewCommit { draft: &draft, parents: &parents, message: &message, by: &by, at: now };
    let commit = mirror.commit_composed(&new)?;
    let tree = mirror.stack_tree(&commit, &base.path)?;
    let divided = divided(mirror, &commit, &base.path, &declared)?;
    Ok((commit, tree, divided))
}

/// Stacks whose parts could not be put together lately, each with why.
#[derive(Debug, Default)]
pub(crate) struct Uncomposed(std::sync::Mutex<HashMap<StackName, (String, Timestamp)>>);

impl Uncomposed {
    /// How long it is left alone.
    const REST: std::time::Duration = std::time::Duration::from_secs(60);

    fn note(&self, stack: StackName, why: String, now: Timestamp) {
        let until = now.checked_add(Self::REST).unwrap_or(now);
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(stack, (why, until));
    }

    fn of(&self, stack: &StackName, now: Timestamp) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (why, _) = known.get(stack).filter(|(_, until)| now < *until)?;
        Some(format!("of parts that cannot be put together: {why}"))
    }
}
