//! What a step of planning reads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use backstay_manifest::{Selector, StopRule};
use backstay_plan::{
    Assignment, Branches, Candidate, FleetSnapshot, Followers, Leavers, MaxUpdating, Members, Movers,
    NodeFacts, Origin, Share, StackFacts, Told, Within,
};
use backstay_store::{
    Executor, backups::jobs, constraints, deployments, environments, nodes, releases, rollouts, stacks,
};
use backstay_types::{
    Constraint, ConstraintOrigin, Deployment, DeploymentId, Effect, FleetThresholds, Node, NodeId, PartName,
    Release, ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState, StackName, Timestamp, TreeDigest,
};

use crate::{
    Engine, EngineError,
    backups::Awaited,
    branches::{self, Followed},
    emergency,
    environments::Asked,
    parts::Composition,
    past,
    sync::StackRecord,
};

/// The world as stored, with what the applying side needs beyond the snapshot.
pub(crate) struct Loaded {
    pub(crate) snapshot: FleetSnapshot,
    pub(crate) releases: HashMap<ReleaseId, Release>,
    pub(crate) nodes: HashMap<NodeId, Node>,
    /// The newest deployment of each node and stack, and the newest good one.
    pub(crate) deployments: HashMap<DeploymentId, Deployment>,
    pub(crate) records: HashMap<StackName, StackRecord>,
    /// What environments are meant to run.
    pub(crate) asked: Asked,
    /// The branches that some nodes follow instead of the deployed one.
    pub(crate) followed: Vec<Followed>,
    /// The release that each node runs of each stack, unless something is under way.
    pub(crate) settled: HashMap<(NodeId, StackName), ReleaseId>,
    /// Parts that have to be put together before nodes can be told of them.
    pub(crate) wanted: BTreeSet<(StackName, Composition)>,
    /// Data that is to be in place before stacks start.
    pub(crate) awaited: Awaited,
}

/// What a step of planning has read, from which each stack's facts are made.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Every release that planning may name.
    pub(crate) releases: &'a HashMap<ReleaseId, Release>,
    /// Rollouts that run, and the newest of each stack, environment and part.
    pub(crate) rollouts: &'a [Rollout],
    /// Those in force.
    pub(crate) constraints: &'a [Constraint],
    /// What environments are meant to run.
    pub(crate) asked: &'a Asked,
    pub(crate) now: Timestamp,
}

impl Engine {
    pub(crate) async fn load(&self, ex: &mut impl Executor, now: Timestamp) -> Result<Loaded, EngineError> {
        let constraints = constraints::in_force(ex, now).await?;
        let stored = stacks::list(ex).await?;
        let records = stored
            .iter()
            .filter_map(|s| Some((s.name.clone(), serde_json::from_str(&s.manifest).ok()?)))
            .collect::<HashMap<StackName, StackRecord>>();
        let latest = deployments::latest_of_all(ex, None).await?;
        let settled = deployments::ran_at(ex, Timestamp::MAX).await?;
        let mut rollouts = rollouts::running(ex).await?;
        let known: HashSet<_> = rollouts.iter().map(|r| r.id).collect();
        rollouts
            .extend(rollouts::newest_of_each_stack(ex).await?.into_iter().filter(|r| !known.contains(&r.id)));
        self.mint_after_all(&latest, &rollouts, &constraints);
        let rows = environments::list(ex).await?;
        let asked: Asked =
            rows.into_iter().map(|row| ((row.stack.clone(), row.environment.clone()), row)).collect();
        let mut followed = self.followed(ex, &records, &rollouts, &constraints).await?;
        let releases = {
            let of_branches = followed.iter().map(|one| one.row.release);
            let asked_for: Vec<_> = asked.values().map(|row| row.release).chain(of_branches).collect();
            let mut named =
                named_releases(ex, &stored, &constraints, &latest, &settled, &rollouts, &asked_for).await?;
            let parts: BTreeSet<_> = named
                .values()
                .flat_map(|release| release.parts.values().copied())
                .chain(records.values().flat_map(|record| record.parts.iter().map(|part| part.release)))
                .filter(|id| !named.contains_key(id))
                .collect();
            let parts = releases::many(ex, &Vec::from_iter(parts)).await?;
            named.extend(parts.into_iter().map(|release| (release.id, release)));
            named
        };
        let nodes = nodes::active(ex).await?;
        self.judge_followed(ex, &mut followed, &releases, &constraints, now).await?;
        let seen = self.nodes_facts(&nodes, &constraints, &branches::held(&followed), now);
        let leaving: HashSet<_> =
            seen.iter().filter(|node| node.leaving.is_some()).map(|node| node.id).collect();
        let (mut facts, mut wanted) = (Vec::new(), BTreeSet::new());
        let mut of_parts = HashMap::new();
        let known =
            Known { releases: &releases, rollouts: &rollouts, constraints: &constraints, asked: &asked, now };
        for stack in &stored {
            let Some(record) = records.get(&stack.name) else { continue };
            // What has left its repository concerns nobody, unless it may be taken away, or a rollout of it has yet to end.
            let runs = rollouts.iter().any(|r| r.stack == stack.name && r.state == RolloutState::Running);
            let goes = |run: &Deployment| run.stack == stack.name && leaving.contains(&run.node);
            let goes = !leaving.is_empty() && settled.iter().any(goes);
            if !stack.present && record.prune.is_none() && !runs && !goes {
                continue;
            }
            let base = self.stack_facts(ex, (stack, record), known).await?;
            if record.layout.is_some() && record.environments.is_empty() {
                of_parts.insert(stack.name.clone(), deployments::latest_of_parts(ex, &stack.name).await?);
                facts.extend(self.shares(ex, base, (stack, record), known, &mut wanted).await?);
                continue;
            }
            let mut lines = self.within_environments(ex, base, (stack, record), known).await?;
            for line in &mut lines {
                self.look_back(ex, line, (stack, record), known).await?;
            }
            facts.extend(lines);
        }
        for one in &followed {
            let Some(stack) = stored.iter().find(|stack| stack.name == one.row.stack) else { continue };
            let Some(record) = records.get(&stack.name) else { continue };
            let base = self.stack_facts(ex, (stack, record), known).await?;
            facts.push(one.line(base, known));
        }
        let removals = removals(ex, &rollouts, &latest).await?;
        let awaited = Awaited::of(jobs::awaited(ex).await?);
        let read = (&latest[..], &settled[..], &of_parts);
        let past = past::of(&nodes, &facts, read, (&releases, &records), (&removals, &awaited));
        let snapshot = FleetSnapshot {
            now,
            nodes: seen,
            stacks: facts,
            trees: releases.values().map(|r| (r.id, r.tree)).collect(),
            past,
            members: self.members(ex, &rollouts).await?,
            told: self.told(&rollouts, &nodes, &releases),
            thresholds: thresholds(&records),
            rollouts,
            constraints,
            stopped: emergency::in_force(ex).await?.map(|stop| stop.reason),
        };
        Ok(Loaded {
            snapshot,
            releases,
            nodes: nodes.into_iter().map(|n| (n.id, n)).collect(),
            settled: settled.iter().map(|d| ((d.node, d.stack.clone()), d.release)).collect(),
            deployments: latest.into_iter().chain(settled).map(|d| (d.id, d)).collect(),
            records,
            asked,
            followed,
            wanted,
            awaited,
        })
    }

    /// What is made from now on comes after all that is there, in whatever life of whichever hub it was made, and whatever
    /// its clock said: planning goes by the order of ids.
    fn mint_after_all(&self, latest: &[Deployment], rollouts: &[Rollout], constraints: &[Constraint]) {
        let world = &self.inner.world;
        if let Some(id) = latest.iter().map(|deployment| deployment.id).max() {
            world.mint_after(id);
        }
        if let Some(id) = rollouts.iter().map(|rollout| rollout.id).max() {
            world.mint_after(id);
        }
        if let Some(id) = constraints.iter().map(|constraint| constraint.id).max() {
            world.mint_after(id);
        }
    }

    /// Who is in those waves of running rollouts that go by labels.
    async fn members(
        &self,
        ex: &mut impl Executor,
        rollouts: &[Rollout],
    ) -> Result<HashMap<RolloutId, Arc<Members>>, EngineError> {
        let known = self.inner.members.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = HashMap::new();
        for rollout in rollouts.iter().filter(|r| r.state == RolloutState::Running) {
            if rollout.cuts.iter().all(Option::is_some) {
                continue;
            }
            let members = match known.get(&rollout.id) {
                Some(members) => members.clone(),
                None => Arc::new(rollouts::members(ex, rollout.id).await?.into_iter().collect()),
            };
            found.insert(rollout.id, members);
        }
        self.inner.members.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
        Ok(found)
    }

    /// What nodes say about themselves, for rollouts that go by it.
    fn told(
        &self,
        rollouts: &[Rollout],
        nodes: &[Node],
        releases: &HashMap<ReleaseId, Release>,
    ) -> HashMap<(StackName, Option<PartName>), HashMap<NodeId, Told>> {
        // Nodes name the tree of all that they run; a part is judged by its own, found by that of the whole.
        let of_part = |stack: &StackName, part: &PartName| -> HashMap<TreeDigest, TreeDigest> {
            let whole = releases.values().filter(|release| release.stack == *stack && release.part.is_none());
            let tree = |release: &Release| Some(releases.get(release.parts.get(part)?)?.tree);
            whole.filter_map(|release| Some((release.tree, tree(release)?))).collect()
        };
        let goes_by_it = |rollout: &&Rollout| {
            let mut rules = rollout.strategy.stop.iter().filter_map(|rule| rule.parse::<StopRule>().ok());
            rollout.state == RolloutState::Running && rules.any(|rule| rule.reported().is_some())
        };
        let told = |rollout: &Rollout| {
            let trees = rollout.part.as_ref().map(|part| of_part(&rollout.stack, part));
            let said = |node: &Node| {
                let (whole, figures) = self.inner.presence.figures(node.id, &rollout.stack)?;
                let tree = trees.as_ref().map_or(Some(whole), |trees| trees.get(&whole).copied())?;
                Some((node.id, Told { tree, figures }))
            };
            nodes.iter().filter_map(said).collect()
        };
        let key = |rollout: &Rollout| (rollout.stack.clone(), rollout.part.clone());
        rollouts.iter().filter(goes_by_it).map(|rollout| (key(rollout), told(rollout))).collect()
    }

    fn nodes_facts(
        &self,
        nodes: &[Node],
        constraints: &[Constraint],
        branches: &Branches,
        now: Timestamp,
    ) -> Vec<NodeFacts> {
        let (leavers, followers) = (Leavers::of(constraints, now), Followers::of(constraints, branches, now));
        let movers = Movers::of(constraints, now);
        let facts = |node| {
            let mut facts = self.node_facts(node, &leavers, &followers);
            facts.moves = movers.moves_of(&facts);
            facts
        };
        nodes.iter().map(facts).collect()
    }

    fn node_facts(&self, node: &Node, leavers: &Leavers, followers: &Followers) -> NodeFacts {
        let presence = &self.inner.presence;
        let mut facts = NodeFacts::new(node.id, node.name.clone(), node.labels.clone())
            .with_presence(presence.is_online(node.id), presence.is_silent(node.id));
        facts.leaving = leavers.leave_of(&facts);
        facts.follows = followers.follows_of(&facts);
        facts.sick_since = presence.unhealthy_since(node.id);
        facts
    }

    async fn stack_facts(
        &self,
        ex: &mut impl Executor,
        (stack, record): (&stacks::Stack, &StackRecord),
        known: Known<'_>,
    ) -> Result<StackFacts, EngineError> {
        let Known { releases, constraints, now, .. } = known;
        let asked = stack.release.and_then(|id| releases.get(&id));
        let release = match asked {
            _ if !stack.present => Err("no longer in the repository".to_owned()),
            None => Err("not made yet".to_owned()),
            Some(release) => self.standing_in(ex, release, constraints, now).await?.map(|()| release.id),
        };
        let mut selectors: Vec<Selector> = serde_json::from_str(&stack.assignment).unwrap_or_default();
        selectors.retain(|_| stack.present);
        let (removed_by, removing_undo) =
            record.assigned_by.clone().unwrap_or_else(|| (record.commit.clone(), record.undo));
        Ok(StackFacts {
            name: stack.name.clone(),
            repository: stack.repository,
            windows: record.windows.clone(),
            release,
            origin: Origin::of(record.undo, stack.repository, &record.commit),
            pin_origins: pin_origins(&stack.name, constraints, releases),
            assignments: selectors.into_iter().map(|nodes| Assignment { nodes }).collect(),
            max_updating: record.max_updating.map_or(MaxUpdating::All, limit),
            strategy: record.strategy.clone(),
            go_back: self.go_back(ex, record, (asked, None), known).await?,
            // These three are filled in for each part of the fleet.
            undone: Default::default(),
            unproven: None,
            last_good: None,
            prune: record.prune.map(limit),
            removal_cause: Origin::of(removing_undo, stack.repository, &removed_by).cause,
            within: Within::Everyone,
            share: Share::All,
        })
    }

    /// Whether a release may be planned, by the constraints given.
    pub(crate) async fn standing_in(
        &self,
        ex: &mut impl Executor,
        release: &Release,
        constraints: &[Constraint],
        now: Timestamp,
    ) -> Result<Result<(), String>, EngineError> {
        let mut contained = HashSet::new();
        for constraint in constraints {
            if let Effect::Hold { repository, commit } = &constraint.effect
                && *repository == release.repository
                && self.is_contained(ex, *repository, commit, release).await?
            {
                contained.insert(commit.clone());
            }
        }
        let candidate =
            Candidate { stack: &release.stack, tree: release.tree, repository: release.repository };
        Ok(backstay_plan::standing(&candidate, |commit| contained.contains(commit), constraints, now))
    }
}

/// Every release that planning may name.
async fn named_releases(
    ex: &mut impl Executor,
    stacks: &[stacks::Stack],
    constraints: &[Constraint],
    latest: &[Deployment],
    settled: &[Deployment],
    rollouts: &[Rollout],
    asked: &[ReleaseId],
) -> Result<HashMap<ReleaseId, Release>, EngineError> {
    let pinned = constraints.iter().filter_map(|c| match c.effect {
        Effect::Pin { release, .. } | Effect::RunsHere { release, .. } => Some(release),
        _ => None,
    });
    let mut ids: Vec<_> = stacks.iter().filter_map(|s| s.release).chain(pinned).collect();
    ids.extend(latest.iter().chain(settled).map(|d| d.release));
    ids.extend(rollouts.iter().map(|r| r.release));
    ids.extend(asked);
    ids.sort();
    ids.dedup();
    Ok(releases::many(ex, &ids).await?.into_iter().map(|r| (r.id, r)).collect())
}

/// What all repositories say of the one fleet: the stricter of each.
fn thresholds(records: &HashMap<StackName, StackRecord>) -> FleetThresholds {
    let all = records.values().map(|record| record.thresholds);
    all.reduce(FleetThresholds::strictest).unwrap_or_default()
}

pub(crate) fn limit(written: backstay_manifest::MaxUpdating) -> MaxUpdating {
    match written {
        backstay_manifest::MaxUpdating::Count(n) => MaxUpdating::Nodes(n),
        backstay_manifest::MaxUpdating::Percent(p) => MaxUpdating::Percent(u32::from(p)),
    }
}

/// Those of the deployments' rollouts that take a stack away.
async fn removals(
    ex: &mut impl Executor,
    known: &[Rollout],
    deployments: &[Deployment],
) -> Result<HashSet<RolloutId>, EngineError> {
    let ids: HashSet<_> = known.iter().map(|r| r.id).collect();
    let mut missing: Vec<_> = deployments.iter().map(|d| d.rollout).filter(|id| !ids.contains(id)).collect();
    missing.sort();
    missing.dedup();
    let others = rollouts::many(ex, &missing).await?;
    let all = known.iter().chain(&others);
    Ok(all.filter(|r| r.kind == RolloutKind::Removal).map(|r| r.id).collect())
}

/// What set off the moves that pins ask for.
pub(crate) fn pin_origins(
    stack: &StackName,
    constraints: &[Constraint],
    releases: &HashMap<ReleaseId, Release>,
) -> BTreeMap<ReleaseId, Origin> {
    let mut origins = BTreeMap::new();
    for constraint in constraints {
        let Effect::Pin { stack: pinned, release } = &constraint.effect else { continue };
        let Some(found) = releases.get(release).filter(|_| pinned == stack) else { continue };
        let of = |undo| Origin::of(undo, found.repository, &found.commit);
        let origin = match constraint.origin {
            ConstraintOrigin::Undo { undo } => of(Some(undo)),
            // Set because the whole fleet was not well: back to the last good.
            ConstraintOrigin::Rollout => Origin { kind: RolloutKind::Rollback, ..of(None) },
            _ => of(None),
        };
        origins.insert(*release, origin);
    }
    origins
}
