//! Deep looks: now and then everything of a stack is compared with what was signed; what departed is put right,
//! and when it comes back too often, left to a person.

use std::{collections::VecDeque, time::Duration};

use backstay_api::agent::ReportBody;
use backstay_types::{DriftPart, DriftState, StackName};

use super::{Batch, Core, Cx, look::Concern};
use crate::{
    action::{Act, Done, Failure, Task},
    recurrence::{Finding, Limits, describe},
};

/// What stayed right for so long counts as never having departed: what a deep look finds.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// The same for what runs, which is looked at far more often. It bounds how often something is started again.
const RUNNING_MEMORY: Duration = Duration::from_secs(3600);
/// How long to wait before a deep look that was put off or failed is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Deep looks: when, at what, and what is to be put right.
#[derive(Debug, Default)]
pub(super) struct Deep {
    pub(super) at: Duration,
    to_look: VecDeque<StackName>,
    pub(super) to_mend: VecDeque<(StackName, Vec<Finding>)>,
}

impl Core {
    /// What was given up on: stack and reason. For who decides about safe mode.
    pub fn escalated(&self) -> Vec<(StackName, String)> {
        let all = self.journal.stacks.iter().flat_map(|(stack, record)| {
            let given_up = record.departures.standing().filter(|one| one.state == DriftState::Escalated);
            given_up.map(move |one| (stack.clone(), format!("{}: {}", one.name, one.detail)))
        });
        all.collect()
    }

    /// Somewhere within the interval, so that a fleet that is switched on together does not look together.
    pub(super) fn first_deep_look(&self, cx: &Cx<'_>) -> Duration {
        cx.mono.saturating_add(part_of(self.settings.deep_check_every, cx, 1))
    }

    /// Starts the next deep look, when it is time. False when it is not.
    pub(super) fn look_deeply(&mut self, cx: &Cx<'_>, out: &mut Batch) -> bool {
        if self.deep.at > cx.mono {
            return false;
        }
        if self.deep.to_look.is_empty() {
            let stacks = self.journal.stacks.iter().filter(|(_, record)| record.committed.is_some());
            self.deep.to_look = stacks.map(|(stack, _)| stack.clone()).collect();
        }
        let next = self.deep.to_look.pop_front();
        if self.deep.to_look.is_empty() {
            let every = self.settings.deep_check_every;
            self.deep.at = cx.mono.saturating_add(every - every / 10).saturating_add(part_of(every, cx, 5));
        }
        let Some(stack) = next else { return false };
        let record = Box::new(self.record(&stack));
        self.run(Task::Compare { stack, record }, "it is time to look deeply", out)
    }

    /// Ends a deep look that runs: something that was asked for does not wait for it.
    pub(super) fn put_off_deep_look(&mut self, out: &mut Batch) {
        let Some(running) = self.running.take_if(|running| matches!(running.task, Task::Compare { .. }))
        else {
            return;
        };
        if let Task::Compare { stack, .. } = running.task {
            self.deep.to_look.push_front(stack);
            self.deep.at = Duration::ZERO;
        }
        out.act(Act::Abort { id: running.id }, "a newer statement comes first");
    }

    /// Puts right what a deep look found.
    pub(super) fn mend(&mut self, stack: StackName, found: Vec<Finding>, out: &mut Batch) -> bool {
        let record = Box::new(self.record(&stack));
        let why = words(&found);
        self.run(Task::Mend { stack, record, found }, why, out)
    }

    /// A deep look ended.
    pub(super) fn compared(
        &mut self,
        stack: &StackName,
        result: Result<Done, Failure>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let Ok(Done::Compared(found)) = result else {
            // It could not be told: nothing follows from that. It is looked at again before the next turn.
            self.deep.to_look.push_back(stack.clone());
            self.deep.at =
                self.deep.at.min(cx.mono.saturating_add(AGAIN.min(self.settings.deep_check_every)));
            return;
        };
        let mut record = self.record(stack);
        let limits = Limits { heals: self.settings.drift_heals, memory: MEMORY };
        let looked = |part| !matches!(part, DriftPart::Running | DriftPart::WayBack);
        let followed = record.departures.look(&found, looked, limits, self.now(cx));
        if record.departures != self.record(stack).departures {
            self.set_record(stack, record, out);
        }
        for finding in &followed.escalated {
            self.report_drift(stack, describe(finding), (false, true), cx, out);
        }
        if !followed.left.is_empty() {
            let text = format!("{}; it is left as it is", words(&followed.left));
            self.report_drift(stack, text, (false, false), cx, out);
        }
        for gone in &followed.gone {
            self.report_drift(stack, format!("{gone}: no longer so"), (true, false), cx, out);
        }
        out.flush("compared", "a deep look ended");
        if !followed.heal.is_empty() {
            self.deep.to_mend.push_back((stack.clone(), followed.heal));
        }
    }

    /// Putting right ended.
    pub(super) fn mended(
        &mut self,
        stack: &StackName,
        tried: &[Finding],
        result: Result<Done, Failure>,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let (left, why) = match result {
            Ok(Done::Mended(left)) => (left, String::new()),
            Ok(_) => return,
            Err(failure) => (tried.to_vec(), failure.reason),
        };
        let mut record = self.record(stack);
        let first = |finding: &Finding| {
            let known =
                record.departures.standing().find(|one| one.part == finding.part && one.name == finding.name);
            known.is_some_and(|one| one.heals == 0)
        };
        let is_left =
            |finding: &Finding| left.iter().any(|l| l.part == finding.part && l.name == finding.name);
        let (stay, healed): (Vec<_>, Vec<_>) = tried.iter().cloned().partition(is_left);
        // That it cannot be put right is said once, and again when it is given up.
        let news: Vec<_> = stay.iter().filter(|finding| first(finding)).cloned().collect();
        record.departures.tried(tried, &left, self.now(cx));
        self.set_record(stack, record, out);
        if !healed.is_empty() {
            self.report_drift(stack, words(&healed), (true, false), cx, out);
        }
        if !news.is_empty() {
            let why = if why.is_empty() { "it is still so".to_owned() } else { why };
            let text = format!("{}; putting it right failed: {why}", words(&news));
            self.report_drift(stack, text, (false, false), cx, out);
        }
        out.flush("mended", "what departed was put right, or not");
    }

    fn report_drift(
        &mut self,
        stack: &StackName,
        detail: String,
        (healed, escalated): (bool, bool),
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let stack = stack.clone();
        self.report(ReportBody::Drift { stack, detail, healed, escalated }, cx, out);
    }

    /// Whether a light look's finding came back so often that it is left to a person. Tells of that once.
    pub(super) fn is_given_up(
        &mut self,
        stack: &StackName,
        concern: Concern,
        detail: &str,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) -> bool {
        let Some(finding) = finding_of(concern, detail) else { return false };
        let mut record = self.record(stack);
        let looked = |part| part == finding.part;
        // Its memory is short: what is given up is tried again after it.
        let limits = Limits { heals: self.settings.drift_heals, memory: RUNNING_MEMORY };
        record.departures.forget_after(finding.part, limits, self.now(cx));
        let followed = record.departures.look(std::slice::from_ref(&finding), looked, limits, self.now(cx));
        if record.departures != self.record(stack).departures {
            self.set_record(stack, record, out);
        }
        for finding in &followed.escalated {
            let text = format!("{}; it came back {} times", finding.detail, self.settings.drift_heals);
            self.report_drift(stack, text, (false, true), cx, out);
        }
        out.flush("drifted", "a look ended");
        followed.heal.is_empty()
    }

    /// A light look found nothing of a concern.
    pub(super) fn is_right_again(
        &mut self,
        stack: &StackName,
        concern: Concern,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let Some(finding) = finding_of(concern, "") else { return };
        let mut record = self.record(stack);
        if record.departures.is_empty() {
            return;
        }
        let limits = Limits { heals: self.settings.drift_heals, memory: RUNNING_MEMORY };
        record.departures.look(&[], |part| part == finding.part, limits, self.now(cx));
        if record.departures != self.record(stack).departures {
            self.set_record(stack, record, out);
            out.flush("right", "a look ended");
        }
    }

    /// Putting right what a light look found ended.
    pub(super) fn counts_as_healed(
        &mut self,
        stack: &StackName,
        concern: Concern,
        detail: &str,
        healed: bool,
        cx: &Cx<'_>,
        out: &mut Batch,
    ) {
        let Some(finding) = finding_of(concern, detail) else { return };
        // What could not be tried (no engine, no network) is tried for as long as it takes.
        if !healed {
            return;
        }
        let mut record = self.record(stack);
        record.departures.tried(&[finding], &[], self.now(cx));
        self.set_record(stack, record, out);
        out.flush("healed", "it was put right");
    }
}

/// The part of a concern; that something cannot be told is no departure.
fn finding_of(concern: Concern, detail: &str) -> Option<Finding> {
    let part = match concern {
        Concern::Running => DriftPart::Running,
        Concern::WayBack => DriftPart::WayBack,
        Concern::Unknown => return None,
    };
    Some(Finding { part, name: String::new(), detail: detail.to_owned(), services: Vec::new() })
}

fn words(found: &[Finding]) -> String {
    const SOME: usize = 10;
    let mut text = found.iter().take(SOME).map(describe).collect::<Vec<_>>().join("; ");
    if let Some(more) = found.len().checked_sub(SOME).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// A random part of a span: anything up to the span divided by `by`.
fn part_of(span: Duration, cx: &Cx<'_>, by: u32) -> Duration {
    let share = f64::from(u32::from_le_bytes(cx.world.random::<4>())) / f64::from(u32::MAX);
    (span / by).mul_f64(share)
}
