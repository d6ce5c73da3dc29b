//! What a step of planning decides.

use backstay_types::{
    Cause, DecisionKind, DeploymentId, EnvironmentName, NodeId, PartName, ReleaseId, Rollout, RolloutId,
    RolloutKind, RolloutState, RolloutStrategy, StackName, Timestamp, TreeDigest,
};

use crate::{
    health::FleetVerdict,
    inputs::Inputs,
    snapshot::{Reason, StackFacts},
};

/// What to do, with reasons. Applied whole or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// The decisions about rollouts among these, each with what it was made from.
    pub decided: Vec<Decided>,
    /// What each rollout forward waits for, where it is not its own nodes; worth noting when it is something new.
    pub waits: Vec<Decided>,
    /// Attempts that were never begun and no longer should be.
    pub supersede: Vec<DeploymentId>,
    /// Rollouts to pause, because the whole fleet is not well.
    pub pause: Vec<(RolloutId, String)>,
    /// Releases to pin everyone who runs a stack to, because the whole fleet is not well.
    pub pin: Vec<PinToGood>,
    /// Why everything is to be stopped, if it is.
    pub stop: Option<String>,
    /// How well the whole fleet is.
    pub health: FleetVerdict,
    /// When to look again at the latest: something begins or ends by itself then.
    pub look_at: Option<Timestamp>,
    /// What nodes' statements should say of each stack, where they should say something. New attempts are not
    /// repeated here.
    pub standing: Vec<StackStanding>,
}

impl FleetPlan {
    /// Whether it changes nothing: what stands goes on standing.
    pub fn is_quiet(&self) -> bool {
        self.start.is_empty()
            && self.end.is_empty()
            && self.waves.is_empty()
            && self.ban.is_empty()
            && self.attempts.is_empty()
            && self.supersede.is_empty()
            && self.pause.is_empty()
            && self.pin.is_empty()
            && self.stop.is_none()
    }
}

/// What nodes' statements should go on saying of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackStanding {
    /// The stack.
    pub stack: StackName,
    /// A line for each node of which something is to be said.
    pub lines: Vec<Standing>,
}

/// An attempt that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The node.
    pub node: NodeId,
    /// The attempt.
    pub deployment: DeploymentId,
    /// Why.
    pub reason: Reason,
}

/// A rollout to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutStart {
    /// The stack.
    pub stack: StackName,
    /// The environment, where there are any.
    pub environment: Option<EnvironmentName>,
    /// The branch, where its nodes follow another than the deployed one.
    pub branch: Option<String>,
    /// The part, where the stack is divided.
    pub part: Option<PartName>,
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
    /// Who is in a wave that goes by labels, from 0.
    pub members: Vec<(NodeId, u32)>,
    /// Why.
    pub reason: String,
}

impl RolloutStart {
    /// Whether it is of a stack, in the part of the fleet that it is planned for.
    pub(super) fn is_of(&self, stack: &StackFacts) -> bool {
        self.stack == stack.name
            && self.environment.as_ref() == stack.within.environment()
            && self.branch.as_deref() == stack.within.branch()
            && self.part.as_ref() == stack.share.part()
    }

    /// The rollout as it is when it begins.
    pub fn begin(&self, id: RolloutId, now: Timestamp) -> Rollout {
        Rollout {
            id,
            stack: self.stack.clone(),
            environment: self.environment.clone(),
            branch: self.branch.clone(),
            part: self.part.clone(),
            release: self.release,
            kind: self.kind,
            cause: self.cause.clone(),
            state: RolloutState::Running,
            max_updating: self.max_updating,
            strategy: self.strategy.clone(),
            cuts: self.cuts.clone(),
            wave: 0,
            paused: None,
            overridden: None,
            reason: self.reason.clone(),
            created_at: now,
            finished_at: None,
        }
    }
}

/// A pin of everyone who runs a stack to the last that did well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinToGood {
    /// The stack.
    pub stack: StackName,
    /// Only for the nodes of this environment, where there are any.
    pub environment: Option<EnvironmentName>,
    /// The release.
    pub release: ReleaseId,
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
    /// The part that moves, where the stack is divided.
    pub part: Option<PartName>,
    /// The release: of the part, where one moves.
    pub release: ReleaseId,
    /// The rollout.
    pub rollout: RolloutRef,
    /// What it runs of it now, if anything.
    pub previous: Option<ReleaseId>,
    /// Why.
    pub reason: Reason,
}

/// A decision about a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// Which.
    pub rollout: RolloutRef,
    /// Where its stack stands in [`FleetSnapshot::stacks`](crate::FleetSnapshot::stacks).
    pub stack: usize,
    /// What was decided.
    pub kind: DecisionKind,
    /// Why.
    pub reason: String,
    /// What it was made from.
    pub inputs: Inputs,
    /// Of one that waits: for what, so that the same is noted once.
    pub topic: Option<String>,
}
