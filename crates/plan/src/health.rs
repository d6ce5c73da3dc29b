//! How well the whole fleet is, and what follows for every rollout.

use std::time::Duration;

use backstay_types::{Effect, FleetThresholds, HealthLevel};
use serde::{Deserialize, Serialize};

use crate::{constraint::in_force, reach::Reach, snapshot::FleetSnapshot};

/// Fewer nodes than this are no sign, however small the fleet is.
const FEW: u64 = 3;

/// How well the fleet is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetVerdict {
    /// What follows.
    pub level: HealthLevel,
    /// How many nodes turned unhealthy within the while.
    pub unhealthy: u64,
    /// Of how many; those in maintenance do not count.
    pub nodes: u64,
    /// The same in words.
    pub reason: String,
}

/// What the fleet is judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetInputs {
    /// How many nodes turned unhealthy within the while.
    pub unhealthy: u64,
    /// Of how many.
    pub nodes: u64,
    /// From when on something follows.
    pub thresholds: FleetThresholds,
}

/// Judges by the share of nodes that turned unhealthy within a while. What has been unhealthy for longer was judged then.
pub fn verdict(world: &FleetSnapshot) -> FleetVerdict {
    judge(&fleet_inputs(world))
}

/// What the fleet is judged by now.
pub fn fleet_inputs(world: &FleetSnapshot) -> FleetInputs {
    let maintenance =
        world.constraints.iter().filter(|c| c.effect == Effect::Maintenance && in_force(c, world.now));
    let resting: Vec<_> = maintenance.filter_map(|c| Reach::of_scope(&c.scope)).collect();
    let within = Duration::from_secs(world.thresholds.within_seconds);
    let since = world.now.checked_sub(within).unwrap_or(world.now);
    let (mut nodes, mut unhealthy) = (0_u64, 0_u64);
    for node in &world.nodes {
        if node.leaving.is_some() {
            continue;
        }
        if resting.is_empty() || !resting.iter().any(|reach| reach.concerns(node)) {
            nodes += 1;
            unhealthy += u64::from(node.sick_since.is_some_and(|at| at > since));
        }
    }
    FleetInputs { unhealthy, nodes, thresholds: world.thresholds }
}

/// How many nodes of a rollout may update at once as well as the fleet is, in words.
pub fn pace(inputs: &FleetInputs) -> String {
    let FleetVerdict { level, reason, .. } = judge(inputs);
    match level {
        HealthLevel::Well => format!("as many nodes update at once as its rules say: {reason}"),
        _ => format!("half as many nodes update at once: {reason}"),
    }
}

/// What follows from how many nodes are unhealthy.
pub fn judge(inputs: &FleetInputs) -> FleetVerdict {
    let FleetInputs { unhealthy, nodes, thresholds: limits } = *inputs;
    let reaches = |percent: u8| unhealthy * 100 >= nodes * u64::from(percent);
    let level = match () {
        () if nodes < u64::from(limits.min_nodes) || unhealthy < FEW => HealthLevel::Well,
        () if reaches(limits.stop_percent) => HealthLevel::Stopped,
        () if reaches(limits.halt_percent) => HealthLevel::Halted,
        () if reaches(limits.warn_percent) => HealthLevel::Warned,
        () => HealthLevel::Well,
    };
    let within = backstay_manifest::format_duration(Duration::from_secs(limits.within_seconds));
    let reason = format!("{unhealthy} of {nodes} nodes turned unhealthy within {within}");
    FleetVerdict { level, unhealthy, nodes, reason }
}
