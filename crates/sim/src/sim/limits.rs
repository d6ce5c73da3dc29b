//! What people limit for a while: freezes, pins, updates that are off; and that nothing is planned in spite of it.

use std::{io, time::Duration};

use backstay_engine::{LimitEffect, NewLimit};
use backstay_store::constraints;
use backstay_types::{
    Deployment, DeploymentId, Effect, Release, RolloutId, RolloutKind, StackName, TreeDigest,
};

use super::Sim;
use crate::{
    hub::{Failed, Parts},
    invariant::{Invariant, Planted},
    window::NOTICED,
};

/// Who does it.
pub(super) const OPERATOR: &str = "operator";
/// The nodes that are not all.
const FIRST: &str = "ring=first";

/// A limit that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limited {
    /// Nothing forward begins anywhere.
    Frozen,
    /// The first node keeps what it runs.
    Off,
    /// The first node runs what did well last of this stack.
    Pinned(usize),
    /// Everyone does, until so many seconds have passed.
    AllPinned(usize, u64),
}

impl Sim {
    /// Sets a limit.
    pub(super) fn limit(&mut self, limited: Limited) -> io::Result<()> {
        if !self.hub.is_up() {
            return Ok(());
        }
        // What was planned before it is known before it.
        self.settle()?;
        let (effect, nodes) = match limited {
            Limited::Frozen => (LimitEffect::Freeze { stack: None }, None),
            Limited::Off => (LimitEffect::UpdatesOff { stack: None }, Some(FIRST)),
            Limited::Pinned(stack) | Limited::AllPinned(stack, _) => {
                let nodes = matches!(limited, Limited::Pinned(_)).then_some(FIRST);
                (LimitEffect::Pin { stack: self.stacks[stack].clone(), to: None }, nodes)
            }
        };
        let until = match limited {
            Limited::AllPinned(_, seconds) => self.hub_clock().checked_add(Duration::from_secs(seconds)).ok(),
            _ => None,
        };
        let reason = "operator's wish".to_owned();
        let new = NewLimit { effect, nodes: nodes.map(str::to_owned), reason, from: None, until };
        let now = self.hub_clock();
        let done = self.hub.call(now, async |parts: Parts| parts.engine.limit(new, OPERATOR).await);
        match done {
            Ok(constraint) => {
                self.cx.say(OPERATOR, format_args!("limits: {limited:?}"));
                if let Limited::Pinned(_) | Limited::AllPinned(..) = limited {
                    self.pinned(&constraint, matches!(limited, Limited::AllPinned(..)))?;
                } else {
                    self.limits.insert(limited);
                    if limited == Limited::Frozen {
                        self.frozen = Some(self.cx.now);
                    }
                }
                if self.cx.has(Planted::IgnoresLimits) {
                    let id = constraint.id;
                    let lifted = self
                        .hub
                        .call(now, async |parts: Parts| parts.engine.lift(id, "planted", "planted").await);
                    self.answered(lifted)?;
                }
            }
            Err(Failed::Down) => self.hub_died(),
            // Nothing has done well yet to which it could be pinned.
            Err(Failed::Error(error)) => {
                self.cx.say(OPERATOR, format_args!("may not limit {limited:?}: {error}"));
            }
        }
        self.look_if_recorded();
        Ok(())
    }

    /// Lifts all of them, those too of which nobody heard whether the hub had taken them; with `but_pins` not the pins that
    /// it is known to have taken.
    pub(super) fn lift_limits(&mut self, but_pins: bool) -> io::Result<()> {
        if !self.hub.is_up() {
            return Ok(());
        }
        // What was planned in spite of them is seen before.
        self.settle()?;
        let now = self.hub_clock();
        let kept: Vec<_> = self.pins.iter().filter(|_| but_pins).map(|pin| pin.id).collect();
        let never = self.cx.has(Planted::KeepsPins);
        let done = self.hub.call(now, async |parts: Parts| {
            let all = constraints::in_force(&mut parts.store.read(), now).await?;
            let mine = all.into_iter().filter(|one| {
                let limit = matches!(
                    one.effect,
                    Effect::Freeze { .. } | Effect::UpdatesOff { .. } | Effect::Pin { .. }
                );
                let kept = kept.contains(&one.id) || (never && matches!(one.effect, Effect::Pin { .. }));
                limit && one.by == OPERATOR && !kept
            });
            let mut count = 0;
            for one in mine {
                parts.engine.lift(one.id, "it is over", OPERATOR).await?;
                count += 1;
            }
            Ok(count)
        });
        // Where the hub died of it nobody knows which are still in force.
        self.frozen = None;
        if let Some(count) = self.answered(done)? {
            self.limits.clear();
            self.pins.retain(|_| but_pins);
            if count > 0 {
                self.cx.say(OPERATOR, format_args!("lifts {count} limits"));
            }
        }
        self.look_if_recorded();
        Ok(())
    }

    /// A deployment was planned: no limit may stand against it. What a node runs already moves nobody.
    pub(super) fn judge_limits(&mut self, deployment: &Deployment, release: &Release, kind: RolloutKind) {
        let Some(index) = self.index_of(deployment.node) else { return };
        if self.runs_already(index, &deployment.stack, release.tree) {
            return;
        }
        let back = kind != RolloutKind::Update || self.ways_back.contains(&deployment.id);
        let why = if self.limits.contains(&Limited::Off) && index == 0 {
            "its updates are off"
        } else if self.limits.contains(&Limited::Frozen) && !back {
            "everything is frozen"
        } else if self.stopped.is_some() && !back {
            "everything is stopped"
        } else if self.paused.contains_key(&deployment.rollout) && !back {
            "its rollout is paused"
        } else {
            return;
        };
        let (name, node) = (self.cx.trace.name(deployment.id), self.nodes[index].who());
        self.cx.violated(Invariant::Confined, format!("{name} is planned for {node}, and {why}"));
    }

    /// A node begins something forward, of which it heard for the first time long after everything was stopped or frozen or its
    /// rollout paused, or which it had not begun by then though it was in touch all the while: the hub must have taken it back.
    pub(super) fn judge_orders(&mut self, deployment: DeploymentId, rollout: RolloutId, index: usize) {
        let still = [
            (self.stopped, "everything is stopped"),
            (self.frozen, "everything is frozen"),
            (self.paused.get(&rollout).copied(), "its rollout is paused"),
        ];
        let noticed = |since: Duration| since.max(self.hub_since) + NOTICED;
        let node = &self.nodes[index];
        let told = node.told_at.get(&deployment).copied();
        let in_touch =
            node.well_since + NOTICED <= self.cx.now && self.cx.reaches(index) && self.cx.lossy == 0;
        let late = still.into_iter().find(|(since, _)| {
            since.is_some_and(|since| {
                let by_then = |at: Duration| at >= noticed(since);
                told.is_some_and(by_then) || (in_touch && by_then(self.cx.now))
            })
        });
        if let (Some((_, why)), true) = (late, self.hub.is_up()) {
            let (name, node) = (self.cx.trace.name(deployment), self.nodes[index].who());
            self.cx.violated(Invariant::Confined, format!("{node} begins {name}, and {why}"));
        }
    }

    /// Whether a node has committed a tree of a stack.
    pub(super) fn runs_already(&self, index: usize, stack: &StackName, tree: TreeDigest) -> bool {
        let record = self.nodes[index].disk.files().journal.stacks.get(stack);
        let committed = record.and_then(|record| record.committed.as_ref());
        committed.is_some_and(|committed| committed.tree == tree)
    }
}
