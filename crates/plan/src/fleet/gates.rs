//! What follows from what the gates of running rollouts see.

use backstay_types::{Cause, DecisionKind, HealthLevel, NodeName, Rollout, RolloutKind, RolloutState};

use super::{Decided, FleetPlan, PinToGood, RolloutEnd, RolloutRef, StackStep, WaveOpened, places::Place};
use crate::{
    gate::GateFigures,
    health::fleet_inputs,
    inputs::{GateInputs, Gated, Inputs, gated, is_last},
    snapshot::{NodeFacts, Reason, TryState},
};

/// What the gate of a rollout sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) figures: GateFigures,
    /// The first node on which the release itself failed.
    failed_first: Option<NodeName>,
    /// On how many nodes it failed, by a node's own fault too.
    failed_nodes: u64,
}

/// Whether a rollout brings something to the fleet, in waves through gates. One that only moves a stack from node to node
/// brings nothing new.
fn goes_out(rollout: &Rollout) -> bool {
    rollout.kind == RolloutKind::Update && !matches!(rollout.cause, Cause::Migration { .. })
}

impl<'a> StackStep<'a> {
    /// What the gate of each rollout forward says: it goes on, its next wave begins, or it ends and its tree is banned
    /// until it is superseded. A rollback goes on: the other nodes are no better off where they are.
    pub(super) fn gates(&mut self, places: &[Place<'_>], plan: &mut FleetPlan) {
        if !self.running.iter().any(|(rollout, _)| goes_out(rollout)) {
            return;
        }
        if self.is_fleet_unwell(plan) {
            return;
        }
        let seen = self.figures(places);
        let forward: Vec<_> = self.running.iter().map(|(rollout, _)| *rollout).zip(seen).collect();
        for (rollout, seen) in forward.into_iter().filter(|(r, _)| goes_out(r)) {
            if seen.figures.waits_for_hindered(&rollout.strategy, is_last(&rollout.strategy, rollout.wave)) {
                self.hindered.push(rollout.id);
            }
            let inputs = self.gate_inputs(rollout, seen);
            let gated = gated(&inputs);
            let (kind, reason, topic) = match &gated {
                Gated::Stop(reason) => (DecisionKind::Stopped, reason, None),
                Gated::Open(reason) => (DecisionKind::WaveOpened, reason, None),
                Gated::Wait { topic: Some(topic), reason } => {
                    (DecisionKind::Waits, reason, Some(format!("{topic}, in wave {}", rollout.wave + 1)))
                }
                Gated::Wait { topic: None, .. } => continue,
            };
            let decided = Decided {
                rollout: RolloutRef::Existing(rollout.id),
                stack: self.index,
                kind,
                reason: reason.clone(),
                inputs: Inputs::Gate(inputs),
                topic,
            };
            match gated {
                Gated::Stop(reason) => {
                    plan.decided.push(decided);
                    self.halt(rollout, reason, plan);
                }
                Gated::Open(reason) => {
                    plan.decided.push(decided);
                    plan.waves.push(WaveOpened { rollout: rollout.id, wave: rollout.wave + 1, reason });
                }
                Gated::Wait { .. } => plan.waits.push(decided),
            }
        }
    }

    /// Pauses what rolls out when too much of the whole fleet turned unhealthy; when far too much did, ends it and takes
    /// everyone back to the last good. Whether that was so.
    fn is_fleet_unwell(&mut self, plan: &mut FleetPlan) -> bool {
        let forward: Vec<_> = self.running.iter().map(|(rollout, _)| *rollout).collect();
        let forward = forward.into_iter().filter(|rollout| goes_out(rollout));
        let reason = &self.health.reason;
        match self.health.level {
            HealthLevel::Well | HealthLevel::Warned => return false,
            HealthLevel::Halted => {
                for rollout in forward.filter(|rollout| rollout.paused.is_none()) {
                    plan.pause.push((rollout.id, reason.clone()));
                    plan.decided.push(Decided {
                        rollout: RolloutRef::Existing(rollout.id),
                        stack: self.index,
                        kind: DecisionKind::Halted,
                        reason: reason.clone(),
                        inputs: Inputs::Fleet(fleet_inputs(self.world)),
                        topic: None,
                    });
                }
                return false;
            }
            HealthLevel::Stopped => {}
        }
        for rollout in forward {
            if let Some(good) = self.stack.last_good.filter(|good| *good != rollout.release) {
                plan.pin.push(PinToGood {
                    stack: self.stack.name.clone(),
                    environment: self.stack.within.environment().cloned(),
                    release: good,
                    reason: reason.clone(),
                });
            }
            plan.decided.push(Decided {
                rollout: RolloutRef::Existing(rollout.id),
                stack: self.index,
                kind: DecisionKind::Stopped,
                reason: reason.clone(),
                inputs: Inputs::Fleet(fleet_inputs(self.world)),
                topic: None,
            });
            self.halt(rollout, reason.clone(), plan);
        }
        true
    }

    /// What the gate of a rollout goes by.
    pub(super) fn gate_inputs(&self, rollout: &Rollout, seen: Seen) -> GateInputs {
        GateInputs {
            strategy: rollout.strategy.clone(),
            wave: rollout.wave,
            figures: seen.figures,
            failed_first: seen.failed_first,
            failed_nodes: seen.failed_nodes,
            still: self.stands_still(rollout),
            now: self.world.now,
        }
    }

    fn halt(&mut self, rollout: &Rollout, reason: String, plan: &mut FleetPlan) {
        if let Some(tree) = self.world.trees.get(&rollout.release) {
            plan.ban.push((self.stack.name.clone(), *tree, reason.clone()));
        }
        plan.end.push(RolloutEnd { rollout: rollout.id, state: RolloutState::Halted, reason });
        self.halted.push(rollout.id);
        self.banned.push(rollout.release);
    }

    /// What the gates of the rollouts that run see, in their order: the nodes of the open waves that should run the
    /// release. Those in maintenance count nowhere, except where it failed.
    pub(super) fn figures(&self, places: &[Place<'_>]) -> Vec<Seen> {
        let mut all = vec![Seen::default(); self.running.len()];
        let told = self.world.told.get(&(self.stack.name.clone(), self.stack.share.part().cloned()));
        for place in places {
            let latest = place.past.latest.as_ref();
            for ((rollout, waves), Seen { figures, failed_first, failed_nodes }) in
                self.running.iter().zip(&mut all)
            {
                // One that was taken back before it began says nothing: its node has yet to try.
                let mine = latest
                    .filter(|latest| latest.rollout == rollout.id && latest.state != TryState::Superseded);
                if let Some(failed) = mine.filter(|latest| latest.state == TryState::Failed) {
                    *failed_nodes += 1;
                    if failed.again_at.is_none() && failed_first.is_none() {
                        *failed_first = Some(place.node.name().clone());
                    }
                }
                match mine {
                    _ if place.maintenance => {}
                    Some(latest) => {
                        figures.add(place.node, latest);
                        let said = told.filter(|_| latest.state == TryState::Succeeded);
                        let said = said.and_then(|told| told.get(&place.node.id));
                        if let Some(told) = said.filter(|told| self.tree(rollout.release) == Some(told.tree))
                        {
                            figures.add_reported(&told.figures);
                        }
                    }
                    None if place.wants(rollout.release) && waves.wave_of(place.node) <= rollout.wave => {
                        let held_by = self.held_back(place.node, rollout).or(place.lacks.as_ref());
                        figures.add_untried(place.node, place.is_there(rollout.release), held_by);
                    }
                    None if place.elsewhere && waves.wave_of(place.node) <= rollout.wave => {
                        self.add_by_parts(figures, place, rollout.release);
                    }
                    None => {}
                }
            }
        }
        all
    }

    /// Why a rollout moves nobody new and opens no wave, if so.
    pub(super) fn stands_still(&self, rollout: &Rollout) -> Option<String> {
        if rollout.kind == RolloutKind::Rollback {
            return None;
        }
        if self.stopped.is_some() {
            return self.stopped.clone();
        }
        if let Some(paused) = &rollout.paused {
            return Some(format!("paused by {}: {}", paused.by, paused.reason));
        }
        let frozen = self.policy.frozen().filter(|_| rollout.overridden.is_none());
        frozen.map(|reason| reason.to_string())
    }

    /// Why a node may not begin under a rollout that runs, if a freeze keeps it back.
    pub(super) fn held_back(&self, node: &NodeFacts, rollout: &Rollout) -> Option<&Reason> {
        let free = rollout.overridden.is_some() || rollout.kind == RolloutKind::Rollback;
        if free { None } else { self.policy.held_back(node) }
    }

    /// Whether a node that is taken out of the fleet may begin to lose what it runs, and one that a stack moves from or to
    /// may begin with that: no window or freeze holds them.
    pub(super) fn lets_go(&self, rollout: RolloutRef) -> bool {
        let paused = self
            .running
            .iter()
            .any(|(known, _)| rollout == RolloutRef::Existing(known.id) && known.paused.is_some());
        self.stopped.is_none() && !paused
    }

    /// Whether a node may begin forward under a rollout: nothing keeps it back, its wave is open, and nobody has
    /// paused it.
    pub(super) fn has_its_turn(&self, place: &Place<'_>, rollout: RolloutRef, plan: &FleetPlan) -> bool {
        let node = place.node;
        if node.leaving.is_some() || self.is_moving(place) {
            return self.lets_go(rollout);
        }
        if place.lacks.is_some() {
            return false;
        }
        match rollout {
            RolloutRef::Existing(id) => {
                let Some((rollout, waves)) = self.running.iter().find(|(r, _)| r.id == id) else {
                    // Late joiners of one that has ended wait for no wave.
                    return self.policy.held_back(node).is_none();
                };
                self.stands_still(rollout).is_none()
                    && self.held_back(node, rollout).is_none()
                    && waves.wave_of(node) <= rollout.wave
            }
            RolloutRef::New(index) => {
                debug_assert!(index < plan.start.len());
                let waves = self.new.iter().find(|(_, at, _)| *at == index).map(|(_, _, waves)| waves);
                self.policy.held_back(node).is_none() && waves.is_none_or(|waves| waves.wave_of(node) == 0)
            }
        }
    }
}
