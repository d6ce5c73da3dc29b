//! What every part of a run shares: time, what is to happen, the network, the truth, the account.

use std::{collections::HashSet, fmt, time::Duration};

use backstay_agent_core::TaskId;
use backstay_api::{
    agent::{Have, Report},
    statement::SignedStatement,
};
use backstay_types::{
    DeploymentId, Digest, NodeSafety, ReportId, RolloutId, StackName, Timestamp, TreeDigest,
};
use ed25519_dalek::VerifyingKey;

use crate::{
    chance::Chance,
    invariant::{Invariant, Planted, Violation},
    queue::Queue,
    trace::Trace,
    truth::Truth,
};

/// When a run begins, by clocks that are right, where its scenario does not say otherwise.
pub(crate) const BEGIN: &str = "2026-03-01T00:00:00Z";

/// Something that happens in a run.
#[derive(Debug)]
pub(crate) enum Event {
    /// What the scenario says.
    Planned(usize),
    /// What the scenario's happening did is over.
    Over(usize),
    /// The hub plans, if nobody has since this was asked for.
    HubLook(u64),
    /// The hub looks at the repository of its own accord.
    HubPolls,
    /// The hub is started.
    HubStarts,
    /// A node's request arrives at the hub.
    AtHub { node: usize, life: u32, seq: u64, request: Request },
    /// A held check-in ends.
    HoldEnds { node: usize, life: u32, seq: u64 },
    /// Something about a node, in that life of its agent.
    Node(usize, u32, NodeEvent),
    /// Something about a machine, in that boot of it.
    Machine(usize, u32, MachineEvent),
    /// Nothing bad happens from now on.
    Calm,
    /// Whether everything has come to rest.
    Rests,
}

/// What an agent asks of the hub.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    CheckIn(Option<Have>, Box<NodeSafety>),
    Reports(Vec<Report>),
}

/// Something about an agent.
#[derive(Debug)]
pub(crate) enum NodeEvent {
    /// The act under way is done.
    Acted,
    /// A task comes to its next stage.
    Task(TaskId),
    /// A deadline.
    Tick,
    /// It is time to ask.
    Ask,
    /// It is time to send reports.
    Send,
    /// The hub's answer to a check-in.
    Answer { seq: u64, statement: Option<SignedStatement> },
    /// The hub's answer to reports.
    Accepted { seq: u64, ids: Vec<ReportId> },
    /// No answer came, or the hub refused the connection.
    NoAnswer { seq: u64 },
    /// A new agent's program has been fetched.
    Downloaded(Digest),
    /// It is in its slot.
    Placed(Digest),
    /// What could not be done about another agent is tried again.
    UpdateAgain,
    /// The agent on trial is noted as one that works.
    Confirm,
    /// The agent on trial has had its time to show that it works.
    Unproven,
}

/// Something about a machine.
#[derive(Debug)]
pub(crate) enum MachineEvent {
    /// It boots.
    Boots,
    /// Its agent is started.
    AgentStarts,
    /// A release takes it down, if it still runs.
    Crashes(StackName, TreeDigest),
    /// A release has filled the disk, if it still runs.
    Filled(StackName, TreeDigest),
}

/// A node's line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Nothing gets from the node to the hub or to Git.
    pub(crate) out_cut: bool,
    /// Nothing gets to the node.
    pub(crate) in_cut: bool,
    /// How much slower everything is.
    pub(crate) factor: u32,
}

/// What is shared.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) now: Duration,
    pub(crate) queue: Queue<Event>,
    pub(crate) trace: Trace,
    pub(crate) truth: Truth,
    pub(crate) key: VerifyingKey,
    pub(crate) planted: Option<Planted>,
    pub(crate) lines: Vec<Line>,
    /// Messages that are lost or doubled, of a thousand.
    pub(crate) lossy: u64,
    pub(crate) hub_up: bool,
    pub(crate) git_up: bool,
    /// Packs from the hub arrive damaged.
    pub(crate) corrupt: bool,
    pub(crate) calm: bool,
    pub(crate) net: Chance,
    pub(crate) violation: Option<Violation>,
    /// Attempts that nodes have begun, for who looks whether they might.
    pub(crate) begun: Vec<DeploymentId>,
    /// Rollouts forward that stopped.
    pub(crate) halted: HashSet<RolloutId>,
    begin: Timestamp,
}

impl Context {
    pub(crate) fn new(
        seed: u64,
        (nodes, begin): (usize, &str),
        key: VerifyingKey,
        planted: Option<Planted>,
        all_lines: bool,
    ) -> Self {
        Self {
            now: Duration::ZERO,
            queue: Queue::new(),
            trace: Trace::new(all_lines),
            truth: Truth::default(),
            key,
            planted,
            lines: vec![Line { out_cut: false, in_cut: false, factor: 1 }; nodes],
            lossy: 0,
            hub_up: false,
            git_up: true,
            corrupt: false,
            calm: false,
            net: Chance::of(seed, "net"),
            violation: None,
            begun: Vec::new(),
            halted: HashSet::new(),
            begin: begin.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// The right time, and so many seconds beside it.
    pub(crate) fn clock(&self, seconds: i64) -> Timestamp {
        let at = self.begin.checked_add(self.now).unwrap_or(Timestamp::MAX);
        let shifted = at.as_second().saturating_add(seconds);
        let shifted = Timestamp::new(shifted, at.subsec_nanosecond());
        shifted.unwrap_or(at)
    }

    /// Something happened.
    pub(crate) fn say(&mut self, who: &str, what: fmt::Arguments<'_>) {
        self.trace.say(self.now, who, what);
    }

    /// Something is to happen after a while.
    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.queue.push(self.now + wait, event);
    }

    /// An invariant did not hold. The first is what the run ends with.
    pub(crate) fn violated(&mut self, invariant: Invariant, what: impl Into<String>) {
        if self.violation.is_none() {
            let what = what.into();
            self.say("!", format_args!("violated: {invariant}: {what}"));
            self.violation = Some(Violation { invariant, what });
        }
    }

    /// Whether a bug is planted here.
    pub(crate) fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// Whether a node can talk to others, both ways.
    pub(crate) fn reaches(&self, node: usize) -> bool {
        self.lines.get(node).is_some_and(|line| !line.out_cut && !line.in_cut)
    }

    /// The times at which a message arrives: none when it is lost, two when it is doubled.
    pub(crate) fn arrivals(&mut self, node: usize, out: bool) -> Vec<Duration> {
        let line = self.lines[node];
        let cut = if out { line.out_cut } else { line.in_cut };
        // Drawn in any case, so that a cut does not change what others meet.
        let (lost, doubled) = (self.net.permille(self.lossy), self.net.permille(self.lossy));
        let mut once = || self.net.millis(5, 120) * line.factor;
        let (first, second) = (once(), once());
        match (cut || lost, doubled) {
            (true, _) => Vec::new(),
            (false, false) => vec![first],
            (false, true) => vec![first, second],
        }
    }
}
