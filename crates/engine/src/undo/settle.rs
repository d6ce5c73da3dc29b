//! Watching undos through: verified when every node in the plan runs the wanted tree, healthy.

use std::collections::{BTreeSet, HashMap, HashSet};

use backstay_store::{Executor, deployments, nodes, releases, rollouts, stacks, undos};
use backstay_types::{
    Cause, DataMove, Deployment, DeploymentState, Event, NodeId, NodeMove, NodeName, ReleaseId,
    ReleaseStanding, Rollout, RolloutId, RolloutKind, RolloutState, StackName, Timestamp, TreeDigest, Undo,
    UndoState,
};

use super::{
    act::undo_refs,
    data::{has_its_data, is_back},
};
use crate::{Engine, EngineError};

/// Where a node of an undo stands.
enum Standing {
    Waiting,
    There,
    Failed(String),
}

impl Engine {
    /// Ends the undos whose nodes have all arrived, or failed.
    pub(crate) async fn settle_undos(&self) -> Result<(), EngineError> {
        let open = undos::open(&mut self.inner.store.read()).await?;
        for undo in open.into_iter().filter(|u| u.state == UndoState::RollingOut) {
            if let Some(state) = self.outcome(&undo).await? {
                let mut tx = self.inner.store.begin().await?;
                // Its plan may have learnt of a push meanwhile.
                let Some(undo) = undos::get(&mut tx, undo.id).await? else { continue };
                if undo.state != UndoState::RollingOut {
                    continue;
                }
                undos::update(&mut tx, undo.id, &undo.state, &state, &undo.plan, self.inner.world.now())
                    .await?;
                tx.record(Event::UndoStateChanged { state }, undo_refs(&undo))?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// The tree that a stack's branch asks for and that may not be planned, with the reason.
    async fn stuck(&self, stack: &StackName) -> Result<Option<(TreeDigest, String)>, EngineError> {
        let mut read = self.inner.store.read();
        let Some(stored) = stacks::get(&mut read, stack).await?.filter(|stored| stored.present) else {
            return Ok(None);
        };
        let Some(release) = stored.release else { return Ok(None) };
        let Some(release) = releases::get(&mut read, release).await? else { return Ok(None) };
        Ok(match self.standing(&release).await? {
            ReleaseStanding::Held { reason } | ReleaseStanding::Banned { reason } => {
                Some((release.tree, reason))
            }
            _ => None,
        })
    }

    /// Whether some part of a stack may not be planned as its branch has it: what the branch asks for as a whole no node
    /// comes to run, although nothing is said of that whole.
    async fn is_partly_stuck(&self, stack: &StackName) -> Result<bool, EngineError> {
        for part in self.stack_parts(stack).await? {
            let standing = self.standing(&part.release).await?;
            if matches!(standing, ReleaseStanding::Held { .. } | ReleaseStanding::Banned { .. }) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a node may have begun, or done, what was given up: it was heard from since that was asked for, so that it may
    /// have been told, and has not said since it was given up that it runs something else than its tree.
    fn may_have_begun(&self, given_up: &Deployment, tree: Option<TreeDigest>) -> bool {
        if given_up.state != DeploymentState::Superseded {
            return false;
        }
        let said = self.inner.presence.said(given_up.node, &given_up.stack);
        said.filter(|said| said.heard_at >= given_up.created_at).is_some_and(|said| {
            let since = given_up.finished_at.is_some_and(|ended| said.heard_at > ended);
            !since || said.deploying || said.current == tree
        })
    }

    /// The final state of an undo, once it has one.
    async fn outcome(&self, undo: &Undo) -> Result<Option<UndoState>, EngineError> {
        let fleet = Fleet::load(self, undo).await?;
        let mut failures = Vec::new();
        for place in &undo.plan.nodes {
            match fleet.place(undo, place) {
                Standing::Waiting => return Ok(None),
                Standing::There if fleet.lacks_data(undo, place) => failures.push(format!(
                    "{}: {} runs what was wanted and its data was not put back: something else brought it there",
                    place.node, place.stack
                )),
                Standing::There => {}
                Standing::Failed(reason) => failures.push(format!("{}: {reason}", place.node)),
            }
        }
        Ok(Some(match failures.is_empty() {
            true => UndoState::Verified,
            false => UndoState::Failed { reason: failures.join("; ") },
        }))
    }
}

/// Where an undo's data came to stay.
async fn back(
    ex: &mut impl Executor,
    undo: &Undo,
    nodes: &HashMap<NodeName, NodeId>,
    latest: &HashMap<(NodeId, StackName), Deployment>,
) -> Result<HashSet<(NodeId, StackName)>, EngineError> {
    let mut found = HashSet::new();
    for data in undo.plan.data.iter().filter(|data| data.from.is_some()) {
        let Some(node) = nodes.get(&data.node) else { continue };
        let key = (*node, data.stack.clone());
        let newest = latest.get(&key).is_some_and(|one| is_back(one, undo.id));
        if newest || has_its_data(ex, undo.id, (*node, &data.stack)).await? {
            found.insert(key);
        }
    }
    Ok(found)
}

/// What the places of an undo have come to, read at once.
struct Fleet {
    nodes: HashMap<NodeName, NodeId>,
    latest: HashMap<(NodeId, StackName), Deployment>,
    /// Where what was given up last may have been done all the same.
    unsure: HashSet<(NodeId, StackName)>,
    /// What each runs, unless something is under way.
    settled: HashMap<(NodeId, StackName), ReleaseId>,
    trees: HashMap<ReleaseId, TreeDigest>,
    rollouts: HashMap<RolloutId, Rollout>,
    /// The first rollout of each stack that the undo set off.
    own: HashMap<StackName, RolloutId>,
    /// What a stack's branch asks for, and why it brings nobody there: it is held or banned.
    stuck: HashMap<StackName, (TreeDigest, String)>,
    /// Stacks of which only some parts are held or banned as their branch has them.
    partly: HashSet<StackName>,
    /// What each stack's branch asks for.
    asked: HashMap<StackName, ReleaseId>,
    /// Stacks that a rollout is moving.
    moving: HashSet<StackName>,
    /// Where rollouts forward take their stacks.
    forward: HashSet<(StackName, TreeDigest)>,
    /// Releases in which nothing is that the undo takes back.
    clear: HashSet<ReleaseId>,
    /// Stacks of which it moves several parts, and is not done with all of them.
    going: HashSet<StackName>,
    /// Which have their data back.
    back: HashSet<(NodeId, StackName)>,
}

impl Fleet {
    async fn load(engine: &Engine, undo: &Undo) -> Result<Self, EngineError> {
        let mut read = engine.inner.store.read();
        let leaving = crate::leaving(&mut read, engine.inner.world.now()).await?;
        let active = nodes::active(&mut read).await?.into_iter();
        let nodes: HashMap<_, _> = active
            .filter(|node| !leaving.contains_key(&node.name))
            .map(|node| (node.name, node.id))
            .collect();
        let stacks: BTreeSet<_> = undo.plan.nodes.iter().map(|place| &place.stack).collect();
        let (mut latest, mut stuck, mut partly) = (HashMap::new(), HashMap::new(), HashSet::new());
        let stored = stacks::list(&mut read).await?.into_iter().filter(|stored| stored.present);
        let asked = stored.filter(|stored| stacks.contains(&stored.name));
        let asked: HashMap<_, _> = asked.filter_map(|stored| Some((stored.name, stored.release?))).collect();
        for stack in &stacks {
            if let Some(asked) = engine.stuck(stack).await? {
                stuck.insert((*stack).clone(), asked);
            } else if engine.is_partly_stuck(stack).await? {
                partly.insert((*stack).clone());
            }
            for deployment in deployments::latest_of_all(&mut read, Some(stack)).await? {
                latest.insert((deployment.node, deployment.stack.clone()), deployment);
            }
        }
        let settled = deployments::ran_at(&mut read, Timestamp::MAX).await?.into_iter();
        let settled: HashMap<_, _> = settled
            .filter(|deployment| stacks.contains(&deployment.stack))
            .map(|deployment| ((deployment.node, deployment.stack), deployment.release))
            .collect();
        let running = rollouts::running(&mut read).await?;
        let moving = running.iter().map(|rollout| rollout.stack.clone()).collect();
        let running: Vec<_> =
            running.into_iter().filter(|rollout| rollout.kind == RolloutKind::Update).collect();
        let releases = latest.values().map(|deployment| deployment.release).chain(settled.values().copied());
        let releases = releases.chain(running.iter().map(|rollout| rollout.release));
        let releases: HashSet<_> = releases.chain(asked.values().copied()).collect();
        let rollouts: HashSet<_> = latest.values().map(|deployment| deployment.rollout).collect();
        let releases = releases::many(&mut read, &Vec::from_iter(releases)).await?;
        let rollouts = rollouts::many(&mut read, &Vec::from_iter(rollouts)).await?;
        let trees: HashMap<_, _> = releases.iter().map(|release| (release.id, release.tree)).collect();
        let begun = |one: &&Deployment| engine.may_have_begun(one, trees.get(&one.release).copied());
        let unsure = latest.values().filter(begun).map(|one| (one.node, one.stack.clone())).collect();
        let forward: HashSet<_> = running
            .into_iter()
            .filter_map(|rollout| Some((rollout.stack, *trees.get(&rollout.release)?)))
            .collect();
        // Oldest first, of each stack.
        let mut own: HashMap<StackName, Vec<Rollout>> = HashMap::new();
        for rollout in rollouts::of_undo(&mut read, undo.id).await? {
            own.entry(rollout.stack.clone()).or_default().push(rollout);
        }
        let is_going = |all: &[Rollout]| {
            all.len() > 1 && all.iter().any(|rollout| rollout.state == RolloutState::Running)
        };
        let going = own.iter().filter(|(_, all)| is_going(all)).map(|(stack, _)| stack.clone()).collect();
        let own = own.into_iter().filter_map(|(stack, all)| Some((stack, all.first()?.id))).collect();
        // Asked only where it says something.
        let moved_on = |place: &NodeMove| {
            let tree = asked.get(&place.stack).and_then(|release| trees.get(release));
            tree.is_some_and(|tree| *tree != place.to)
        };
        let asks = !stuck.is_empty()
            || !partly.is_empty()
            || !forward.is_empty()
            || undo.plan.nodes.iter().any(moved_on);
        let clear = if asks { engine.clear_of(&mut read, undo, &releases).await? } else { HashSet::new() };
        let back = back(&mut read, undo, &nodes, &latest).await?;
        Ok(Self {
            back,
            own,
            nodes,
            latest,
            unsure,
            settled,
            trees,
            rollouts: rollouts.into_iter().map(|rollout| (rollout.id, rollout)).collect(),
            stuck,
            partly,
            asked,
            moving,
            forward,
            clear,
            going,
        })
    }

    /// Whether the data of a place was to go back and did not. One that was revoked meanwhile is nobody's to ask.
    fn lacks_data(&self, undo: &Undo, place: &NodeMove) -> bool {
        let Some(node) = self.nodes.get(&place.node) else { return false };
        let here = |one: &&DataMove| one.node == place.node && one.stack == place.stack;
        let meant = undo.plan.data.iter().find(here).is_some_and(|one| one.from.is_some());
        meant && !self.back.contains(&(*node, place.stack.clone()))
    }

    fn place(&self, undo: &Undo, place: &NodeMove) -> Standing {
        // One that was revoked meanwhile, or is being taken out, is nobody's to wait for.
        let Some(node) = self.nodes.get(&place.node) else { return Standing::There };
        let key = (*node, place.stack.clone());
        let Some(latest) = self.latest.get(&key) else { return self.waits(&key, place) };
        if !latest.state.is_final() {
            return Standing::Waiting;
        }
        let rollout = self.rollouts.get(&latest.rollout);
        let removal = rollout.is_some_and(|r| r.kind == RolloutKind::Removal);
        // Computed again on what upstream got meanwhile, it brings another tree than was planned at first.
        let own = rollout.is_some_and(|r| matches!(r.cause, Cause::Undo { undo: id } if id == undo.id));
        let on_target = !removal && (own || self.trees.get(&latest.release) == Some(&place.to));
        if on_target {
            return match &latest.state {
                DeploymentState::Succeeded if self.going.contains(&place.stack) => Standing::Waiting,
                DeploymentState::Succeeded => Standing::There,
                DeploymentState::RolledBack { reason, .. }
                | DeploymentState::Failed { reason, .. }
                | DeploymentState::Broken { reason, .. }
                    if own || !self.stays_clear(&key) =>
                {
                    Standing::Failed(reason.clone())
                }
                _ => self.waits(&key, place),
            };
        }
        // Something newer came after the undo and took the node along: the undo is part of what it runs.
        let after = |r: &Rollout| match self.own.get(&place.stack) {
            Some(own) => r.id > *own,
            None => r.created_at > undo.created_at,
        };
        let newer = !own && rollout.is_some_and(after);
        // Unless that was stopped before the node had it.
        let stopped = self.stuck.contains_key(&place.stack) && !self.is_clear(&key);
        if newer && !stopped { Standing::There } else { self.waits(&key, place) }
    }

    /// A place that nothing is under way to. Where nobody will ever be moved to, a node stays on what it runs, and where a
    /// rollout forward goes it moves with its wave: what is undone has come to its end there if the node does not run it.
    fn waits(&self, key: &(NodeId, StackName), place: &NodeMove) -> Standing {
        if self.stays_clear(key) {
            return Standing::There;
        }
        if self.unsure.contains(key) {
            return Standing::Waiting;
        }
        // Another undo has taken the branch on since, to what the node runs: nothing will move it.
        if self.runs_what_is_asked(key) && self.is_clear(key) {
            return Standing::There;
        }
        match self.stuck.get(&place.stack) {
            Some((tree, reason)) if *tree == place.to => {
                Standing::Failed(format!("what it would go back to is {reason}"))
            }
            // What came after the undo was to take it along, and was stopped.
            Some((_, reason)) if !self.moving.contains(&place.stack) => Standing::Failed(format!(
                "it runs what is taken back, and what would take it along is {reason}"
            )),
            None if self.forward.contains(&(place.stack.clone(), place.to)) && self.is_clear(key) => {
                Standing::There
            }
            _ => Standing::Waiting,
        }
    }

    /// Whether nobody is moved by the branch now, at least not to all that it asks for, and a node runs nothing that the undo takes back.
    fn stays_clear(&self, key: &(NodeId, StackName)) -> bool {
        (self.stuck.contains_key(&key.1) || self.partly.contains(&key.1)) && self.is_clear(key)
    }

    /// Whether a node runs what its stack's branch asks for.
    fn runs_what_is_asked(&self, key: &(NodeId, StackName)) -> bool {
        self.asked.get(&key.1).is_some_and(|asked| self.settled.get(key) == Some(asked))
    }

    /// Whether a node, which rests, runs nothing that the undo takes back. Where a release broke, what runs is not known, nor
    /// where nothing has been heard since one was given up.
    fn is_clear(&self, key: &(NodeId, StackName)) -> bool {
        let unknown = |latest: &&Deployment| {
            matches!(latest.state, DeploymentState::Broken { .. }) || self.unsure.contains(key)
        };
        let may_run = self.latest.get(key).filter(unknown);
        let mut runs = self.settled.get(key).copied().into_iter().chain(may_run.map(|latest| latest.release));
        runs.all(|release| self.clear.contains(&release))
    }
}
