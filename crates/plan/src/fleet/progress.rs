//! How far a rollout that runs is.

use backstay_types::Rollout;

use super::{FleetPlan, StackStep, assigned, is_of, places::Place};
use crate::{
    gate::Waves,
    inputs::{GateInputs, Gated, gated},
    snapshot::{FleetSnapshot, Try, TryState},
};

/// How far a rollout that runs is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Its waves, in order.
    pub waves: Vec<WaveFigures>,
    /// How many nodes are to run its release, do not, and have not tried it under this rollout.
    pub waiting: u64,
    /// How many nodes may be updating at once, of those that there are now and as the fleet is; all when absent.
    pub at_once: Option<u32>,
    /// What its gate says.
    pub gate: String,
    /// What its gate goes by; absent where its stack is in no repository any more.
    pub inputs: Option<GateInputs>,
}

/// A wave's nodes: those that are in none before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaveFigures {
    /// How many.
    pub nodes: u64,
    /// How many of them run the release.
    pub run: u64,
    /// How many failed.
    pub failed: u64,
}

/// How far a rollout that runs is, and what it waits for.
pub fn progress(world: &FleetSnapshot, rollout: &Rollout) -> Progress {
    let Some(index) = world.stacks.iter().position(|stack| is_of(rollout, stack)) else {
        let gate = "its stack is in no repository any more".to_owned();
        return Progress { gate, at_once: rollout.max_updating, ..Progress::default() };
    };
    let health = crate::health::verdict(world);
    let mut step = StackStep::new(world, index, &health);
    step.ahead = step.ahead(&FleetPlan::default());
    if !step.running.iter().any(|(known, _)| known.id == rollout.id) {
        let tree = world.trees.get(&rollout.release).copied();
        let members = world.members.get(&rollout.id).cloned();
        step.running.push((rollout, Waves::of(&rollout.strategy, &rollout.cuts, tree, members)));
    }
    step.progress(rollout)
}

impl StackStep<'_> {
    fn progress(mut self, rollout: &Rollout) -> Progress {
        let places = self.places();
        self.assigned = assigned(&places);
        let mut found = Progress {
            waves: vec![WaveFigures::default(); rollout.strategy.waves.len()],
            at_once: self.at_once(rollout.kind),
            ..Progress::default()
        };
        let Some(at) = self.running.iter().position(|(known, _)| known.id == rollout.id) else {
            return found;
        };
        let waves = &self.running[at].1;
        for place in &places {
            count(&mut found, place, rollout, waves);
        }
        let seen = self.figures(&places).swap_remove(at);
        let inputs = self.gate_inputs(rollout, seen);
        found.gate = match gated(&inputs) {
            Gated::Wait { reason, .. } | Gated::Open(reason) | Gated::Stop(reason) => reason,
        };
        found.inputs = Some(inputs);
        found
    }
}

fn count(found: &mut Progress, place: &Place<'_>, rollout: &Rollout, waves: &Waves) {
    let tried = |latest: &Try| latest.rollout == rollout.id && latest.state != TryState::Superseded;
    let latest = place.past.latest.filter(tried);
    let (wants, there) = (place.wants(rollout.release), place.is_there(rollout.release));
    let runs_it = place.past.settled.is_some_and(|settled| settled.release == rollout.release);
    found.waiting += u64::from(wants && latest.is_none() && !runs_it);
    if !wants && latest.is_none() {
        return;
    }
    let wave = usize::try_from(waves.wave_of(place.node)).unwrap_or(usize::MAX);
    let Some(wave) = found.waves.get_mut(wave) else { return };
    wave.nodes += 1;
    match latest.map(|latest| latest.state) {
        Some(TryState::Succeeded) => wave.run += 1,
        Some(TryState::Failed) => wave.failed += 1,
        None if there => wave.run += 1,
        _ => {}
    }
}
