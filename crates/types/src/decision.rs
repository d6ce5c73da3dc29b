//! Decisions about rollouts, each with what it was made from.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, RolloutId};

/// A decision about a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// The rollout.
    pub rollout: RolloutId,
    /// Its number among the rollout's, from 1.
    pub number: u32,
    /// When it was made.
    pub at: Timestamp,
    /// What was decided.
    pub kind: DecisionKind,
    /// Why.
    pub reason: String,
    /// Who, where a person decided.
    pub by: Option<String>,
    /// What it was made from: figures, rules, counts of nodes. Null where a person decided.
    pub inputs: serde_json::Value,
    /// A digest over all that planning saw of the stack's nodes then; absent where a person decided, and where it was let in.
    pub snapshot: Option<Digest>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Its release was let into the environment.
    LetIn,
    /// It began.
    Began,
    /// Its next wave began.
    WaveOpened,
    /// It waits, for something else than it did before.
    Waits,
    /// It was stopped by its rules.
    Stopped,
    /// It came to its end.
    Ended,
    /// It was paused because the whole fleet is not well.
    Halted,
    /// How many nodes may be updating at once changed with how well the whole fleet is.
    Paced,
    /// A person paused it.
    Paused,
    /// A person let it go on.
    Resumed,
    /// A person opened its next wave, whatever its gate waited for.
    Promoted,
    /// A person let it go on in spite of freezes.
    Overridden,
    /// A person ended it.
    Aborted,
}

impl DecisionKind {
    /// Whether a person decided, so that there is nothing to compute again.
    pub fn is_by_hand(self) -> bool {
        matches!(self, Self::Paused | Self::Resumed | Self::Promoted | Self::Overridden | Self::Aborted)
    }
}
