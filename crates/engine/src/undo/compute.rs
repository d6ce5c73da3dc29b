//! An undo before it is made: what it comes to in Git, and which nodes would move. Nothing is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
    sync::Arc,
};

use backstay_manifest::Selector;
use backstay_plan::{Assignment, NodeFacts, Past, Policy, StackFacts, Wanted, Within};
use backstay_source::{Draft, Mirror, StackTree};
use backstay_store::{deployments, releases};
use backstay_types::{
    CommitId, Container, Deployment, NodeId, NodeMove, NodeName, PushState, Release, ReleaseId, RepositoryId,
    RepositoryUndo, StackName, Timestamp, TreeDigest, UndoPlan, UndoRoute, UndoSelector,
};

use super::{
    WantedUndo,
    draft::work_out,
    select::{Part, PartChange},
    target::Undone,
};
use crate::{Engine, EngineError, mirrors::blocking, reconcile::Loaded};

/// So many attempts at a release are looked at for who may have it still.
const ATTEMPTS: u32 = 200_000;

/// An undo, computed.
#[derive(Debug)]
pub(super) struct Computed {
    pub(super) plan: UndoPlan,
    pub(super) parts: Vec<ComputedPart>,
}

/// A repository's part.
#[derive(Debug)]
pub(super) struct ComputedPart {
    pub(super) part: Part,
    pub(super) mirror: Arc<Mirror>,
    pub(super) result: Draft,
    pub(super) route: UndoRoute,
    /// What some nodes are pinned to, when it is not for everyone.
    pub(super) pins: Vec<PinTarget>,
}

/// Nodes and what they are pinned to.
#[derive(Debug, Clone)]
pub(super) struct PinTarget {
    pub(super) stack: StackName,
    /// The stack's folder.
    pub(super) path: String,
    pub(super) nodes: Selector,
    pub(super) tree: StackTree,
    /// The commit that carries the tree; the undo's own side commit when absent.
    pub(super) commit: Option<CommitId>,
}

impl Engine {
    /// Computes an undo. With conflicts, what is computed is only fit to be shown.
    pub(super) async fn compute(&self, want: &WantedUndo) -> Result<Computed, EngineError> {
        if let UndoSelector::Time { to, exact: true } = want.selector {
            return self.compute_exact(want, to).await;
        }
        let parts = self.select(want).await?;
        let loaded = self.load(&mut self.inner.store.read(), self.inner.world.now()).await?;
        let mut plan = UndoPlan::default();
        let mut computed = Vec::new();
        for part in parts {
            let mirror = self.inner.mirrors.of(&part.repository)?;
            let outcome = work_out(&mirror, &part, want).await?;
            // With conflicts nothing is known of what would change, nor for whom.
            let route = match outcome.conflicts.is_empty() {
                true => route(want, &loaded, &outcome.changed)?,
                false if want.scope.nodes.is_some() => UndoRoute::UndoBranch,
                false => UndoRoute::Branch,
            };
            plan.notes.extend(outcome.notes);
            plan.notes.extend(outcome.gone.iter().map(|stack| {
                format!("{stack} would no longer be in the repository; nodes keep running it until it is taken away")
            }));
            let changed = outcome.changed.iter().map(|(stack, _, tree)| (stack, tree));
            for (stack, tree) in changed.chain(outcome.assigned.iter().map(|(stack, tree)| (stack, tree))) {
                let assignments = outcome.assignments.get(stack).cloned().unwrap_or_default();
                let undone = (part.repository.id, outcome.commits.as_slice());
                self.moves(want, &loaded, (stack, assignments), tree.digest, undone, &mut plan).await?;
            }
            plan.repositories.push(RepositoryUndo {
                repository: part.repository.id,
                route,
                base: part.tip.clone(),
                commits: outcome.commits,
                skipped: part.skipped.iter().cloned().chain(outcome.skipped).collect(),
                conflicts: outcome.conflicts,
                files: outcome.files,
                commit: None,
                push: PushState::NotYet,
            });
            let pins = pins(want, &part, route, &outcome.changed)?;
            computed.push(ComputedPart { part, mirror, result: outcome.draft, route, pins });
        }
        self.differing(want, &loaded, &mut plan).await?;
        self.plan_data(want, &loaded, &computed, &mut plan).await?;
        Ok(Computed { plan, parts: computed })
    }

    /// `--exact`: every node is pinned to what it ran itself at a time, whatever the branch said then.
    async fn compute_exact(&self, want: &WantedUndo, at: Timestamp) -> Result<Computed, EngineError> {
        let mut read = self.inner.store.read();
        let loaded = self.load(&mut read, self.inner.world.now()).await?;
        let scope = selector(want)?.unwrap_or_default();
        let ran = deployments::ran_at(&mut read, at).await?;
        let ids: Vec<_> = ran.iter().map(|d| d.release).collect();
        let then: BTreeMap<_, _> =
            releases::many(&mut read, &ids).await?.into_iter().map(|r| (r.id, r)).collect();
        let places: BTreeMap<_, _> =
            loaded.snapshot.nodes.iter().enumerate().map(|(at, node)| (node.id, (at, node))).collect();
        let of_fleet = whole(&loaded).filter(|(_, stack)| stack.within.branch().is_none());
        let stacks: BTreeMap<_, _> = of_fleet.map(|(row, stack)| (&stack.name, row)).collect();
        let mut plan = UndoPlan::default();
        let mut groups: BTreeMap<ReleaseId, BTreeSet<NodeName>> = BTreeMap::new();
        for deployment in ran {
            let (Some(node), Some(release)) =
                (loaded.nodes.get(&deployment.node), then.get(&deployment.release))
            else {
                continue;
            };
            let Some(row) = stacks.get(&deployment.stack) else { continue };
            let (row, facts) = (*row, &loaded.snapshot.stacks[*row]);
            let Some((at, facts_of_node)) = places.get(&node.id) else { continue };
            let Now { settled, from, rests } = now(&loaded, loaded.snapshot.past.of(row, *at));
            let other_stack = want.scope.stack.as_ref().is_some_and(|only| *only != deployment.stack);
            if other_stack
                || (rests && from == Some(release.tree))
                || !scope.matches(&node.name, &node.labels)
            {
                continue;
            }
            let policy = Policy::new(facts, &loaded.snapshot.constraints, loaded.snapshot.now);
            if let Some(rest) = policy.rest(facts_of_node) {
                plan.notes
                    .push(format!("{} keeps what it runs of {}: {}", node.name, facts.name, rest.reason));
                continue;
            }
            groups.entry(release.id).or_default().insert(node.name.clone());
            let containers = settled.map(|d| d.containers.as_slice()).unwrap_or_default();
            plan.nodes.push(NodeMove {
                node: node.name.clone(),
                stack: deployment.stack.clone(),
                from,
                to: release.tree,
                containers: containers.iter().map(container_name).collect(),
                cached: true,
            });
        }
        if groups.is_empty() {
            return Err(EngineError::Conflict(format!("every node runs what it ran at {at} already")));
        }
        let mut by_repository: BTreeMap<RepositoryId, Vec<PinTarget>> = BTreeMap::new();
        for (id, nodes) in groups {
            let Some(release) = then.get(&id) else { continue };
            by_repository.entry(release.repository).or_default().push(PinTarget {
                stack: release.stack.clone(),
                path: release.path.clone(),
                nodes: Selector::nodes(&nodes),
                tree: StackTree { digest: release.tree, bytes: release.bytes, files: 0 },
                commit: Some(release.commit.clone()),
            });
        }
        let mut parts = Vec::new();
        for (id, pins) in by_repository {
            let repository = self.repository(id).await?;
            let Some(tip) = repository.tip.clone() else { continue };
            let mirror = self.inner.mirrors.of(&repository)?;
            let result = {
                let (mirror, tip) = (Arc::clone(&mirror), tip.clone());
                blocking(move || mirror.draft_of(&tip)).await?
            };
            plan.repositories.push(RepositoryUndo {
                repository: id,
                route: UndoRoute::Pin,
                base: tip.clone(),
                commits: Vec::new(),
                skipped: Vec::new(),
                conflicts: Vec::new(),
                files: vec!["fleet.toml".to_owned()],
                commit: None,
                push: PushState::NotYet,
            });
            let part = Part {
                repository,
                tip,
                change: PartChange::Nothing,
                commits: Vec::new(),
                skipped: Vec::new(),
            };
            parts.push(ComputedPart { part, mirror, result, route: UndoRoute::Pin, pins });
        }
        self.plan_data(want, &loaded, &parts, &mut plan).await?;
        Ok(Computed { plan, parts })
    }

    /// Nodes that would move to `tree`.
    async fn moves(
        &self,
        want: &WantedUndo,
        loaded: &Loaded,
        (stack, assignments): (&StackName, Vec<Selector>),
        tree: TreeDigest,
        undone: Undone<'_>,
        plan: &mut UndoPlan,
    ) -> Result<(), EngineError> {
        let assignments: Vec<_> = assignments.into_iter().map(|nodes| Assignment { nodes }).collect();
        let release = releases::by_tree(&mut self.inner.store.read(), stack, tree).await?;
        for (row, facts) in whole(loaded).filter(|(_, s)| s.name == *stack) {
            if !self.goes_to(loaded, facts, undone).await? {
                continue;
            }
            let own = match want.scope.nodes {
                None => self.own_target(loaded, facts, undone, plan).await?,
                Some(_) => None,
            };
            let to = own.as_ref().or(release.as_ref());
            let tree = own.as_ref().map_or(tree, |own| own.tree);
            let cached = self.had(to.map(|release| release.id)).await?;
            let facts = StackFacts { assignments: assignments.clone(), ..facts.clone() };
            let before = plan.nodes.len();
            move_nodes(want, loaded, (row, &facts), tree, &cached, plan)?;
            let moved = &plan.nodes[before..];
            let banned = self.check_banned(want, loaded, (row, &facts), tree, undone, moved).await?;
            let note = match (&banned, &want.scope.nodes) {
                (None, None) => self.in_waves(loaded, (row, &facts), to, undone, moved).await?,
                _ => None,
            };
            plan.notes.extend(banned.into_iter().chain(note));
        }
        Ok(())
    }

    /// Nodes that had a release, and may have its files still.
    async fn had(&self, release: Option<ReleaseId>) -> Result<BTreeSet<NodeId>, EngineError> {
        let Some(release) = release else { return Ok(BTreeSet::new()) };
        let filter = deployments::Filter { release: Some(release), ..deployments::Filter::default() };
        let ran = deployments::list(&mut self.inner.store.read(), &filter, None, ATTEMPTS).await?;
        Ok(ran.iter().map(|deployment| deployment.node).collect())
    }

    /// Whether an undo of these commits goes to a part of the fleet: an environment that does not follow the branch has
    /// nothing to take back of what never came there.
    async fn goes_to(
        &self,
        loaded: &Loaded,
        facts: &StackFacts,
        undone: Undone<'_>,
    ) -> Result<bool, EngineError> {
        let environment = match &facts.within {
            // What is held on a branch of its own, nodes leave for what the fleet runs: where there are environments that is
            // not what the deployed branch asks for.
            Within::Branch(_) => {
                let stands = facts.release.as_ref().ok().and_then(|id| loaded.releases.get(id));
                let Some(release) = stands else { return Ok(false) };
                let has = |of: &StackFacts| of.name == facts.name && of.within.environment().is_some();
                let environments = loaded.snapshot.stacks.iter().any(has);
                return Ok(!environments && self.has_any(release, undone).await?);
            }
            Within::Everyone => return Ok(true),
            Within::Outside(_) => return Ok(false),
            Within::Environment(environment) if environment.after.is_empty() => return Ok(true),
            Within::Environment(environment) => environment,
        };
        let Some(runs) = environment.asked.and_then(|id| loaded.releases.get(&id)) else { return Ok(false) };
        self.has_any(runs, undone).await
    }

    /// For `--to TIME`: nodes that ran something else than the branch at that time are named.
    async fn differing(
        &self,
        want: &WantedUndo,
        loaded: &Loaded,
        plan: &mut UndoPlan,
    ) -> Result<(), EngineError> {
        let UndoSelector::Time { to, exact: false } = want.selector else { return Ok(()) };
        let mut read = self.inner.store.read();
        let targets: BTreeMap<_, _> = plan.nodes.iter().map(|m| (m.stack.clone(), m.to)).collect();
        let ran = deployments::ran_at(&mut read, to).await?;
        let ids: Vec<_> = ran.iter().map(|d| d.release).collect();
        let releases = releases::many(&mut read, &ids).await?;
        for deployment in ran {
            let Some(target) = targets.get(&deployment.stack) else { continue };
            let Some(release) = releases.iter().find(|r: &&Release| r.id == deployment.release) else {
                continue;
            };
            let Some(node) = loaded.nodes.get(&deployment.node) else { continue };
            if release.tree != *target {
                plan.notes.push(format!(
                    "{} ran {} of {} then, not {}; --exact would pin it to that",
                    node.name,
                    release.tree.short(),
                    deployment.stack,
                    target.short()
                ));
            }
        }
        Ok(())
    }
}

/// The stacks that are planned, with their places; of one in parts that which stands for all of it.
fn whole(loaded: &Loaded) -> impl Iterator<Item = (usize, &StackFacts)> {
    loaded.snapshot.stacks.iter().enumerate().filter(|(_, facts)| facts.share.part().is_none())
}

/// Adds those nodes of a part of the fleet that would move to `tree`.
fn move_nodes(
    want: &WantedUndo,
    loaded: &Loaded,
    (row, facts): (usize, &StackFacts),
    tree: TreeDigest,
    cached: &BTreeSet<NodeId>,
    plan: &mut UndoPlan,
) -> Result<(), EngineError> {
    let stack = &facts.name;
    let policy = Policy::new(facts, &loaded.snapshot.constraints, loaded.snapshot.now);
    for (at, node) in loaded.snapshot.nodes.iter().enumerate().filter(|(_, n)| facts.holds(n)) {
        let past = loaded.snapshot.past.of(row, at);
        let Now { settled, from, rests } = now(loaded, past);
        let rests = rests && !is_moving_in_part(loaded, stack, at);
        if node.leaving.is_some()
            || !meant(want, &policy, facts, node, past)?
            || (rests && from == Some(tree))
        {
            continue;
        }
        if let Some(rest) = policy.rest(node) {
            plan.notes.push(format!("{} keeps what it runs of {stack}: {}", node.name(), rest.reason));
            continue;
        }
        let containers = settled.map(|d| d.containers.as_slice()).unwrap_or_default();
        plan.nodes.push(NodeMove {
            node: node.name().clone(),
            stack: stack.clone(),
            from,
            to: tree,
            containers: containers.iter().map(container_name).collect(),
            cached: cached.contains(&node.id),
        });
    }
    Ok(())
}

/// Whether a part of a stack is under way on a node.
fn is_moving_in_part(loaded: &Loaded, stack: &StackName, node: usize) -> bool {
    let all = loaded.snapshot.stacks.iter().enumerate();
    all.filter(|(_, facts)| facts.name == *stack && facts.share.part().is_some())
        .any(|(row, _)| loaded.snapshot.past.of(row, node).latest.is_some_and(|latest| latest.is_open()))
}

/// Whether an undo is meant for a node: selected, and following the branch for this stack.
fn meant(
    want: &WantedUndo,
    policy: &Policy,
    stack: &StackFacts,
    node: &NodeFacts,
    past: &Past,
) -> Result<bool, EngineError> {
    let Some(scope) = selector(want)? else {
        return Ok(match backstay_plan::wanted(stack, node, past, policy) {
            Wanted::Release { pinned, .. } => !pinned,
            // A banned or held release keeps a node where it is; the undo brings another one.
            Wanted::Keep { .. } | Wanted::Gone { .. } => stack.is_assigned(node),
        });
    };
    Ok(stack.is_assigned(node) && node.is_in(&scope))
}

/// Where a node stands with a stack.
struct Now<'a> {
    /// The deployment that it settled on.
    settled: Option<&'a Deployment>,
    /// What it runs, or is on its way to.
    from: Option<TreeDigest>,
    /// Nothing is under way. What is may have come to its end without the hub having heard of it: such a node is
    /// never taken for one that is there already.
    rests: bool,
}

fn now<'a>(loaded: &'a Loaded, past: &Past) -> Now<'a> {
    let settled = past.settled;
    let open = past.latest.filter(|latest| latest.is_open() && !latest.removal);
    let newest = open.map(|open| open.release).or(settled.map(|settled| settled.release));
    let newest = newest.and_then(|release| loaded.releases.get(&release));
    Now {
        settled: settled.and_then(|settled| loaded.deployments.get(&settled.deployment)),
        from: newest.map(|release| release.tree),
        rests: open.is_none(),
    }
}

/// The node selector of an undo, when it has one.
pub(super) fn selector(want: &WantedUndo) -> Result<Option<Selector>, EngineError> {
    let parse = |text: &String| Selector::from_str(text).map_err(|e| EngineError::Invalid(e.to_string()));
    want.scope.nodes.as_ref().map(parse).transpose()
}

/// A commit on the branch when it is for everyone who follows it; otherwise pins, on a branch of the undo's own when the
/// tree is a new one.
fn route(
    want: &WantedUndo,
    loaded: &Loaded,
    changed: &[(StackName, String, StackTree)],
) -> Result<UndoRoute, EngineError> {
    let Some(scope) = selector(want)? else { return Ok(UndoRoute::Branch) };
    let mut anyone = false;
    let mut everyone = true;
    for (name, _, _) in changed {
        let Some(stack) = loaded.snapshot.stacks.iter().find(|s| s.name == *name) else { continue };
        for node in &loaded.snapshot.nodes {
            if stack.assignments.iter().any(|a| node.is_in(&a.nodes)) {
                let selected = node.is_in(&scope);
                anyone |= selected;
                everyone &= selected;
            }
        }
    }
    if !anyone {
        let message = format!("no node that runs it is selected by `{scope}`");
        return Err(EngineError::Invalid(message));
    }
    Ok(match &want.selector {
        _ if everyone => UndoRoute::Branch,
        UndoSelector::Time { .. } | UndoSelector::Commit { .. } => UndoRoute::Pin,
        UndoSelector::Conversation { meaning: backstay_types::Meaning::Before, .. } => UndoRoute::Pin,
        _ => UndoRoute::UndoBranch,
    })
}

/// What the selected nodes are pinned to, when the undo is not for everyone.
fn pins(
    want: &WantedUndo,
    part: &Part,
    route: UndoRoute,
    changed: &[(StackName, String, StackTree)],
) -> Result<Vec<PinTarget>, EngineError> {
    if route == UndoRoute::Branch {
        return Ok(Vec::new());
    }
    let nodes = selector(want)?.unwrap_or_default();
    let target = |path: &String| match &part.change {
        PartChange::Restore(targets) if route == UndoRoute::Pin => {
            let found = targets.iter().find(|(_, folder)| folder.is_empty() || folder == path);
            found.map(|(commit, _)| commit.clone())
        }
        _ => None,
    };
    let pin = |(stack, path, tree): &(StackName, String, StackTree)| PinTarget {
        stack: stack.clone(),
        path: path.clone(),
        nodes: nodes.clone(),
        tree: *tree,
        commit: target(path),
    };
    Ok(changed.iter().map(pin).collect())
}

fn container_name(container: &Container) -> String {
    if container.name.is_empty() { container.id.clone() } else { container.name.clone() }
}
