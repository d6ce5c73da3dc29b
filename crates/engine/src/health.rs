//! What follows when the whole fleet is not well.

use backstay_plan::{FleetPlan, FleetVerdict, PinToGood};
use backstay_store::{Executor, StoreError, Tx, constraints, hub_state, rollouts};
use backstay_types::{
    Constraint, ConstraintOrigin, Effect, Event, FleetHealth, HealthLevel, Paused, Refs, Rollout,
    RolloutKind, RolloutState, Scope, Timestamp,
};

use crate::{
    Engine, EngineError, emergency,
    reconcile::{Loaded, rollout_refs},
};

const KEY: &str = "fleet_health";
/// Who is said to have done it.
const BY: &str = "backstay";

impl Engine {
    /// How well the whole fleet is, as planning saw it last.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn fleet_health(&self) -> Result<FleetHealth, EngineError> {
        noted(&mut self.inner.store.read()).await
    }

    /// Pauses, pins and stops, as planning decided.
    pub(crate) async fn protect(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        plan: &FleetPlan,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        for (id, reason) in &plan.pause {
            let paused = Paused { by: BY.to_owned(), reason: reason.clone(), at: now };
            rollouts::set_paused(tx, *id, Some(&paused)).await?;
            if let Some(rollout) = loaded.snapshot.rollouts.iter().find(|rollout| rollout.id == *id) {
                let event = Event::RolloutPaused { paused: true, reason: reason.clone(), by: BY.to_owned() };
                tx.record(event, rollout_refs(rollout))?;
            }
        }
        let standing = constraints::in_force(tx, now).await?;
        for PinToGood { stack, environment, release, reason } in &plan.pin {
            let effect = Effect::Pin { stack: stack.clone(), release: *release };
            let scope = match environment {
                Some(environment) => Scope::Environment { environment: environment.clone() },
                None => Scope::Fleet,
            };
            if standing.iter().any(|one| one.effect == effect && one.scope == scope) {
                continue;
            }
            let pin = Constraint {
                id: self.inner.world.mint(),
                scope,
                effect,
                reason: format!("back to the last good: {reason}"),
                by: BY.to_owned(),
                origin: ConstraintOrigin::Rollout,
                created_at: now,
                from: None,
                until: None,
                lifted_at: None,
            };
            self.set_constraint(tx, &pin).await?;
        }
        if let Some(reason) = &plan.stop {
            emergency::set(tx, true, reason, BY, now).await?;
        }
        Ok(())
    }

    /// Notes a level that is another than before, and what that means for the rollouts that run. Whether it was.
    pub(crate) async fn note_health(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        verdict: &FleetVerdict,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let before = noted(tx).await?.level;
        if before == verdict.level {
            return Ok(false);
        }
        let slower = [before, verdict.level].map(|level| level != HealthLevel::Well);
        // What is stopped altogether has no pace.
        if slower[0] != slower[1] && verdict.level != HealthLevel::Stopped {
            let forward = |r: &&Rollout| (r.kind, r.state) == (RolloutKind::Update, RolloutState::Running);
            let running = loaded.snapshot.rollouts.iter().filter(forward).map(|rollout| rollout.id);
            self.note_pace(tx, loaded, running, now).await?;
        }
        let FleetVerdict { level, unhealthy, nodes, reason } = verdict.clone();
        let health = FleetHealth { level, unhealthy, nodes, reason: reason.clone(), since: Some(now) };
        let text = serde_json::to_string(&health).map_err(StoreError::from)?;
        hub_state::set(tx, KEY, &text).await?;
        tx.record(Event::FleetHealthChanged { level, unhealthy, nodes, reason }, Refs::default())?;
        Ok(true)
    }
}

async fn noted(ex: &mut impl Executor) -> Result<FleetHealth, EngineError> {
    let text = hub_state::get(ex, KEY).await?;
    let known = text.and_then(|text| serde_json::from_str(&text).ok());
    Ok(known.unwrap_or(FleetHealth {
        level: HealthLevel::Well,
        unhealthy: 0,
        nodes: 0,
        reason: String::new(),
        since: None,
    }))
}
