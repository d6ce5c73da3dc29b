//! One step of planning for the whole fleet.

mod decision;
mod gates;
mod parts;
mod places;
mod progress;
mod rollouts;

use backstay_types::{
    Cause, DeploymentId, HealthLevel, ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState,
};

pub use decision::{
    Attempt, Decided, FleetPlan, PinToGood, RolloutEnd, RolloutRef, RolloutStart, StackStanding, Standing,
    WaveOpened,
};
pub use progress::{Progress, WaveFigures, progress};

use crate::{
    gate::Waves,
    health::{FleetVerdict, verdict},
    policy::Policy,
    snapshot::{FleetSnapshot, Reason, Share, StackFacts, Try, TryState},
    wanted::Wanted,
};
use parts::{Ahead, Busy};
use places::{Move, Place};
use rollouts::{Named, Tally};

/// Decides one step. Applying it and planning again, without anything having happened, decides nothing more.
pub fn plan(world: &FleetSnapshot) -> FleetPlan {
    let health = verdict(world);
    let mut plan = FleetPlan::default();
    if health.level == HealthLevel::Stopped && world.stopped.is_none() {
        plan.stop = Some(health.reason.clone());
    }
    let mut busy = Busy::of(world);
    let mut places = Vec::with_capacity(world.nodes.len());
    // All parts of a stack at once bring what each of them brings: after these, so that they see who gets it already.
    let together = |index: &usize| matches!(world.stacks[*index].share, Share::Together { .. });
    let (last, first): (Vec<_>, Vec<_>) = (0..world.stacks.len()).partition(together);
    for index in first.into_iter().chain(last) {
        let mut step = StackStep::new(world, index, &health);
        step.ahead = step.ahead(&plan);
        let under_way = step.places_in(&mut places);
        step.decide(&mut places, under_way, &mut plan, &mut busy);
    }
    plan.health = health;
    plan
}

/// Whether a rollout is of a stack, in the part of the fleet that it is planned for.
fn is_of(rollout: &Rollout, stack: &StackFacts) -> bool {
    rollout.stack == stack.name
        && rollout.environment.as_ref() == stack.within.environment()
        && rollout.branch.as_deref() == stack.within.branch()
        && rollout.part.as_ref() == stack.share.part()
}

/// Planning of one stack.
struct StackStep<'a> {
    world: &'a FleetSnapshot,
    index: usize,
    stack: &'a StackFacts,
    policy: Policy,
    health: &'a FleetVerdict,
    /// Why nothing forward begins or advances anywhere, if so.
    stopped: Option<String>,
    /// Its rollouts that run, each with its waves.
    running: Vec<(&'a Rollout, Waves)>,
    newest: Option<&'a Rollout>,
    /// Rollouts that end in this step because nodes failed; their releases move nobody.
    halted: Vec<RolloutId>,
    banned: Vec<ReleaseId>,
    /// Rollouts that wait for nodes that failed by their own fault, since no other has shown how the release does: these
    /// try again while it runs.
    hindered: Vec<RolloutId>,
    /// An undo asks for a release that some get in waves only.
    in_waves: bool,
    /// Rollouts of its parts that bring what this one brings too.
    ahead: Vec<Ahead<'a>>,
    /// How many nodes there are to be moved, of which a share may be updating at once.
    assigned: usize,
    /// Releases to which this step begins a rollout, whether it takes them away, and why; with where it stands in the plan, and its waves.
    new: Vec<((ReleaseId, bool, Named), usize, Waves)>,
    standing: Vec<Standing>,
    /// Reasons with words put before them, by the reason as it was.
    worded: Vec<(Reason, Reason)>,
}

impl<'a> StackStep<'a> {
    fn new(world: &'a FleetSnapshot, index: usize, health: &'a FleetVerdict) -> Self {
        let stack = &world.stacks[index];
        let of_stack = || world.rollouts.iter().filter(|r| is_of(r, stack));
        let waves = |r: &Rollout| {
            let tree = world.trees.get(&r.release).copied();
            Waves::of(&r.strategy, &r.cuts, tree, world.members.get(&r.id).cloned())
        };
        let running = of_stack().filter(|r| r.state == RolloutState::Running).map(|r| (r, waves(r)));
        Self {
            world,
            index,
            stack,
            stopped: match &world.stopped {
                Some(reason) => Some(format!("everything is stopped: {reason}")),
                None if health.level >= HealthLevel::Halted => {
                    Some(format!("the fleet is not well: {}", health.reason))
                }
                None => None,
            },
            health,
            policy: Policy::new(stack, &world.constraints, world.now),
            running: running.collect(),
            newest: of_stack().filter(|r| !matches!(r.cause, Cause::Migration { .. })).max_by_key(|r| r.id),
            halted: Vec::new(),
            banned: Vec::new(),
            hindered: Vec::new(),
            in_waves: false,
            ahead: Vec::new(),
            assigned: 0,
            new: Vec::new(),
            standing: Vec::with_capacity(world.nodes.len()),
            worded: Vec::new(),
        }
    }

    fn decide(
        mut self,
        places: &mut [Place<'a>],
        mut under_way: Vec<(ReleaseId, usize)>,
        plan: &mut FleetPlan,
        busy: &mut Busy,
    ) {
        plan.look_at = plan.look_at.into_iter().chain(self.policy.changes_at()).min();
        self.gates(places, plan);
        self.keep_banned(places);
        self.in_waves = self.goes_in_waves(places);
        self.assigned = assigned(places);
        let limit = self.limit();
        let mut tallies: Vec<_> = self.running.iter().map(|(rollout, _)| Tally::new(rollout)).collect();
        for place in &*places {
            tallies.iter_mut().for_each(|tally| tally.see(place));
            let Some((to, reason)) = self.move_of(place) else {
                self.stand(place, &mut tallies, plan);
                continue;
            };
            let (release, removal) = match to {
                Move::To(release) => (release, false),
                Move::Away(release) => (release, true),
            };
            let kind = match self.kind_of(release, removal) {
                RolloutKind::Rollback if self.follows_waves(place, release) => RolloutKind::Update,
                kind => kind,
            };
            let slot = slot_of(&mut under_way, release);
            // Of whom the hub has only just been started it knows nothing yet; only who is known to be away counts for nothing.
            // Who goes for good takes no place among those updating, and what moves stands still until it has one.
            let counts = !place.node.silent && place.node.leaving.is_none() && !self.is_moving(place);
            let full = counts && (*slot >= limit || busy.is_full(place.node));
            let back = kind == RolloutKind::Rollback;
            let waits =
                busy.elsewhere(self.stack, self.index, place.node.id) || self.comes_after(place, back);
            let may = |this: &mut Self, plan: &mut FleetPlan| {
                let rollout = this.rollout_for(release, kind, this.named(place), plan)?;
                (!waits && (back || (!full && this.has_its_turn(place, rollout, plan)))).then_some(rollout)
            };
            match may(&mut self, plan) {
                Some(rollout) => {
                    *slot += usize::from(!place.node.silent);
                    busy.begins(self.stack, self.index, place.node);
                    self.attempt(place, release, rollout, reason, &mut tallies, plan);
                }
                None => {
                    tallies.iter_mut().for_each(|tally| tally.waits_for(release, removal));
                    self.stand(place, &mut tallies, plan);
                }
            }
        }
        for tally in &tallies {
            let id = tally.rollout.id;
            // One whose wave has just begun is looked at again with that wave open.
            let goes_on = plan.waves.iter().any(|opened| opened.rollout == id) || self.hindered.contains(&id);
            if !self.halted.contains(&id) && !goes_on {
                self.end(tally, plan);
            }
        }
        if !self.standing.is_empty() {
            plan.standing.push(StackStanding { stack: self.stack.name.clone(), lines: self.standing });
        }
    }

    /// How many may be updating at once; half as many when the fleet is not well.
    fn limit(&self) -> usize {
        let limit = self.stack.max_updating.of(self.assigned);
        match self.health.level {
            HealthLevel::Well => limit,
            _ => (limit.min(self.assigned) / 2).max(1),
        }
    }

    fn attempt(
        &self,
        place: &Place<'_>,
        release: ReleaseId,
        rollout: RolloutRef,
        reason: Reason,
        tallies: &mut [Tally<'_>],
        plan: &mut FleetPlan,
    ) {
        let pending = place.past.latest.filter(|latest| latest.state == TryState::Pending);
        if let Some(latest) = pending {
            plan.supersede.push(latest.deployment);
        }
        for tally in tallies.iter_mut() {
            tally.moves(rollout, pending.as_ref());
        }
        plan.attempts.push(Attempt {
            node: place.node.id,
            stack: self.stack.name.clone(),
            part: self.stack.share.part().cloned(),
            release,
            rollout,
            previous: place.past.settled.map(|s| s.release),
            reason,
        });
    }

    /// What a node's statement goes on saying: the attempt under way, or what it settled on.
    fn stand(&mut self, place: &Place<'_>, tallies: &mut [Tally<'_>], plan: &mut FleetPlan) {
        if place.elsewhere && !place.past.latest.is_some_and(|latest| latest.is_open()) {
            return;
        }
        if let Some(latest) = place.past.latest.filter(Try::is_open) {
            let wanted = match &place.wanted {
                Wanted::Release { release, .. } => *release == latest.release && !latest.removal,
                Wanted::Gone { .. } => latest.removal,
                Wanted::Keep { .. } => false,
            };
            let withdrawn = wanted && self.is_withdrawn(place, &latest);
            if (wanted && !withdrawn) || latest.state == TryState::Running {
                self.say(place, latest.deployment);
                return;
            }
            plan.supersede.push(latest.deployment);
            tallies.iter_mut().for_each(|tally| tally.gives_up(&latest, withdrawn));
        }
        if let Some(settled) = place.past.settled {
            self.say(place, settled.deployment);
        }
    }

    fn say(&mut self, place: &Place<'_>, deployment: DeploymentId) {
        let reason = match &place.wanted {
            Wanted::Release { reason, .. } => reason.clone(),
            Wanted::Gone { reason } => self.worded("to be taken away", reason),
            Wanted::Keep { reason } => self.worded("left as it is", reason),
        };
        self.standing.push(Standing { node: place.node.id, deployment, reason });
    }

    /// A reason with words before it; whole fleets have few.
    fn worded(&mut self, words: &str, reason: &Reason) -> Reason {
        const MOST: usize = 32;
        if let Some((_, worded)) = self.worded.iter().find(|(known, _)| Reason::ptr_eq(known, reason)) {
            return worded.clone();
        }
        let worded = Reason::from(format!("{words}: {reason}"));
        if self.worded.len() < MOST {
            self.worded.push((reason.clone(), worded.clone()));
        }
        worded
    }
}

/// How many nodes are to run some release of the stack.
fn assigned(places: &[Place<'_>]) -> usize {
    places.iter().filter(|place| matches!(place.wanted, Wanted::Release { .. })).count()
}

/// How many nodes that are not known to be away are moving to a release.
fn slot_of(under_way: &mut Vec<(ReleaseId, usize)>, release: ReleaseId) -> &mut usize {
    let at = under_way.iter().position(|(of, _)| *of == release).unwrap_or_else(|| {
        under_way.push((release, 0));
        under_way.len() - 1
    });
    &mut under_way[at].1
}
