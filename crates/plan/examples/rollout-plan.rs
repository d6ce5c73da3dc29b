//! Measures one step of planning for a large fleet: `cargo xtask bench rollout-plan`.
//!
//! The baseline, in the same run: a walk over the same snapshot that decides nothing and only notes for every node and
//! stack which attempt stands.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for developers: what goes wrong ends it"
)]

use std::{
    collections::HashMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use backstay_manifest::FleetManifest;
use backstay_plan::{
    Assignment, FleetSnapshot, MaxUpdating, Members, NodeFacts, Origin, Pasts, Reason, StackFacts, Standing,
    Try, TryState, cuts, members, plan,
};
use backstay_types::{
    Cause, Constraint, ConstraintOrigin, Digest, Effect, FixedClock, Labels, ReleaseId, RepositoryId,
    Rollout, RolloutId, RolloutKind, RolloutState, RolloutStrategy, Scope, SeededEntropy, Timestamp, World,
};

const NODES: usize = 100_000;
const ROUNDS: usize = 25;
/// Each stack and who runs it.
const STACKS: [(&str, &str); 4] =
    [("web", ""), ("agent", "role in (shop,edge)"), ("shop", "role=shop"), ("edge", "role=edge,region!=us")];
const POLICY: &str = "
[[window]]
nodes = \"region=asia\"
opens = \"0 2 * * Sun#2\"
for = \"4h\"
time_zone = \"Asia/Tokyo\"

[[window]]
nodes = \"region=eu\"
opens = \"0 1 * * *\"
for = \"23h\"
time_zone = \"Europe/Berlin\"
";

struct Bench {
    world: World,
    snapshot: FleetSnapshot,
}

fn main() {
    let mut bench = Bench::new();
    bench.stacks();
    bench.limits();
    bench.second_wave();
    let snapshot = &bench.snapshot;
    let planned = plan(snapshot);
    let figures = format!(
        r#"{{"nodes": {NODES}, "stacks": {}, "attempts": {}, "standing": {}"#,
        STACKS.len(),
        planned.attempts.len(),
        planned.standing.iter().map(|of| of.lines.len()).sum::<usize>()
    );
    drop(planned);
    let step = median(|| drop(black_box(plan(black_box(snapshot)))));
    let walk = median(|| drop(black_box(only_note(black_box(snapshot)))));
    let ms = |took: Duration| took.as_secs_f64() * 1000.0;
    println!(
        r#"{{"value": {:.3}, "baseline": {:.3}, "more": {figures}, "wall_ms": {:.3}, "baseline_wall_ms": {:.3}}}}}"#,
        ms(step.on_processor),
        ms(walk.on_processor),
        ms(step.wall),
        ms(walk.wall)
    );
}

/// How long something took.
struct Took {
    /// By the processor: what others do on the machine does not count.
    on_processor: Duration,
    wall: Duration,
}

/// Medians over some rounds.
fn median(mut run: impl FnMut()) -> Took {
    let (mut walls, mut processor): (Vec<_>, Vec<_>) = (0..ROUNDS)
        .map(|_| {
            let (began, before) = (Instant::now(), on_processor());
            run();
            (began.elapsed(), on_processor().saturating_sub(before))
        })
        .unzip();
    walls.sort_unstable();
    processor.sort_unstable();
    Took { on_processor: processor[ROUNDS / 2], wall: walls[ROUNDS / 2] }
}

/// How long this thread has run so far, as Linux counts it.
fn on_processor() -> Duration {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(counted.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap())
}

/// What stands, whatever should.
fn only_note(snapshot: &FleetSnapshot) -> Vec<Vec<Standing>> {
    let reason = Reason::from("it stands");
    let of_stack = |stack: usize| {
        let note = |(at, node): (usize, &NodeFacts)| {
            let past = snapshot.past.of(stack, at);
            let open = past.latest.filter(Try::is_open).map(|latest| latest.deployment);
            let deployment = open.or(past.settled.map(|settled| settled.deployment))?;
            Some(Standing { node: node.id, deployment, reason: reason.clone() })
        };
        snapshot.nodes.iter().enumerate().filter_map(note).collect()
    };
    (0..snapshot.stacks.len()).map(of_stack).collect()
}

impl Bench {
    fn new() -> Self {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let world = World::new(Arc::new(FixedClock::new(now)), Arc::new(SeededEntropy::new(7)));
        let nodes = (0..NODES).map(|number| Self::node(&world, number)).collect();
        let snapshot = FleetSnapshot {
            now,
            nodes,
            stacks: Vec::new(),
            trees: HashMap::new(),
            rollouts: Vec::new(),
            past: Pasts::default(),
            members: HashMap::new(),
            told: HashMap::new(),
            thresholds: Default::default(),
            constraints: Vec::new(),
            stopped: None,
        };
        Self { world, snapshot }
    }

    fn node(world: &World, number: usize) -> NodeFacts {
        let of = |words: &[&'static str], by: usize| words[(number / by) % words.len()];
        let labels = [
            format!("role={}", of(&["shop", "edge", "other"], 1)),
            format!("region={}", of(&["eu", "us", "asia"], 3)),
            format!("ring={}", if number.is_multiple_of(500) { "sandbox" } else { "general" }),
            format!("hardware={}", of(&["pi4", "pi5", "vm"], 9)),
        ];
        let silent = number.is_multiple_of(97);
        let (name, labels) = (format!("node-{number}"), Labels::parse(labels.iter().map(String::as_str)));
        NodeFacts::new(world.mint(), name.parse().unwrap(), labels.unwrap()).with_presence(!silent, silent)
    }

    /// All nodes run what their branches ask for.
    fn stacks(&mut self) {
        let manifest = FleetManifest::parse("fleet.toml", POLICY.as_bytes()).unwrap();
        for (index, (name, nodes)) in STACKS.iter().enumerate() {
            let cause = Cause::Change {
                repository: self.world.mint::<RepositoryId>(),
                commit: "0".repeat(40).parse().unwrap(),
            };
            let release = self.release();
            self.snapshot.stacks.push(StackFacts {
                name: name.parse().unwrap(),
                repository: self.world.mint(),
                release: Ok(release),
                origin: Origin { kind: RolloutKind::Update, cause: cause.clone() },
                pin_origins: Default::default(),
                assignments: vec![Assignment { nodes: nodes.parse().unwrap() }],
                max_updating: MaxUpdating::Percent(20),
                windows: manifest.windows.clone(),
                strategy: RolloutStrategy {
                    waves: ["ring=sandbox", "5%", "25%", "100%"].map(str::to_owned).into(),
                    soak_seconds: 900,
                    ..RolloutStrategy::default()
                },
                go_back: None,
                undone: Default::default(),
                unproven: None,
                last_good: None,
                prune: None,
                removal_cause: cause,
                within: backstay_plan::Within::Everyone,
                share: Default::default(),
            });
            let rollout = self.rollout(index, release, RolloutState::Succeeded);
            for at in 0..NODES {
                if self.snapshot.stacks[index].is_assigned(&self.snapshot.nodes[at]) {
                    let ran = self.attempt(release, rollout, TryState::Succeeded);
                    let past = self.snapshot.past.at(index, at);
                    (past.latest, past.settled) = (Some(ran), Some(ran.settled()));
                }
            }
        }
    }

    fn limits(&mut self) {
        let pin = Effect::Pin {
            stack: "agent".parse().unwrap(),
            release: self.snapshot.stacks[1].release.clone().unwrap(),
        };
        let some = |selector: &str| Scope::Nodes { selector: selector.to_owned() };
        self.limit(pin, some("name in (node-1,node-4,node-7)"));
        self.limit(Effect::Maintenance, some("hardware=vm,region=us,role=other"));
        self.limit(Effect::Freeze { stack: Some("shop".parse().unwrap()) }, some("region=us"));
    }

    fn limit(&mut self, effect: Effect, scope: Scope) {
        self.snapshot.constraints.push(Constraint {
            id: self.world.mint(),
            scope,
            effect,
            reason: "a trial".to_owned(),
            by: "ada".to_owned(),
            origin: ConstraintOrigin::Person,
            created_at: self.snapshot.now,
            from: None,
            until: None,
            lifted_at: None,
        });
    }

    /// A new release of the first stack is in its second wave of four: most of it runs it, some are at it.
    fn second_wave(&mut self) {
        let release = self.release();
        let tree = self.snapshot.trees[&release];
        self.snapshot.stacks[0].release = Ok(release);
        let strategy = self.snapshot.stacks[0].strategy.clone();
        let cuts = cuts(&strategy, tree, self.snapshot.nodes.iter());
        let noted = members(&strategy, &cuts, tree, self.snapshot.nodes.iter());
        let rollout = self.rollout(0, release, RolloutState::Running);
        let members: Arc<Members> = Arc::new(noted.into_iter().collect());
        let waves = backstay_plan::Waves::of(&strategy, &cuts, Some(tree), Some(members.clone()));
        let running = self.snapshot.rollouts.last_mut().unwrap();
        (running.cuts, running.wave) = (cuts, 1);
        self.snapshot.members.insert(rollout, members);
        for at in 0..NODES {
            if waves.wave_of(&self.snapshot.nodes[at]) > 1 || at.is_multiple_of(7) {
                continue;
            }
            let state = if at.is_multiple_of(5) { TryState::Running } else { TryState::Succeeded };
            let ran = self.attempt(release, rollout, state);
            let past = self.snapshot.past.at(0, at);
            past.latest = Some(ran);
            if state == TryState::Succeeded {
                past.settled = Some(ran.settled());
            }
        }
    }

    fn release(&mut self) -> ReleaseId {
        let id: ReleaseId = self.world.mint();
        self.snapshot.trees.insert(id, Digest::of(id.to_string().as_bytes()));
        id
    }

    fn rollout(&mut self, stack: usize, release: ReleaseId, state: RolloutState) -> RolloutId {
        let id = self.world.mint();
        let facts = &self.snapshot.stacks[stack];
        self.snapshot.rollouts.push(Rollout {
            id,
            stack: facts.name.clone(),
            environment: None,
            branch: None,
            part: None,
            release,
            kind: RolloutKind::Update,
            cause: facts.origin.cause.clone(),
            state,
            max_updating: None,
            strategy: facts.strategy.clone(),
            cuts: Vec::new(),
            wave: 0,
            paused: None,
            overridden: None,
            reason: String::new(),
            created_at: self.snapshot.now,
            finished_at: (state != RolloutState::Running).then_some(self.snapshot.now),
        });
        id
    }

    fn attempt(&self, release: ReleaseId, rollout: RolloutId, state: TryState) -> Try {
        let ended = state == TryState::Succeeded;
        Try {
            deployment: self.world.mint(),
            release,
            rollout,
            state,
            removal: false,
            ended_at: ended.then_some(Timestamp::UNIX_EPOCH),
            again_at: None,
        }
    }
}
