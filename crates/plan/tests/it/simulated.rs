//! A small fleet in which planned attempts really happen.

use std::{collections::HashMap, sync::Arc, time::Duration};

use backstay_plan::{
    Assignment, FleetPlan, FleetSnapshot, MaxUpdating, NodeFacts, Origin, Past, Pasts, PinToGood, RolloutRef,
    StackFacts, Try, TryState, Within, inputs::replay, plan,
};
use backstay_types::{
    Cause, Constraint, ConstraintId, ConstraintOrigin, DeploymentId, Digest, Effect, FixedClock, Labels,
    NodeId, Paused, ReleaseId, RepositoryId, RolloutId, RolloutKind, RolloutState, RolloutStrategy, Scope,
    SeededEntropy, StackName, Timestamp, World,
};

/// A fleet in which planned attempts really happen.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) snapshot: FleetSnapshot,
    pub(crate) stack: StackName,
    /// What each node's statement says.
    pub(crate) desired: HashMap<NodeId, DeploymentId>,
    pub(crate) tries: HashMap<DeploymentId, (NodeId, Try)>,
}

impl Fleet {
    pub(crate) fn new(nodes: usize, max_updating: MaxUpdating) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let world = World::new(Arc::new(FixedClock::new(now)), Arc::new(SeededEntropy::new(1)));
        let nodes = (0..nodes)
            .map(|n| NodeFacts::new(world.mint(), format!("node-{n}").parse().unwrap(), Labels::default()))
            .collect();
        let stack: StackName = "web".parse().unwrap();
        let commit = "0".repeat(40).parse().unwrap();
        let cause = Cause::Change { repository: world.mint::<RepositoryId>(), commit };
        let facts = StackFacts {
            name: stack.clone(),
            repository: world.mint(),
            windows: Vec::new(),
            release: Err("not there yet".to_owned()),
            origin: Origin { kind: RolloutKind::Update, cause: cause.clone() },
            pin_origins: Default::default(),
            assignments: vec![Assignment { nodes: "".parse().unwrap() }],
            max_updating,
            strategy: RolloutStrategy::default(),
            go_back: None,
            undone: Default::default(),
            unproven: None,
            last_good: None,
            prune: None,
            removal_cause: cause,
            within: Within::Everyone,
            share: Default::default(),
        };
        let snapshot = FleetSnapshot {
            now,
            nodes,
            stacks: vec![facts],
            trees: HashMap::new(),
            rollouts: vec![],
            past: Pasts::default(),
            members: HashMap::new(),
            told: HashMap::new(),
            thresholds: Default::default(),
            constraints: vec![],
            stopped: None,
        };
        Self { world, snapshot, stack, desired: HashMap::new(), tries: HashMap::new() }
    }

    pub(crate) fn release(&mut self) -> ReleaseId {
        let id = self.world.mint();
        self.snapshot.trees.insert(id, Digest::of(format!("{id}").as_bytes()));
        self.snapshot.stacks[0].release = Ok(id);
        id
    }

    /// Plans once, applies what was planned, and says whether there was anything.
    pub(crate) fn step(&mut self) -> bool {
        self.tell_branch();
        let planned = plan(&self.snapshot);
        assert_explained(&planned);
        let quiet = planned.is_quiet();
        let FleetPlan { start, end, waves, ban, attempts, supersede, standing, pause, pin, stop, .. } =
            planned;
        let mut ids = Vec::new();
        for new in start {
            let id: RolloutId = self.world.mint();
            ids.push(id);
            self.snapshot.rollouts.push(new.begin(id, self.snapshot.now));
            if !new.members.is_empty() {
                self.snapshot.members.insert(id, Arc::new(new.members.into_iter().collect()));
            }
        }
        for ended in end {
            let rollout = self.snapshot.rollouts.iter_mut().find(|r| r.id == ended.rollout).unwrap();
            assert_eq!(rollout.state, RolloutState::Running);
            rollout.state = ended.state;
        }
        for opened in waves {
            let rollout = self.snapshot.rollouts.iter_mut().find(|r| r.id == opened.rollout).unwrap();
            assert_eq!((rollout.state, rollout.wave + 1), (RolloutState::Running, opened.wave));
            rollout.wave = opened.wave;
        }
        for (stack, tree, reason) in ban {
            let effect = Effect::Ban { stack, tree };
            self.constrain(effect, Scope::Fleet, reason);
            let trees = &self.snapshot.trees;
            let is_it = |facts: &StackFacts| facts.release.as_ref().is_ok_and(|id| trees[id] == tree);
            match self.snapshot.stacks.iter_mut().find(|facts| facts.within.branch().is_some()) {
                Some(_) => {
                    for facts in self.snapshot.stacks.iter_mut().filter(|facts| is_it(facts)) {
                        facts.release = Err("banned".to_owned());
                    }
                }
                None => self.snapshot.stacks[0].release = Err("banned".to_owned()),
            }
        }
        for (id, reason) in pause {
            let rollout = self.snapshot.rollouts.iter_mut().find(|r| r.id == id).unwrap();
            assert!(rollout.paused.is_none());
            rollout.paused = Some(Paused { by: "backstay".to_owned(), reason, at: self.snapshot.now });
        }
        for PinToGood { stack, release, reason, .. } in pin {
            let kind = RolloutKind::Rollback;
            let origin = Origin { kind, cause: self.snapshot.stacks[0].origin.cause.clone() };
            self.snapshot.stacks[0].pin_origins.insert(release, origin);
            self.constrain(Effect::Pin { stack, release }, Scope::Fleet, reason);
        }
        if stop.is_some() {
            self.snapshot.stopped = stop;
        }
        for id in supersede {
            self.end(id, TryState::Superseded);
            self.desired.retain(|_, said| *said != id);
        }
        for line in standing.into_iter().flat_map(|standing| standing.lines) {
            self.desired.insert(line.node, line.deployment);
        }
        for attempt in attempts {
            let rollout = match attempt.rollout {
                RolloutRef::Existing(id) => id,
                RolloutRef::New(index) => ids[index],
            };
            let deployment = self.world.mint();
            let kind = self.snapshot.rollouts.iter().find(|r| r.id == rollout).unwrap().kind;
            let removal = kind == RolloutKind::Removal;
            let made = Try {
                deployment,
                release: attempt.release,
                rollout,
                state: TryState::Pending,
                removal,
                again_at: None,
                ended_at: None,
            };
            self.tries.insert(deployment, (attempt.node, made));
            self.desired.insert(attempt.node, deployment);
            self.past(attempt.node).latest = Some(made);
        }
        !quiet
    }

    /// What nodes have tried is the same to each line of the stack.
    fn tell_branch(&mut self) {
        for line in 1..self.snapshot.stacks.len() {
            if self.snapshot.stacks[line].within.branch().is_none() {
                continue;
            }
            for node in 0..self.snapshot.nodes.len() {
                *self.snapshot.past.at(line, node) = *self.snapshot.past.of(0, node);
            }
        }
    }

    pub(crate) fn past(&mut self, node: NodeId) -> &mut Past {
        let at = self.snapshot.nodes.iter().position(|known| known.id == node).unwrap();
        self.snapshot.past.at(0, at)
    }

    pub(crate) fn constrain(&mut self, effect: Effect, scope: Scope, reason: String) {
        self.snapshot.constraints.push(Constraint {
            id: self.world.mint::<ConstraintId>(),
            scope,
            effect,
            reason,
            by: "test".to_owned(),
            origin: ConstraintOrigin::Person,
            created_at: self.snapshot.now,
            from: None,
            until: None,
            lifted_at: None,
        });
    }

    pub(crate) fn end(&mut self, deployment: DeploymentId, state: TryState) {
        let (node, mut ended) = self.tries[&deployment];
        ended.state = state;
        ended.ended_at = Some(self.snapshot.now);
        self.tries.insert(deployment, (node, ended));
        let past = self.past(node);
        if past.latest.is_some_and(|l| l.deployment == deployment) {
            past.latest = Some(ended);
        }
        if state == TryState::Succeeded {
            past.settled = (!ended.removal).then_some(ended.settled());
        }
    }

    pub(crate) fn open(&self) -> Vec<(NodeId, Try)> {
        let mut open: Vec<_> = self.tries.values().filter(|(_, t)| t.is_open()).copied().collect();
        open.sort_by_key(|(_, t)| t.deployment);
        open
    }

    pub(crate) fn settle(&mut self, mut outcome: impl FnMut(NodeId, ReleaseId) -> TryState) {
        for _ in 0..1000 {
            let moved = self.step();
            let open = self.open();
            if !moved && open.is_empty() {
                return;
            }
            if let Some((node, next)) = open.first() {
                let state = outcome(*node, next.release);
                self.end(next.deployment, state);
            }
        }
        panic!("did not settle");
    }

    /// Assigns the stack to nodes whose names are of this set.
    pub(crate) fn assign(&mut self, nodes: &str) {
        self.snapshot.stacks[0].assignments = vec![Assignment { nodes: nodes.parse().unwrap() }];
    }

    pub(crate) fn runs(&self, node: NodeId) -> Option<ReleaseId> {
        let at = self.snapshot.nodes.iter().position(|known| known.id == node)?;
        self.snapshot.past.of(0, at).settled.map(|settled| settled.release)
    }
}

/// How long each wave is watched, in seconds.
pub(crate) const SOAK: u64 = 900;

/// A fleet whose stack goes out in waves.
pub(crate) fn waved(nodes: usize, waves: &[&str]) -> Fleet {
    let mut fleet = Fleet::new(nodes, MaxUpdating::All);
    let waves = waves.iter().map(|wave| (*wave).to_owned()).collect();
    fleet.snapshot.stacks[0].strategy =
        RolloutStrategy { waves, soak_seconds: SOAK, ..RolloutStrategy::default() };
    fleet
}

/// Lets time go by.
pub(crate) fn later(fleet: &mut Fleet, seconds: u64) {
    fleet.snapshot.now = fleet.snapshot.now.checked_add(Duration::from_secs(seconds)).unwrap();
}

/// Every attempt goes well.
pub(crate) fn well(_: NodeId, _: ReleaseId) -> TryState {
    TryState::Succeeded
}

/// That every change to a rollout has its decision, and that each comes out the same when it is made again from what
/// would be stored of it.
fn assert_explained(plan: &FleetPlan) {
    assert_eq!(
        plan.decided.len(),
        plan.start.len() + plan.end.len() + plan.waves.len() + plan.pause.len(),
        "{plan:#?}"
    );
    for decided in plan.decided.iter().chain(&plan.waits) {
        let stored = serde_json::to_string(&decided.inputs).unwrap();
        let inputs = serde_json::from_str(&stored).unwrap();
        let again = replay(decided.kind, &decided.reason, &inputs).unwrap();
        assert!(again.same, "{decided:#?} came out as {again:#?}");
    }
}
