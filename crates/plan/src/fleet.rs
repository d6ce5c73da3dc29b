//! One step of planning for the whole fleet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstay_types::{
    Cause, DeploymentId, NodeId, ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState, RolloutStrategy,
    StackName, TreeDigest,
};

use crate::gate::{Gate, GateFigures, Waves, cuts, gate};
use crate::snapshot::{FleetSnapshot, NodeFacts, Origin, Past, StackFacts, TryState};
use crate::wanted::{Wanted, wanted};

/// What to do, with reasons. Applied whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetPlan {
    /// Rollouts to begin, in the order that [`RolloutRef::New`] counts them.
    pub start: Vec<RolloutStart>,
    /// Rollouts that end.
    pub end: Vec<RolloutEnd>,
    /// Waves that begin.
    pub waves: Vec<WaveOpened>,
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
    /// How it goes out.
    pub strategy: RolloutStrategy,
    /// The highest place of each wave, see [`Rollout::cuts`].
    pub cuts: Vec<Option<u32>>,
    /// Why.
    pub reason: String,
}

/// A wave that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveOpened {
    /// Of which rollout.
    pub rollout: RolloutId,
    /// Which, from 0.
    pub wave: u32,
    /// Why: what the gate saw.
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

/// How far a rollout that runs is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its waves, in order.
    pub waves: Vec<WaveFigures>,
    /// What its gate says.
    pub gate: String,
}

/// A wave's nodes: those that are in none before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaveFigures {
    /// How many.
    pub nodes: u64,
    /// How many of them run the release.
    pub run: u64,
    /// How many failed.
    pub failed: u64,
}

/// How far a rollout that runs is, and what it waits for.
pub fn progress(world: &FleetSnapshot, rollout: &Rollout) -> Progress {
    let Some(stack) = world.stacks.iter().find(|stack| stack.name == rollout.stack) else {
        return Progress { gate: "its stack is in no repository any more".to_owned(), ..Progress::default() };
    };
    let mut step = StackStep::new(world, stack);
    let tree = world.trees.get(&rollout.release).copied();
    step.lines.entry(rollout.id).or_insert_with(|| Waves::of(&rollout.strategy, &rollout.cuts, tree));
    step.progress(rollout)
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

    /// What the gate of each rollout forward says: it goes on, its next wave begins, or it ends and its tree is banned
    /// until it is superseded. A rollback goes on: the other nodes are no better off where they are.
    fn gates(&mut self, plan: &mut FleetPlan) {
        let forward: Vec<_> =
            self.running.iter().filter(|r| r.kind == RolloutKind::Update).copied().collect();
        for rollout in forward {
            let last =
                usize::try_from(rollout.wave).unwrap_or(usize::MAX) + 1 >= rollout.strategy.waves.len();
            let still = rollout.paused.is_some() || self.world.stopped.is_some();
            match gate(&rollout.strategy, &self.figures(rollout), last, self.world.now) {
                Gate::Stop(reason) => self.halt(rollout, &reason, plan),
                Gate::Open(reason) if !still => {
                    plan.waves.push(WaveOpened { rollout: rollout.id, wave: rollout.wave + 1, reason });
                }
                Gate::Open(_) | Gate::Wait(_) => {}
            }
        }
    }

    fn halt(&mut self, rollout: &Rollout, reason: &str, plan: &mut FleetPlan) {
        let failed: Vec<_> = self.latest_in(rollout.id, TryState::Failed).collect();
        let of_release = |node: &&&NodeFacts| self.past(node.id).latest.is_some_and(|l| l.again_at.is_none());
        let reason = match (failed.iter().find(of_release), failed.len()) {
            (Some(first), 1) => format!("failed on {}", first.name),
            (Some(first), n) => format!("{reason}; failed on {n} nodes, {} among them", first.name),
            (None, _) => reason.to_owned(),
        };
        if let Some(tree) = self.world.trees.get(&rollout.release) {
            plan.ban.push((self.stack.name.clone(), *tree, reason.clone()));
        }
        plan.end.push(RolloutEnd { rollout: rollout.id, state: RolloutState::Halted, reason });
        self.halted.insert(rollout.id);
        self.banned.insert(rollout.release);
    }

    /// What a rollout's gate sees: the nodes of the open waves that should run its release.
    fn figures(&self, rollout: &Rollout) -> GateFigures {
        let mut figures = GateFigures::default();
        for node in &self.world.nodes {
            let latest = self.past(node.id).latest.filter(|latest| latest.rollout == rollout.id);
            if latest.is_some() || (self.is_assigned(node) && self.wave_in(rollout, node) <= rollout.wave) {
                figures.add(node, latest.as_ref());
            }
        }
        figures
    }

    fn progress(&self, rollout: &Rollout) -> Progress {
        let mut waves = vec![WaveFigures::default(); rollout.strategy.waves.len()];
        for node in self.world.nodes.iter().filter(|node| self.is_assigned(node)) {
            let index = usize::try_from(self.wave_in(rollout, node)).unwrap_or(usize::MAX);
            let Some(wave) = waves.get_mut(index) else { continue };
            wave.nodes += 1;
            match self.past(node.id).latest.filter(|latest| latest.rollout == rollout.id) {
                Some(latest) if latest.state == TryState::Succeeded => wave.run += 1,
                Some(latest) if latest.state == TryState::Failed => wave.failed += 1,
                _ => {}
            }
        }
        let last = usize::try_from(rollout.wave).unwrap_or(usize::MAX) + 1 >= rollout.strategy.waves.len();
        let gate = match (&self.world.stopped, &rollout.paused) {
            (Some(reason), _) if rollout.kind == RolloutKind::Update => {
                format!("everything is stopped: {reason}")
            }
            (_, Some(paused)) => format!("paused by {}: {}", paused.by, paused.reason),
            _ => match gate(&rollout.strategy, &self.figures(rollout), last, self.world.now) {
                Gate::Wait(reason) | Gate::Open(reason) | Gate::Stop(reason) => reason,
            },
        };
        Progress { waves, gate }
    }

    fn is_assigned(&self, node: &NodeFacts) -> bool {
        self.stack.assignments.iter().any(|a| a.nodes.matches(&node.name, &node.labels))
    }

    fn wave_in(&self, rollout: &Rollout, node: &NodeFacts) -> u32 {
        self.lines.get(&rollout.id).map_or(u32::MAX, |line| line.wave_of(node))
    }

    /// Whether a node may begin under a rollout: its wave is open, and nobody has paused it.
    fn has_its_turn(&mut self, node: &NodeFacts, rollout: RolloutRef, plan: &FleetPlan) -> bool {
        match rollout {
            RolloutRef::Existing(id) => {
                let Some(rollout) = self.world.rollouts.iter().find(|r| r.id == id) else { return true };
                // Late joiners of one that has ended need wait for nobody.
                if rollout.state != RolloutState::Running {
                    return true;
                }
                let still = rollout.paused.is_some() || self.world.stopped.is_some();
                !still && self.wave_in(rollout, node) <= rollout.wave
            }
            RolloutRef::New(index) => {
                let RolloutStart { release, strategy, cuts, .. } = &plan.start[index];
                let waves = || Waves::of(strategy, cuts, self.world.trees.get(release).copied());
                self.new_lines.entry(index).or_insert_with(waves).wave_of(node) == 0
            }
        }
    }

    /// Forward or back.
    fn kind_of(&self, release: ReleaseId, removal: bool) -> RolloutKind {
        match self.stack.go_back {
            _ if removal => RolloutKind::Removal,
            Some(back) if back.to == release && self.stack.release != Ok(release) => RolloutKind::Rollback,
            _ => self.origin(release).kind,
        }
    }

    /// Whether no rollout to a release is under way.
    fn is_new(&self, release: ReleaseId) -> bool {
        !self.running.iter().any(|r| r.release == release && !self.halted.contains(&r.id))
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
            wanted: keep_banned(wanted(self.stack, node, &self.past(node.id), &world.constraints, world.now)),
            past: self.past(node.id),
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
