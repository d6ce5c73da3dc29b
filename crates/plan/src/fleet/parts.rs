//! Parts of a stack beside each other: which of them moves a node, and what they need of each other.

use std::collections::{BTreeMap, HashMap, HashSet};

use backstay_types::{NodeId, PartName, ReleaseId, Rollout, RolloutKind, RolloutState, StackName};

use super::{FleetPlan, RolloutStart, StackStep, is_of, places::Place};
use crate::{
    gate::{GateFigures, Waves},
    snapshot::{
        FleetSnapshot, MaxUpdating, NodeFacts, Past, Reason, Settled, Share, StackFacts, Try, TryState,
    },
    wanted::Wanted,
};

/// Nodes on which something is under way.
#[derive(Debug)]
pub(super) struct Busy {
    /// Where a share of a divided stack is. A node moves one share of a stack at a time, so that a failure is one rollout's.
    shares: BTreeMap<StackName, HashMap<NodeId, usize>>,
    /// Where anything is, of nodes that are not known to be away, and how many may be at once; none without a limit.
    fleet: Option<(HashSet<NodeId>, usize)>,
}

impl Busy {
    pub(super) fn of(world: &FleetSnapshot) -> Self {
        Self { shares: Self::shares(world), fleet: Self::fleet(world) }
    }

    fn fleet(world: &FleetSnapshot) -> Option<(HashSet<NodeId>, usize)> {
        let percent = u32::from(world.thresholds.max_updating_percent?);
        let is_open = |at| {
            let mut of_stacks = (0..world.stacks.len()).map(|stack| world.past.of(stack, at));
            of_stacks.any(|past| past.latest.is_some_and(|latest| latest.is_open()))
        };
        let here = world.nodes.iter().enumerate().filter(|(_, node)| !node.silent);
        let open = here.filter(|(at, _)| is_open(*at)).map(|(_, node)| node.id).collect();
        Some((open, MaxUpdating::Percent(percent).of(world.nodes.len())))
    }

    fn shares(world: &FleetSnapshot) -> BTreeMap<StackName, HashMap<NodeId, usize>> {
        let mut busy: BTreeMap<StackName, HashMap<NodeId, usize>> = BTreeMap::new();
        for (index, stack) in world.stacks.iter().enumerate() {
            if matches!(stack.share, Share::All) {
                continue;
            }
            let nodes = busy.entry(stack.name.clone()).or_default();
            for (at, node) in world.nodes.iter().enumerate() {
                // What all of the stack is at on a node that follows another branch, its own line sees itself.
                let sees = stack.share.part().is_some() || stack.holds(node);
                if world.past.of(index, at).latest.is_some_and(|latest| latest.is_open()) && sees {
                    nodes.insert(node.id, index);
                }
            }
        }
        busy
    }

    /// Whether so many nodes of the fleet are updating that this one may not begin to.
    pub(super) fn is_full(&self, node: &NodeFacts) -> bool {
        let full = |(open, most): &(HashSet<NodeId>, usize)| !open.contains(&node.id) && open.len() >= *most;
        !node.silent && self.fleet.as_ref().is_some_and(full)
    }

    /// Whether another share of a stack is under way on a node.
    pub(super) fn elsewhere(&self, stack: &StackFacts, index: usize, node: NodeId) -> bool {
        self.shares.get(&stack.name).and_then(|nodes| nodes.get(&node)).is_some_and(|share| *share != index)
    }

    /// A stack, or a share of it, gets under way on a node.
    pub(super) fn begins(&mut self, stack: &StackFacts, index: usize, node: &NodeFacts) {
        if let Some(nodes) = self.shares.get_mut(&stack.name) {
            nodes.insert(node.id, index);
        }
        if let Some((open, _)) = self.fleet.as_mut().filter(|_| !node.silent) {
            open.insert(node.id);
        }
    }
}

/// A rollout of a part that runs, seen from all parts together.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    part: &'a PartName,
    waves: Waves,
    /// Its newest wave; none when it stops in this step.
    open: Option<u32>,
}

impl Ahead<'_> {
    /// Why a node may not have the part's content yet, if so.
    fn lacks(&self, node: &NodeFacts) -> Option<Reason> {
        let Self { part, waves, open } = self;
        let reached = open.is_some_and(|open| waves.wave_of(node) <= open);
        (!reached).then(|| Reason::from(format!("the rollout of part `{part}` has not reached it")))
    }
}

impl<'a> StackStep<'a> {
    /// A place with what follows from the stack's being divided.
    pub(super) fn share(&self, place: &mut Place<'_>) {
        match &self.stack.share {
            Share::All => {}
            Share::Together { divided, .. } => {
                let runs_divided = place.past.settled.is_some_and(|s| divided.contains(&s.release));
                let leaves = matches!(place.wanted, Wanted::Gone { .. });
                let to_another = matches!(
                    &place.wanted,
                    Wanted::Release { release, pinned: true, .. } if !divided.contains(release)
                );
                place.elsewhere = runs_divided && !leaves && !to_another;
                // Who came by this share goes on counting for the rollout that brought it.
                if place.elsewhere && !self.came_by_it(place.past) {
                    place.wanted = Wanted::Keep { reason: self.policy.branch.clone() };
                } else if !place.elsewhere
                    && self.stack.release.as_ref().is_ok_and(|release| place.wants(*release))
                {
                    place.lacks = self.ahead.iter().find_map(|ahead| ahead.lacks(place.node));
                }
            }
            Share::Part { .. } => {
                place.elsewhere = place.past.settled.is_none() || !self.policy.is_assigned(place.node);
                if place.elsewhere {
                    place.wanted = Wanted::Keep { reason: self.policy.branch.clone() };
                } else if let Wanted::Release { release, .. } = place.wanted {
                    if let Some(reason) = self.breaks(place) {
                        place.wanted = Wanted::Keep { reason };
                    } else if self.stack.release == Ok(release) {
                        place.lacks = self.lacks(place.at);
                    }
                }
            }
        }
    }

    /// Rollouts forward of this stack's parts to what the branch asks of them, those that `plan` begins too. While one runs
    /// it says who gets that content, also together with the others'.
    pub(super) fn ahead(&self, plan: &FleetPlan) -> Vec<Ahead<'a>> {
        if !matches!(self.stack.share, Share::Together { .. }) {
            return Vec::new();
        }
        self.others().filter_map(|(_, part)| self.ahead_of(part, plan)).collect()
    }

    fn ahead_of(&self, stack: &'a StackFacts, plan: &FleetPlan) -> Option<Ahead<'a>> {
        let (part, asked) = (stack.share.part()?, *stack.release.as_ref().ok()?);
        let tree = self.tree(asked);
        let runs = |r: &&Rollout| {
            is_of(r, stack)
                && r.release == asked
                && (r.kind, r.state) == (RolloutKind::Update, RolloutState::Running)
        };
        if let Some(rollout) = self.world.rollouts.iter().find(runs) {
            let ended = plan.end.iter().find(|end| end.rollout == rollout.id).map(|end| end.state);
            let open = match ended {
                Some(RolloutState::Succeeded) => return None,
                Some(_) => None,
                None => Some(rollout.wave),
            };
            let members = self.world.members.get(&rollout.id).cloned();
            return Some(Ahead {
                part,
                waves: Waves::of(&rollout.strategy, &rollout.cuts, tree, members),
                open,
            });
        }
        let begins = |start: &&RolloutStart| {
            start.is_of(stack) && start.release == asked && start.kind == RolloutKind::Update
        };
        let start = plan.start.iter().find(begins)?;
        let waves = Waves::of(&start.strategy, &start.cuts, tree, None).with_members(&start.members);
        Some(Ahead { part, waves, open: Some(0) })
    }

    /// Takes in a node that came to what all parts together bring by moving them one by one: it shows as well how that does.
    /// One where a part failed shows that to the part's own rollout.
    pub(super) fn add_by_parts(&self, figures: &mut GateFigures, place: &Place<'_>, whole: ReleaseId) {
        if !matches!(self.stack.share, Share::Together { .. }) || self.stack.release != Ok(whole) {
            return;
        }
        let (mut comes, mut newest) = (false, None::<Try>);
        for (index, part) in self.others().filter(|(_, other)| other.share.part().is_some()) {
            let past = self.world.past.of(index, place.at);
            let latest = past.latest.filter(|latest| part.release == Ok(latest.release));
            if latest.is_some_and(|latest| latest.is_open()) {
                comes = true;
            } else if past.settled.is_none_or(|settled| part.release != Ok(settled.release)) {
                return;
            }
            let ended = latest.filter(|latest| latest.state == TryState::Succeeded);
            newest = newest.into_iter().chain(ended).max_by_key(|ended| ended.ended_at);
        }
        match newest.filter(|_| !comes) {
            Some(ended) => figures.add(place.node, &ended),
            None => figures.add_untried(place.node, !comes, None),
        }
    }

    fn came_by_it(&self, past: &Past) -> bool {
        past.latest.is_some_and(|latest| {
            latest.state == TryState::Succeeded && self.stack.release == Ok(latest.release)
        })
    }

    /// What a node lacks of other parts for what the branch asks of this one.
    fn lacks(&self, node: usize) -> Option<Reason> {
        let unmet = |need: &&crate::snapshot::Need| {
            self.runs(&need.part, node).is_none_or(|settled| !need.accepts.contains(&settled.release))
        };
        self.stack.share.needs().iter().find(unmet).map(|need| need.reason.clone())
    }

    /// Why this part may not go to where it is wanted: a part on the node would lack it there.
    fn breaks(&self, place: &Place<'_>) -> Option<Reason> {
        let name = self.stack.share.part()?;
        let Wanted::Release { release, .. } = &place.wanted else { return None };
        self.others().find_map(|(index, other)| {
            let need = other.share.needs().iter().find(|need| need.part == *name)?;
            let settled = self.world.past.of(index, place.at).settled?;
            let needs_it = other.release == Ok(settled.release) && !need.accepts.contains(release);
            // What the branch asks for of both fits, or is on its way to; only a way aside from it can break.
            let aside = self.stack.release != Ok(*release);
            let breaks = needs_it && aside && !pinned_together(self.stack, *release, other, settled.release);
            breaks.then(|| need.reason.clone())
        })
    }

    /// Whether this part, on its way back, has to wait for one that needs it and goes back too: what needs it goes first.
    pub(super) fn comes_after(&self, place: &Place<'_>, back: bool) -> bool {
        let Some(name) = self.stack.share.part().filter(|_| back) else { return false };
        self.others().any(|(index, other)| {
            let needs = other.share.needs().iter().any(|need| need.part == *name);
            let Past { latest, settled } = *self.world.past.of(index, place.at);
            let away =
                settled.is_some_and(|settled| other.release.as_ref().is_ok_and(|to| *to != settled.release));
            let failed =
                latest.is_some_and(|l: Try| l.state == TryState::Failed && other.release == Ok(l.release));
            needs && away && !failed && other.origin.kind == RolloutKind::Rollback
        })
    }

    /// What a node runs of another part.
    fn runs(&self, part: &backstay_types::PartName, node: usize) -> Option<Settled> {
        let (index, _) = self.others().find(|(_, other)| other.share.part() == Some(part))?;
        self.world.past.of(index, node).settled
    }

    /// The other shares of the same stack, with their positions.
    fn others(&self) -> impl Iterator<Item = (usize, &'a StackFacts)> + use<'_, 'a> {
        let all = self.world.stacks.iter().enumerate();
        all.filter(|(index, other)| *index != self.index && other.name == self.stack.name)
    }
}

/// Whether a pin to all of a stack brings these two: they have run beside each other.
fn pinned_together(one: &StackFacts, its: ReleaseId, other: &StackFacts, of_other: ReleaseId) -> bool {
    let (Share::Part { pins, .. }, Share::Part { pins: others, .. }) = (&one.share, &other.share) else {
        return false;
    };
    pins.iter().any(|(whole, own)| *own == its && others.get(whole) == Some(&of_other))
}
