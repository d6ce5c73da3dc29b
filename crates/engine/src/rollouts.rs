//! What people may do with a rollout that runs.

use backstay_store::{Tx, rollouts};
use backstay_types::{
    DecisionKind, Event, Overridden, Paused, Rollout, RolloutId, RolloutKind, RolloutState,
};

use crate::{Engine, EngineError, reconcile::rollout_refs};

impl Engine {
    /// Keeps a rollout from moving anyone new, or lets it go on. Asked twice, it is done once.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause_rollout(
        &self,
        id: RolloutId,
        paused: bool,
        reason: &str,
        by: &str,
    ) -> Result<Rollout, EngineError> {
        let (mut tx, rollout) = self.open(id).await?;
        if rollout.paused.is_some() == paused {
            return Ok(rollout);
        }
        let pause = Paused { by: by.to_owned(), reason: reason.to_owned(), at: self.inner.world.now() };
        rollouts::set_paused(&mut tx, id, paused.then_some(&pause)).await?;
        let event = Event::RolloutPaused { paused, reason: reason.to_owned(), by: by.to_owned() };
        tx.record(event, rollout_refs(&rollout))?;
        let kind = if paused { DecisionKind::Paused } else { DecisionKind::Resumed };
        self.note_by_hand(&mut tx, id, kind, reason, by).await?;
        self.close(tx, id).await
    }

    /// Opens the wave after `wave` at once, whatever its gate waits for. Another call for the same wave changes nothing.
    ///
    /// # Errors
    /// When the rollout does not run, or has no such wave.
    pub async fn promote_rollout(
        &self,
        id: RolloutId,
        wave: u32,
        reason: &str,
        by: &str,
    ) -> Result<Rollout, EngineError> {
        let (mut tx, rollout) = self.open(id).await?;
        let waves = u32::try_from(rollout.strategy.waves.len()).unwrap_or(u32::MAX);
        let next = wave.saturating_add(1);
        if next >= waves || wave > rollout.wave {
            let message =
                format!("wave {} cannot be opened now: {} of {waves} are open", next + 1, rollout.wave + 1);
            return Err(EngineError::Conflict(message));
        }
        if wave < rollout.wave {
            return Ok(rollout);
        }
        rollouts::open_wave(&mut tx, id, next).await?;
        self.note_by_hand(&mut tx, id, DecisionKind::Promoted, reason, by).await?;
        let reason = format!("opened by {by}: {reason}");
        tx.record(Event::RolloutWaveOpened { wave: next + 1, reason }, rollout_refs(&rollout))?;
        self.close(tx, id).await
    }

    /// Ends a rollout forward and bans its tree until something newer is there.
    ///
    /// # Errors
    /// When it does not run, or is not one forward.
    pub async fn abort_rollout(&self, id: RolloutId, reason: &str, by: &str) -> Result<Rollout, EngineError> {
        let (mut tx, rollout) = self.open(id).await?;
        if rollout.kind != RolloutKind::Update {
            let message = format!(
                "rollout {id} goes back, and is not stopped half-way: pause it, or deploy something newer"
            );
            return Err(EngineError::Conflict(message));
        }
        self.note_by_hand(&mut tx, id, DecisionKind::Aborted, reason, by).await?;
        let (now, reason) = (self.inner.world.now(), format!("aborted by {by}: {reason}"));
        rollouts::transition(&mut tx, id, RolloutState::Running, RolloutState::Halted, &reason, now).await?;
        let event = Event::RolloutStateChanged { state: RolloutState::Halted, reason: reason.clone() };
        tx.record(event, rollout_refs(&rollout))?;
        let release = backstay_store::releases::get(&mut tx, rollout.release).await?;
        if let Some(release) = release {
            self.ban(&mut tx, &rollout.stack, release.tree, &reason, now).await?;
        }
        self.close(tx, id).await
    }

    /// Lets a rollout that runs go on in spite of freezes and closed windows. Asked twice, it is done once.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn override_rollout(
        &self,
        id: RolloutId,
        reason: &str,
        by: &str,
    ) -> Result<Rollout, EngineError> {
        let (mut tx, rollout) = self.open(id).await?;
        if rollout.overridden.is_some() {
            return Ok(rollout);
        }
        let overridden =
            Overridden { by: by.to_owned(), reason: reason.to_owned(), at: self.inner.world.now() };
        rollouts::set_overridden(&mut tx, id, &overridden).await?;
        let event = Event::RolloutOverridden { reason: reason.to_owned(), by: by.to_owned() };
        tx.record(event, rollout_refs(&rollout))?;
        self.note_by_hand(&mut tx, id, DecisionKind::Overridden, reason, by).await?;
        self.close(tx, id).await
    }

    /// Begins doing something by hand with a rollout, which has to run.
    async fn open(&self, id: RolloutId) -> Result<(Tx, Rollout), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let found = rollouts::get(&mut tx, id).await?;
        let rollout = found.ok_or_else(|| EngineError::not_found("rollout", id))?;
        if rollout.state != RolloutState::Running {
            return Err(EngineError::Conflict(format!("rollout {id} has ended: {}", rollout.reason)));
        }
        Ok((tx, rollout))
    }

    /// Commits what was done by hand, lets planning look at it, and gives the rollout as it is now.
    async fn close(&self, tx: Tx, id: RolloutId) -> Result<Rollout, EngineError> {
        tx.commit().await?;
        self.changed_by_hand();
        let found = rollouts::get(&mut self.inner.store.read(), id).await?;
        found.ok_or_else(|| EngineError::not_found("rollout", id))
    }
}
