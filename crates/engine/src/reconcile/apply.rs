//! What a step of planning decided, stored.

use std::collections::{BTreeSet, HashMap};

use backstay_plan::{FleetPlan, Reason, RolloutRef, WaveOpened};
use backstay_store::{Tx, deployments, releases, rollouts};
use backstay_types::{
    Cause, Constraint, ConstraintOrigin, Deployment, DeploymentState, Effect, Event, HealthLevel, Refs,
    Rollout, RolloutId, RolloutKind, RolloutState, Scope, StackName, Timestamp, TreeDigest,
};

use crate::{Engine, EngineError, parts::Composed, reconcile::Loaded};

/// What was made of a plan.
pub(crate) struct Applied {
    /// Which nodes are asked to run another agent.
    pub(crate) agents: crate::agents::Asked,
    pub(crate) anything: bool,
    /// New deployments with the reason for each.
    pub(crate) made: Vec<(Deployment, Reason)>,
    pub(crate) rollouts: HashMap<RolloutId, Rollout>,
}

pub(super) async fn apply(
    engine: &Engine,
    tx: &mut Tx,
    loaded: &Loaded,
    plan: &FleetPlan,
    composed: &Composed,
    now: Timestamp,
) -> Result<Applied, EngineError> {
    for end in &plan.end {
        end_rollout(tx, loaded, end.rollout, end.state, &end.reason, now).await?;
    }
    for opened in &plan.waves {
        open_wave(tx, loaded, opened).await?;
    }
    for (stack, tree, reason) in &plan.ban {
        engine.ban(tx, stack, *tree, reason, now).await?;
    }
    engine.protect(tx, loaded, plan, now).await?;
    let mut by_id: HashMap<_, _> = loaded.snapshot.rollouts.iter().map(|r| (r.id, r.clone())).collect();
    let mut started = Vec::new();
    for start in &plan.start {
        let rollout = start.begin(engine.inner.world.mint(), now);
        rollouts::insert(tx, &rollout).await?;
        rollouts::add_members(tx, rollout.id, &start.members).await?;
        tx.record(Event::RolloutStarted { reason: start.reason.clone() }, rollout_refs(&rollout))?;
        started.push(rollout.id);
        by_id.insert(rollout.id, rollout);
    }
    engine.note_decisions(tx, loaded, plan, &started, now).await?;
    if plan.health.level == HealthLevel::Warned {
        let forward = started.iter().filter(|id| by_id[*id].kind == RolloutKind::Update).copied();
        engine.note_pace(tx, loaded, forward, now).await?;
    }
    for id in &plan.supersede {
        deployments::finish(tx, *id, &DeploymentState::Superseded, now, &[]).await?;
    }
    let undos = match plan.attempts.is_empty() {
        true => Vec::new(),
        false => engine.undos_with_data(tx).await?,
    };
    let (mut made, mut moved, mut brought) = (Vec::new(), Vec::new(), BTreeSet::new());
    for attempt in &plan.attempts {
        let rollout = match attempt.rollout {
            RolloutRef::Existing(id) => id,
            RolloutRef::New(index) => started[index],
        };
        let runs = loaded.settled.get(&(attempt.node, attempt.stack.clone())).copied();
        let (release, previous) = match crate::parts::after(loaded, attempt) {
            None => (Some(attempt.release), attempt.previous),
            Some(parts) => (composed.found.get(&(attempt.stack.clone(), parts)).copied(), runs),
        };
        // Its release is there, or the step would not have come this far.
        let Some(release) = release else { continue };
        let first = loaded.awaited.data_of(attempt.node, &attempt.stack);
        let data = match loaded.nodes.get(&attempt.node).filter(|_| first.is_none()) {
            Some(node) if !undos.is_empty() => {
                let tree = releases::get(tx, release).await?.map(|release| release.tree);
                let cause = by_id.get(&rollout).map(|rollout| &rollout.cause);
                engine.data_of_attempt(tx, &undos, (node, &attempt.stack), (tree, cause)).await?
            }
            _ => first,
        };
        let deployment = Deployment {
            id: engine.inner.world.mint(),
            node: attempt.node,
            stack: attempt.stack.clone(),
            release,
            rollout,
            previous: previous.and_then(|id| loaded.releases.get(&id)).map(|r| r.tree),
            state: DeploymentState::Pending,
            created_at: now,
            started_at: None,
            finished_at: None,
            containers: Vec::new(),
            data,
        };
        if attempt.part.is_some() {
            brought.insert((attempt.release, release));
        }
        moved.push(attempt.part.as_ref());
        made.push((deployment, attempt.reason.clone()));
    }
    let rows: Vec<_> = made.iter().map(|(deployment, _)| deployment.clone()).collect();
    deployments::insert(tx, &rows).await?;
    for (part, whole) in brought {
        releases::share_commits(tx, part, whole).await?;
    }
    let is_divided =
        |stack: &StackName| loaded.records.get(stack).is_some_and(|record| record.layout.is_some());
    let moved: Vec<_> = rows.iter().zip(moved).filter(|(made, _)| is_divided(&made.stack)).collect();
    deployments::note_parts(tx, &moved).await?;
    Ok(Applied { agents: crate::agents::Asked::default(), anything: !plan.is_quiet(), made, rollouts: by_id })
}

async fn open_wave(tx: &mut Tx, loaded: &Loaded, opened: &WaveOpened) -> Result<(), EngineError> {
    rollouts::open_wave(tx, opened.rollout, opened.wave).await?;
    if let Some(rollout) = loaded.snapshot.rollouts.iter().find(|r| r.id == opened.rollout) {
        let event = Event::RolloutWaveOpened { wave: opened.wave + 1, reason: opened.reason.clone() };
        tx.record(event, rollout_refs(rollout))?;
    }
    Ok(())
}

async fn end_rollout(
    tx: &mut Tx,
    loaded: &Loaded,
    id: RolloutId,
    state: RolloutState,
    reason: &str,
    now: Timestamp,
) -> Result<(), EngineError> {
    rollouts::transition(tx, id, RolloutState::Running, state, reason, now).await?;
    if let Some(rollout) = loaded.snapshot.rollouts.iter().find(|r| r.id == id) {
        let event = Event::RolloutStateChanged { state, reason: reason.to_owned() };
        tx.record(event, rollout_refs(rollout))?;
    }
    Ok(())
}

pub(crate) fn rollout_refs(rollout: &Rollout) -> Refs {
    let (repository, commit, undo) = match &rollout.cause {
        Cause::Change { repository, commit } => (Some(*repository), Some(commit.clone()), None),
        Cause::Undo { undo } => (None, None, Some(*undo)),
        Cause::Decommission | Cause::Migration { .. } => (None, None, None),
    };
    Refs {
        repository,
        commit,
        undo,
        stack: Some(rollout.stack.clone()),
        release: Some(rollout.release),
        rollout: Some(rollout.id),
        ..Refs::default()
    }
}

impl Engine {
    /// A tree that failed is not planned again for its stack until something newer is there.
    pub(crate) async fn ban(
        &self,
        tx: &mut Tx,
        stack: &StackName,
        tree: TreeDigest,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let constraint = Constraint {
            id: self.inner.world.mint(),
            scope: Scope::Fleet,
            effect: Effect::Ban { stack: stack.clone(), tree },
            reason: reason.to_owned(),
            by: "rollout".to_owned(),
            origin: ConstraintOrigin::Rollout,
            created_at: now,
            from: None,
            until: None,
            lifted_at: None,
        };
        self.set_constraint(tx, &constraint).await
    }
}
