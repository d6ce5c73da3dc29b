//! Parts of one stack beside each other, in a small fleet in which planned attempts really happen.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use backstay_plan::{
    Assignment, FleetPlan, FleetSnapshot, MaxUpdating, Need, NodeFacts, Origin, Pasts, RolloutRef, Share,
    StackFacts, Try, TryState, Within, plan,
};
use backstay_types::{
    Cause, DeploymentId, Digest, FixedClock, Labels, NodeId, ReleaseId, RepositoryId, RolloutId, RolloutKind,
    RolloutStrategy, SeededEntropy, Timestamp, World,
};
use proptest::prelude::*;

/// `plugin` needs `upstream`; `policy` needs nothing. The first share is that of nodes that run nothing yet.
const PARTS: [&str; 3] = ["policy", "plugin", "upstream"];
const PLUGIN: usize = 2;
const UPSTREAM: usize = 3;

struct Fleet {
    world: World,
    snapshot: FleetSnapshot,
    /// What each node runs, by part; nothing before its first.
    runs: HashMap<NodeId, BTreeMap<usize, ReleaseId>>,
    /// Releases of all parts together.
    whole: HashMap<ReleaseId, BTreeMap<usize, ReleaseId>>,
    open: BTreeMap<DeploymentId, (NodeId, usize, Try)>,
    bad: BTreeSet<ReleaseId>,
    banned: BTreeSet<Digest>,
}

impl Fleet {
    /// A fleet whose nodes run the first release of every part.
    fn new(nodes: usize, waves: &[&str]) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let world = World::new(Arc::new(FixedClock::new(now)), Arc::new(SeededEntropy::new(1)));
        let nodes: Vec<_> = (0..nodes)
            .map(|n| NodeFacts::new(world.mint(), format!("node-{n}").parse().unwrap(), Labels::default()))
            .collect();
        let commit = "0".repeat(40).parse().unwrap();
        let cause = Cause::Change { repository: world.mint::<RepositoryId>(), commit };
        let share = |at: usize| match at {
            0 => Share::Together { divided: BTreeSet::new(), parts: BTreeSet::new() },
            at => {
                Share::Part { name: PARTS[at - 1].parse().unwrap(), pins: BTreeMap::new(), needs: Vec::new() }
            }
        };
        let facts = |at| StackFacts {
            name: "claw".parse().unwrap(),
            repository: world.mint(),
            windows: Vec::new(),
            release: Err("not there yet".to_owned()),
            origin: Origin { kind: RolloutKind::Update, cause: cause.clone() },
            pin_origins: BTreeMap::new(),
            assignments: vec![Assignment { nodes: "".parse().unwrap() }],
            max_updating: MaxUpdating::All,
            strategy: RolloutStrategy {
                waves: waves.iter().map(|wave| (*wave).to_owned()).collect(),
                ..RolloutStrategy::default()
            },
            go_back: None,
            undone: BTreeSet::new(),
            unproven: None,
            last_good: None,
            prune: None,
            removal_cause: cause.clone(),
            within: Within::Everyone,
            share: share(at),
        };
        let snapshot = FleetSnapshot {
            now,
            nodes,
            stacks: (0..=PARTS.len()).map(facts).collect(),
            trees: HashMap::new(),
            rollouts: vec![],
            past: Pasts::default(),
            members: HashMap::new(),
            told: HashMap::new(),
            thresholds: Default::default(),
            constraints: vec![],
            stopped: None,
        };
        let mut fleet = Self {
            world,
            snapshot,
            runs: HashMap::new(),
            whole: HashMap::new(),
            open: BTreeMap::new(),
            bad: BTreeSet::new(),
            banned: BTreeSet::new(),
        };
        for part in 1..=PARTS.len() {
            fleet.release(part, RolloutKind::Update, true);
        }
        fleet.put_together();
        fleet
    }

    /// The same with nothing running yet, a node in each ring as far as these go, and an hour between waves.
    fn in_rings(nodes: usize, waves: &[&str]) -> Self {
        let mut fleet = Self::new(nodes, waves);
        let rings = waves.iter().filter(|wave| wave.starts_with("ring="));
        for (node, ring) in fleet.snapshot.nodes.iter_mut().zip(rings) {
            *node = NodeFacts::new(node.id, node.name().clone(), Labels::parse([*ring]).unwrap());
        }
        for stack in &mut fleet.snapshot.stacks {
            stack.strategy.soak_seconds = 3600;
        }
        fleet
    }

    /// The branch asks those who run nothing yet for all parts as they are now.
    fn put_together(&mut self) {
        let parts = (1..=PARTS.len()).map(|part| (part, self.asked(part))).collect();
        let whole = self.mint();
        self.whole.insert(whole, parts);
        self.snapshot.stacks[0].release = Ok(whole);
        if let Share::Together { divided, .. } = &mut self.snapshot.stacks[0].share {
            divided.insert(whole);
        }
    }

    fn mint(&mut self) -> ReleaseId {
        let id = self.world.mint();
        self.snapshot.trees.insert(id, Digest::of(format!("{id}").as_bytes()));
        id
    }

    fn asked(&self, part: usize) -> ReleaseId {
        *self.snapshot.stacks[part].release.as_ref().unwrap()
    }

    /// The branch asks for a new release of a part.
    fn release(&mut self, part: usize, kind: RolloutKind, good: bool) -> ReleaseId {
        let id = self.mint();
        self.ask(part, id, kind);
        if !good {
            self.bad.insert(id);
        }
        id
    }

    fn ask(&mut self, part: usize, id: ReleaseId, kind: RolloutKind) {
        self.snapshot.stacks[part].release = Ok(id);
        self.snapshot.stacks[part].origin.kind = kind;
        let upstream = self.snapshot.stacks[UPSTREAM].release.clone();
        if let Share::Part { needs, .. } = &mut self.snapshot.stacks[PLUGIN].share {
            let part = PARTS[UPSTREAM - 1].parse().unwrap();
            let accepts = upstream.into_iter().collect();
            *needs = vec![Need { part, accepts, reason: "part `plugin` comes after `upstream`".into() }];
        }
    }

    /// Plans once and applies what was planned. Whether there was anything.
    fn step(&mut self) -> bool {
        let planned = plan(&self.snapshot);
        let quiet = planned.is_quiet();
        let FleetPlan { start, end, waves, ban, attempts, supersede, .. } = planned;
        let mut ids = Vec::new();
        for new in start {
            let id: RolloutId = self.world.mint();
            ids.push(id);
            self.snapshot.members.insert(id, Arc::new(new.members.iter().copied().collect()));
            self.snapshot.rollouts.push(new.begin(id, self.snapshot.now));
        }
        for ended in end {
            let rollout = self.snapshot.rollouts.iter_mut().find(|r| r.id == ended.rollout).unwrap();
            rollout.state = ended.state;
        }
        for opened in waves {
            let rollout = self.snapshot.rollouts.iter_mut().find(|r| r.id == opened.rollout).unwrap();
            rollout.wave = opened.wave;
        }
        for (_, tree, _) in ban {
            self.banned.insert(tree);
            for stack in &mut self.snapshot.stacks {
                if stack.release.as_ref().is_ok_and(|id| self.snapshot.trees[id] == tree) {
                    stack.release = Err("banned".to_owned());
                }
            }
            if self.snapshot.stacks.iter().any(|stack| stack.release.is_err()) {
                self.snapshot.stacks[0].release = Err("of parts that may not be planned".to_owned());
            }
        }
        for id in supersede {
            self.end(id, TryState::Superseded);
        }
        for attempt in attempts {
            let rollout = match attempt.rollout {
                RolloutRef::Existing(id) => id,
                RolloutRef::New(index) => ids[index],
            };
            let share = self.snapshot.stacks.iter().position(|s| s.share.part() == attempt.part.as_ref());
            self.begin(attempt.node, share.unwrap(), attempt.release, rollout);
        }
        !quiet
    }

    fn begin(&mut self, node: NodeId, share: usize, release: ReleaseId, rollout: RolloutId) {
        // One at a time, so that a failure is one rollout's.
        assert!(self.open.values().all(|(other, ..)| *other != node), "two shares at once on a node");
        let runs = self.runs.get(&node);
        assert_eq!(share == 0, runs.is_none(), "all at once where it runs nothing, and nowhere else");
        let forward = self.snapshot.stacks[share].origin.kind == RolloutKind::Update;
        if share == PLUGIN && forward {
            assert_eq!(runs.unwrap()[&UPSTREAM], self.asked(UPSTREAM), "before what it needs");
        }
        assert!(!self.banned.contains(&self.snapshot.trees[&release]), "what is banned");
        let made = Try {
            deployment: self.world.mint(),
            release,
            rollout,
            state: TryState::Pending,
            removal: false,
            again_at: None,
            ended_at: None,
        };
        self.open.insert(made.deployment, (node, share, made));
        let at = self.place(node);
        self.snapshot.past.at(share, at).latest = Some(made);
    }

    fn place(&self, node: NodeId) -> usize {
        self.snapshot.nodes.iter().position(|known| known.id == node).unwrap()
    }

    fn end(&mut self, id: DeploymentId, state: TryState) {
        let (node, share, mut tried) = self.open.remove(&id).unwrap();
        (tried.state, tried.ended_at) = (state, Some(self.snapshot.now));
        let at = self.place(node);
        self.snapshot.past.at(share, at).latest = Some(tried);
        if state != TryState::Succeeded {
            return;
        }
        let mut parts = self.runs.remove(&node).unwrap_or_default();
        match self.whole.get(&tried.release) {
            Some(all) => parts.clone_from(all),
            None => drop(parts.insert(share, tried.release)),
        }
        // What it runs as a whole has a release of its own, divided as the stack is.
        let known = self.whole.iter().find(|(_, all)| **all == parts).map(|(id, _)| *id);
        let whole = known.unwrap_or_else(|| self.mint());
        self.whole.insert(whole, parts.clone());
        if let Share::Together { divided, .. } = &mut self.snapshot.stacks[0].share {
            divided.insert(whole);
        }
        for (part, release) in &parts {
            self.snapshot.past.at(*part, at).settled = Some(Try { release: *release, ..tried }.settled());
        }
        self.snapshot.past.at(0, at).settled = Some(Try { release: whole, ..tried }.settled());
        self.runs.insert(node, parts);
    }

    /// One attempt after the other comes to its end, until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..5000 {
            let moved = self.step();
            let next = self.open.iter().next().map(|(id, (.., tried))| (*id, tried.release));
            match next {
                Some((id, release)) => {
                    let good = !self.bad.contains(&release);
                    self.end(id, if good { TryState::Succeeded } else { TryState::Failed });
                }
                None if !moved => return,
                None => {}
            }
        }
        panic!("it does not come to rest");
    }

    fn all_run(&self, part: usize) -> BTreeSet<ReleaseId> {
        self.runs.values().map(|parts| parts[&part]).collect()
    }
}

#[derive(Debug, Clone)]
struct Change {
    part: usize,
    good: bool,
    /// So many attempts come to their end before the next change.
    then: usize,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (1..=PARTS.len(), prop::bool::weighted(0.7), 0..6usize);
    prop::collection::vec(change.prop_map(|(part, good, then)| Change { part, good, then }), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever comes when: one share at a time on a node, nothing before what it needs (both are asserted at every
    /// attempt), and in the end each part runs its newest release, or stayed where it was because that is bad.
    #[test]
    fn parts_go_their_own_way(nodes in 1..9usize, changes in changes()) {
        let mut fleet = Fleet::new(nodes, &["25%", "100%"]);
        fleet.settle();
        prop_assert_eq!(fleet.runs.len(), nodes);
        for Change { part, good, then } in changes {
            fleet.release(part, RolloutKind::Update, good);
            for _ in 0..then {
                fleet.step();
                if let Some((id, (.., tried))) = fleet.open.iter().next().map(|(id, open)| (*id, *open)) {
                    let good = !fleet.bad.contains(&tried.release);
                    fleet.end(id, if good { TryState::Succeeded } else { TryState::Failed });
                }
            }
        }
        fleet.settle();
        let upstream_stuck = fleet.snapshot.stacks[UPSTREAM].release.is_err();
        for part in 1..=PARTS.len() {
            let runs = fleet.all_run(part);
            prop_assert!(runs.iter().all(|release| !fleet.bad.contains(release)), "nobody stays on what fails");
            match &fleet.snapshot.stacks[part].release {
                // A part that needs another waits while that may not be planned.
                Ok(_) if part == PLUGIN && upstream_stuck => {}
                Ok(asked) => prop_assert_eq!(runs, BTreeSet::from([*asked]), "{}", PARTS[part - 1]),
                Err(_) => {}
            }
        }
    }

    /// A part that fails takes nothing from the others, and only its own content is banned.
    #[test]
    fn a_part_that_fails_holds_up_no_other(nodes in 1..9usize) {
        let mut fleet = Fleet::new(nodes, &["100%"]);
        fleet.settle();
        let before = fleet.all_run(UPSTREAM);
        let bad = fleet.release(UPSTREAM, RolloutKind::Update, false);
        let policy = fleet.release(1, RolloutKind::Update, true);
        fleet.settle();
        prop_assert_eq!(fleet.all_run(UPSTREAM), before);
        prop_assert_eq!(fleet.all_run(1), BTreeSet::from([policy]));
        prop_assert_eq!(fleet.banned.iter().copied().collect::<Vec<_>>(), vec![fleet.snapshot.trees[&bad]]);
        // What comes after it waits, without a rollout that ends for want of nodes.
        fleet.snapshot.stacks[UPSTREAM].release = Err("banned".to_owned());
        let plugin = fleet.all_run(PLUGIN);
        fleet.release(PLUGIN, RolloutKind::Update, true);
        fleet.settle();
        prop_assert_eq!(fleet.all_run(PLUGIN), plugin);
    }

    /// On the way back what needs another goes first.
    #[test]
    fn what_needs_another_goes_back_before_it(nodes in 1..6usize) {
        let mut fleet = Fleet::new(nodes, &["100%"]);
        fleet.settle();
        let old = [PLUGIN, UPSTREAM].map(|part| fleet.asked(part));
        let new = [PLUGIN, UPSTREAM].map(|part| fleet.release(part, RolloutKind::Update, true));
        fleet.settle();
        prop_assert_eq!([fleet.all_run(PLUGIN), fleet.all_run(UPSTREAM)], new.map(|one| BTreeSet::from([one])));
        fleet.ask(PLUGIN, old[0], RolloutKind::Rollback);
        fleet.ask(UPSTREAM, old[1], RolloutKind::Rollback);
        for _ in 0..1000 {
            let moved = fleet.step();
            for parts in fleet.runs.values() {
                prop_assert!((parts[&PLUGIN], parts[&UPSTREAM]) != (new[0], old[1]), "the new plugin on the old upstream");
            }
            match fleet.open.keys().next().copied() {
                Some(id) => fleet.end(id, TryState::Succeeded),
                None if !moved => break,
                None => {}
            }
        }
        prop_assert_eq!([fleet.all_run(PLUGIN), fleet.all_run(UPSTREAM)], old.map(|one| BTreeSet::from([one])));
    }
}

/// A part's rollout says who gets its content, also where that comes together with the other parts'.
#[test]
fn a_new_node_gets_a_part_no_sooner_than_those_that_have_it() {
    let mut fleet = Fleet::in_rings(3, &["ring=one", "ring=two", "100%"]);
    let [one, two, three] = [0, 1, 2].map(|at| fleet.snapshot.nodes[at].id);
    fleet.settle();
    assert_eq!(fleet.runs.keys().collect::<Vec<_>>(), [&one], "the first wave is watched for an hour");
    let new = fleet.release(1, RolloutKind::Update, true);
    fleet.put_together();
    fleet.settle();
    assert_eq!(fleet.runs[&one][&1], new);
    assert_eq!(fleet.runs.len(), 1, "nobody else before that was watched");
    fleet.snapshot.now += jiff::SignedDuration::from_mins(61);
    fleet.settle();
    assert_eq!(fleet.runs.get(&two).map(|parts| parts[&1]), Some(new));
    assert!(!fleet.runs.contains_key(&three));
    fleet.snapshot.now += jiff::SignedDuration::from_mins(61);
    fleet.settle();
    assert_eq!(fleet.runs.get(&three).map(|parts| parts[&1]), Some(new));
}

/// One that fails where it came first reaches nobody else, and holds up nobody for ever.
#[test]
fn a_part_that_fails_is_not_brought_together_with_others() {
    let mut fleet = Fleet::in_rings(2, &["ring=one", "100%"]);
    fleet.settle();
    let old = fleet.asked(1);
    let bad = fleet.release(1, RolloutKind::Update, false);
    fleet.put_together();
    fleet.settle();
    assert_eq!(fleet.runs.len(), 1);
    assert!(fleet.banned.contains(&fleet.snapshot.trees[&bad]));
    // The branch takes it back.
    fleet.ask(1, old, RolloutKind::Update);
    fleet.put_together();
    fleet.snapshot.now += jiff::SignedDuration::from_mins(61);
    fleet.settle();
    assert_eq!(fleet.runs.len(), 2);
    assert_eq!(fleet.all_run(1), BTreeSet::from([old]));
}
