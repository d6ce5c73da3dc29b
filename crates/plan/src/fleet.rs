//! One step of planning for the whole fleet.

mod decision;
mod gates;
mod places;
mod progress;
mod rollouts;

use std::collections::{BTreeSet, HashMap};

use backstay_types::{NodeId, ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState};

pub use decision::{Attempt, FleetPlan, RolloutEnd, RolloutRef, RolloutStart, WaveOpened};
pub use progress::{Progress, WaveFigures, progress};

use crate::gate::Waves;
use crate::snapshot::{FleetSnapshot, NodeFacts, Past, StackFacts, Try, TryState};
use crate::wanted::Wanted;
use places::{Move, Place};

/// Decides one step. Applying it and planning again, without anything having happened, decides nothing more.
pub fn plan(world: &FleetSnapshot) -> FleetPlan {
    let mut plan = FleetPlan::default();
    for stack in &world.stacks {
        StackStep::new(world, stack).decide(&mut plan);
    }
    plan
}

/// Planning of one stack.
struct StackStep<'a> {
    world: &'a FleetSnapshot,
    stack: &'a StackFacts,
    running: Vec<&'a Rollout>,
    newest: Option<&'a Rollout>,
    /// Rollouts that end in this step because a node failed; their releases move nobody.
    halted: BTreeSet<RolloutId>,
    banned: BTreeSet<ReleaseId>,
    /// The waves of rollouts that run, and of those that this step begins.
    lines: HashMap<RolloutId, Waves>,
    new_lines: HashMap<usize, Waves>,
}

impl<'a> StackStep<'a> {
    fn new(world: &'a FleetSnapshot, stack: &'a StackFacts) -> Self {
        let of_stack = || world.rollouts.iter().filter(|r| r.stack == stack.name);
        let running: Vec<_> = of_stack().filter(|r| r.state == RolloutState::Running).collect();
        let line =
            |r: &&Rollout| (r.id, Waves::of(&r.strategy, &r.cuts, world.trees.get(&r.release).copied()));
        Self {
            world,
            stack,
            lines: running.iter().map(line).collect(),
            new_lines: HashMap::new(),
            running,
            newest: of_stack().max_by_key(|r| (r.created_at, r.id)),
            halted: BTreeSet::new(),
            banned: BTreeSet::new(),
        }
    }

    fn decide(mut self, plan: &mut FleetPlan) {
        self.gates(plan);
        let places = self.places();
        let mut under_way = self.under_way(&places);
        let assigned = places.iter().filter(|p| matches!(p.wanted, Wanted::Release { .. })).count();
        let limit = self.stack.max_updating.of(assigned);
        let mut waiting: BTreeSet<RolloutId> = BTreeSet::new();
        let mut new: HashMap<(ReleaseId, bool), usize> = HashMap::new();
        for place in &places {
            let Some((to, reason)) = self.move_of(place) else {
                self.stand(place, plan);
                continue;
            };
            let (release, removal) = match to {
                Move::To(release) => (release, false),
                Move::Away(release) => (release, true),
            };
            let kind = self.kind_of(release, removal);
            if kind == RolloutKind::Update && self.world.stopped.is_some() && self.is_new(release) {
                self.stand(place, plan);
                continue;
            }
            let rollout = self.rollout_for(release, removal, &mut new, plan);
            let slot = under_way.entry(release).or_insert(0);
            let full = place.node.online && *slot >= limit;
            if kind != RolloutKind::Rollback && (full || !self.has_its_turn(place.node, rollout, plan)) {
                if let RolloutRef::Existing(id) = rollout {
                    waiting.insert(id);
                }
                self.stand(place, plan);
                continue;
            }
            if place.node.online {
                *slot += 1;
            }
            self.attempt(place, release, rollout, reason, plan);
        }
        self.finish(&places, &waiting, plan);
    }

    fn attempt(
        &self,
        place: &Place<'_>,
        release: ReleaseId,
        rollout: RolloutRef,
        reason: String,
        plan: &mut FleetPlan,
    ) {
        if let Some(latest) = place.past.latest
            && latest.state == TryState::Pending
        {
            plan.supersede.push(latest.deployment);
        }
        plan.attempts.push(Attempt {
            node: place.node.id,
            stack: self.stack.name.clone(),
            release,
            rollout,
            previous: place.past.settled.map(|s| s.release),
            reason,
        });
    }

    /// What a node's statement goes on saying: the attempt under way, or what it settled on.
    fn stand(&self, place: &Place<'_>, plan: &mut FleetPlan) {
        let key = (place.node.id, self.stack.name.clone());
        let reason = match &place.wanted {
            Wanted::Release { reason, .. } => reason.clone(),
            Wanted::Gone { reason } => format!("to be taken away: {reason}"),
            Wanted::Keep { reason } => format!("left as it is: {reason}"),
        };
        if let Some(latest) = place.past.latest.filter(Try::is_open) {
            let wanted = match &place.wanted {
                Wanted::Release { release, .. } => *release == latest.release && !latest.removal,
                Wanted::Gone { .. } => latest.removal,
                Wanted::Keep { .. } => false,
            };
            if wanted || latest.state == TryState::Running {
                plan.standing.insert(key, (latest.deployment, reason));
                return;
            }
            plan.supersede.push(latest.deployment);
        }
        if let Some(settled) = place.past.settled {
            plan.standing.insert(key, (settled.deployment, reason));
        }
    }

    fn latest_in(&self, rollout: RolloutId, state: TryState) -> impl Iterator<Item = &'a NodeFacts> {
        self.world.nodes.iter().filter(move |node| {
            self.past(node.id).latest.is_some_and(|l| l.rollout == rollout && l.state == state)
        })
    }

    fn past(&self, node: NodeId) -> Past {
        self.world.past.get(&(node, self.stack.name.clone())).cloned().unwrap_or_default()
    }
}
