//! The reconciler: what is stored, through `plan`, to rollouts, deployments and statements.

mod apply;
mod load;

use std::time::Duration;

use backstay_store::leases;

use crate::{Engine, EngineError};

pub(crate) use apply::{Applied, rollout_refs};
pub(crate) use load::{Known, Loaded, limit, pin_origins};

pub(crate) const LEASE: &str = "reconciler";
pub(crate) const LEASE_LIFE: Duration = Duration::from_secs(15);

impl Engine {
    /// Looks at the world once and applies what follows from it. Does nothing when another hub holds the lease.
    ///
    /// # Errors
    /// When the store fails; nothing of this step was applied then.
    pub async fn reconcile(&self) -> Result<(), EngineError> {
        let _one = self.inner.planning.lock().await;
        // A step may make the next one possible (a ban after a failure, a rollout that ends); it is bounded anyway.
        for _ in 0..8 {
            let moved = self.advance_migrations().await?;
            if !self.step().await? && !moved {
                break;
            }
        }
        self.settle_undos().await
    }

    /// One step. Whether it decided anything.
    async fn step(&self) -> Result<bool, EngineError> {
        let now = self.inner.world.now();
        let mut tx = self.inner.store.begin().await?;
        let Some(lease) =
            leases::acquire(&mut tx, LEASE, &self.inner.settings.holder, now, LEASE_LIFE).await?
        else {
            self.note_progress(None);
            // Another looks after what begins and ends by itself.
            self.note_look(None);
            return Ok(false);
        };
        let ran_out = self.lift_run_out(&mut tx, now).await?;
        let loaded = self.load(&mut tx, now).await?;
        self.note_progress(Some(&loaded));
        if self.let_in(&mut tx, &loaded, now).await? {
            tx.commit().await?;
            return Ok(true);
        }
        if self.lift_said_moves(&mut tx, &loaded).await? {
            tx.commit().await?;
            return Ok(true);
        }
        let plan = backstay_plan::plan(&loaded.snapshot);
        self.note_look(plan.look_at);
        if self.finish_decommissions(&mut tx, &loaded, &plan, now).await? {
            tx.commit().await?;
            return Ok(true);
        }
        let composed = self.compositions(&mut tx, &loaded, &plan).await?;
        if !composed.missing.is_empty() {
            // Git is read outside the transaction; then everything is looked at anew.
            drop(tx);
            self.compose(composed.missing).await?;
            return Ok(true);
        }
        let mut applied = apply::apply(self, &mut tx, &loaded, &plan, &composed, now).await?;
        let (asked, moved) = self.step_agents(&mut tx, &loaded.snapshot).await?;
        applied.agents = asked;
        let written = self.write_statements(&mut tx, &lease, &loaded, &plan, &applied, now).await?;
        let noted = self.note_waits(&mut tx, &loaded, &plan, now).await?;
        let looked = self.analyse_stopped(&mut tx, now).await?;
        let health = self.note_health(&mut tx, &loaded, &plan.health, now).await?;
        if applied.anything || written || noted || looked || ran_out || moved || health {
            tx.commit().await?;
        } else {
            // The lease alone is not worth a write; it is taken again when there is something to do.
            drop(tx);
        }
        Ok(applied.anything)
    }
}
