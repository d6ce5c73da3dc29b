//! How well a whole fleet is, and from when on that stops rollouts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds for the whole fleet: how many nodes update at once, and from which share of all nodes that turn unhealthy
/// within a while something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FleetThresholds {
    /// From so many of a hundred on, it is said, and half as many nodes update at once.
    pub warn_percent: u8,
    /// From so many on, every rollout forward is paused, and none begins.
    pub halt_percent: u8,
    /// From so many on, everything is stopped, and what is rolling out goes back to the last good.
    pub stop_percent: u8,
    /// Within how many seconds.
    pub within_seconds: u64,
    /// In smaller fleets nothing follows.
    pub min_nodes: u32,
    /// So many of a hundred nodes at most, but one at least, are updating at once, whatever of; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_updating_percent: Option<u8>,
}

impl Default for FleetThresholds {
    fn default() -> Self {
        Self {
            warn_percent: 5,
            halt_percent: 10,
            stop_percent: 20,
            within_seconds: 300,
            min_nodes: 20,
            max_updating_percent: None,
        }
    }
}

impl FleetThresholds {
    /// The stricter of each: what several repositories say of the same fleet.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        Self {
            warn_percent: self.warn_percent.min(other.warn_percent),
            halt_percent: self.halt_percent.min(other.halt_percent),
            stop_percent: self.stop_percent.min(other.stop_percent),
            within_seconds: self.within_seconds.max(other.within_seconds),
            min_nodes: self.min_nodes.min(other.min_nodes),
            max_updating_percent: self
                .max_updating_percent
                .into_iter()
                .chain(other.max_updating_percent)
                .min(),
        }
    }
}

/// What follows from how well a fleet is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// Nothing.
    #[default]
    Well,
    /// Rollouts go slower.
    Warned,
    /// Rollouts are paused.
    Halted,
    /// Everything is stopped, and what was rolling out goes back.
    Stopped,
}

/// How well a fleet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetHealth {
    /// What follows.
    pub level: HealthLevel,
    /// How many nodes had turned unhealthy within the while when this level began.
    pub unhealthy: u64,
    /// Of how many that count.
    pub nodes: u64,
    /// The same in words.
    pub reason: String,
    /// Since when; absent while it was never anything but well.
    pub since: Option<Timestamp>,
}
