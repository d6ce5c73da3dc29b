//! Which nodes a rollout is for and has not reached yet.

use std::collections::HashMap;

use backstay_plan::Wanted;
use backstay_types::{Rollout, RolloutId, RolloutState};

use crate::{Engine, EngineError, reconcile::Loaded};

impl Engine {
    /// For each of these rollouts, how many nodes it is for that have no deployment of it yet. Rollouts that have
    /// ended wait for nobody and are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self, rollouts: &[Rollout]) -> Result<HashMap<RolloutId, u64>, EngineError> {
        let running: Vec<_> = rollouts.iter().filter(|r| r.state == RolloutState::Running).collect();
        if running.is_empty() {
            return Ok(HashMap::new());
        }
        let loaded = self.load(&mut self.inner.store.read(), self.inner.world.now()).await?;
        Ok(running.into_iter().map(|rollout| (rollout.id, waiting_for(&loaded, rollout))).collect())
    }
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
