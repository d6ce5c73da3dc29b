//! A run: one loop that owns time.

mod agents;
mod faults;
mod judge;
mod limits;
mod parts;
mod pins;
mod rest;
mod safe_mode;
mod stages;
mod windows;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use backstay_api::{
    agent::{Report, ReportBody},
    statement::{DesiredAction, SignedStatement, Statement},
};
use backstay_engine::{EngineError, NewRepository};
use backstay_store::nodes;
use backstay_types::{
    DeploymentId, Digest, EnvironmentName, Labels, NodeId, Rollout, RolloutId, RolloutState, StackName,
    Timestamp, TreeDigest, tree,
};
use ed25519_dalek::SigningKey;
use tempfile::TempDir;

use crate::{
    Outcome, Scenario,
    chance::Chance,
    content::{Content, first_files},
    context::{Context, Event, NodeEvent, Request},
    hub::{Failed, HOLD, Held, Hub, Parts},
    invariant::{Invariant, Planted},
    node::Node,
    upstream::{Edit, Upstream},
};

/// The hub looks at least this often, whether anything was recorded or not: while a rollout runs, and while none does.
/// The real one looks more often; nothing here depends on seconds.
const LOOK_EVERY: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(120)];
/// How soon it plans after something was recorded.
const LOOK_SOON: Duration = Duration::from_millis(300);
/// How often it looks at its repository of its own accord.
const POLL_EVERY: Duration = Duration::from_secs(15 * 60);

/// A fleet in a run.
pub(crate) struct Sim {
    scenario: Scenario,
    cx: Context,
    hub: Hub,
    nodes: Vec<Node>,
    upstream: Upstream,
    stacks: Vec<StackName>,
    chance: Chance,
    /// The look that the hub will take; one that was asked for before it is not taken.
    look: u64,
    /// Rollouts as the hub had them when it was last looked at.
    rollouts: BTreeMap<RolloutId, Rollout>,
    /// Who was noted for which wave when each began.
    members: BTreeMap<RolloutId, Arc<backstay_plan::Members>>,
    rollout_names: BTreeMap<RolloutId, usize>,
    /// What is wrong now, by its place in the scenario.
    going_on: BTreeMap<usize, crate::Happening>,
    known_deployments: HashSet<DeploymentId>,
    /// What each node was told last of each stack.
    told: BTreeMap<(NodeId, StackName), (DeploymentId, TreeDigest)>,
    /// Deployments of nodes that ran, or had been told of, what is undone.
    ways_back: BTreeSet<DeploymentId>,
    /// What people limit now, as the hub has said yes to it.
    limits: BTreeSet<limits::Limited>,
    /// Pins among that, in the order in which they were set.
    pins: Vec<pins::Pin>,
    /// The windows that `fleet.toml` has now.
    windows: Vec<crate::Window>,
    /// Which release of each stack came to each environment last, by the hub's count, and all that ever entered.
    turns: BTreeMap<(StackName, EnvironmentName), i64>,
    entered: HashSet<stages::Entered>,
    /// What branches ask for, and what rollouts bring, where stacks are divided into parts.
    tips: BTreeMap<StackName, TreeDigest>,
    part_trees: HashMap<RolloutId, TreeDigest>,
    agents: agents::Agents,
    /// Since when everything is stopped, or frozen, and which rollouts are paused, as the hub has said yes to it.
    stopped: Option<Duration>,
    frozen: Option<Duration>,
    paused: BTreeMap<RolloutId, Duration>,
    /// When the hub looked last.
    looked_at: Duration,
    /// When deployments were planned, those of nodes that have not begun them.
    planned_at: BTreeMap<DeploymentId, Duration>,
    /// When each node was heard from, and the last time for which it was not.
    heard_at: BTreeMap<usize, Duration>,
    away: BTreeMap<usize, (Duration, Duration)>,
    /// Since when the hub runs, and whether its clock was ever wrong.
    hub_since: Duration,
    hub_clock_was_wrong: bool,
    /// When its clock was set last.
    hub_clock_set: Duration,
    rest_until: Duration,
    /// Something was recorded that is not sealed and judged yet.
    recorded: bool,
    fleet_toml: String,
    /// What was in the folder that has vanished.
    vanished: Option<String>,
    _dir: TempDir,
}

impl Sim {
    /// The fleet of a scenario, before anything has happened.
    ///
    /// # Errors
    /// When a folder or a repository cannot be made here.
    pub(crate) fn new(scenario: &Scenario, planted: Option<Planted>, all_lines: bool) -> io::Result<Self> {
        let dir = place()?;
        let key = SigningKey::from_bytes(&[7; 32]);
        let seed = scenario.seed;
        let mut cx =
            Context::new(seed, (scenario.nodes, scenario.begin), key.verifying_key(), planted, all_lines);
        let upstream = Upstream::create(dir.path())?;
        let stacks: Vec<StackName> =
            ["web", "api"].iter().take(scenario.stacks).filter_map(|name| name.parse().ok()).collect();
        let mut fleet_toml = scenario.strategy.to_toml();
        for stack in &stacks {
            fleet_toml.push_str(&format!("[[assign]]\nstack = \"{stack}\"\nnodes = \"\"\n"));
        }
        scenario.stages.iter().for_each(|stage| fleet_toml.push_str(&stage.to_toml()));
        scenario.windows.iter().for_each(|window| fleet_toml.push_str(&window.to_toml()));
        let mut files = vec![("fleet.toml".to_owned(), Edit::Text(fleet_toml.clone()))];
        for stack in &stacks {
            files.extend(
                first_files(stack.as_str(), scenario.bake, scenario.divided)
                    .into_iter()
                    .map(|(p, t)| (p, Edit::Text(t))),
            );
        }
        upstream.push("First", &files, cx.clock(0))?;
        let mut hub = Hub::new(dir.path(), seed, key);
        hub.start(cx.clock(0))?;
        cx.hub_up = true;
        let mut sim = Self {
            chance: Chance::of(seed, "sim"),
            scenario: scenario.clone(),
            cx,
            hub,
            nodes: Vec::new(),
            upstream,
            stacks,
            look: 0,
            rollouts: BTreeMap::new(),
            members: BTreeMap::new(),
            rollout_names: BTreeMap::new(),
            going_on: BTreeMap::new(),
            known_deployments: Default::default(),
            told: BTreeMap::new(),
            ways_back: BTreeSet::new(),
            limits: BTreeSet::new(),
            pins: Vec::new(),
            windows: scenario.windows.clone(),
            turns: BTreeMap::new(),
            entered: HashSet::new(),
            tips: BTreeMap::new(),
            part_trees: HashMap::new(),
            agents: agents::Agents::default(),
            stopped: None,
            frozen: None,
            paused: BTreeMap::new(),
            looked_at: Duration::ZERO,
            planned_at: BTreeMap::new(),
            heard_at: BTreeMap::new(),
            away: BTreeMap::new(),
            hub_since: Duration::ZERO,
            hub_clock_was_wrong: false,
            hub_clock_set: Duration::ZERO,
            rest_until: Duration::ZERO,
            recorded: false,
            fleet_toml,
            vanished: None,
            _dir: dir,
        };
        sim.join()?;
        Ok(sim)
    }

    /// Runs to its end.
    ///
    /// # Errors
    /// When the run itself, not what is run, fails.
    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        while self.cx.violation.is_none() {
            let Some((at, event)) = self.cx.queue.pop() else { break };
            self.cx.now = at;
            if matches!(event, Event::Rests) && self.rests()? {
                break;
            }
            self.happen(event)?;
            self.judge_begun();
        }
        if self.cx.violation.is_none() {
            self.judge_end();
        }
        let (hours, trace) = (self.cx.now.as_secs_f64() / 3600.0, self.cx.trace);
        let count = trace.count();
        let (digest, lines) = trace.finish();
        Ok(Outcome {
            violation: self.cx.violation,
            node_hours: hours * self.scenario.nodes as f64,
            events: count,
            digest,
            trace: lines,
        })
    }

    fn join(&mut self) -> io::Result<()> {
        let now = self.hub_clock();
        let new = NewRepository {
            name: "fleet".parse().map_err(io::Error::other)?,
            endpoints: vec![self.upstream.url()],
            branch: Some("main".to_owned()),
            stacks_path: None,
            sealed_credential: None,
        };
        let names: Vec<_> = (0..self.scenario.nodes).map(|index| format!("node-{index}")).collect();
        let made = self.hub.call(now, async |parts: Parts| {
            let repository = parts.engine.add_repository(new).await?.id;
            let mut ids = Vec::new();
            let mut tx = parts.store.begin().await?;
            for (index, name) in names.iter().enumerate() {
                let ring = if index == 0 { "first" } else { "rest" };
                let kind = if index % 3 == 1 { "odd" } else { "even" };
                let labels = [format!("ring={ring}"), format!("kind={kind}")];
                let node = backstay_types::Node {
                    id: parts.store.world().mint(),
                    name: name.parse().map_err(|_| EngineError::Stopping)?,
                    labels: Labels::parse(labels.each_ref().map(String::as_str)).unwrap_or_default(),
                    joined_at: now,
                    revoked_at: None,
                };
                nodes::insert(&mut tx, &node, Digest::of(name.as_bytes())).await?;
                ids.push(node.id);
            }
            tx.commit().await?;
            Ok((repository, ids))
        });
        let (repository, ids) = made.map_err(|failed| io::Error::other(format!("{failed:?}")))?;
        self.hub.repository = Some(repository);
        for (index, id) in ids.into_iter().enumerate() {
            let mut node = Node::new(self.scenario.seed, index, id);
            node.boot(&mut self.cx);
            self.nodes.push(node);
        }
        for index in 0..self.scenario.happenings.len() {
            let at = self.scenario.happenings[index].at;
            self.cx.queue.push(at, Event::Planned(index));
        }
        self.cx.queue.push(self.scenario.calm_at, Event::Calm);
        self.cx.queue.push(POLL_EVERY, Event::HubPolls);
        self.look_after(LOOK_SOON);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Planned(index) => self.planned(index),
            Event::Over(index) => self.over(index),
            Event::HubLook(number) if number == self.look => self.hub_looks(),
            Event::HubLook(_) | Event::Rests => Ok(()),
            Event::HubPolls => {
                self.cx.queue.push(self.cx.now + POLL_EVERY, Event::HubPolls);
                self.sync()
            }
            Event::HubStarts => self.hub_starts(),
            Event::AtHub { node, life, seq, request } => self.at_hub(node, life, seq, request),
            Event::HoldEnds { node, life, seq } => {
                let same = |held: &Held| (held.life, held.seq) == (life, seq);
                if self.hub.held.get(&node).is_some_and(same) {
                    self.hub.held.remove(&node);
                    self.send_node(node, life, || NodeEvent::Answer { seq, statement: None });
                }
                Ok(())
            }
            Event::Node(node, life, event) => {
                self.nodes[node].on_agent(life, event, &mut self.cx);
                self.judge_node(node);
                Ok(())
            }
            Event::Machine(node, boot, event) => {
                self.nodes[node].on_machine(boot, event, &mut self.cx);
                Ok(())
            }
            Event::Calm => self.calm(),
        }
    }

    /// Something is asked of the hub.
    fn at_hub(&mut self, node: usize, life: u32, seq: u64, request: Request) -> io::Result<()> {
        if !self.hub.is_up() {
            // The connection is refused.
            self.send_node(node, life, || NodeEvent::NoAnswer { seq });
            return Ok(());
        }
        let id = self.nodes[node].id;
        match request {
            Request::CheckIn(have, safety) => {
                self.heard_from(node);
                self.hub.heard(id, self.hub_clock());
                self.hub.safety.insert(id, *safety);
                let held = Held { life, seq, have };
                if !self.answer(node, &held)? {
                    self.hub.held.insert(node, held);
                    self.cx.after(HOLD, Event::HoldEnds { node, life, seq });
                }
                Ok(())
            }
            Request::Reports(reports) => self.take(node, life, seq, reports),
        }
    }

    /// Answers a check-in if there is something to say. False when there is not.
    fn answer(&mut self, node: usize, held: &Held) -> io::Result<bool> {
        let id = self.nodes[node].id;
        let Some(version) = self.hub.versions.get(&id) else { return Ok(false) };
        // What it would be asked about is not new: spares a look into the database.
        let known = held.have.as_ref().is_some_and(|have| {
            (have.epoch, have.generation, have.digest) == (version.epoch, version.generation, version.digest)
                && have.issued_at >= version.updated_at
        });
        if known {
            return Ok(false);
        }
        let (now, have) = (self.hub_clock(), held.have);
        let news = self.hub.call(now, async |parts: Parts| parts.engine.news(id, have.as_ref()).await);
        let Some(statement) = self.answered(news)?.flatten() else { return Ok(false) };
        let (life, seq) = (held.life, held.seq);
        let statement = self.planted_statement(statement);
        self.learn(&statement)?;
        self.send_node(node, life, || NodeEvent::Answer { seq, statement: Some(statement.clone()) });
        Ok(true)
    }

    fn take(&mut self, node: usize, life: u32, seq: u64, reports: Vec<Report>) -> io::Result<()> {
        let (id, now) = (self.nodes[node].id, self.hub_clock());
        let ends = reports.iter().filter_map(|report| match &report.body {
            ReportBody::DeploymentFinished { deployment, state, .. } => Some((*deployment, state.clone())),
            _ => None,
        });
        let ends: Vec<_> = ends.collect();
        let said = reports.iter().filter_map(|report| match &report.body {
            ReportBody::AgentUpdate { update, outcome, .. } => Some(((*update, id), outcome.clone())),
            _ => None,
        });
        let said: Vec<_> = said.collect();
        let too_soon = self.cx.has(Planted::AcksTooSoon) && self.chance.permille(300);
        let ids = if too_soon {
            Some(reports.iter().map(|report| report.id).collect())
        } else {
            let taken = self.hub.call(now, async |parts: Parts| parts.engine.take_reports(id, reports).await);
            self.answered(taken)?
        };
        let Some(ids) = ids else {
            self.send_node(node, life, || NodeEvent::NoAnswer { seq });
            return Ok(());
        };
        for (deployment, state) in ends {
            self.cx.truth.acknowledged.entry(deployment).or_insert(state);
        }
        self.agents.said.extend(said);
        self.send_node(node, life, || NodeEvent::Accepted { seq, ids: ids.clone() });
        self.look_if_recorded();
        Ok(())
    }

    fn send_node(&mut self, node: usize, life: u32, event: impl Fn() -> NodeEvent) {
        for wait in self.cx.arrivals(node, false) {
            self.cx.after(wait, Event::Node(node, life, event()));
        }
    }

    /// The hub plans, seals, and answers those whose statement is new.
    fn hub_looks(&mut self) -> io::Result<()> {
        if !self.hub.is_up() {
            return Ok(());
        }
        let now = self.hub_clock();
        self.looked_at = self.cx.now;
        self.plant_agents()?;
        // A bug that is planted: while nothing may begin the hub does not even look what it has ordered.
        let still = self.stopped.is_some() || self.is_outside(0, now.as_second());
        if !(still && self.cx.has(Planted::KeepsOrders)) {
            let looked = self.hub.call(now, async |parts: Parts| parts.engine.reconcile().await);
            self.answered(looked)?;
        }
        // That a node is to run another agent is in no entry of the ledger.
        if self.hub.has_recorded() || self.recorded || self.agents.begun {
            self.settle()?;
        }
        let held: Vec<_> = self.hub.held.iter().map(|(node, held)| (*node, held.clone())).collect();
        for (node, held) in held {
            if self.answer(node, &held)? {
                self.hub.held.remove(&node);
            }
        }
        let running = self.rollouts.values().any(|rollout| rollout.state == RolloutState::Running);
        self.look_after(LOOK_EVERY[usize::from(!running)]);
        Ok(())
    }

    /// After something was recorded: it is sealed, and what came of it is judged.
    fn settle(&mut self) -> io::Result<()> {
        self.recorded = false;
        let now = self.hub_clock();
        let settled = self.hub.settle(now);
        self.answered(settled)?;
        self.judge_hub()
    }

    fn look_after(&mut self, wait: Duration) {
        self.look += 1;
        self.cx.after(wait, Event::HubLook(self.look));
    }

    fn look_if_recorded(&mut self) {
        if self.hub.has_recorded() {
            self.recorded = true;
            self.look_after(LOOK_SOON);
        }
    }

    /// What a call came to. A hub that died of it is started again later; one that failed by itself is a finding.
    fn answered<T>(&mut self, result: Result<T, Failed>) -> io::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Failed::Down) => {
                self.hub_died();
                Ok(None)
            }
            Err(Failed::Error(error)) => {
                self.cx.say("hub", format_args!("fails: {error}"));
                self.cx.violated(Invariant::Sound, format!("the hub fails: {error}"));
                Ok(None)
            }
        }
    }

    /// For a bug that is planted: a repository that cannot be read is taken for an empty one.
    fn planted_statement(&self, signed: SignedStatement) -> SignedStatement {
        let unknown =
            !self.cx.git_up || self.going_on.values().any(|w| matches!(w, crate::Happening::Misspell { .. }));
        if !(self.cx.has(Planted::UnknownIsEmpty) && unknown) {
            return signed;
        }
        let Ok(mut statement) = signed.open(&self.cx.key) else { return signed };
        for line in &mut statement.stacks {
            line.action = DesiredAction::Remove;
            line.deployment = self.nodes[0].mint();
        }
        statement.generation += 1000;
        statement.digest = Statement::digest_of(&statement.stacks);
        statement.sign(&self.hub.key)
    }

    /// Learns what the trees of a statement contain.
    fn learn(&mut self, signed: &SignedStatement) -> io::Result<()> {
        let Ok(statement) = signed.open(&self.cx.key) else { return Ok(()) };
        for line in statement.stacks {
            self.learn_tree(line.tree)?;
        }
        Ok(())
    }

    fn learn_tree(&mut self, digest: Digest) -> io::Result<()> {
        if self.cx.truth.contents.contains_key(&digest) {
            return Ok(());
        }
        let now = self.hub_clock();
        let pack = self.hub.call(now, async |parts: Parts| parts.engine.pack(digest).await);
        let Some(pack) = self.answered(pack)? else { return Ok(()) };
        let mut files = Vec::new();
        tree::unpack(&pack[..], digest, &mut files).map_err(io::Error::other)?;
        self.cx.truth.contents.insert(digest, Content::of(&files));
        self.cx.truth.packs.insert(digest, pack);
        Ok(())
    }

    fn hub_clock(&self) -> Timestamp {
        self.cx.clock(self.hub.clock)
    }

    fn index_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }
}

/// Memory is quicker than a disk, and nothing here is to survive.
fn place() -> io::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("backstay-sim-");
        builder
    };
    builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir())
}
