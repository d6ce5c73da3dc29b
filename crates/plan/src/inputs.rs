//! What decisions about rollouts are made from, kept so that they can be made again.
//!
//! Planning decides through the functions in here and nowhere else: what is stored is what it went by.

use backstay_types::{
    Cause, DecisionKind, Digest, HealthLevel, NodeName, RolloutKind, RolloutState, RolloutStrategy, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    gate::{Gate, GateFigures, gate, short},
    health::{FleetInputs, judge, pace},
    promotion::{Entry, EntryInputs, entry, taken_back_by},
    snapshot::FleetSnapshot,
};

/// What a decision was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Inputs {
    /// How a rollout begins.
    Began(BeganInputs),
    /// What a gate sees.
    Gate(GateInputs),
    /// With what a rollout ends.
    End(EndInputs),
    /// How well the whole fleet is.
    Fleet(FleetInputs),
    /// Whether a release enters an environment.
    Entry(EntryInputs),
}

/// How a rollout came to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeganInputs {
    /// What set it off.
    pub cause: Cause,
    /// What is asked for: forward, or back by an undo.
    pub asked: RolloutKind,
    /// Whether it takes the stack away.
    pub removal: bool,
    /// Whether it is the return from a rollout that was stopped.
    pub goes_back: bool,
    /// Whether an undo asks for what has not proved itself, and some nodes get it in waves only.
    #[serde(default)]
    pub unproven: bool,
    /// Whether a pin asks for it.
    pub pinned: bool,
    /// The branch, where its nodes follow another than the deployed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The waves that `fleet.toml` asks for.
    pub waves: Vec<String>,
    /// How many nodes the stack is assigned to.
    pub assigned: u64,
    /// How many of them are within each wave that goes by share.
    pub within: Vec<Option<u64>>,
}

/// How a rollout begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Forward or back.
    pub kind: RolloutKind,
    /// Whether it goes out in waves; back and by a pin, everyone goes at once.
    pub in_waves: bool,
    /// Why there is one.
    pub reason: String,
}

/// Decides how a rollout begins.
pub fn opening(inputs: &BeganInputs) -> Opening {
    let kind = match inputs.asked {
        _ if inputs.removal => RolloutKind::Removal,
        _ if inputs.goes_back => RolloutKind::Rollback,
        RolloutKind::Rollback if inputs.unproven && !inputs.pinned => RolloutKind::Update,
        asked => asked,
    };
    let reason = match &inputs.cause {
        Cause::Change { commit, .. } => {
            let of = inputs.branch.as_ref().map(|branch| format!(" of branch `{branch}`"));
            format!("commit {}{}", commit.short(), of.unwrap_or_default())
        }
        Cause::Undo { undo } => format!("undo {undo}"),
        Cause::Decommission => "nodes are taken out of the fleet".to_owned(),
        Cause::Migration { migration } => format!("it moves to another node (migration {migration})"),
    };
    Opening {
        kind,
        in_waves: kind == RolloutKind::Update
            && !inputs.pinned
            && !matches!(inputs.cause, Cause::Migration { .. }),
        reason: match () {
            () if matches!(inputs.cause, Cause::Decommission | Cause::Migration { .. }) => reason,
            () if inputs.removal => format!("no longer assigned since {reason}"),
            () if inputs.goes_back => format!("back from what {reason} brought, whose rollout stopped"),
            () if inputs.unproven && !inputs.pinned => {
                format!("{reason}, to what has not proved itself: in waves where nothing is undone by it")
            }
            () => reason,
        },
    }
}

/// What the gate of a rollout goes by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateInputs {
    /// The rules.
    pub strategy: RolloutStrategy,
    /// The wave that is open, from 0.
    pub wave: u32,
    /// What became of the nodes in the waves that are open.
    pub figures: GateFigures,
    /// The first node on which the release itself failed, by name.
    pub failed_first: Option<NodeName>,
    /// On how many nodes it failed, by a node's own fault too.
    pub failed_nodes: u64,
    /// Why it stands still, if it does: everything is stopped, someone paused it, a freeze.
    pub still: Option<String>,
    /// The hub's time.
    pub now: Timestamp,
}

/// What follows from a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gated {
    /// The rollout ends and its tree is banned.
    Stop(String),
    /// The next wave begins.
    Open(String),
    /// It goes on as it is.
    Wait {
        /// What it waits for, in a few words; none while its nodes are on their way.
        topic: Option<String>,
        /// The same for people.
        reason: String,
    },
}

/// Decides at a gate.
pub fn gated(inputs: &GateInputs) -> Gated {
    let last = is_last(&inputs.strategy, inputs.wave);
    match (gate(&inputs.strategy, &inputs.figures, last, inputs.now), &inputs.still) {
        (Gate::Stop(reason), _) => Gated::Stop(stopping(inputs, &reason)),
        (_, Some(still)) => Gated::Wait { topic: Some(still.clone()), reason: still.clone() },
        (Gate::Open(reason), _) => Gated::Open(reason),
        (Gate::Wait(reason), _) => Gated::Wait { topic: topic(inputs, last), reason },
    }
}

/// Whether every wave is open.
pub(crate) fn is_last(strategy: &RolloutStrategy, wave: u32) -> bool {
    usize::try_from(wave).unwrap_or(usize::MAX).saturating_add(1) >= strategy.waves.len()
}

/// What a gate waits for, where it is something else than nodes on their way.
fn topic(inputs: &GateInputs, last: bool) -> Option<String> {
    match &inputs.figures {
        GateFigures { open: 1.., held_by, .. } => held_by.as_ref().map(ToString::to_string),
        figures if figures.is_hindered() => Some("nodes that failed by their own fault".to_owned()),
        _ if last => None,
        figures if short(&inputs.strategy, figures).is_some() => Some("more of its nodes".to_owned()),
        GateFigures { ended: 0, run: 0, .. } => Some("nodes that are away".to_owned()),
        _ => Some("time".to_owned()),
    }
}

/// Why it stops, with a node to look at.
fn stopping(inputs: &GateInputs, reason: &str) -> String {
    match (&inputs.failed_first, inputs.failed_nodes) {
        (Some(first), 1) => format!("failed on {first}"),
        (Some(first), n) => format!("{reason}; failed on {n} nodes, {first} among them"),
        (None, _) => reason.to_owned(),
    }
}

/// What a rollout that has nothing left to do ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndInputs {
    /// Forward or back.
    pub kind: RolloutKind,
    /// How many nodes are meant to run its release.
    pub wanting: u64,
    /// How many of them do.
    pub run: u64,
    /// On how many its attempt succeeded.
    pub succeeded: u64,
    /// On how many it failed.
    pub failed: u64,
}

/// Decides how a rollout that has nothing left to do ends.
pub fn ending(inputs: &EndInputs) -> (RolloutState, String) {
    let EndInputs { kind, wanting, run, succeeded, failed } = *inputs;
    if kind == RolloutKind::Removal {
        return match (succeeded, failed) {
            (0, 0) => (RolloutState::Superseded, "no node is meant to lose it any more".to_owned()),
            (done, 0) => (RolloutState::Succeeded, format!("taken away from {done} of {done} nodes")),
            (done, failed) => {
                (RolloutState::Halted, format!("failed on {failed} of {} nodes", done + failed))
            }
        };
    }
    match (wanting, failed) {
        (0, 0) if kind == RolloutKind::Rollback && succeeded > 0 => {
            (RolloutState::Succeeded, format!("{succeeded} nodes are back"))
        }
        (0, _) => (RolloutState::Superseded, "no node is meant to run it any more".to_owned()),
        (n, 0) => (RolloutState::Succeeded, format!("{n} of {n} nodes run it")),
        // Whatever its rules allow: what does well nowhere is no success, and nothing to go back to later.
        (n, failed) if kind == RolloutKind::Update && run == 0 => {
            (RolloutState::Halted, format!("none of {n} nodes runs it, {failed} failed"))
        }
        // Within what its rules allow: the gates would have stopped it.
        (n, failed) if kind == RolloutKind::Update => {
            (RolloutState::Succeeded, format!("{run} of {n} nodes run it, {failed} failed"))
        }
        (n, failed) => (RolloutState::Halted, format!("failed on {failed} of {n} nodes")),
    }
}

/// What a decision came to when it was made again from what was kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Whether the same was decided for the same reason.
    pub same: bool,
    /// What was decided.
    pub kind: DecisionKind,
    /// Why.
    pub reason: String,
}

/// Decides again.
///
/// # Errors
/// When what was kept cannot be understood, such as that of a newer version.
pub fn replay(
    kind: DecisionKind,
    reason: &str,
    inputs: &serde_json::Value,
) -> Result<Replayed, serde_json::Error> {
    let inputs: Inputs = serde::Deserialize::deserialize(inputs)?;
    let (kind_now, reason_now) = match &inputs {
        Inputs::Began(inputs) => (DecisionKind::Began, opening(inputs).reason),
        Inputs::End(inputs) => (DecisionKind::Ended, ending(inputs).1),
        Inputs::Entry(inputs) => match entry(inputs) {
            Entry::Enters(reason) => (DecisionKind::LetIn, reason),
            Entry::Undo(undo) => (DecisionKind::LetIn, taken_back_by(undo)),
            Entry::ByHand(reason) | Entry::Not(reason) => (DecisionKind::Waits, reason),
            Entry::Has => (DecisionKind::Waits, "there is nothing newer for it".to_owned()),
        },
        Inputs::Fleet(inputs) => {
            let verdict = judge(inputs);
            match verdict.level {
                _ if kind == DecisionKind::Paced => (kind, pace(inputs)),
                HealthLevel::Stopped => (DecisionKind::Stopped, verdict.reason),
                HealthLevel::Halted => (DecisionKind::Halted, verdict.reason),
                HealthLevel::Well | HealthLevel::Warned => (DecisionKind::Waits, verdict.reason),
            }
        }
        Inputs::Gate(inputs) => match gated(inputs) {
            Gated::Stop(reason) => (DecisionKind::Stopped, reason),
            Gated::Open(reason) => (DecisionKind::WaveOpened, reason),
            Gated::Wait { reason, .. } => (DecisionKind::Waits, reason),
        },
    };
    Ok(Replayed { same: kind_now == kind && reason_now == reason, kind: kind_now, reason: reason_now })
}

/// A digest over everything that planning sees of a stack and its nodes, the time aside. `stack` is its position.
pub fn digest(world: &FleetSnapshot, stack: usize) -> Digest {
    let mut text = format!("{:?}\n{:?}\n", world.stacks.get(stack), world.stopped).into_bytes();
    for (index, node) in world.nodes.iter().enumerate() {
        text.extend_from_slice(format!("{node:?} {:?}\n", world.past.of(stack, index)).as_bytes());
    }
    for constraint in &world.constraints {
        text.extend_from_slice(format!("{constraint:?}\n").as_bytes());
    }
    Digest::of(&text)
}

/// Reasons are shared; what is kept of them is their text.
pub(crate) mod reason {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::snapshot::Reason;

    pub(crate) fn serialize<S: Serializer>(reason: &Option<Reason>, to: S) -> Result<S::Ok, S::Error> {
        reason.as_deref().serialize(to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Reason>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Reason::from))
    }
}
