//! What an agent says of its own safety: safe mode, updates that wait, the machine's SSH server.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SafeModeId, StackName};

/// How safe a node is, as its agent says. Soft state; entering and leaving safe mode are reported besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeSafety {
    /// Set while the node is in safe mode.
    pub safe_mode: Option<SafeMode>,
    /// Updates that are asked for and wait, and why.
    pub waiting: Vec<WaitingUpdate>,
    /// Whether one can still get in by SSH. Watched, never altered.
    pub ssh: SshState,
}

/// A node in safe mode: what runs well keeps running, what failed runs its last good release or is stopped, and
/// nothing forward is tried until an operator says so or a newer release of what failed proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SafeMode {
    /// Names this time in safe mode, so that a word to leave it means no later one.
    pub id: SafeModeId,
    /// Since when, by the agent's clock as far as the hub has set it right.
    pub since: Timestamp,
    /// The stacks that failed, and why, by name.
    pub stacks: Vec<FailingStack>,
    /// Whether the minimal stack, which shows the reason on the machine, runs.
    pub minimal_stack: bool,
}

/// A stack for whose sake a node is in safe mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailingStack {
    /// The stack.
    pub stack: StackName,
    /// Why.
    pub reason: String,
    /// Whether it was stopped, since not even its last good release runs.
    pub stopped: bool,
}

/// An update that is asked for and not begun yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingUpdate {
    /// The stack.
    pub stack: StackName,
    /// Why.
    pub reason: String,
}

/// The machine's SSH server, as seen from the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SshState {
    /// It could not be told.
    #[default]
    Unknown,
    /// There is none on this machine.
    Absent,
    /// It is there and listens.
    Listening,
    /// It is there and does not listen: nobody gets in.
    Silent,
}

/// An operator's word that a node may leave safe mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaveSafeMode {
    /// Which time in safe mode is meant; no other is ended by it.
    pub safe_mode: SafeModeId,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl SafeMode {
    /// Why, in one line.
    pub fn reason(&self) -> String {
        let each = self.stacks.iter().map(|one| {
            let stopped = if one.stopped { " (stopped)" } else { "" };
            format!("{}{stopped}: {}", one.stack, one.reason)
        });
        each.collect::<Vec<_>>().join("; ")
    }
}
