//! Where nodes are, and where each should be sent.

use std::collections::HashMap;

use backstay_types::{ReleaseId, Rollout, RolloutId, RolloutKind};

use super::StackStep;
use crate::{
    snapshot::{NodeFacts, Past, Try, TryState},
    wanted::{Wanted, wanted},
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
    pub(super) node: &'a NodeFacts,
    pub(super) past: Past,
    pub(super) wanted: Wanted,
}

impl<'a> StackStep<'a> {
    pub(super) fn places(&self) -> Vec<Place<'a>> {
        let world = self.world;
        let keep_banned = |wanted: Wanted| match wanted {
            Wanted::Release { release, pinned: false, .. } if self.banned.contains(&release) => {
                Wanted::Keep { reason: "its rollout has just stopped".to_owned() }
            }
            other => other,
        };
        let place = |node: &'a NodeFacts| Place {
            node,
            wanted: keep_banned(wanted(self.stack, node, &self.past(node.id), &world.constraints, world.now)),
            past: self.past(node.id),
        };
        self.cap_removals(world.nodes.iter().map(place).collect())
    }

    /// A removal from more nodes than is allowed is taken for a mistake, and removes nothing.
    pub(super) fn cap_removals(&self, mut places: Vec<Place<'a>>) -> Vec<Place<'a>> {
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
    pub(super) fn under_way(&self, places: &[Place<'_>]) -> HashMap<ReleaseId, usize> {
        let mut counts = HashMap::new();
        for place in places.iter().filter(|p| p.node.online) {
            if let Some(latest) = place.past.latest.filter(Try::is_open) {
                *counts.entry(latest.release).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Where a node should be sent now, if it is neither there, nor on its way, nor has failed to get there.
    pub(super) fn move_of(&self, place: &Place<'_>) -> Option<(Move, String)> {
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
    pub(super) fn leaves(place: &Place<'_>) -> Option<ReleaseId> {
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
    pub(super) fn may_try_again(&self, release: ReleaseId, pinned: bool, failed_in: RolloutId) -> bool {
        let of_release = |r: &&&Rollout| r.release == release && !self.halted.contains(&r.id);
        let mut running = self.running.iter().filter(|r| of_release(r)).map(|r| r.id).peekable();
        match running.peek() {
            Some(_) => running.any(|id| id != failed_in),
            None => !pinned && self.origin(release).kind == RolloutKind::Update,
        }
    }
}
