//! The loop around the core: inputs in, acts done in order, each taking its time.

use backstay_agent_core::{Act, Action, BootId, Change, Core, Cx, Input, Settings, Transaction};
use backstay_api::agent::ReportBody;
use backstay_types::{DeploymentId, DeploymentState, Digest, Id as _, RolloutId, StackName};

use super::{Node, Running};
use crate::{
    context::{Context, NodeEvent},
    invariant::{Invariant, Planted},
    truth::{Attempt, End, SafeModeEntry},
};

/// How long to wait before trying again to write what could not be written.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

impl Node {
    /// Gives the core something, once it has done what it is at.
    pub(super) fn input(&mut self, input: Input, cx: &mut Context) {
        if let Some(agent) = &mut self.agent {
            agent.inbox.push_back(input);
        }
        self.advance(cx);
    }

    /// Does what can be done at once, and begins what takes time.
    pub(super) fn advance(&mut self, cx: &mut Context) {
        loop {
            let Some(agent) = &mut self.agent else { return };
            if agent.busy {
                return;
            }
            match agent.acts.front() {
                Some(Action { act: Act::Persist(_) | Act::SetLinks { .. }, .. }) => {
                    agent.busy = true;
                    let wait = self.chance.millis(1, 12);
                    return self.later(wait, NodeEvent::Acted, cx);
                }
                Some(_) => self.act_at_once(cx),
                None => {
                    let Some(input) = agent.inbox.pop_front() else { break };
                    self.handle(input, cx);
                }
            }
        }
        self.idle(cx);
    }

    /// The act under way has taken its time.
    pub(super) fn acted(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        let Some(front) = agent.acts.front().cloned() else { return };
        if !self.write_front(Some(&front), cx) {
            return self.later(RETRY, NodeEvent::Acted, cx);
        }
        let Some(agent) = &mut self.agent else { return };
        agent.parts += 1;
        if matches!(front.act, Act::SetLinks { .. }) && agent.parts < 4 {
            let wait = self.chance.millis(1, 6);
            return self.later(wait, NodeEvent::Acted, cx);
        }
        agent.acts.pop_front();
        agent.parts = 0;
        agent.busy = false;
        self.advance(cx);
    }

    /// Writes what an act has to write next. False when the disk does not take it.
    pub(super) fn write_front(&mut self, front: Option<&Action>, cx: &mut Context) -> bool {
        match front.map(|action| &action.act) {
            Some(Act::Persist(transaction)) => {
                let transaction = planted(transaction, cx);
                if self.disk.commit(&transaction, cx.has(Planted::LyingJournal)).is_err() {
                    return false;
                }
                self.persisted(&transaction, cx);
                true
            }
            Some(Act::SetLinks { stack, links, back }) => {
                let part = self.agent.as_ref().map_or(0, |agent| agent.parts);
                let written = match (part, *back) {
                    (0, false) | (2, true) => self.disk.previous(stack, links.previous),
                    (0, true) | (2, false) => self.disk.current(stack, links.current),
                    _ => self.disk.sync(),
                };
                written.is_ok()
            }
            _ => true,
        }
    }

    fn act_at_once(&mut self, cx: &mut Context) {
        let who = self.who();
        let Some(agent) = &mut self.agent else { return };
        match agent.acts.pop_front().map(|action| action.act) {
            Some(Act::Run { id, task }) => {
                if agent.task.is_some() {
                    cx.violated(Invariant::Sound, format!("{who} runs two tasks at once"));
                }
                agent.task = Some(Running { id, task: *task, stage: 0 });
                self.begin_task(cx);
            }
            Some(Act::Abort { id }) => {
                cx.say(&who, format_args!("aborts"));
                drop(agent.task.take_if(|task| task.id == id));
            }
            _ => {}
        }
    }

    fn handle(&mut self, input: Input, cx: &mut Context) {
        self.look_at_clock(cx);
        let Some(agent) = &mut self.agent else { return };
        let core_cx = Cx { world: &self.world, mono: cx.now - agent.since };
        agent.acts = agent.core.handle(input, &core_cx).into();
        agent.parts = 0;
    }

    /// Nothing is being done: waits for the core's deadline, and tells what there is to tell.
    fn idle(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        let at = agent.core.deadline().map(|at| (agent.since + at).max(cx.now));
        if at != agent.tick_at && !cx.has(Planted::Sleeps) {
            agent.tick_at = at;
            if let Some(at) = at {
                let wait = at - cx.now;
                self.later(wait, NodeEvent::Tick, cx);
            }
        }
        self.send_soon(cx);
        self.look_at_update(cx);
    }

    pub(super) fn tick(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if agent.tick_at.is_some_and(|at| at <= cx.now) {
            agent.tick_at = None;
            self.input(Input::Tick, cx);
        }
    }

    /// A transaction is durable: what it says has happened.
    fn persisted(&mut self, transaction: &Transaction, cx: &mut Context) {
        if transaction.name != "acked" {
            let phase = self.disk.files().journal.operation.as_ref().map_or("-", |o| o.phase.word());
            cx.say(&self.who(), format_args!("{} ({phase})", transaction.name));
        }
        self.look_at_safe_mode(cx);
        for change in &transaction.changes {
            match change {
                Change::Hold(_) => self.check_held(cx),
                Change::Report(report) => self.reported(&report.body, cx),
                _ => {}
            }
        }
    }

    /// What the journal says of safe mode: what is new in it, the hub is to come to know.
    fn look_at_safe_mode(&mut self, cx: &mut Context) {
        let now = self.disk.files().journal.safety.safe_mode.clone();
        if now == self.safe_mode {
            return;
        }
        for (stack, reason) in now.iter().flat_map(|mode| &mode.stacks) {
            let before =
                self.safe_mode.as_ref().filter(|mode| Some(mode.id) == now.as_ref().map(|now| now.id));
            if before.is_some_and(|mode| mode.stacks.contains_key(stack)) {
                continue;
            }
            if reason.is_empty() {
                cx.violated(
                    Invariant::Told,
                    format!("{} is in safe mode for {stack} without a reason", self.name),
                );
            }
            let (stack, reason) = (stack.clone(), reason.clone());
            cx.truth.safe_modes.push(SafeModeEntry { node: self.id, stack, reason });
        }
        (self.safe_mode, self.safe_mode_at) = (now, cx.now);
    }

    /// That what is held has not become older.
    pub(super) fn check_held(&mut self, cx: &mut Context) {
        let held = self.disk.files().journal.held.as_ref();
        let held = held.map_or((0, 0), |held| (held.epoch, held.generation));
        if held < self.newest && !self.forgetful {
            let newest = self.newest;
            cx.violated(Invariant::NeverOlder, format!("{} holds {held:?} after {newest:?}", self.name));
        }
        self.newest = held;
    }

    fn reported(&mut self, body: &ReportBody, cx: &mut Context) {
        match body {
            ReportBody::DeploymentStarted { deployment, .. } => {
                let held = self.disk.files().journal.held.as_ref();
                let line =
                    held.and_then(|held| held.stacks.iter().find(|line| line.deployment == *deployment));
                let attempt = cx.truth.attempts.entry(*deployment).or_insert_with(|| Attempt {
                    node: self.id,
                    rollout: line.map_or(RolloutId::from_uuid(uuid::Uuid::nil()), |line| line.rollout),
                    tree: line.map_or(Digest::from_bytes([0; 32]), |line| line.tree),
                    started: 0,
                    activated: 0,
                    ended: None,
                });
                attempt.started += 1;
                let (twice, tree) = (attempt.started > 1, attempt.tree);
                let (name, content) = (cx.trace.name(*deployment), cx.truth.describe(tree));
                cx.say(&self.who(), format_args!("starts {name} {content}"));
                cx.begun.push(*deployment);
                if twice && !self.forgetful {
                    cx.violated(Invariant::Once, format!("{} starts {name} twice", self.name));
                }
            }
            ReportBody::DeploymentFinished { deployment, state, .. } => {
                let name = cx.trace.name(*deployment);
                cx.say(&self.who(), format_args!("ends {name}: {}", state.word()));
                let Some(attempt) = cx.truth.attempts.get_mut(deployment) else { return };
                let (twice, tree) = (attempt.ended.replace(state.clone()).is_some(), attempt.tree);
                let content = cx.truth.content(tree);
                let stack = self.stack_of(*deployment);
                if let Some(stack) = stack.clone() {
                    let (at, node, state) = (cx.now, self.id, state.clone());
                    let deployment = *deployment;
                    cx.truth.ends.push(End { deployment, at, node, stack, tree, state });
                }
                if matches!(state, DeploymentState::Broken { .. })
                    && !self
                        .safe_mode
                        .as_ref()
                        .is_some_and(|m| stack.is_some_and(|s| m.stacks.contains_key(&s)))
                {
                    let what =
                        format!("{}: {name} and the way back failed, and it is not in safe mode", self.name);
                    cx.violated(Invariant::Told, what);
                }
                if *state == DeploymentState::Succeeded && content.never_does_well(self.odd) {
                    let what = format!("{} says that {name} does well: {}", self.name, content.describe());
                    cx.violated(Invariant::Proven, what);
                }
                if twice && !self.forgetful {
                    cx.violated(Invariant::Once, format!("{} ends {name} twice", self.name));
                }
            }
            ReportBody::Drift { stack, detail, healed, .. } => {
                cx.say(&self.who(), format_args!("drift of {stack}, healed {healed}: {detail}"));
            }
            ReportBody::StatementRefused { reason } => {
                cx.say(&self.who(), format_args!("refuses a statement: {reason}"));
            }
            ReportBody::SafeModeEntered { stack, reason, .. } => {
                cx.say(&self.who(), format_args!("enters safe mode for {stack}: {reason}"));
            }
            ReportBody::SafeModeLeft { reason, .. } => {
                cx.say(&self.who(), format_args!("leaves safe mode: {reason}"));
            }
            ReportBody::Outage { detail, .. } => cx.say(&self.who(), format_args!("had no hub: {detail}")),
            _ => {}
        }
    }

    /// The stack of a deployment that this node was given.
    fn stack_of(&self, deployment: DeploymentId) -> Option<StackName> {
        let lines = self.given.iter().rev().flat_map(|statement| &statement.stacks);
        lines.clone().find(|line| line.deployment == deployment).map(|line| line.stack.clone())
    }

    /// Has it know nothing of what it holds: for a bug that is planted.
    pub(crate) fn forget_held(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if agent.busy || agent.task.is_some() {
            return;
        }
        let mut journal = self.disk.files().journal.clone();
        journal.held = None;
        let core_cx = Cx { world: &self.world, mono: cx.now - agent.since };
        let boot = BootId(self.boots.to_string());
        let (core, actions) =
            Core::start(Settings::new(self.id), journal, boot, Default::default(), &core_cx);
        agent.core = core;
        agent.acts = actions.into();
    }
}

/// A transaction without what an agent with a planted bug would not have written.
fn planted(transaction: &Transaction, cx: &Context) -> Transaction {
    let mut transaction = transaction.clone();
    let silent = cx.has(Planted::KeepsSilent) || cx.has(Planted::GoesOnBroken);
    transaction.changes.retain(|change| match change {
        Change::Report(report) => !(silent && matches!(report.body, ReportBody::SafeModeEntered { .. })),
        Change::Safety(_) => !cx.has(Planted::GoesOnBroken),
        _ => true,
    });
    transaction
}
