//! What follows from what the gates of running rollouts see.

use backstay_types::{Rollout, RolloutKind, RolloutState};

use super::{FleetPlan, RolloutEnd, RolloutRef, RolloutStart, StackStep, WaveOpened};
use crate::{
    gate::{Gate, GateFigures, Waves, gate},
    snapshot::{NodeFacts, TryState},
};

impl StackStep<'_> {
    /// What the gate of each rollout forward says: it goes on, its next wave begins, or it ends and its tree is banned
    /// until it is superseded. A rollback goes on: the other nodes are no better off where they are.
    pub(super) fn gates(&mut self, plan: &mut FleetPlan) {
        let forward: Vec<_> =
            self.running.iter().filter(|r| r.kind == RolloutKind::Update).copied().collect();
        for rollout in forward {
            let last =
                usize::try_from(rollout.wave).unwrap_or(usize::MAX) + 1 >= rollout.strategy.waves.len();
            let still = rollout.paused.is_some() || self.world.stopped.is_some();
            match gate(&rollout.strategy, &self.figures(rollout), last, self.world.now) {
                Gate::Stop(reason) => self.halt(rollout, &reason, plan),
                Gate::Open(reason) if !still => {
                    plan.waves.push(WaveOpened { rollout: rollout.id, wave: rollout.wave + 1, reason });
                }
                Gate::Open(_) | Gate::Wait(_) => {}
            }
        }
    }

    pub(super) fn halt(&mut self, rollout: &Rollout, reason: &str, plan: &mut FleetPlan) {
        let failed: Vec<_> = self.latest_in(rollout.id, TryState::Failed).collect();
        let of_release = |node: &&&NodeFacts| self.past(node.id).latest.is_some_and(|l| l.again_at.is_none());
        let reason = match (failed.iter().find(of_release), failed.len()) {
            (Some(first), 1) => format!("failed on {}", first.name),
            (Some(first), n) => format!("{reason}; failed on {n} nodes, {} among them", first.name),
            (None, _) => reason.to_owned(),
        };
        if let Some(tree) = self.world.trees.get(&rollout.release) {
            plan.ban.push((self.stack.name.clone(), *tree, reason.clone()));
        }
        plan.end.push(RolloutEnd { rollout: rollout.id, state: RolloutState::Halted, reason });
        self.halted.insert(rollout.id);
        self.banned.insert(rollout.release);
    }

    /// What a rollout's gate sees: the nodes of the open waves that should run its release.
    pub(super) fn figures(&self, rollout: &Rollout) -> GateFigures {
        let mut figures = GateFigures::default();
        for node in &self.world.nodes {
            let latest = self.past(node.id).latest.filter(|latest| latest.rollout == rollout.id);
            if latest.is_some() || (self.is_assigned(node) && self.wave_in(rollout, node) <= rollout.wave) {
                figures.add(node, latest.as_ref());
            }
        }
        figures
    }

    pub(super) fn is_assigned(&self, node: &NodeFacts) -> bool {
        self.stack.assignments.iter().any(|a| a.nodes.matches(&node.name, &node.labels))
    }

    pub(super) fn wave_in(&self, rollout: &Rollout, node: &NodeFacts) -> u32 {
        self.lines.get(&rollout.id).map_or(u32::MAX, |line| line.wave_of(node))
    }

    /// Whether a node may begin under a rollout: its wave is open, and nobody has paused it.
    pub(super) fn has_its_turn(&mut self, node: &NodeFacts, rollout: RolloutRef, plan: &FleetPlan) -> bool {
        match rollout {
            RolloutRef::Existing(id) => {
                let Some(rollout) = self.world.rollouts.iter().find(|r| r.id == id) else { return true };
                // Late joiners of one that has ended need wait for nobody.
                if rollout.state != RolloutState::Running {
                    return true;
                }
                let still = rollout.paused.is_some() || self.world.stopped.is_some();
                !still && self.wave_in(rollout, node) <= rollout.wave
            }
            RolloutRef::New(index) => {
                let RolloutStart { release, strategy, cuts, .. } = &plan.start[index];
                let waves = || Waves::of(strategy, cuts, self.world.trees.get(release).copied());
                self.new_lines.entry(index).or_insert_with(waves).wave_of(node) == 0
            }
        }
    }
}
