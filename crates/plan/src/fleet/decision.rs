//! What a step of planning decides.

use std::collections::BTreeMap;

use backstay_types::{
    Cause, DeploymentId, NodeId, ReleaseId, RolloutId, RolloutKind, RolloutState, RolloutStrategy, StackName,
    TreeDigest,
};

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
