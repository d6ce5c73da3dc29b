//! Asking the hub, and telling it: as the agent's own loop does.

use std::time::Duration;

use backstay_agent_core::{Cx, Input};
use backstay_api::statement::{SignedStatement, Statement};
use backstay_types::ReportId;

use super::Node;
use crate::{
    chance::Chance,
    context::{Context, Event, NodeEvent, Request},
    hub::{HOLD, INTERVAL},
    invariant::Planted,
};

/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(60);
/// After a statement that was not taken.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// How long an answer is waited for, beside the time that a check-in is held.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many reports go at once.
const BATCH: usize = 100;
/// Stands for a request that waits to be sent again.
const WAITS: u64 = u64::MAX;

impl Node {
    /// Asks what to run.
    pub(super) fn ask(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if agent.asked.is_some() {
            return;
        }
        agent.seq += 1;
        agent.asked = Some(agent.seq);
        let (seq, have) = (agent.seq, agent.core.have());
        let mut safety = agent.core.safety(&Cx { world: &self.world, mono: cx.now - agent.since });
        if cx.has(Planted::KeepsSilent) {
            safety.safe_mode = None;
        }
        self.request(seq, Request::CheckIn(have, Box::new(safety)), cx);
        self.later(HOLD + PATIENCE, NodeEvent::NoAnswer { seq }, cx);
    }

    /// There may be reports: they go soon, together with what comes until then.
    pub(super) fn send_soon(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if agent.sent.is_none() && !self.disk.files().spool.is_empty() {
            agent.sent = Some(WAITS);
            let wait = self.chance.millis(0, 2500);
            self.later(wait, NodeEvent::Send, cx);
        }
    }

    /// Sends the reports that wait.
    fn send(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if agent.sent.is_some() {
            return;
        }
        let reports: Vec<_> = self.disk.files().spool.iter().take(BATCH).cloned().collect();
        if reports.is_empty() {
            return;
        }
        agent.seq += 1;
        agent.sent = Some(agent.seq);
        let seq = agent.seq;
        self.request(seq, Request::Reports(reports), cx);
        self.later(PATIENCE, NodeEvent::NoAnswer { seq }, cx);
    }

    /// It is time to send again.
    pub(super) fn send_again(&mut self, cx: &mut Context) {
        if let Some(agent) = &mut self.agent {
            agent.sent.take_if(|sent| *sent == WAITS);
        }
        self.send(cx);
    }

    fn request(&self, seq: u64, request: Request, cx: &mut Context) {
        if self.agent.as_ref().is_some_and(|agent| agent.deaf) {
            return;
        }
        for wait in cx.arrivals(self.index, true) {
            let request = request.clone();
            cx.after(wait, Event::AtHub { node: self.index, life: self.life, seq, request });
        }
    }

    /// The hub has answered a check-in.
    pub(super) fn answered(&mut self, seq: u64, statement: Option<SignedStatement>, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        // An answer to what is no longer asked has nobody to take it.
        if agent.asked != Some(seq) {
            return;
        }
        agent.asked = None;
        agent.failures = 0;
        agent.heard_at = cx.now;
        agent.was_heard = true;
        if std::mem::take(&mut agent.to_tell) {
            // It has asked for the time with it, and got it signed.
            self.input(Input::Heard { time: Some(cx.clock(0)) }, cx);
        }
        let Some(agent) = &self.agent else { return };
        let Some(signed) = statement else {
            let wait = self.chance.millis(millis(INTERVAL.0), millis(INTERVAL.0 + INTERVAL.1));
            return self.later(wait, NodeEvent::Ask, cx);
        };
        let have = agent.core.have();
        match signed.open(&cx.key) {
            Ok(statement) => {
                let (epoch, generation) = (statement.epoch, statement.generation);
                cx.say(&self.who(), format_args!("is given {epoch}.{generation}"));
                let newer = have.is_none_or(|have| (have.epoch, have.generation) <= (epoch, generation));
                for line in &statement.stacks {
                    self.told_at.entry(line.deployment).or_insert(cx.now);
                }
                self.given.push(statement.clone());
                self.input(Input::Statement(Box::new(statement)), cx);
                self.later(if newer { Duration::from_secs(1) } else { AFTER_REFUSAL }, NodeEvent::Ask, cx);
            }
            Err(error) => {
                self.input(Input::Unreadable { reason: error.to_string() }, cx);
                self.later(AFTER_REFUSAL, NodeEvent::Ask, cx);
            }
        }
    }

    /// It is given something that it had before.
    pub(crate) fn replay(&mut self, statement: Statement, cx: &mut Context) {
        cx.say(&self.who(), format_args!("is given {}.{} again", statement.epoch, statement.generation));
        self.input(Input::Statement(Box::new(statement)), cx);
    }

    /// The hub has these reports.
    pub(super) fn accepted(&mut self, seq: u64, ids: Vec<ReportId>, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if agent.sent != Some(seq) {
            return;
        }
        agent.send_failures = 0;
        agent.sent = None;
        // The next batch goes when these are forgotten: `idle` sees to it.
        self.input(Input::Acked(ids), cx);
    }

    /// Nothing came back.
    pub(super) fn not_answered(&mut self, seq: u64, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if agent.asked == Some(seq) {
            agent.asked = None;
            agent.failures += 1;
            agent.to_tell = true;
            let silent = cx.now - agent.heard_at;
            let wait = backoff(&mut self.chance, agent.failures);
            self.later(wait, NodeEvent::Ask, cx);
            self.input(Input::Silence { silent }, cx);
        } else if agent.sent == Some(seq) {
            agent.send_failures += 1;
            agent.sent = Some(WAITS);
            let wait = backoff(&mut self.chance, agent.send_failures);
            self.later(wait, NodeEvent::Send, cx);
        }
    }
}

/// A pause after failures: anything up to a bound that doubles.
fn backoff(chance: &mut Chance, failures: u32) -> Duration {
    let bound = Duration::from_millis(500).saturating_mul(1 << failures.min(10)).min(LONGEST);
    chance.millis(0, millis(bound))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
