//! Which nodes a rollout is for and has not reached yet.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};

use backstay_plan::Wanted;
use backstay_types::{Rollout, RolloutId, RolloutState};

use crate::{Engine, EngineError, reconcile::Loaded};

impl Engine {
    /// For each of these rollouts, how many nodes it is for that have no deployment of it yet. Rollouts that have
    /// ended wait for nobody and are left out. What planning found last is told where it is known: to look at the
    /// whole fleet takes long when it is large.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self, rollouts: &[Rollout]) -> Result<HashMap<RolloutId, u64>, EngineError> {
        let running: Vec<_> = rollouts.iter().filter(|r| r.state == RolloutState::Running).collect();
        if running.is_empty() {
            return Ok(HashMap::new());
        }
        if let Some(noted) = noted(&self.waiting_noted(), &running) {
            return Ok(noted);
        }
        let loaded = self.load(&mut self.inner.store.read(), self.inner.world.now()).await?;
        Ok(running.into_iter().map(|rollout| (rollout.id, waiting_for(&loaded, rollout))).collect())
    }

    /// Keeps what planning sees; nothing when another process plans.
    pub(crate) fn note_waiting(&self, loaded: Option<&Loaded>) {
        let rollouts =
            loaded.into_iter().flat_map(|loaded| loaded.snapshot.rollouts.iter().map(move |r| (loaded, r)));
        let running = rollouts.filter(|(_, rollout)| rollout.state == RolloutState::Running);
        *self.waiting_noted() =
            running.map(|(loaded, rollout)| (rollout.id, waiting_for(loaded, rollout))).collect();
    }

    fn waiting_noted(&self) -> MutexGuard<'_, HashMap<RolloutId, u64>> {
        // Each value is whole: a panic elsewhere leaves nothing half written.
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was noted of these rollouts, when it was of all.
fn noted(noted: &HashMap<RolloutId, u64>, running: &[&Rollout]) -> Option<HashMap<RolloutId, u64>> {
    running.iter().map(|rollout| Some((rollout.id, *noted.get(&rollout.id)?))).collect()
}

fn waiting_for(loaded: &Loaded, rollout: &Rollout) -> u64 {
    let snapshot = &loaded.snapshot;
    let Some(stack) = snapshot.stacks.iter().find(|s| s.name == rollout.stack) else { return 0 };
    let waits = snapshot.nodes.iter().filter(|node| {
        let past = snapshot.past.get(&(node.id, stack.name.clone()));
        let tried = past.and_then(|past| past.latest).is_some_and(|latest| latest.rollout == rollout.id);
        let runs =
            past.and_then(|past| past.settled).is_some_and(|settled| settled.release == rollout.release);
        let wanted = backstay_plan::wanted(stack, node, &snapshot.constraints, snapshot.now);
        !tried && !runs && matches!(wanted, Wanted::Release { release, .. } if release == rollout.release)
    });
    waits.count() as u64
}
