//! How far a rollout that runs is.

use backstay_types::{Rollout, RolloutKind};

use super::StackStep;
use crate::{
    gate::{Gate, Waves, gate},
    snapshot::{FleetSnapshot, TryState},
};

/// How far a rollout that runs is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its waves, in order.
    pub waves: Vec<WaveFigures>,
    /// What its gate says.
    pub gate: String,
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
    let Some(stack) = world.stacks.iter().find(|stack| stack.name == rollout.stack) else {
        return Progress { gate: "its stack is in no repository any more".to_owned(), ..Progress::default() };
    };
    let mut step = StackStep::new(world, stack);
    let tree = world.trees.get(&rollout.release).copied();
    step.lines.entry(rollout.id).or_insert_with(|| Waves::of(&rollout.strategy, &rollout.cuts, tree));
    step.progress(rollout)
}

impl StackStep<'_> {
    pub(super) fn progress(&self, rollout: &Rollout) -> Progress {
        let mut waves = vec![WaveFigures::default(); rollout.strategy.waves.len()];
        for node in self.world.nodes.iter().filter(|node| self.is_assigned(node)) {
            let index = usize::try_from(self.wave_in(rollout, node)).unwrap_or(usize::MAX);
            let Some(wave) = waves.get_mut(index) else { continue };
            wave.nodes += 1;
            match self.past(node.id).latest.filter(|latest| latest.rollout == rollout.id) {
                Some(latest) if latest.state == TryState::Succeeded => wave.run += 1,
                Some(latest) if latest.state == TryState::Failed => wave.failed += 1,
                _ => {}
            }
        }
        let last = usize::try_from(rollout.wave).unwrap_or(usize::MAX) + 1 >= rollout.strategy.waves.len();
        let gate = match (&self.world.stopped, &rollout.paused) {
            (Some(reason), _) if rollout.kind == RolloutKind::Update => {
                format!("everything is stopped: {reason}")
            }
            (_, Some(paused)) => format!("paused by {}: {}", paused.by, paused.reason),
            _ => match gate(&rollout.strategy, &self.figures(rollout), last, self.world.now) {
                Gate::Wait(reason) | Gate::Open(reason) | Gate::Stop(reason) => reason,
            },
        };
        Progress { waves, gate }
    }
}
