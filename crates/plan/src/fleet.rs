//! One step of planning for the whole fleet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstay_types::{
    Cause, DeploymentId, NodeId, ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState, StackName,
    TreeDigest,
};

use crate::snapshot::{FleetSnapshot, NodeFacts, Origin, Past, StackFacts, TryState};
use crate::wanted::{Wanted, wanted};

/// What to do, with reasons. Applied whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetPlan {
    /// Rollouts to begin, in the order that [`RolloutRef::New`] counts them.
    pub start: Vec<RolloutStart>,
    /// Rollouts that end.
    pub end: Vec<RolloutEnd>,
    /// Trees to ban, because a rollout to them failed.
    pub ban: Vec<(StackName, TreeDigest, String)>,
    /// Attempts to make.
    pub attempts: Vec<Attempt>,
    /// Attempts that were never begun and no longer should be.
    pub supersede: Vec<DeploymentId>,
    /// What each node's statement should say of each stack, where it should say something:
    /// an attempt that stands, with the reason. New attempts are not repeated here.
    pub standing: BTreeMap<(NodeId, StackName), (DeploymentId, String)>,
}

/// A rollout to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutStart {
    /// The stack.
    pub stack: StackName,
    /// The release.
    pub release: ReleaseId,
    /// Forward or back.
    pub kind: RolloutKind,
    /// What set it off.
    pub cause: Cause,
    /// How many may be updating at once; `None` for all.
    pub max_updating: Option<u32>,
    /// Why.
    pub reason: String,
}

/// A rollout that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutEnd {
    /// Which.
    pub rollout: RolloutId,
    /// How.
    pub state: RolloutState,
    /// Why.
    pub reason: String,
}

/// A rollout that is there, or one that this plan begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutRef {
    /// There already.
    Existing(RolloutId),
    /// Position in [`FleetPlan::start`].
    New(usize),
}

/// An attempt to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The node.
    pub node: NodeId,
    /// The stack.
    pub stack: StackName,
    /// The release.
    pub release: ReleaseId,
    /// The rollout.
    pub rollout: RolloutRef,
    /// What it runs now, if anything.
    pub previous: Option<ReleaseId>,
    /// Why.
    pub reason: String,
}

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
}

/// Where a node should be sent now.
enum Move {
    /// To this release.
    To(ReleaseId),
    /// Away from this one, to nothing.
    Away(ReleaseId),
}

/// A node and what it wants.
struct Place<'a> {
    node: &'a NodeFacts,
    past: Past,
    wanted: Wanted,
}

impl<'a> StackStep<'a> {
    fn new(world: &'a FleetSnapshot, stack: &'a StackFacts) -> Self {
        let of_stack = || world.rollouts.iter().filter(|r| r.stack == stack.name);
        Self {
            world,
            stack,
            running: of_stack().filter(|r| r.state == RolloutState::Running).collect(),
            newest: of_stack().max_by_key(|r| (r.created_at, r.id)),
            halted: BTreeSet::new(),
            banned: BTreeSet::new(),
        }
    }

    fn decide(mut self, plan: &mut FleetPlan) {
        self.halt(plan);
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
            let rollout = self.rollout_for(release, removal, &mut new, plan);
            let kind = if removal { RolloutKind::Removal } else { self.origin(release).kind };
            let slot = under_way.entry(release).or_insert(0);
            if kind != RolloutKind::Rollback && place.node.online && *slot >= limit {
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

    /// A failed node ends the rollout forward, and the tree is banned until it is superseded; unless the node failed
    /// by its own fault, which says nothing of the release.
    /// A rollback goes on: the other nodes are no better off where they are.
    fn halt(&mut self, plan: &mut FleetPlan) {
        for rollout in self.running.iter().filter(|r| r.kind == RolloutKind::Update) {
            let of_release =
                |node: &&NodeFacts| self.past(node.id).latest.is_some_and(|l| l.again_at.is_none());
            let failed: Vec<_> = self.latest_in(rollout.id, TryState::Failed).filter(of_release).collect();
            let Some(first) = failed.first() else { continue };
            let reason = match failed.len() {
                1 => format!("failed on {}", first.name),
                n => format!("failed on {n} nodes, {} among them", first.name),
            };
            if let Some(tree) = self.world.trees.get(&rollout.release) {
                plan.ban.push((self.stack.name.clone(), *tree, reason.clone()));
            }
            plan.end.push(RolloutEnd { rollout: rollout.id, state: RolloutState::Halted, reason });
            self.halted.insert(rollout.id);
            self.banned.insert(rollout.release);
        }
    }

    fn places(&self) -> Vec<Place<'a>> {
        let world = self.world;
        let keep_banned = |wanted: Wanted| match wanted {
            Wanted::Release { release, pinned: false, .. } if self.banned.contains(&release) => {
                Wanted::Keep { reason: "its rollout has just stopped".to_owned() }
            }
            other => other,
        };
        let place = |node: &'a NodeFacts| Place {
            node,
            past: self.past(node.id),
            wanted: keep_banned(wanted(self.stack, node, &world.constraints, world.now)),
        };
        self.cap_removals(world.nodes.iter().map(place).collect())
    }

    /// A removal from more nodes than is allowed is taken for a mistake, and removes nothing.
    fn cap_removals(&self, mut places: Vec<Place<'a>>) -> Vec<Place<'a>> {
        let Some(max) = self.stack.prune else { return places };
        let leaves = |p: &&Place<'_>| matches!(p.wanted, Wanted::Gone { .. }) && p.past.settled.is_some();
        let (leaving, allowed) = (places.iter().filter(leaves).count(), max.of(places.len()));
        if leaving > allowed {
            for place in &mut places {
                if let Wanted::Gone { reason } = &place.wanted {
                    let reason = format!(
                        "{reason}, but {leaving} nodes would lose it and fleet.toml allows {allowed} at once ([prune] max)"
                    );
                    place.wanted = Wanted::Keep { reason };
                }
            }
        }
        places
    }

    /// How many online nodes are moving to each release.
    fn under_way(&self, places: &[Place<'_>]) -> HashMap<ReleaseId, usize> {
        let mut counts = HashMap::new();
        for place in places.iter().filter(|p| p.node.online) {
            if let Some(latest) = place.past.latest.filter(crate::Try::is_open) {
                *counts.entry(latest.release).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Where a node should be sent now, if it is neither there, nor on its way, nor has failed to get there.
    fn move_of(&self, place: &Place<'_>) -> Option<(Move, String)> {
        let (release, pinned, reason) = match &place.wanted {
            Wanted::Release { release, pinned, reason } => (release, pinned, reason),
            Wanted::Gone { reason } => {
                let from = Self::leaves(place)?;
                return Some((Move::Away(from), reason.clone()));
            }
            Wanted::Keep { .. } => return None,
        };
        let settled = place.past.settled.is_some_and(|s| s.release == *release);
        let there = match place.past.latest {
            Some(latest) if latest.is_open() && latest.release == *release && !latest.removal => true,
            // On its way to another. Even where nothing was heard of it the agent may have come to its end: only an
            // attempt of its own says where the node is.
            Some(latest) if latest.is_open() => false,
            Some(latest)
                if latest.state == TryState::Failed && latest.release == *release && !latest.removal =>
            {
                match latest.again_at {
                    // Only once its rollout has ended: that one waits for nobody's disk.
                    Some(at) => self.world.now < at || self.running.iter().any(|r| r.id == latest.rollout),
                    None => !self.may_try_again(*release, *pinned, latest.rollout),
                }
            }
            _ => settled,
        };
        (!there).then(|| (Move::To(*release), reason.clone()))
    }

    /// What a node that should run nothing is to be taken away from. What the agent is at comes to its end first,
    /// and a removal that failed is not tried again by itself.
    fn leaves(place: &Place<'_>) -> Option<ReleaseId> {
        let settled = place.past.settled?;
        let wait = place.past.latest.is_some_and(|latest| {
            let under_way = latest.is_open() && latest.removal;
            under_way
                || latest.state == TryState::Running
                || (latest.removal && latest.state == TryState::Failed)
        });
        (!wait).then_some(settled.release)
    }

    /// Tried and failed: again under a rollout begun since; or, forward, when the rollout that failed has ended and
    /// its ban was lifted (a banned release is not wanted at all). A pin and a rollback would go round for ever.
    fn may_try_again(&self, release: ReleaseId, pinned: bool, failed_in: RolloutId) -> bool {
        let of_release = |r: &&&Rollout| r.release == release && !self.halted.contains(&r.id);
        let mut running = self.running.iter().filter(|r| of_release(r)).map(|r| r.id).peekable();
        match running.peek() {
            Some(_) => running.any(|id| id != failed_in),
            None => !pinned && self.origin(release).kind == RolloutKind::Update,
        }
    }

    /// The rollout under which a node moves: the running one; a finished one that is still the newest (for nodes
    /// that join late); or a new one.
    fn rollout_for(
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
            let origin = self.origin(release);
            let (kind, cause) = match removal {
                true => (RolloutKind::Removal, &self.stack.removal_cause),
                false => (origin.kind, &origin.cause),
            };
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
                reason: if removal { format!("no longer assigned since {reason}") } else { reason },
            });
            plan.start.len() - 1
        });
        RolloutRef::New(index)
    }

    fn origin(&self, release: ReleaseId) -> &Origin {
        self.stack.pin_origins.get(&release).unwrap_or(&self.stack.origin)
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
        if let Some(latest) = place.past.latest.filter(crate::Try::is_open) {
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

    /// Ends rollouts that have nothing left to do.
    fn finish(&self, places: &[Place<'_>], waiting: &BTreeSet<RolloutId>, plan: &mut FleetPlan) {
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
            let (state, reason) = match (wanting, failed) {
                (0, _) => (RolloutState::Superseded, "no node is meant to run it any more".to_owned()),
                (n, 0) => (RolloutState::Succeeded, format!("{n} of {n} nodes run it")),
                (n, failed) => (RolloutState::Halted, format!("failed on {failed} of {n} nodes")),
            };
            plan.end.push(RolloutEnd { rollout: rollout.id, state, reason });
        }
    }

    /// How a removal that has nothing left to do ends.
    fn removed(&self, rollout: RolloutId, failed: usize) -> RolloutEnd {
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

    fn latest_in(&self, rollout: RolloutId, state: TryState) -> impl Iterator<Item = &'a NodeFacts> {
        self.world.nodes.iter().filter(move |node| {
            self.past(node.id).latest.is_some_and(|l| l.rollout == rollout && l.state == state)
        })
    }

    fn past(&self, node: NodeId) -> Past {
        self.world.past.get(&(node, self.stack.name.clone())).cloned().unwrap_or_default()
    }
}
