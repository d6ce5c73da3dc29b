//! A node in memory: it does what the core says, writes down what that was, and can lose its power.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by test programs that each use a part")]

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use backstay_agent_core::{
    Act, Action, Adopted, BootId, Change, Core, Cx, Done, Failure, Finding, Finished, Hold, Input, Journal,
    Links, Prepared, PreparedService, Seen, Settings, StackRecord, Task, TaskId,
};
use backstay_api::{
    agent::{Report, ReportBody},
    statement::{DesiredAction, DesiredStack, STATEMENT_VERSION, Statement},
};
use backstay_types::{
    Clock as _, Container, DeploymentId, Digest, FailureKind, FixedClock, Id, ImageId, LedgerHead,
    RolloutKind, SafeModeId, SeededEntropy, StackName, Step, Timestamp, TreeDigest, World,
};
use uuid::Uuid;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn id<I: Id>(n: u128) -> I {
    I::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn tree(name: &str) -> TreeDigest {
    Digest::of(name.as_bytes())
}

/// A stack that should run the tree called `tree`, as deployment number `deployment`.
pub(crate) fn run(stack: &str, tree_name: &str, deployment: u128) -> DesiredStack {
    DesiredStack {
        stack: stack.parse().unwrap(),
        action: DesiredAction::Run,
        release: id(deployment),
        tree: tree(tree_name),
        bytes: 1,
        deployment: id(deployment),
        rollout: id(deployment),
        kind: RolloutKind::Update,
        conversations: Vec::new(),
        commit: "0123456789012345678901234567890123456789".parse().unwrap(),
        path: String::new(),
        endpoints: Vec::new(),
        manifest_schema: 1,
        sources: Vec::new(),
        data: None,
        save: false,
    }
}

pub(crate) fn remove(stack: &str, deployment: u128) -> DesiredStack {
    DesiredStack { action: DesiredAction::Remove, ..run(stack, "nothing", deployment) }
}

pub(crate) fn rollback(desired: DesiredStack) -> DesiredStack {
    DesiredStack { kind: RolloutKind::Rollback, ..desired }
}

/// How a release runs; the image is named by the tree.
pub(crate) fn prepared(target: &DesiredStack, bake: Duration) -> Prepared {
    let service = PreparedService {
        image: ImageId(target.tree.to_string()),
        config: target.tree,
        deployment: target.deployment,
        release: target.release,
        conversations: Vec::new(),
    };
    Prepared {
        runtime: "process".to_owned(),
        project: target.stack.to_string(),
        services: BTreeMap::from([("main".to_owned(), service)]),
        probes: Vec::new(),
        bake,
        figures: Vec::new(),
        inputs: target.tree,
    }
}

pub(crate) fn containers(prepared: &Prepared) -> Vec<Container> {
    let container = |(name, service): (&String, &PreparedService)| Container {
        service: name.clone(),
        id: service.config.short(),
        name: name.clone(),
        image: service.image.clone(),
        running: true,
        health: None,
        deployment: Some(service.deployment),
    };
    prepared.services.iter().map(container).collect()
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) core: Core,
    /// What is durable.
    pub(crate) journal: Journal,
    pub(crate) spool: Vec<Report>,
    /// Every report that was ever spooled.
    pub(crate) told: Vec<Report>,
    pub(crate) links: BTreeMap<StackName, Links>,
    pub(crate) running: Option<(TaskId, Task)>,
    pub(crate) bake: Duration,
    /// What prepared releases say that they run by.
    pub(crate) runtime: &'static str,
    pub(crate) log: String,
    /// The journal after each transaction, with the transaction's name.
    pub(crate) history: Vec<(&'static str, Journal)>,
    clock: Arc<FixedClock>,
    time: Timestamp,
    off: (bool, Duration),
    world: World,
    mono: Duration,
    settings: Settings,
    /// What a deep look finds; putting it right works.
    pub(crate) found: Vec<Finding>,
    /// What a stack says when it is asked.
    pub(crate) well: Result<(), String>,
    boots: u32,
    generation: u64,
    names: BTreeMap<String, String>,
}

pub(crate) const ME: u128 = 7;

/// Deep looks are as good as never, so that they come between nothing.
pub(crate) fn settings() -> Settings {
    Settings { deep_check_every: 100_000 * HOUR, ..Settings::new(id(ME)) }
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::start(Journal::default(), 0, settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self::start(Journal::default(), 0, settings)
    }

    /// A node that finds this journal when it starts, in the boot in which it was written or in another.
    pub(crate) fn found(journal: Journal, reboot: bool) -> Self {
        Self::start(journal, u32::from(reboot), settings())
    }

    fn start(journal: Journal, boots: u32, settings: Settings) -> Self {
        let clock = Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH + 56 * 8766 * HOUR));
        let world = World::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let cx = Cx { world: &world, mono: Duration::ZERO };
        let generation = journal.held.as_ref().map_or(0, |held| held.generation);
        let (core, actions) =
            Core::start(settings.clone(), journal.clone(), BootId(boots.to_string()), BTreeMap::new(), &cx);
        let mut node = Self {
            core,
            journal,
            spool: Vec::new(),
            told: Vec::new(),
            links: BTreeMap::new(),
            running: None,
            bake: Duration::ZERO,
            runtime: "process",
            log: String::new(),
            history: Vec::new(),
            time: clock.now(),
            off: (true, Duration::ZERO),
            clock,
            world,
            mono: Duration::ZERO,
            settings,
            found: Vec::new(),
            well: Ok(()),
            boots,
            generation,
            names: BTreeMap::new(),
        };
        for name in ["a", "b", "c", "d", "bad", "nothing"] {
            node.names.insert(tree(name).to_string(), name.to_owned());
        }
        node.perform(actions);
        node
    }

    /// Everything is held when it starts the next time.
    pub(crate) fn hold_from_the_start(&mut self, id: u64) {
        self.settings.hold = Some(Hold { id, stack: None });
    }

    /// The power goes; what is durable is found again, in the same boot or another.
    pub(crate) fn restart(&mut self, reboot: bool) {
        self.boots += u32::from(reboot);
        self.running = None;
        let boot = BootId(self.boots.to_string());
        let _ = writeln!(self.log, "-- {}", if reboot { "reboot" } else { "restart" });
        let cx = Cx { world: &self.world, mono: self.mono };
        let (core, actions) =
            Core::start(self.settings.clone(), self.journal.clone(), boot, BTreeMap::new(), &cx);
        self.core = core;
        self.perform(actions);
    }

    /// The journal is lost with the agent that wrote it; the next one finds links, and what runs.
    pub(crate) fn lose_journal(&mut self) {
        (self.journal, self.running) = (Journal::default(), None);
        let found = |(stack, links): (&StackName, &Links)| (stack.clone(), Adopted { links: *links });
        let found = self.links.iter().map(found).collect();
        let _ = writeln!(self.log, "-- the journal is lost");
        let cx = Cx { world: &self.world, mono: self.mono };
        let boot = BootId(self.boots.to_string());
        let (core, actions) = Core::start(self.settings.clone(), self.journal.clone(), boot, found, &cx);
        self.core = core;
        self.perform(actions);
    }

    /// The true time, which is the hub's.
    pub(crate) fn now(&self) -> Timestamp {
        self.time
    }

    /// Monotonic time.
    pub(crate) fn mono(&self) -> Duration {
        self.mono
    }

    /// The machine's own clock goes wrong by so much, from now on.
    pub(crate) fn clock_off(&mut self, ahead: bool, by: Duration) {
        self.off = (ahead, by);
        self.set_clock();
    }

    fn set_clock(&self) {
        let (ahead, by) = self.off;
        self.clock.set(if ahead { self.time + by } else { self.time - by });
    }

    pub(crate) fn is_running(&self, word: &str) -> bool {
        self.running.as_ref().is_some_and(|(_, task)| task.word() == word)
    }

    /// Whether a deployment was begun after the node had gone into this safe mode.
    pub(crate) fn begun_in_safe_mode(&self, mode: SafeModeId, deployment: DeploymentId) -> bool {
        let entered = self.told.iter().position(|report| {
            matches!(report.body, ReportBody::SafeModeEntered { safe_mode, .. } if safe_mode == mode)
        });
        let begun = self.told.iter().position(|report| {
            matches!(report.body, ReportBody::DeploymentStarted { deployment: d, .. } if d == deployment)
        });
        begun > entered
    }

    pub(crate) fn safety(&self) -> backstay_types::NodeSafety {
        self.core.safety(&Cx { world: &self.world, mono: self.mono })
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.core.is_awaited(&Cx { world: &self.world, mono: self.mono })
    }

    /// The hub answers, with its signed time or without.
    pub(crate) fn heard(&mut self, signed: bool) {
        let time = signed.then_some(self.time);
        self.input(Input::Heard { time });
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.time += time;
        self.set_clock();
        self.mono += time;
        let _ = writeln!(self.log, "-- {time:?} pass");
        self.input(Input::Tick);
    }

    pub(crate) fn statement(&mut self, stacks: Vec<DesiredStack>) -> Statement {
        self.generation += 1;
        self.make(stacks, 1, self.generation, HOUR)
    }

    pub(crate) fn make(
        &self,
        stacks: Vec<DesiredStack>,
        epoch: u64,
        generation: u64,
        valid: Duration,
    ) -> Statement {
        Statement {
            version: STATEMENT_VERSION,
            node: id(ME),
            epoch,
            generation,
            digest: Statement::digest_of(&stacks),
            issued_at: self.now(),
            expires_at: self.now() + valid,
            ledger: LedgerHead { seq: 0, hash: Digest::from_bytes([0; 32]) },
            stacks,
            leave_safe_mode: None,
            agent: None,
        }
    }

    /// The hub states what should run, with the next generation.
    pub(crate) fn state(&mut self, stacks: Vec<DesiredStack>) {
        let statement = self.statement(stacks);
        self.give(statement);
    }

    pub(crate) fn give(&mut self, statement: Statement) {
        let _ = writeln!(self.log, "-- statement {}.{}", statement.epoch, statement.generation);
        self.input(Input::Statement(Box::new(statement)));
    }

    pub(crate) fn input(&mut self, input: Input) {
        let cx = Cx { world: &self.world, mono: self.mono };
        let actions = self.core.handle(input, &cx);
        self.perform(actions);
    }

    /// The running task ends well.
    pub(crate) fn succeed(&mut self) {
        let (id, task) = self.running.take().unwrap();
        let _ = writeln!(self.log, "-- {} is done", task.word());
        let done = self.done(&task);
        self.input(Input::Finished(Finished { id, records: Vec::new(), result: Ok(done) }));
    }

    /// The running task fails.
    pub(crate) fn fail(&mut self, step: Step, kind: FailureKind) {
        let (id, task) = self.running.take().unwrap();
        let _ = writeln!(self.log, "-- {} fails: {kind:?}", task.word());
        let failure = Failure { step, kind, reason: format!("{} failed", task.word()) };
        self.input(Input::Finished(Finished { id, records: Vec::new(), result: Err(failure) }));
    }

    /// The tasks that come end well, until one called `word` runs, or none does.
    pub(crate) fn until(&mut self, word: &str) {
        for _ in 0..100 {
            match &self.running {
                Some((_, task)) if task.word() == word => return,
                Some(_) => self.succeed(),
                None => return,
            }
        }
        panic!("it does not come to rest:\n{}", self.log);
    }

    /// Everything that can be done is done, and goes well.
    pub(crate) fn settle(&mut self) {
        self.until("");
    }

    fn done(&self, task: &Task) -> Done {
        match task {
            Task::Fetch { .. } => Done::Fetched,
            Task::Prepare { target, .. } => {
                let runtime = self.runtime.to_owned();
                Done::Prepared(Box::new(Prepared { runtime, ..prepared(target, self.bake) }))
            }
            Task::Snapshot { .. } | Task::SaveLast { .. } => Done::Saved,
            Task::Exchange { .. } => Done::Exchanged,
            Task::Activate { prepared, .. } => Done::Activated(containers(prepared)),
            Task::Probe { prepared, .. } | Task::Bake { prepared, .. } => Done::Healthy(containers(prepared)),
            Task::Return { to, .. } => Done::Returned(
                to.as_ref().and_then(|to| to.prepared.as_ref()).map(containers).unwrap_or_default(),
            ),
            Task::Remove { .. } => Done::Removed,
            Task::Stop { .. } => Done::Stopped,
            Task::RestartEngine {} => Done::EngineRestarted,
            Task::Prune { .. } => Done::Pruned,
            Task::Check { stacks } => Done::Checked(stacks.iter().map(|(s, r)| self.seen(s, r)).collect()),
            Task::Compare { .. } => Done::Compared(self.found.clone()),
            Task::Mend { .. } => Done::Mended(Vec::new()),
            Task::Ask { .. } => Done::Asked(self.well.clone()),
            Task::Heal { stack, record, .. } => Done::Healed(Box::new(self.seen(stack, record))),
        }
    }

    /// All is as it should be.
    pub(crate) fn seen(&self, stack: &StackName, record: &StackRecord) -> Seen {
        let runs = record.committed.as_ref().and_then(|c| c.prepared.as_ref());
        Seen {
            stack: stack.clone(),
            links: self.links.get(stack).copied().unwrap_or_default(),
            containers: Ok(runs.map(containers).unwrap_or_default()),
            release: true,
            previous: true,
            figures: Default::default(),
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for Action { act, why } in actions {
            let line = self.describe(&act);
            let why = if why.is_empty() { why } else { format!(" ({})", self.named(&why)) };
            let _ = writeln!(self.log, "{line}{why}");
            match act {
                Act::Persist(transaction) => {
                    for change in transaction.changes {
                        self.apply(change);
                    }
                    self.history.push((transaction.name, self.journal.clone()));
                }
                Act::SetLinks { stack, links, .. } => drop(self.links.insert(stack, links)),
                Act::Run { id, task } => {
                    assert!(self.running.is_none(), "two tasks at once:\n{}", self.log);
                    self.running = Some((id, *task));
                }
                Act::Abort { id } => {
                    let (running, _) = self.running.take().unwrap();
                    assert_eq!(running, id);
                }
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Hold(statement) => self.journal.held = Some(*statement),
            Change::Stack(stack, record) => drop(self.journal.stacks.insert(stack, *record)),
            Change::Operation(operation) => self.journal.operation = operation.map(|operation| *operation),
            Change::Safety(safety) => self.journal.safety = *safety,
            Change::Report(report) => {
                self.told.push(report.clone());
                self.spool.push(report);
            }
            Change::Forget(ids) => self.spool.retain(|report| !ids.contains(&report.id)),
        }
    }

    fn describe(&self, act: &Act) -> String {
        match act {
            Act::Persist(transaction) => {
                let changes: Vec<_> = transaction.changes.iter().map(|change| self.change(change)).collect();
                format!("persist {}: {}", transaction.name, changes.join(", "))
            }
            Act::SetLinks { stack, links, back } => {
                let name =
                    |tree: Option<TreeDigest>| tree.map_or_else(|| "-".to_owned(), |t| self.tree_name(t));
                let way = if *back { "back" } else { "forward" };
                format!(
                    "links {stack} {way}: current {}, previous {}",
                    name(links.current),
                    name(links.previous)
                )
            }
            Act::Run { task, .. } => format!("run {}{}", task.word(), self.of_task(task)),
            Act::Abort { .. } => "abort".to_owned(),
        }
    }

    fn of_task(&self, task: &Task) -> String {
        match task {
            Task::Fetch { target }
            | Task::Snapshot { target, .. }
            | Task::SaveLast { target, .. }
            | Task::Exchange { target }
            | Task::Activate { target, .. }
            | Task::Probe { target, .. }
            | Task::Bake { target, .. } => {
                format!(" {} {}", target.stack, self.tree_name(target.tree))
            }
            Task::Prepare { target, known, .. } => {
                let known = if known.is_some() { ", known" } else { "" };
                format!(" {} {}{known}", target.stack, self.tree_name(target.tree))
            }
            Task::Return { stack, failed_tree, to, .. } => {
                let to = to.as_ref().map_or_else(|| "nothing".to_owned(), |to| self.tree_name(to.tree));
                format!(" {stack} from {} to {to}", self.tree_name(*failed_tree))
            }
            Task::Remove { stack, .. } | Task::Stop { stack, .. } => format!(" {stack}"),
            Task::Prune { stack, keep, .. } => {
                let mut keep: Vec<_> = keep.iter().map(|tree| self.tree_name(*tree)).collect();
                keep.sort();
                format!(" {stack}, keeping {}", keep.join(" "))
            }
            Task::RestartEngine {} => String::new(),
            Task::Check { stacks } => format!(" {} stacks", stacks.len()),
            Task::Compare { stack, .. } | Task::Ask { stack, .. } => format!(" {stack}"),
            Task::Mend { stack, found, .. } => format!(" {stack}: {} departures", found.len()),
            Task::Heal { stack, runtime, release, previous, .. } => {
                format!(" {stack}: runtime {runtime}, release {release}, previous {previous}")
            }
        }
    }

    fn change(&self, change: &Change) -> String {
        match change {
            Change::Hold(statement) => format!("hold {}.{}", statement.epoch, statement.generation),
            Change::Stack(stack, record) => {
                let name = |c: &Option<backstay_agent_core::Committed>| {
                    c.as_ref().map_or_else(|| "-".to_owned(), |c| self.tree_name(c.tree))
                };
                let ended = record
                    .ended
                    .as_ref()
                    .map_or_else(String::new, |e| format!(" ended {}", short(e.deployment)));
                let trouble = &record.trouble;
                let failures = if trouble.failures == 0 {
                    String::new()
                } else {
                    format!(" failures {}", trouble.failures)
                };
                let stopped = if trouble.stopped { " stopped" } else { "" };
                let (committed, previous) = (name(&record.committed), name(&record.previous));
                format!("{stack} = {committed} before {previous}{ended}{failures}{stopped}")
            }
            Change::Safety(safety) => {
                let mode = safety.safe_mode.as_ref().map_or_else(
                    || "no safe mode".to_owned(),
                    |mode| {
                        let stacks: Vec<_> = mode.stacks.keys().map(|stack| stack.as_str()).collect();
                        format!("safe mode for {}", stacks.join(" "))
                    },
                );
                let outage = if safety.outage.is_some() { ", outage" } else { "" };
                format!("{mode}{outage}")
            }
            Change::Operation(None) => "no operation".to_owned(),
            Change::Operation(Some(operation)) => {
                format!(
                    "{} {} {}",
                    operation.phase.word(),
                    operation.target.stack,
                    self.tree_name(operation.target.tree)
                )
            }
            Change::Report(report) => match &report.body {
                ReportBody::DeploymentStarted { deployment, .. } => {
                    format!("report {} started", short(*deployment))
                }
                ReportBody::StepFinished { deployment, record } => {
                    format!("report {} {:?} {:?}", short(*deployment), record.step, record.outcome)
                }
                ReportBody::DeploymentFinished { deployment, state, .. } => {
                    format!("report {} {}", short(*deployment), state.word())
                }
                ReportBody::Drift { escalated: true, .. } => "report drift, given up".to_owned(),
                ReportBody::Drift { healed, .. } => format!("report drift, healed {healed}"),
                ReportBody::AgentUpdate { .. } => "report of the agent".to_owned(),
                ReportBody::StackRemoved { stack, .. } => format!("report {stack} removed"),
                ReportBody::StatementRefused { .. } => "report refusal".to_owned(),
                ReportBody::SafeModeEntered { stack, reason, .. } => {
                    format!("report safe mode for {stack}: {reason}")
                }
                ReportBody::SafeModeLeft { reason, .. } => format!("report safe mode left: {reason}"),
                ReportBody::Outage { from, to, detail } => {
                    format!("report outage of {} s: {detail}", to.duration_since(*from).as_secs())
                }
                ReportBody::Unknown => "report unknown".to_owned(),
            },
            Change::Forget(ids) => format!("forget {} reports", ids.len()),
        }
    }

    fn tree_name(&self, tree: TreeDigest) -> String {
        self.names.get(&tree.to_string()).cloned().unwrap_or_else(|| tree.short())
    }

    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for n in 0..20u128 {
            text = text.replace(&id::<DeploymentId>(n).to_string(), &format!("D{n}"));
        }
        text
    }
}

fn short(deployment: DeploymentId) -> String {
    format!("D{}", deployment.uuid().as_u128())
}
