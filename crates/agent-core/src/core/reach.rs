//! The hub is there, or is not. It changes what is reported and what time it is taken to be, never what runs.

use backstay_api::agent::ReportBody;
use backstay_types::Timestamp;
use std::time::Duration;

use super::{Batch, Core, Cx};
use crate::safety::Outage;

impl Core {
    /// The time: the hub's, where it has said so with its signature, carried on by the monotonic clock; otherwise
    /// the machine's own, which is at least as late as the newest statement.
    pub(super) fn now(&self, cx: &Cx<'_>) -> Timestamp {
        let issued = self.journal.held.as_ref().map_or(Timestamp::MIN, |held| held.issued_at);
        let now = match self.hub_time {
            Some((time, at)) => time.checked_add(cx.mono.saturating_sub(at)).unwrap_or(Timestamp::MAX),
            None => cx.world.now(),
        };
        now.max(issued)
    }

    /// The hub has not answered for so long.
    pub(super) fn on_silence(&mut self, silent: Duration, cx: &Cx<'_>, out: &mut Batch) {
        if silent < self.settings.outage_after || self.journal.safety.outage.is_some() {
            return;
        }
        let from = self.now(cx).checked_sub(silent).unwrap_or(Timestamp::MIN);
        let boot = self.boot.clone();
        self.journal.safety.outage =
            Some(Outage { from, boot, restarts: 0, reboots: 0, deployments: 0, drifts: 0 });
        self.persist_safety(out);
        out.flush("outage", "the hub does not answer; what runs keeps running");
    }

    /// The hub answered. After an outage it is told of it, and what runs is looked at once at once.
    pub(super) fn on_heard(&mut self, time: Option<Timestamp>, cx: &Cx<'_>, out: &mut Batch) {
        if let Some(time) = time {
            self.hub_time = Some((time, cx.mono));
        }
        let Some(outage) = self.journal.safety.outage.take() else { return };
        self.persist_safety(out);
        let to = self.now(cx);
        // A clock that was wrong when it began must not make it end before.
        let from = outage.from.min(to);
        self.report(ReportBody::Outage { from, to, detail: outage.detail() }, cx, out);
        out.flush("back", "the hub answers again");
        self.check_at = cx.mono;
    }

    /// The agent was started in an outage.
    pub(super) fn started_in_outage(&mut self, out: &mut Batch) {
        let boot = self.boot.clone();
        let Some(outage) = &mut self.journal.safety.outage else { return };
        outage.restarts = outage.restarts.saturating_add(1);
        if outage.boot != boot {
            outage.reboots = outage.reboots.saturating_add(1);
            outage.boot = boot;
        }
        self.persist_safety(out);
    }

    /// Counts what is reported while there is nobody to report to.
    pub(super) fn count_in_outage(&mut self, body: &ReportBody, out: &mut Batch) {
        let Some(outage) = &mut self.journal.safety.outage else { return };
        let count = match body {
            ReportBody::DeploymentFinished { .. } => &mut outage.deployments,
            ReportBody::Drift { .. } => &mut outage.drifts,
            _ => return,
        };
        *count = count.saturating_add(1);
        self.persist_safety(out);
    }
}
