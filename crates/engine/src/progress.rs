//! How far rollouts are: which nodes they have not reached yet, wave by wave, and what their gates wait for.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};

use backstay_api::v1::{RuleView, WatchView, WaveView};
use backstay_plan::inputs::GateInputs;
use backstay_types::{Rollout, RolloutId, RolloutState};
use jiff::SignedDuration;

use crate::{Engine, EngineError, reconcile::Loaded};

/// How far a rollout is that runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// How many nodes it is for that have no deployment of it yet.
    pub waiting: u64,
    /// How many nodes may be updating at once as things are now; all when absent.
    pub at_once: Option<u32>,
    /// Its waves, in order; none when everyone goes at once.
    pub waves: Vec<WaveView>,
    /// What its gate says.
    pub gate: String,
    /// What its gate goes by.
    pub watch: Option<WatchView>,
}

impl Engine {
    /// How far each of these rollouts is. Those that have ended wait for nobody and are left out. What planning found last is told where it is known: to look at the
    /// whole fleet takes long when it is large.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn progress(&self, rollouts: &[Rollout]) -> Result<HashMap<RolloutId, Progress>, EngineError> {
        let running: Vec<_> = rollouts.iter().filter(|r| r.state == RolloutState::Running).collect();
        if running.is_empty() {
            return Ok(HashMap::new());
        }
        if let Some(noted) = noted(&self.progress_noted(), &running) {
            return Ok(noted);
        }
        let loaded = self.load(&mut self.inner.store.read(), self.inner.world.now()).await?;
        Ok(running.into_iter().map(|rollout| (rollout.id, progress(&loaded, rollout))).collect())
    }

    /// Keeps what planning sees; nothing when another process plans.
    pub(crate) fn note_progress(&self, loaded: Option<&Loaded>) {
        let rollouts =
            loaded.into_iter().flat_map(|loaded| loaded.snapshot.rollouts.iter().map(move |r| (loaded, r)));
        let running = rollouts.filter(|(_, rollout)| rollout.state == RolloutState::Running);
        *self.progress_noted() =
            running.map(|(loaded, rollout)| (rollout.id, progress(loaded, rollout))).collect();
    }

    /// What planning saw last is no longer so, because a person changed something; it is to look again at once.
    pub(crate) fn changed_by_hand(&self) {
        self.progress_noted().clear();
        self.wake();
    }

    fn progress_noted(&self) -> MutexGuard<'_, HashMap<RolloutId, Progress>> {
        // Each value is whole: a panic elsewhere leaves nothing half written.
        self.inner.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was noted of these rollouts, when it was of all.
fn noted(noted: &HashMap<RolloutId, Progress>, running: &[&Rollout]) -> Option<HashMap<RolloutId, Progress>> {
    running.iter().map(|rollout| Some((rollout.id, noted.get(&rollout.id)?.clone()))).collect()
}

fn progress(loaded: &Loaded, rollout: &Rollout) -> Progress {
    let seen = backstay_plan::progress(&loaded.snapshot, rollout);
    let open = |index: usize| u32::try_from(index).is_ok_and(|index| index <= rollout.wave);
    let wave = |(index, (of, wave)): (usize, (&String, backstay_plan::WaveFigures))| WaveView {
        of: of.clone(),
        open: open(index),
        nodes: wave.nodes,
        run: wave.run,
        failed: wave.failed,
    };
    let waves = rollout.strategy.waves.iter().zip(seen.waves).enumerate().map(wave).collect();
    let (waiting, at_once) = (seen.waiting, seen.at_once);
    Progress { waiting, at_once, waves, gate: seen.gate, watch: seen.inputs.map(watch) }
}

/// What a gate goes by, for people.
fn watch(inputs: GateInputs) -> WatchView {
    let GateInputs { strategy, wave, figures, still, .. } = inputs;
    let rule = |one: backstay_plan::Judged| RuleView { rule: one.rule, value: one.value, holds: one.holds };
    let soak = SignedDuration::from_secs(i64::try_from(strategy.soak_seconds).unwrap_or(i64::MAX));
    let follows = usize::try_from(wave).is_ok_and(|wave| wave + 1 < strategy.waves.len());
    let (needs_run, needs_tried) = match follows {
        true => backstay_plan::needs(&strategy, figures.members),
        false => (0, 0),
    };
    let watched = figures.last_end.filter(|_| figures.open == 0 && strategy.soak_seconds > 0);
    WatchView {
        nodes: figures.members,
        on_their_way: figures.open,
        run: figures.run,
        ended: figures.ended,
        failed: figures.failed,
        silent: figures.silent,
        min_sample: strategy.min_sample,
        needs_run,
        needs_tried,
        away: figures.away,
        rules: backstay_plan::judged(&strategy, &figures).into_iter().map(rule).collect(),
        watched_until: watched.and_then(|end| end.checked_add(soak).ok()),
        held_back: figures.held_back,
        held_by: figures.held_by.map(|reason| reason.to_string()),
        still,
    }
}
