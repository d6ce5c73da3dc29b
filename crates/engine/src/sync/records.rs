//! Stacks of a tip in the store: their releases, and what is kept with them.

use std::collections::BTreeMap;

use backstay_manifest::{self as manifest, Fleet};
use backstay_source::{ChangeFacts, StackTree};
use backstay_store::{StoreError, Tx, releases, stacks};
use backstay_types::{
    CommitId, Digest, Event, FleetThresholds, PartName, Refs, Release, ReleaseId, Repository,
    RolloutStrategy, StackName, Timestamp, UndoId,
};
use serde::{Deserialize, Serialize};

use super::{
    Tip, assignment,
    parts::{part_records, parts_of},
};
use crate::{
    Engine, EngineError,
    parts::{Composition, Divided, PartRecord},
};

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
    /// The channel by whose rules its rollouts go out; those of `[rollout]` where there is none.
    #[serde(default)]
    pub(crate) channel: Option<String>,
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

impl Engine {
    /// Stores the stacks of a tip with their releases, and notes those that are gone.
    pub(super) async fn apply_stacks(
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
            let rules = Rules::of_stack(&tip.fleet, stack);
            let record = StackRecord {
                commit,
                undo,
                max_updating: rules.max_updating,
                schema: stack.schema,
                windows: windows(&tip.fleet, &stack.name),
                channel: rules.channel.map(str::to_owned),
                strategy: rules.strategy,
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
        let made = |tree: &StackTree, part: Option<&PartName>, parts: Composition| Release {
            id: self.inner.world.mint(),
            stack: stack.clone(),
            tree: tree.digest,
            repository: repository.id,
            commit: commit.clone(),
            path: path.to_owned(),
            bytes: tree.bytes,
            created_at: now,
            part: part.cloned(),
            layout: divided.map(|divided| divided.layout),
            parts,
        };
        let mut parts = Composition::new();
        for (name, tree) in divided.iter().flat_map(|divided| &divided.trees) {
            let release = made(tree, Some(name), Composition::new());
            parts.insert(name.clone(), releases::ensure_part(tx, &release).await?.id);
        }
        let release = made(tree, None, parts);
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
}

/// How rollouts of a stack, or of a part of it, go out.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// The channel that says so; `[rollout]` does where there is none.
    pub(super) channel: Option<&'a str>,
    pub(super) max_updating: Option<manifest::MaxUpdating>,
    pub(super) strategy: RolloutStrategy,
}

impl<'a> Rules<'a> {
    /// As the stack's assignment says.
    pub(super) fn of_stack(fleet: &'a Fleet, stack: &manifest::Stack) -> Self {
        Self::of_part(fleet, stack, None)
    }

    /// As the part's own channel says, or, without one, the stack's assignment.
    pub(super) fn of_part(
        fleet: &'a Fleet,
        stack: &manifest::Stack,
        own: Option<&'a manifest::Channel>,
    ) -> Self {
        let channel = own.or_else(|| fleet.manifest.channel_of(&stack.name));
        let rollout = &fleet.manifest.rollout;
        Self {
            channel: channel.map(|channel| channel.name.as_str()),
            max_updating: channel.and_then(|channel| channel.max_updating).or(rollout.max_updating),
            strategy: reportable(channel.map_or(&rollout.strategy, |channel| &channel.strategy), stack),
        }
    }
}

/// A strategy without the rules about figures that a stack does not report: these are not for it.
fn reportable(strategy: &RolloutStrategy, stack: &manifest::Stack) -> RolloutStrategy {
    let mut strategy = strategy.clone();
    let reports = |name: &str| stack.manifest.figures.iter().any(|figure| figure.name == name);
    strategy.stop.retain(|rule| {
        rule.parse::<manifest::StopRule>().is_ok_and(|rule| rule.reported().is_none_or(reports))
    });
    strategy
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
