//! Agents' own programs, and bringing a new one to the fleet.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AgentUpdateId, Digest};

/// An agent's program for one kind of processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentBuild {
    /// Its version.
    pub version: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// SHA-256 of the program.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A new agent on its way to the nodes, in waves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentUpdate {
    /// Its id.
    pub id: AgentUpdateId,
    /// The version that nodes should run.
    pub version: String,
    /// Its programs, one for each kind of processor.
    pub builds: Vec<AgentBuild>,
    /// Shares of the fleet, ascending, in percent; the last is 100.
    pub waves: Vec<u8>,
    /// How long a wave is watched once all of it has answered, in seconds.
    pub soak_seconds: u64,
    /// The wave that is open, from 0.
    pub wave: u32,
    /// When it was opened.
    pub wave_at: Timestamp,
    /// How it stands.
    pub state: AgentUpdateState,
    /// Why it stands so.
    pub reason: String,
    /// Who began it.
    pub by: String,
    /// When.
    pub created_at: Timestamp,
}

/// A decision about an update of agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentDecision {
    /// Its number among the update's, from 1.
    pub number: u32,
    /// When it was made.
    pub at: Timestamp,
    /// How the update stood from then on.
    pub state: AgentUpdateState,
    /// Which wave was open then, from 0.
    pub wave: u32,
    /// Why.
    pub reason: String,
    /// Who, where a person decided.
    pub by: Option<String>,
    /// What it was made from: counts of nodes, the wave, what holds it back. Null where a person decided.
    pub inputs: serde_json::Value,
}

/// How an update of agents stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentUpdateState {
    /// Waves are being opened.
    Running,
    /// It stopped: no node is asked any more that was not yet.
    Halted,
    /// All nodes are asked; those that join later are, too.
    Done,
}

/// What became of an update on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum AgentOutcome {
    /// The new agent runs, and has shown that it works.
    Updated,
    /// It did not, and the one before runs.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was not tried: the node cannot update its agent by itself, or there is no program for it.
    Left {
        /// Why.
        reason: String,
    },
}
