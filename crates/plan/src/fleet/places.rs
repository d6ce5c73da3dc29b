//! Where nodes are, and where each should be sent.

use backstay_types::{ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState};

use super::{RolloutRef, StackStep, rollouts::Named, slot_of};
use crate::{
    snapshot::{NodeFacts, Past, Reason, Share, Try, TryState},
    wanted::{Wanted, asked},
};

/// Where a node should be sent now.
pub(super) enum Move {
    /// To this release.
    To(ReleaseId),
    /// Away from this one, to nothing.
    Away(ReleaseId),
}

/// A node and what it wants.
pub(super) struct Place<'a> {
    /// Where the node stands in the snapshot.
    pub(super) at: usize,
    pub(super) node: &'a NodeFacts,
    pub(super) past: &'a Past,
    pub(super) wanted: Wanted,
    /// Whether it counts nowhere.
    pub(super) maintenance: bool,
    /// Whether another share of the stack is the one that moves it; this one says nothing of it.
    pub(super) elsewhere: bool,
    /// What it lacks of other parts for what this one brings.
    pub(super) lacks: Option<Reason>,
}

impl Place<'_> {
    /// Whether it should come to run a release.
    pub(super) fn wants(&self, to: ReleaseId) -> bool {
        matches!(&self.wanted, Wanted::Release { release, .. } if *release == to)
    }

    /// Whether it runs a release, and nothing is under way.
    pub(super) fn is_there(&self, release: ReleaseId) -> bool {
        let rests = !self.past.latest.is_some_and(|latest| latest.is_open());
        rests && self.past.settled.is_some_and(|settled| settled.release == release)
    }
}

impl<'a> StackStep<'a> {
    pub(super) fn places(&self) -> Vec<Place<'a>> {
        let mut places = Vec::new();
        self.places_in(&mut places);
        places
    }

    /// The same, in the room that another stack had, and how many nodes that are not known to be away are moving to each
    /// release. Who neither has anything of the stack nor should come to have is left out: most nodes of a large fleet have
    /// nothing to do with most stacks.
    pub(super) fn places_in(&self, places: &mut Vec<Place<'a>>) -> Vec<(ReleaseId, usize)> {
        let (mut nodes, mut under_way) = (0, Vec::new());
        places.clear();
        for (at, node) in self.world.nodes.iter().enumerate().filter(|(_, node)| self.stack.holds(node)) {
            nodes += 1;
            let past = self.world.past.of(self.index, at);
            if let Some(latest) = past.latest.filter(|latest| latest.is_open() && !node.silent) {
                *slot_of(&mut under_way, latest.release) += 1;
            }
            let rest = self.policy.rest(node).filter(|_| node.leaving.is_none());
            let wanted = match rest {
                Some(rest) => Wanted::Keep { reason: rest.reason.clone() },
                None => asked(self.stack, node, past, &self.policy),
            };
            let maintenance = rest.is_some_and(|rest| rest.maintenance) || node.leaving.is_some();
            if past.is_empty() && matches!(wanted, Wanted::Keep { .. }) {
                continue;
            }
            places.push(Place { at, node, past, wanted, maintenance, elsewhere: false, lacks: None });
        }
        if !matches!(self.stack.share, Share::All) {
            places.iter_mut().for_each(|place| self.share(place));
        }
        self.cap_removals(places, nodes);
        under_way
    }

    /// What has just been stopped moves nobody.
    pub(super) fn keep_banned(&self, places: &mut [Place<'_>]) {
        if self.banned.is_empty() {
            return;
        }
        let stopped = Reason::from("its rollout has just stopped");
        for place in places {
            if matches!(&place.wanted, Wanted::Release { release, pinned: false, .. } if self.banned.contains(release))
            {
                place.wanted = Wanted::Keep { reason: stopped.clone() };
            }
        }
    }

    /// A removal from more nodes than is allowed is taken for a mistake, and removes nothing. Nodes that are taken out of
    /// the fleet, or that the stack is moved away from, were named by a person, and do not count.
    fn cap_removals(&self, places: &mut [Place<'a>], nodes: usize) {
        let Some(max) = self.stack.prune else { return };
        let unmeant = |p: &Place<'_>| {
            let named = p.node.leaving.is_some() || p.node.moved_away(&self.stack.name).is_some();
            matches!(p.wanted, Wanted::Gone { .. }) && !named
        };
        let leaves = |p: &&Place<'_>| unmeant(p) && p.past.settled.is_some();
        let (leaving, allowed) = (places.iter().filter(leaves).count(), max.of(nodes));
        if leaving > allowed {
            for place in places.iter_mut().filter(|place| unmeant(place)) {
                if let Wanted::Gone { reason } = &place.wanted {
                    let reason = format!(
                        "{reason}, but {leaving} nodes would lose it and fleet.toml allows {allowed} at once ([prune] max)"
                    );
                    place.wanted = Wanted::Keep { reason: reason.into() };
                }
            }
        }
    }

    /// Whether an attempt that its node has not begun is taken back: it must not begin later, when nothing forward may. A
    /// way back stands. Nobody can know whether an agent begins in just this moment: one that does comes to an end, or back.
    pub(super) fn is_withdrawn(&self, place: &Place<'_>, latest: &Try) -> bool {
        if latest.state != TryState::Pending {
            return false;
        }
        let way_back = !latest.removal
            && self.kind_of(latest.release, false) == RolloutKind::Rollback
            && !self.follows_waves(place, latest.release);
        if way_back {
            return false;
        }
        if place.node.leaving.is_some() || self.is_moving(place) {
            return !self.lets_go(RolloutRef::Existing(latest.rollout));
        }
        match self.running.iter().find(|(rollout, _)| rollout.id == latest.rollout) {
            Some((rollout, _)) => {
                self.stands_still(rollout).is_some() || self.held_back(place.node, rollout).is_some()
            }
            // Who joined late, under one that has ended.
            None => self.stopped.is_some() || self.policy.held_back(place.node).is_some(),
        }
    }

    /// Where a node should be sent now, if it is neither there, nor on its way, nor has failed to get there.
    pub(super) fn move_of(&self, place: &Place<'_>) -> Option<(Move, Reason)> {
        if place.elsewhere {
            return None;
        }
        let (release, pinned, reason) = match &place.wanted {
            Wanted::Release { release, pinned, reason } => (release, pinned, reason),
            Wanted::Gone { reason } => {
                let from = self.leaves(place)?;
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
                    // What has just moved here and does not run goes back; that is not planning's to say.
                    _ if self.is_moving(place) => self.has_failed_here(place, &latest),
                    // Only once its rollout has ended, which waits for nobody's disk; or when nobody else in its waves
                    // can show how the release does.
                    Some(at) => {
                        let runs = self.running.iter().any(|(r, _)| r.id == latest.rollout);
                        self.world.now < at || (runs && !self.hindered.contains(&latest.rollout))
                    }
                    None => !self.may_try_again(*release, *pinned, latest.rollout),
                }
            }
            _ => settled,
        };
        (!there).then(|| (Move::To(*release), reason.clone()))
    }

    /// What a node that should run nothing is to be taken away from. What the agent is at comes to its end first,
    /// and a removal that failed is not tried again by itself: only when somebody then says that the node is to go.
    ///
    /// Where a stack was moved away before anybody heard how its first attempt there ended, it is taken away all the same: only
    /// the agent's word that nothing of it is there says so.
    pub(super) fn leaves(&self, place: &Place<'_>) -> Option<ReleaseId> {
        let moved = place.node.moved_away(&self.stack.name);
        let Some(settled) = place.past.settled else {
            return place
                .past
                .latest
                .filter(|latest| moved.is_some() && !latest.removal)
                .map(|latest| latest.release);
        };
        let said_since = |failed: &Try| {
            let said = place.node.leaving.as_ref().map(|leaving| leaving.since);
            let said = said.max(moved.map(|moved| moved.since));
            said.is_some_and(|since| failed.ended_at.is_some_and(|at| at < since))
        };
        let wait = place.past.latest.is_some_and(|latest| {
            let under_way = latest.is_open() && latest.removal;
            under_way
                || latest.state == TryState::Running
                || (latest.removal && latest.state == TryState::Failed && !said_since(&latest))
        });
        (!wait).then_some(settled.release)
    }

    /// Whether a migration takes the stack to a node or away from it now: windows, waves and freezes do not stand between its
    /// stop on one node and its start on the other.
    pub(super) fn is_moving(&self, place: &Place<'_>) -> bool {
        let arrives = place.past.settled.is_none();
        place.node.moved(&self.stack.name).is_some_and(|moved| moved.here.is_none() || arrives)
    }

    /// Whether an attempt failed since the stack was moved to its node.
    fn has_failed_here(&self, place: &Place<'_>, latest: &Try) -> bool {
        let moved = place.node.moved(&self.stack.name);
        moved.is_none_or(|moved| latest.ended_at.is_none_or(|at| at >= moved.since))
    }

    /// Whether a node gets a release that an undo asks for when its wave is open, and not at once: a rollout takes that
    /// release out already, or it has not proved itself; and the node neither runs what was undone nor has been told of it,
    /// nor has the release done well there before.
    pub(super) fn follows_waves(&self, place: &Place<'_>, release: ReleaseId) -> bool {
        let by_branch = matches!(place.wanted, Wanted::Release { pinned: false, .. });
        let forward = |r: &Rollout| {
            r.release == release && r.kind == RolloutKind::Update && !self.halted.contains(&r.id)
        };
        let unproven = self.stack.unproven.as_ref().filter(|_| !self.stack.strategy.waves.is_empty());
        by_branch
            && self.stack.release == Ok(release)
            && (unproven.is_some() || self.running.iter().any(|(rollout, _)| forward(rollout)))
            && !place.past.told().any(|told| self.stack.undone.contains(&told))
            && !unproven.is_some_and(|unproven| unproven.ran.contains(&place.node.id))
    }

    /// Whether somebody gets what an undo asks for in waves only.
    pub(super) fn goes_in_waves(&self, places: &[Place<'_>]) -> bool {
        let Ok(release) = self.stack.release else { return false };
        if self.stack.origin.kind != RolloutKind::Rollback {
            return false;
        }
        let moves = |place: &Place<'_>| place.wants(release) && !place.is_there(release);
        places.iter().any(|place| moves(place) && self.follows_waves(place, release))
    }

    /// Tried and failed: again under another rollout that takes it along, never under the one in which it failed, also
    /// when that has succeeded elsewhere; or, forward, under a new one when the one that failed has ended and its ban was
    /// lifted (a banned release is not wanted at all). A pin, a rollback, and a rollout that has reached its end all the
    /// same, would go round for ever.
    pub(super) fn may_try_again(&self, release: ReleaseId, pinned: bool, failed_in: RolloutId) -> bool {
        let reached_its_end = |r: &Rollout| r.id == failed_in && r.state == RolloutState::Succeeded;
        match self.takes_along(release, false, Named::No) {
            Some(rollout) => rollout != failed_in,
            None => {
                !pinned
                    && self.kind_of(release, false) == RolloutKind::Update
                    && !self.world.rollouts.iter().any(reached_its_end)
            }
        }
    }
}
