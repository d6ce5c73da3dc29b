//! Under which rollout a node moves, and when rollouts end.

use std::collections::{BTreeSet, HashMap};

use backstay_types::{Cause, ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState, RolloutStrategy};

use super::{FleetPlan, RolloutEnd, RolloutRef, RolloutStart, StackStep, places::Place};
use crate::{
    gate::cuts,
    snapshot::{Origin, TryState},
    wanted::Wanted,
};

impl StackStep<'_> {
    /// Forward or back.
    pub(super) fn kind_of(&self, release: ReleaseId, removal: bool) -> RolloutKind {
        match self.stack.go_back {
            _ if removal => RolloutKind::Removal,
            Some(back) if back.to == release && self.stack.release != Ok(release) => RolloutKind::Rollback,
            _ => self.origin(release).kind,
        }
    }

    /// Whether no rollout to a release is under way.
    pub(super) fn is_new(&self, release: ReleaseId) -> bool {
        !self.running.iter().any(|r| r.release == release && !self.halted.contains(&r.id))
    }

    /// The rollout under which a node moves: the running one; a finished one that is still the newest (for nodes
    /// that join late); or a new one.
    pub(super) fn rollout_for(
        &self,
        release: ReleaseId,
        removal: bool,
        new: &mut HashMap<(ReleaseId, bool), usize>,
        plan: &mut FleetPlan,
    ) -> RolloutRef {
        let same = |r: &Rollout| r.release == release && (r.kind == RolloutKind::Removal) == removal;
        let running = self.running.iter().find(|r| same(r) && !self.halted.contains(&r.id));
        if let Some(rollout) = running {
            return RolloutRef::Existing(rollout.id);
        }
        if let Some(newest) = self.newest
            && same(newest)
            && !removal
            && newest.state == RolloutState::Succeeded
        {
            return RolloutRef::Existing(newest.id);
        }
        let index = *new.entry((release, removal)).or_insert_with(|| {
            let kind = self.kind_of(release, removal);
            let cause = if removal { &self.stack.removal_cause } else { &self.origin(release).cause };
            let returns =
                kind == RolloutKind::Rollback && self.stack.go_back.is_some_and(|back| back.to == release);
            let waves = kind == RolloutKind::Update && !self.stack.pin_origins.contains_key(&release);
            let strategy = if waves {
                self.stack.strategy.clone()
            } else {
                RolloutStrategy { waves: Vec::new(), ..self.stack.strategy.clone() }
            };
            let tree = self.world.trees.get(&release);
            let assigned = self.world.nodes.iter().filter(|node| self.is_assigned(node));
            let cuts = tree.map(|tree| cuts(&strategy, *tree, assigned)).unwrap_or_default();
            let reason = match cause {
                Cause::Change { commit, .. } => format!("commit {}", commit.short()),
                Cause::Undo { undo } => format!("undo {undo}"),
            };
            plan.start.push(RolloutStart {
                stack: self.stack.name.clone(),
                release,
                kind,
                cause: cause.clone(),
                max_updating: self.stack.max_updating.as_count(self.world.nodes.len()),
                strategy,
                cuts,
                reason: match () {
                    () if removal => format!("no longer assigned since {reason}"),
                    () if returns => format!("back from what {reason} brought, whose rollout stopped"),
                    () => reason,
                },
            });
            plan.start.len() - 1
        });
        RolloutRef::New(index)
    }

    pub(super) fn origin(&self, release: ReleaseId) -> &Origin {
        self.stack.pin_origins.get(&release).unwrap_or(&self.stack.origin)
    }

    /// Ends rollouts that have nothing left to do.
    pub(super) fn finish(&self, places: &[Place<'_>], waiting: &BTreeSet<RolloutId>, plan: &mut FleetPlan) {
        for rollout in self.running.iter().filter(|r| !self.halted.contains(&r.id)) {
            let wants = |p: &&Place<'_>| matches!(&p.wanted, Wanted::Release { release, .. } if *release == rollout.release);
            let wanting = places.iter().filter(wants).count();
            let moving = plan.attempts.iter().any(|a| a.rollout == RolloutRef::Existing(rollout.id));
            let open = places.iter().any(|p| {
                p.past.latest.is_some_and(|l| {
                    l.is_open() && l.rollout == rollout.id && !plan.supersede.contains(&l.deployment)
                })
            });
            if moving || open || waiting.contains(&rollout.id) {
                continue;
            }
            let failed = self.latest_in(rollout.id, TryState::Failed).count();
            if rollout.kind == RolloutKind::Removal {
                plan.end.push(self.removed(rollout.id, failed));
                continue;
            }
            let back = self.latest_in(rollout.id, TryState::Succeeded).count();
            let (state, reason) = match (wanting, failed) {
                (0, 0) if rollout.kind == RolloutKind::Rollback && back > 0 => {
                    (RolloutState::Succeeded, format!("{back} nodes are back"))
                }
                (0, _) => (RolloutState::Superseded, "no node is meant to run it any more".to_owned()),
                (n, 0) => (RolloutState::Succeeded, format!("{n} of {n} nodes run it")),
                // Within what its rules allow: the gates would have stopped it.
                (n, failed) if rollout.kind == RolloutKind::Update => (
                    RolloutState::Succeeded,
                    format!("{} of {n} nodes run it, {failed} failed", n.saturating_sub(failed)),
                ),
                (n, failed) => (RolloutState::Halted, format!("failed on {failed} of {n} nodes")),
            };
            plan.end.push(RolloutEnd { rollout: rollout.id, state, reason });
        }
    }

    /// How a removal that has nothing left to do ends.
    pub(super) fn removed(&self, rollout: RolloutId, failed: usize) -> RolloutEnd {
        let done = self.latest_in(rollout, TryState::Succeeded).count();
        let (state, reason) = match (done, failed) {
            (0, 0) => (RolloutState::Superseded, "no node is meant to lose it any more".to_owned()),
            (done, 0) => (RolloutState::Succeeded, format!("taken away from {done} of {done} nodes")),
            (done, failed) => {
                (RolloutState::Halted, format!("failed on {failed} of {} nodes", done + failed))
            }
        };
        RolloutEnd { rollout, state, reason }
    }
}
