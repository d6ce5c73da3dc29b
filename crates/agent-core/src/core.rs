//! The core: inputs in, actions out.

mod batch;
mod deep;
mod drive;
mod finish;
mod hold;
mod look;
mod reach;
mod safe_mode;
mod unwell;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use backstay_api::{
    agent::{Have, ReportBody},
    statement::{DesiredAction, DesiredStack, Statement},
};
use backstay_types::{
    DeploymentState, DriftPart, MOST_DRIFTS, NodeId, ObservedStack, StackHealth, StackName, Timestamp, World,
};

use self::{batch::Batch, look::Concern};
use crate::{
    action::{Act, Action, Change, Hold, Input, Task, TaskId},
    drift::{Deviation, Seen, health},
    intake::{Verdict, judge},
    journal::{
        Activating, Adopted, Baking, BootId, Ended, Exchanging, Journal, Leaving, Operation, Phase, Probing,
        ReturnCause, Returning, Saving, StackRecord,
    },
    operation::superseded,
    recovery,
    safety::OUTAGE,
};

/// What the core is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// The newest manifest schema that this build knows.
    pub manifest_schema: u32,
    /// How often to look at what runs.
    pub check_every: Duration,
    /// How often to look deeply, a random tenth more or less.
    pub deep_check_every: Duration,
    /// So often the same departure is put right before a person is asked.
    pub drift_heals: u32,
    /// How many releases of a stack to keep besides the running and the previous one.
    pub keep: usize,
    /// How long to try to get a release that neither hub nor Git gives.
    pub fetch_patience: Duration,
    /// How often to try the way back.
    pub return_tries: u32,
    /// How long to wait after a failed update before the next of that stack; longer after each that fails in a row.
    pub failure_pause: Duration,
    /// Without a hub for so long it is an outage, of which the hub is told afterwards.
    pub outage_after: Duration,
    /// After so many looks at which the container engine did not answer it is started again; never when absent.
    pub restart_engine: Option<u32>,
    /// So many failed updates of a stack in a row lead to safe mode.
    pub failures: u32,
    /// Whether data is saved before another release takes the place of what runs.
    pub snapshots: bool,
    /// Who wants to be alone from the start: what was being done when the agent ended is brought to its end before anything
    /// else begins, also before what is asked for already.
    pub hold: Option<Hold>,
}

impl Settings {
    /// The defaults, for a node.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            manifest_schema: backstay_manifest::MANIFEST_SCHEMA,
            check_every: Duration::from_secs(300),
            deep_check_every: Duration::from_secs(3600),
            drift_heals: 3,
            keep: 3,
            fetch_patience: Duration::from_secs(900),
            return_tries: 3,
            failure_pause: Duration::from_secs(5),
            outage_after: OUTAGE,
            restart_engine: None,
            failures: 3,
            snapshots: false,
            hold: None,
        }
    }
}

/// What comes in with every input.
#[derive(Debug, Clone, Copy)]
pub struct Cx<'a> {
    /// Time by the wall clock, and ids.
    pub world: &'a World,
    /// Monotonic time since the agent started.
    pub mono: Duration,
}

/// The agent's decisions. See the crate's documentation.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    boot: BootId,
    journal: Journal,
    running: Option<Running>,
    last_task: u64,
    /// Nothing about the operation before this time.
    retry_at: Option<Duration>,
    /// Since when, and how often, a fetch has failed.
    fetch_failing: Option<(Duration, u32)>,
    check_at: Duration,
    to_prune: BTreeSet<StackName>,
    to_heal: VecDeque<(StackName, Vec<Deviation>)>,
    seen: BTreeMap<StackName, Seen>,
    /// What is being put right.
    healing: Option<(Concern, String)>,
    /// What deep looks are for, and what they found.
    deep: deep::Deep,
    /// The drift that was last reported, so that it is said once.
    told: BTreeMap<(StackName, Concern), String>,
    /// Why a statement was last refused; likewise.
    refused: Option<String>,
    /// No update of these stacks before these times.
    paused: BTreeMap<StackName, Duration>,
    /// Stacks to be stopped, since not even their last good release runs.
    to_stop: BTreeSet<StackName>,
    /// Stacks of which something was given up: they are asked whether they are well.
    to_ask: BTreeSet<StackName>,
    /// Stacks of which a release is to be stopped that failed when nothing had run before it.
    to_leave: BTreeSet<StackName>,
    /// How often in a row the container engine did not answer, and at which count it is started again.
    engine_silent: u32,
    restart_engine_at: u32,
    /// The hub's time, and when it said so.
    hub_time: Option<(Timestamp, Duration)>,
    /// Who wants to be alone with a stack, and whether it is.
    hold: Option<hold::Held>,
}

#[derive(Debug)]
struct Running {
    id: TaskId,
    task: Task,
}

impl Core {
    /// Starts from the journal as it was left, and what was found on disk.
    /// The journal holds what [`Act::Persist`] actions made of it.
    pub fn start(
        settings: Settings,
        journal: Journal,
        boot: BootId,
        found: BTreeMap<StackName, Adopted>,
        cx: &Cx<'_>,
    ) -> (Self, Vec<Action>) {
        let mut core = Self {
            settings,
            boot,
            journal,
            running: None,
            last_task: 0,
            retry_at: None,
            fetch_failing: None,
            check_at: cx.mono,
            to_prune: BTreeSet::new(),
            to_heal: VecDeque::new(),
            seen: BTreeMap::new(),
            healing: None,
            deep: deep::Deep::default(),
            told: BTreeMap::new(),
            refused: None,
            paused: BTreeMap::new(),
            to_stop: BTreeSet::new(),
            to_ask: BTreeSet::new(),
            to_leave: BTreeSet::new(),
            engine_silent: 0,
            restart_engine_at: 0,
            hub_time: None,
            hold: None,
        };
        core.hold = core.settings.hold.take().map(hold::Held::new);
        let mut out = Batch::default();
        core.deep.at = core.first_deep_look(cx);
        core.recover(found, cx, &mut out);
        core.drive(cx, &mut out);
        (core, out.finish())
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input, cx: &Cx<'_>) -> Vec<Action> {
        let mut out = Batch::default();
        match input {
            Input::Statement(statement) => self.on_statement(*statement, cx, &mut out),
            Input::Unreadable { reason } => self.refuse(reason, cx, &mut out),
            Input::Finished(finished) => self.on_finished(finished, cx, &mut out),
            Input::Tell(body) => {
                self.report(body, cx, &mut out);
                out.flush("told", "the hub should know");
            }
            Input::Acked(reports) => {
                if !reports.is_empty() {
                    out.change(Change::Forget(reports));
                    out.flush("acked", "the hub has these reports");
                }
            }
            Input::Heard { time } => self.on_heard(time, cx, &mut out),
            Input::Silence { silent } => self.on_silence(silent, cx, &mut out),
            Input::Hold(hold) => self.hold = Some(hold::Held::new(hold)),
            Input::Release { id } => self.release(id, cx),
            Input::Tick => {}
        }
        self.drive(cx, &mut out);
        out.finish()
    }

    /// When to send [`Input::Tick`] at the latest, in monotonic time.
    pub fn deadline(&self) -> Option<Duration> {
        if self.running.is_some() {
            return None;
        }
        match &self.journal.operation {
            Some(_) => self.retry_at,
            None if self.holds_all() => None,
            None if self.hold.is_some() => self.paused.values().copied().chain([self.check_at]).min(),
            None => self.paused.values().copied().chain([self.check_at, self.deep.at]).min(),
        }
    }

    /// The journal as it is, persisted or about to be.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The statement that is held, as check-ins name it.
    pub fn have(&self) -> Option<Have> {
        let held = self.journal.held.as_ref()?;
        Some(Have {
            epoch: held.epoch,
            generation: held.generation,
            digest: held.digest,
            issued_at: held.issued_at,
        })
    }

    /// What the hub should see of every stack.
    pub fn observed(&self) -> Vec<ObservedStack> {
        let known = self.journal.stacks.iter().filter(|(stack, record)| {
            record.committed.is_some() || self.operation_on(stack).is_some() || record.ended.is_some()
        });
        known.map(|(stack, record)| self.observe(stack, record)).collect()
    }

    fn observe(&self, stack: &StackName, record: &StackRecord) -> ObservedStack {
        let links = self.journal.links(stack);
        let seen = self.seen.get(stack);
        let operation = self.operation_on(stack);
        let (health, detail) = match operation {
            Some(operation) => (StackHealth::Deploying, operation.phase.word().to_owned()),
            None if record.trouble.stopped => {
                (StackHealth::Down, "stopped in safe mode: not even its last good release runs".to_owned())
            }
            None => health(record, links, seen),
        };
        let containers = seen
            .and_then(|seen| seen.containers.as_ref().ok())
            .or_else(|| record.committed.as_ref().map(|c| &c.containers));
        ObservedStack {
            stack: stack.clone(),
            current: links.current,
            previous: links.previous,
            deployment: record.committed.as_ref().and_then(|c| c.deployment),
            health,
            detail,
            can_return: record.previous.is_some() && seen.is_none_or(|seen| seen.previous),
            containers: containers.cloned().unwrap_or_default(),
            // What was said before a deployment says nothing about what runs after it.
            figures: seen
                .filter(|seen| seen.links.current == links.current)
                .map(|seen| seen.figures.clone())
                .unwrap_or_default(),
            drift: record.departures.standing().take(MOST_DRIFTS).collect(),
        }
    }

    fn operation_on(&self, stack: &StackName) -> Option<&Operation> {
        self.journal.operation.as_ref().filter(|o| &o.target.stack == stack)
    }

    /// First things after a start: adopt what a lost journal left, move the interrupted operation on,
    /// put the links right.
    fn recover(&mut self, found: BTreeMap<StackName, Adopted>, cx: &Cx<'_>, out: &mut Batch) {
        let adopted = recovery::adopt(&mut self.journal, found, cx.world.now());
        for stack in adopted {
            let record = self.record(&stack);
            out.change(Change::Stack(stack, Box::new(record)));
        }
        if recovery::resume(&mut self.journal, &self.boot) {
            out.change(Change::Operation(self.journal.operation.clone().map(Box::new)));
        }
        self.started_in_outage(out);
        // What does not run after a boot has not departed: it is yet to be started. However often the power goes.
        let mut woken = Vec::new();
        for (stack, record) in &mut self.journal.stacks {
            if record.departures.forget(DriftPart::Running) {
                woken.push(stack.clone());
            }
        }
        for stack in woken {
            out.change(Change::Stack(stack.clone(), Box::new(self.record(&stack))));
        }
        // How much of a pause is over is not known after a start: it begins again.
        let first = self.settings.failure_pause;
        let pauses = self.journal.stacks.iter().map(|(stack, record)| (stack, record.trouble.pause(first)));
        let pauses = pauses.filter(|(_, pause)| !pause.is_zero());
        self.paused = pauses.map(|(stack, pause)| (stack.clone(), cx.mono.saturating_add(pause))).collect();
        out.flush("recovered", "the journal as it was left");
        for stack in self.journal.stacks.keys() {
            let back = self.operation_on(stack).is_some_and(|o| matches!(o.phase, Phase::Returning(_)));
            let act = Act::SetLinks { stack: stack.clone(), links: self.journal.links(stack), back };
            out.act(act, "links follow the journal");
        }
        self.to_prune.extend(self.journal.stacks.keys().cloned());
    }

    fn on_statement(&mut self, statement: Statement, cx: &Cx<'_>, out: &mut Batch) {
        match judge(self.journal.held.as_ref(), &statement, self.settings.node) {
            Verdict::Newer => {
                self.hold(statement, cx, out);
                self.put_off_deep_look(out);
                self.retry_at = None;
                self.fetch_failing = None;
                self.preempt(cx, out);
            }
            Verdict::Renewed => self.hold(statement, cx, out),
            Verdict::Known => {}
            Verdict::Refused { reason } => self.refuse(reason, cx, out),
        }
    }

    fn hold(&mut self, statement: Statement, cx: &Cx<'_>, out: &mut Batch) {
        out.change(Change::Hold(Box::new(statement.clone())));
        out.name("statement");
        let word = statement.leave_safe_mode.clone();
        self.journal.held = Some(statement);
        if let Some(word) = word {
            self.leave_by_word(&word, cx, out);
        }
    }

    fn refuse(&mut self, reason: String, cx: &Cx<'_>, out: &mut Batch) {
        // A hub that repeats itself fills neither the spool nor its own ledger.
        if self.refused.as_ref() == Some(&reason) {
            return;
        }
        self.refused = Some(reason.clone());
        self.report(ReportBody::StatementRefused { reason }, cx, out);
        out.name("refused");
    }

    /// A newer statement may make the operation under way pointless.
    fn preempt(&mut self, cx: &Cx<'_>, out: &mut Batch) {
        let Some(operation) = self.journal.operation.clone() else { return };
        let stack = &operation.target.stack;
        let wanted = self.desired(stack).cloned();
        if wanted.as_ref().is_some_and(|w| w.deployment == operation.target.deployment) {
            return;
        }
        let by = wanted.as_ref().map(|w| w.deployment);
        match operation.phase {
            // What runs may have been stopped for it already: it is started again, with the data that is there.
            Phase::Saving(Saving { prepared }) if operation.target.data.is_some() => {
                let Some(by) = by else { return };
                let returning = Returning::new(prepared, ReturnCause::Superseded { by });
                self.set_phase(Phase::Returning(returning), out);
                out.flush("returning", &superseded(by));
                self.abort(&superseded(by), out);
            }
            // What writes may have been stopped: it is started again, unless it is to be taken away all the same.
            Phase::Leaving(Leaving { prepared, .. }) => {
                let Some(by) = wanted.filter(|w| w.action == DesiredAction::Run).map(|w| w.deployment) else {
                    return;
                };
                let returning = Returning::new(prepared, ReturnCause::Superseded { by });
                self.set_phase(Phase::Returning(returning), out);
                out.flush("returning", &superseded(by));
                self.abort(&superseded(by), out);
            }
            Phase::Fetching(_)
            | Phase::Staged(_)
            | Phase::Ready(_)
            | Phase::Saving(_)
            | Phase::Removing(_) => {
                let why = by.map_or_else(|| "the stack is no longer asked for".to_owned(), superseded);
                let stack = stack.clone();
                self.end_operation(&why, DeploymentState::Superseded, cx, out);
                out.flush("superseded", &why);
                self.abort(&why, out);
                self.to_prune.insert(stack);
            }
            Phase::Exchanging(Exchanging { prepared })
            | Phase::Activating(Activating { prepared, .. })
            | Phase::Probing(Probing { prepared, .. })
            | Phase::Baking(Baking { prepared, .. }) => {
                // What is asked for ran before: the way back is the shortest way there.
                let before = self.record(stack).committed.map(|c| c.tree);
                let Some(by) = wanted
                    .filter(|w| w.action == DesiredAction::Run && Some(w.tree) == before)
                    .map(|w| w.deployment)
                else {
                    return;
                };
                let returning = Returning::new(prepared, ReturnCause::Superseded { by });
                self.set_phase(Phase::Returning(returning), out);
                out.flush("returning", &superseded(by));
                self.abort(&superseded(by), out);
            }
            Phase::Returning(_) => {}
        }
    }

    fn abort(&mut self, why: &str, out: &mut Batch) {
        if let Some(running) = self.running.take() {
            out.act(Act::Abort { id: running.id }, why);
        }
    }

    fn desired(&self, stack: &StackName) -> Option<&DesiredStack> {
        self.journal.held.as_ref()?.stacks.iter().find(|d| &d.stack == stack)
    }

    fn record(&self, stack: &StackName) -> StackRecord {
        self.journal.stacks.get(stack).cloned().unwrap_or_default()
    }

    fn set_record(&mut self, stack: &StackName, record: StackRecord, out: &mut Batch) {
        out.change(Change::Stack(stack.clone(), Box::new(record.clone())));
        self.journal.stacks.insert(stack.clone(), record);
    }

    fn set_phase(&mut self, phase: Phase, out: &mut Batch) {
        if let Some(operation) = &mut self.journal.operation {
            operation.phase = phase;
            out.change(Change::Operation(Some(Box::new(operation.clone()))));
        }
    }

    fn report(&mut self, body: ReportBody, cx: &Cx<'_>, out: &mut Batch) {
        self.count_in_outage(&body, out);
        out.report(cx.world.mint(), self.now(cx), body);
    }

    /// Ends the operation without its release becoming the committed one.
    fn end_operation(&mut self, why: &str, state: DeploymentState, cx: &Cx<'_>, out: &mut Batch) {
        let Some(operation) = self.journal.operation.take() else { return };
        let mut record = self.record(&operation.target.stack);
        record.ended = Some(Ended {
            deployment: operation.target.deployment,
            epoch: operation.epoch,
            generation: operation.generation,
            reason: why.to_owned(),
        });
        let containers = record.committed.as_ref().map(|c| c.containers.clone()).unwrap_or_default();
        self.set_record(&operation.target.stack, record, out);
        out.change(Change::Operation(None));
        let deployment = operation.target.deployment;
        self.report(ReportBody::DeploymentFinished { deployment, state, containers }, cx, out);
    }

    /// Whether what is held must not set anything new off. The newest signed time bounds a clock that is late.
    fn is_expired(&self, now: Timestamp) -> bool {
        self.journal.held.as_ref().is_none_or(|held| held.expires_at <= now.max(held.issued_at))
    }
}
