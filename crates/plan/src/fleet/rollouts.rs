//! Under which rollout a node moves, and when rollouts end.

use backstay_types::{Cause, ReleaseId, Rollout, RolloutKind, RolloutState, RolloutStrategy, TreeDigest};

use super::{FleetPlan, RolloutEnd, RolloutRef, RolloutStart, StackStep, places::Place};
use crate::{
    gate::{Waves, cuts, members},
    snapshot::{Origin, Try, TryState},
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

    /// The rollout under which a node moves: the running one; a finished one that is still the newest (for nodes
    /// that join late); or a new one. None when everything is stopped and it would be a new one forward.
    pub(super) fn rollout_for(
        &mut self,
        release: ReleaseId,
        removal: bool,
        plan: &mut FleetPlan,
    ) -> Option<RolloutRef> {
        let same = |r: &Rollout| r.release == release && (r.kind == RolloutKind::Removal) == removal;
        let running = self.running.iter().find(|(r, _)| same(r) && !self.halted.contains(&r.id));
        if let Some((rollout, _)) = running {
            return Some(RolloutRef::Existing(rollout.id));
        }
        if self.world.stopped.is_some() && self.kind_of(release, removal) != RolloutKind::Rollback {
            return None;
        }
        if let Some(newest) = self.newest
            && same(newest)
            && !removal
            && newest.state == RolloutState::Succeeded
        {
            return Some(RolloutRef::Existing(newest.id));
        }
        if let Some((_, index, _)) = self.new.iter().find(|(of, ..)| *of == (release, removal)) {
            return Some(RolloutRef::New(*index));
        }
        let start = self.start(release, removal);
        let tree = self.tree(release);
        let waves = Waves::of(&start.strategy, &start.cuts, tree, None).with_members(&start.members);
        plan.start.push(start);
        self.new.push(((release, removal), plan.start.len() - 1, waves));
        Some(RolloutRef::New(plan.start.len() - 1))
    }

    fn start(&self, release: ReleaseId, removal: bool) -> RolloutStart {
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
        let assigned = || self.world.nodes.iter().filter(|node| self.stack.is_assigned(node));
        let tree = self.tree(release);
        let cuts = tree.map(|tree| cuts(&strategy, tree, assigned())).unwrap_or_default();
        let members = tree.map(|tree| members(&strategy, &cuts, tree, assigned())).unwrap_or_default();
        let reason = match cause {
            Cause::Change { commit, .. } => format!("commit {}", commit.short()),
            Cause::Undo { undo } => format!("undo {undo}"),
        };
        RolloutStart {
            stack: self.stack.name.clone(),
            release,
            kind,
            cause: cause.clone(),
            max_updating: self.stack.max_updating.as_count(self.world.nodes.len()),
            strategy,
            cuts,
            members,
            reason: match () {
                () if removal => format!("no longer assigned since {reason}"),
                () if returns => format!("back from what {reason} brought, whose rollout stopped"),
                () => reason,
            },
        }
    }

    pub(super) fn origin(&self, release: ReleaseId) -> &Origin {
        self.stack.pin_origins.get(&release).unwrap_or(&self.stack.origin)
    }

    fn tree(&self, release: ReleaseId) -> Option<TreeDigest> {
        self.world.trees.get(&release).copied()
    }
}

/// What a step sees of a rollout that runs, and does to it, node by node.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    pub(super) rollout: &'a Rollout,
    /// Nodes that want its release.
    wanting: usize,
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
        Self { rollout, wanting: 0, failed: 0, succeeded: 0, open: 0, waiting: false }
    }

    pub(super) fn see(&mut self, place: &Place<'_>) {
        self.wanting += usize::from(place.wants(self.rollout.release));
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

    /// How it ends, when it has nothing left to do.
    pub(super) fn end(&self) -> Option<RolloutEnd> {
        if self.open > 0 || self.waiting {
            return None;
        }
        let (rollout, kind) = (self.rollout.id, self.rollout.kind);
        let (state, reason) = match (self.wanting, self.failed) {
            _ if kind == RolloutKind::Removal => self.removed(),
            (0, 0) if kind == RolloutKind::Rollback && self.succeeded > 0 => {
                (RolloutState::Succeeded, format!("{} nodes are back", self.succeeded))
            }
            (0, _) => (RolloutState::Superseded, "no node is meant to run it any more".to_owned()),
            (n, 0) => (RolloutState::Succeeded, format!("{n} of {n} nodes run it")),
            // Within what its rules allow: the gates would have stopped it.
            (n, failed) if kind == RolloutKind::Update => (
                RolloutState::Succeeded,
                format!("{} of {n} nodes run it, {failed} failed", n.saturating_sub(failed)),
            ),
            (n, failed) => (RolloutState::Halted, format!("failed on {failed} of {n} nodes")),
        };
        Some(RolloutEnd { rollout, state, reason })
    }

    /// How a removal that has nothing left to do ends.
    fn removed(&self) -> (RolloutState, String) {
        match (self.succeeded, self.failed) {
            (0, 0) => (RolloutState::Superseded, "no node is meant to lose it any more".to_owned()),
            (done, 0) => (RolloutState::Succeeded, format!("taken away from {done} of {done} nodes")),
            (done, failed) => {
                (RolloutState::Halted, format!("failed on {failed} of {} nodes", done + failed))
            }
        }
    }
}
