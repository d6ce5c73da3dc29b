//! Decisions about rollouts: kept with what they were made from, and made again.

use backstay_plan::{Decided, FleetPlan, RolloutRef, RolloutStart, fleet_inputs, inputs, pace};
use backstay_store::{StoreError, Tx, decisions};
use backstay_types::{Decision, DecisionKind, RolloutId, Timestamp};

use crate::{
    Engine, EngineError,
    environments::{BY_ITSELF, THE_BRANCH},
    reconcile::Loaded,
};

/// No more than so many decisions of a rollout are about waiting: one that goes to and fro fills no database.
const MOST_WITH_WAITS: u32 = 500;

/// A decision, and what it came to when it was made again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayedDecision {
    /// As it was made.
    pub decision: Decision,
    /// Whether the same came out; none where a person decided, or when it was not asked for.
    pub same: Option<bool>,
    /// What came out: as it was made, another decision, or why it could not be made again.
    pub came_out: Option<String>,
}

impl Engine {
    /// Everything that was decided about a rollout, in order; with `replay`, decided again from what was kept.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn decisions(
        &self,
        rollout: RolloutId,
        replay: bool,
    ) -> Result<Vec<ReplayedDecision>, EngineError> {
        let kept = decisions::of_rollout(&mut self.inner.store.read(), rollout).await?;
        // A person may have let a release in as well as the hub.
        let by_hand = |decision: &Decision| decision.kind.is_by_hand() || decision.by.is_some();
        let again = |decision: Decision| match replay && !by_hand(&decision) {
            true => replayed(decision),
            false => ReplayedDecision { decision, same: None, came_out: None },
        };
        Ok(kept.into_iter().map(again).collect())
    }

    /// Keeps the decisions of a step; `started` are the rollouts that it began.
    pub(crate) async fn note_decisions(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        plan: &FleetPlan,
        started: &[RolloutId],
        now: Timestamp,
    ) -> Result<(), EngineError> {
        for decided in &plan.decided {
            let rollout = match decided.rollout {
                RolloutRef::Existing(id) => Some(id),
                RolloutRef::New(index) => started.get(index).copied(),
            };
            let Some(rollout) = rollout else { continue };
            if let (DecisionKind::Began, RolloutRef::New(index)) = (decided.kind, decided.rollout)
                && let Some(start) = plan.start.get(index)
                && let Some(let_in) = let_in(loaded, start, rollout)
            {
                decisions::insert(tx, &let_in).await?;
            }
            decisions::insert(tx, &new(loaded, decided, rollout, now)?).await?;
        }
        Ok(())
    }

    /// Keeps that so many nodes may update at once from now on, of the rollouts forward that run.
    pub(crate) async fn note_pace(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        rollouts: impl Iterator<Item = RolloutId>,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let inputs = fleet_inputs(&loaded.snapshot);
        let reason = pace(&inputs);
        let inputs = serde_json::to_value(inputs::Inputs::Fleet(inputs)).map_err(StoreError::from)?;
        for rollout in rollouts {
            let decision = decisions::NewDecision {
                rollout,
                at: now,
                kind: DecisionKind::Paced,
                reason: reason.clone(),
                by: None,
                inputs: inputs.clone(),
                snapshot: None,
                topic: None,
            };
            decisions::insert(tx, &decision).await?;
        }
        Ok(())
    }

    /// Keeps what rollouts have come to wait for, where that is not what they waited for already. Whether there was any.
    pub(crate) async fn note_waits(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        plan: &FleetPlan,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let mut any = false;
        for waits in &plan.waits {
            let RolloutRef::Existing(rollout) = waits.rollout else { continue };
            let known = decisions::waits_for(tx, rollout).await? == waits.topic;
            if known || decisions::count(tx, rollout).await? >= MOST_WITH_WAITS {
                continue;
            }
            decisions::insert(tx, &new(loaded, waits, rollout, now)?).await?;
            any = true;
        }
        Ok(any)
    }

    /// Keeps what a person decided.
    pub(crate) async fn note_by_hand(
        &self,
        tx: &mut Tx,
        rollout: RolloutId,
        kind: DecisionKind,
        reason: &str,
        by: &str,
    ) -> Result<(), EngineError> {
        let decision = decisions::NewDecision {
            rollout,
            at: self.inner.world.now(),
            kind,
            reason: reason.to_owned(),
            by: Some(by.to_owned()),
            inputs: serde_json::Value::Null,
            snapshot: None,
            topic: None,
        };
        Ok(decisions::insert(tx, &decision).await?)
    }
}

/// That the release of a rollout which begins was let into its environment, where it was.
fn let_in(loaded: &Loaded, start: &RolloutStart, rollout: RolloutId) -> Option<decisions::NewDecision> {
    let row = loaded.asked.get(&(start.stack.clone(), start.environment.clone()?))?;
    if row.release != start.release || row.by == THE_BRANCH {
        return None;
    }
    Some(decisions::NewDecision {
        rollout,
        at: row.since,
        kind: DecisionKind::LetIn,
        reason: row.reason.clone(),
        by: (row.by != BY_ITSELF).then(|| row.by.clone()),
        inputs: row.inputs.clone(),
        snapshot: None,
        topic: None,
    })
}

fn new(
    loaded: &Loaded,
    decided: &Decided,
    rollout: RolloutId,
    at: Timestamp,
) -> Result<decisions::NewDecision, EngineError> {
    Ok(decisions::NewDecision {
        rollout,
        at,
        kind: decided.kind,
        reason: decided.reason.clone(),
        by: None,
        inputs: serde_json::to_value(&decided.inputs).map_err(StoreError::from)?,
        snapshot: Some(inputs::digest(&loaded.snapshot, decided.stack)),
        topic: decided.topic.clone(),
    })
}

fn replayed(decision: Decision) -> ReplayedDecision {
    let (same, came_out) = match inputs::replay(decision.kind, &decision.reason, &decision.inputs) {
        Ok(again) if again.same => (Some(true), again.reason),
        Ok(again) => (Some(false), format!("{:?}: {}", again.kind, again.reason)),
        Err(error) => (Some(false), format!("what was kept cannot be read: {error}")),
    };
    ReplayedDecision { decision, same, came_out: Some(came_out) }
}
