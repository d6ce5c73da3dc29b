//! Maintenance windows: that nothing forward is planned while those of its node are closed, and that an order which a node
//! has not heard of does not begin there after they have closed.

use std::{io, time::Duration};

use backstay_types::{Deployment, DeploymentId, RolloutKind, TreeDigest};

use super::Sim;
use crate::{
    invariant::{Invariant, Planted},
    upstream::Edit,
    window::NOTICED,
};

impl Sim {
    /// A deployment was planned, by the hub's clock: a window of its node must be open, unless it goes back or moves nobody.
    pub(super) fn judge_windows(&mut self, deployment: &Deployment, tree: TreeDigest, kind: RolloutKind) {
        let Some(index) = self.index_of(deployment.node) else { return };
        let back = kind != RolloutKind::Update || self.ways_back.contains(&deployment.id);
        if back || self.runs_already(index, &deployment.stack, tree) {
            return;
        }
        if self.is_outside(index, deployment.created_at.as_second()) {
            let (name, node) = (self.cx.trace.name(deployment.id), self.nodes[index].who());
            let at = deployment.created_at;
            let what = format!("{name} is planned for {node} at {at}, outside its windows");
            self.cx.violated(Invariant::InTime, what);
        }
    }

    /// A node begins something forward. What it has been told of it may, whatever its windows say meanwhile; not what was
    /// planned while it was away, and of which it hears when they have closed.
    pub(super) fn judge_late(&mut self, deployment: DeploymentId, index: usize) {
        let Some(planned) = self.planned_at.get(&deployment).copied() else { return };
        let Some((from, to)) = self.away.get(&index).copied() else { return };
        let told = self.nodes[index].told_at.get(&deployment).copied();
        if to < from + NOTICED || told.is_none_or(|told| told < to) {
            return;
        }
        let right = self.cx.clock(0).as_second() - i64::try_from(self.cx.now.as_secs()).unwrap_or(0);
        let second = |at: Duration| right + i64::try_from(at.as_secs()).unwrap_or(0);
        // It was away and its windows were closed for so long that the hub must have noticed both.
        let (since, most) = (second(planned.max(from + NOTICED / 2)), NOTICED.as_secs() / 2);
        let mut closed = 0;
        let noticed = (since..second(to)).any(|at| {
            closed = if self.is_outside(index, at) { closed + 1 } else { 0 };
            closed > most
        });
        if !self.hub_clock_was_wrong && noticed {
            let (name, node) = (self.cx.trace.name(deployment), self.nodes[index].who());
            let what = format!("{node} was away, and begins {name} after its windows have closed");
            self.cx.violated(Invariant::InTime, what);
        }
    }

    /// A node is heard from: whether it was away before, as a hub that ran all the while could see.
    pub(super) fn heard_from(&mut self, index: usize) {
        let now = self.cx.now;
        let before = self.heard_at.insert(index, now);
        if let Some(from) = before.filter(|from| *from + NOTICED <= now && *from >= self.hub_since) {
            self.away.insert(index, (from, now));
        }
    }

    /// Whether a node has windows, and all are closed.
    pub(super) fn is_outside(&self, index: usize, at: i64) -> bool {
        let mut mine = self.windows.iter().filter(|window| window.is_for(index)).peekable();
        mine.peek().is_some() && !mine.any(|window| window.is_open(at))
    }

    /// Once all is calm: windows that open too rarely to wait for are taken out of `fleet.toml`.
    pub(super) fn take_windows_away(&mut self) -> io::Result<()> {
        if self.windows.is_empty() || self.scenario.windows_stay {
            return Ok(());
        }
        for window in std::mem::take(&mut self.windows) {
            self.fleet_toml = self.fleet_toml.replace(&window.to_toml(), "");
        }
        let text = self.fleet_toml.clone();
        self.commit("No more windows", &[("fleet.toml".to_owned(), Edit::Text(text))])
    }

    /// For bugs that are planted: windows are not kept as they are written.
    pub(super) fn plant_windows(&mut self) -> io::Result<()> {
        if self.cx.has(Planted::IgnoresWindows) {
            self.edit("UPDATE stacks SET manifest = json_set(manifest, '$.windows', json('[]'))")?;
        }
        if self.cx.has(Planted::IgnoresBlackout) {
            self.edit(
                "UPDATE stacks SET manifest = json_set(manifest, '$.windows[0].blackout', json('[]'))",
            )?;
        }
        if self.cx.has(Planted::KnowsOneClock) {
            self.edit("UPDATE stacks SET manifest = json_set(manifest, '$.windows[0].time_zone', 'UTC')")?;
        }
        Ok(())
    }
}
