//! Under which rollout a node moves, and when rollouts end.

use backstay_types::{
    Cause, DecisionKind, MigrationId, ReleaseId, Rollout, RolloutId, RolloutKind, RolloutState, TreeDigest,
};

use super::{Decided, FleetPlan, RolloutEnd, RolloutRef, RolloutStart, StackStep, places::Place};
use crate::{
    gate::{Waves, cuts, members, place_in_line},
    inputs::{BeganInputs, EndInputs, Inputs, Opening, ending, opening},
    snapshot::{Origin, Try, TryState},
};

/// Whether a node gets or loses a stack by somebody's word on it, rather than by what is assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// It does not.
    No,
    /// It is taken out of the fleet.
    Leaves,
    /// The stack moves to another node, or to this one.
    Moves(MigrationId),
}

impl Named {
    /// Whether a rollout has this cause.
    fn is_of(self, cause: &Cause) -> bool {
        match self {
            Self::No => !matches!(cause, Cause::Decommission | Cause::Migration { .. }),
            Self::Leaves => *cause == Cause::Decommission,
            Self::Moves(migration) => *cause == Cause::Migration { migration },
        }
    }
}

impl StackStep<'_> {
    /// By whose word a node gets the stack, or loses it.
    pub(super) fn named(&self, place: &Place<'_>) -> Named {
        match (&place.node.leaving, place.node.moved(&self.stack.name)) {
            (Some(_), _) => Named::Leaves,
            (None, Some(moved)) if self.is_moving(place) => Named::Moves(moved.migration),
            _ => Named::No,
        }
    }

    /// Forward or back.
    pub(super) fn kind_of(&self, release: ReleaseId, removal: bool) -> RolloutKind {
        match self.stack.go_back {
            _ if removal => RolloutKind::Removal,
            Some(back) if back.to == release && self.stack.release != Ok(release) => RolloutKind::Rollback,
            _ => self.origin(release).kind,
        }
    }

    /// The rollout that takes along who moves now: the running one; or, not for a removal, a finished one that is still
    /// the newest.
    pub(super) fn takes_along(&self, release: ReleaseId, removal: bool, named: Named) -> Option<RolloutId> {
        let same = |r: &Rollout| {
            let kind = (r.kind == RolloutKind::Removal) == removal;
            r.release == release && kind && named.is_of(&r.cause)
        };
        let running = self.running.iter().map(|(rollout, _)| *rollout);
        let newest = self.newest.filter(|newest| !removal && newest.state == RolloutState::Succeeded);
        let mut known = running.filter(|rollout| !self.halted.contains(&rollout.id)).chain(newest);
        known.find(|rollout| same(rollout)).map(|rollout| rollout.id)
    }

    /// The rollout under which a node moves: the running one; a finished one that is still the newest (for nodes
    /// that join late); or a new one. None when everything is stopped and it would be a new one forward.
    pub(super) fn rollout_for(
        &mut self,
        release: ReleaseId,
        kind: RolloutKind,
        named: Named,
        plan: &mut FleetPlan,
    ) -> Option<RolloutRef> {
        let removal = kind == RolloutKind::Removal;
        let known = self.takes_along(release, removal, named);
        if let Some(id) = known.filter(|id| self.running.iter().any(|(running, _)| running.id == *id)) {
            return Some(RolloutRef::Existing(id));
        }
        if self.stopped.is_some() && kind != RolloutKind::Rollback {
            return None;
        }
        if let Some(id) = known {
            return Some(RolloutRef::Existing(id));
        }
        if let Some((_, index, _)) = self.new.iter().find(|(of, ..)| *of == (release, removal, named)) {
            return Some(RolloutRef::New(*index));
        }
        let (start, inputs) = self.start(release, removal, named);
        let tree = self.tree(release);
        let waves = Waves::of(&start.strategy, &start.cuts, tree, None).with_members(&start.members);
        let index = plan.start.len();
        plan.decided.push(Decided {
            rollout: RolloutRef::New(index),
            stack: self.index,
            kind: DecisionKind::Began,
            reason: start.reason.clone(),
            inputs: Inputs::Began(inputs),
            topic: None,
        });
        plan.start.push(start);
        self.new.push(((release, removal, named), index, waves));
        Some(RolloutRef::New(index))
    }

    fn start(&self, release: ReleaseId, removal: bool, named: Named) -> (RolloutStart, BeganInputs) {
        let origin = self.origin(release);
        let cause = match (named, removal) {
            (Named::Leaves, _) => &Cause::Decommission,
            (Named::Moves(migration), _) => &Cause::Migration { migration },
            (Named::No, true) => &self.stack.removal_cause,
            (Named::No, false) => &origin.cause,
        };
        let assigned: Vec<_> = self.world.nodes.iter().filter(|node| self.stack.is_assigned(node)).collect();
        let back = self.stack.go_back.is_some_and(|back| back.to == release);
        let mut inputs = BeganInputs {
            cause: cause.clone(),
            asked: origin.kind,
            removal,
            goes_back: back && self.stack.release != Ok(release),
            unproven: self.in_waves && self.stack.release == Ok(release),
            pinned: self.stack.pin_origins.contains_key(&release),
            branch: self.stack.within.branch().map(str::to_owned),
            waves: self.stack.strategy.waves.clone(),
            assigned: assigned.len() as u64,
            within: Vec::new(),
        };
        let Opening { kind, in_waves, reason } = opening(&inputs);
        let mut strategy = self.stack.strategy.clone();
        if !in_waves {
            strategy.waves.clear();
        }
        let tree = self.tree(release);
        let nodes = || assigned.iter().copied();
        let cuts = tree.map(|tree| cuts(&strategy, tree, nodes())).unwrap_or_default();
        let members = tree.map(|tree| members(&strategy, &cuts, tree, nodes())).unwrap_or_default();
        let within = |cut: &Option<u32>| {
            let (tree, cut) = (tree?, (*cut)?);
            Some(nodes().filter(|node| place_in_line(node.id, tree) <= cut).count() as u64)
        };
        inputs.within = cuts.iter().map(within).collect();
        let start = RolloutStart {
            stack: self.stack.name.clone(),
            environment: self.stack.within.environment().cloned(),
            branch: self.stack.within.branch().map(str::to_owned),
            part: self.stack.share.part().cloned(),
            release,
            kind,
            cause: cause.clone(),
            max_updating: self.at_once(kind),
            strategy,
            cuts,
            members,
            reason,
        };
        (start, inputs)
    }

    /// How many nodes a rollout of a kind may be updating at once, for people; none for all. A way back waits for nobody.
    pub(super) fn at_once(&self, kind: RolloutKind) -> Option<u32> {
        let limit = (kind != RolloutKind::Rollback).then(|| self.limit())?;
        (limit != usize::MAX).then(|| u32::try_from(limit).unwrap_or(u32::MAX))
    }

    /// Ends a rollout that has nothing left to do.
    pub(super) fn end(&self, tally: &Tally<'_>, plan: &mut FleetPlan) {
        let Some(inputs) = tally.end() else { return };
        let (state, reason) = ending(&inputs);
        let rollout = tally.rollout.id;
        let tree = self.tree(tally.rollout.release);
        // What does not start where it was moved to runs elsewhere: it says something of that node.
        let moved = matches!(tally.rollout.cause, Cause::Migration { .. });
        if let (RolloutKind::Update, RolloutState::Halted, Some(tree), false) =
            (inputs.kind, state, tree, moved)
        {
            plan.ban.push((self.stack.name.clone(), tree, reason.clone()));
        }
        plan.decided.push(Decided {
            rollout: RolloutRef::Existing(rollout),
            stack: self.index,
            kind: DecisionKind::Ended,
            reason: reason.clone(),
            inputs: Inputs::End(inputs),
            topic: None,
        });
        plan.end.push(RolloutEnd { rollout, state, reason });
    }

    pub(super) fn origin(&self, release: ReleaseId) -> &Origin {
        self.stack.pin_origins.get(&release).unwrap_or(&self.stack.origin)
    }

    pub(super) fn tree(&self, release: ReleaseId) -> Option<TreeDigest> {
        self.world.trees.get(&release).copied()
    }
}

/// What a step sees of a rollout that runs, and does to it, node by node.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    pub(super) rollout: &'a Rollout,
    /// Nodes that want its release.
    wanting: usize,
    /// Those of them that run it.
    run: usize,
    /// Attempts that failed.
    failed: usize,
    /// Attempts that came to a good end.
    succeeded: usize,
    /// Attempts that are open, and stay so.
    open: usize,
    /// Whether a node waits for its turn.
    waiting: bool,
}

impl<'a> Tally<'a> {
    pub(super) fn new(rollout: &'a Rollout) -> Self {
        Self { rollout, wanting: 0, run: 0, failed: 0, succeeded: 0, open: 0, waiting: false }
    }

    pub(super) fn see(&mut self, place: &Place<'_>) {
        let wants = place.wants(self.rollout.release);
        self.wanting += usize::from(wants);
        self.run += usize::from(wants && place.is_there(self.rollout.release));
        match self.mine(place.past.latest.as_ref()) {
            Some(TryState::Failed) => self.failed += 1,
            Some(TryState::Succeeded) => self.succeeded += 1,
            Some(TryState::Pending | TryState::Running) => self.open += 1,
            Some(TryState::Superseded) | None => {}
        }
    }

    /// A node makes an attempt; the one that it had been told of is over.
    pub(super) fn moves(&mut self, to: RolloutRef, pending: Option<&Try>) {
        self.open += usize::from(to == RolloutRef::Existing(self.rollout.id));
        self.open -= usize::from(self.mine(pending).is_some());
    }

    /// An attempt is taken back. One that was `withdrawn` comes again.
    pub(super) fn gives_up(&mut self, open: &Try, withdrawn: bool) {
        if self.mine(Some(open)).is_some() {
            self.open -= 1;
            self.waiting |= withdrawn;
        }
    }

    /// A node waits for its turn to move.
    pub(super) fn waits_for(&mut self, release: ReleaseId, removal: bool) {
        let same = self.rollout.release == release && (self.rollout.kind == RolloutKind::Removal) == removal;
        self.waiting |= same;
    }

    fn mine(&self, attempt: Option<&Try>) -> Option<TryState> {
        attempt.filter(|attempt| attempt.rollout == self.rollout.id).map(|attempt| attempt.state)
    }

    /// With what it ends, when it has nothing left to do.
    pub(super) fn end(&self) -> Option<EndInputs> {
        let ends = self.open == 0 && !self.waiting;
        ends.then_some(EndInputs {
            kind: self.rollout.kind,
            wanting: self.wanting as u64,
            run: self.run as u64,
            succeeded: self.succeeded as u64,
            failed: self.failed as u64,
        })
    }
}
