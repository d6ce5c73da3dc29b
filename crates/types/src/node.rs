//! Nodes: machines that run an agent.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Container, DeploymentId, Drift, Figures, Labels, NodeId, NodeName, StackName, TreeDigest};

/// A machine that runs an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its name, unique in the hub.
    pub name: NodeName,
    /// Its labels.
    pub labels: Labels,
    /// When it joined.
    pub joined_at: Timestamp,
    /// When it was revoked; its credential no longer works.
    pub revoked_at: Option<Timestamp>,
}

/// Whether a node is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It joined but has not checked in yet.
    Joined,
    /// It checks in as it should.
    Online,
    /// It has missed its check-ins.
    Offline,
    /// The hub started too recently to say.
    Unknown,
    /// Its credential was taken away.
    Revoked,
}

/// What an agent says of its machine. Soft state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    /// `linux`, `macos`.
    pub os: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// Host name.
    pub hostname: String,
    /// The agent's version.
    pub agent_version: String,
    /// The newest manifest schema that the agent knows.
    pub manifest_schema: u32,
    /// Runtimes that work on this machine: `compose`, `process`.
    pub runtimes: Vec<String>,
    /// Free bytes where releases are kept.
    pub disk_free_bytes: u64,
    /// All bytes where releases are kept.
    pub disk_total_bytes: u64,
    /// The system's name for itself, such as `Debian GNU/Linux 13 (trixie)`.
    #[serde(default)]
    pub system: String,
    /// The kernel's version.
    #[serde(default)]
    pub kernel: String,
    /// The machine's model, such as `Raspberry Pi 4 Model B Rev 1.4`; empty when it does not say.
    #[serde(default)]
    pub model: String,
    /// Processors; 0 when not known.
    #[serde(default)]
    pub cpus: u32,
    /// Memory in bytes; 0 when not known.
    #[serde(default)]
    pub memory_bytes: u64,
    /// How much of its life flash memory has behind it by its own account, in percent, to the next ten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash_worn_percent: Option<u8>,
    /// The network of the default route, such as `192.168.7.0/24`; empty when it says none.
    #[serde(default)]
    pub network: String,
    /// What leads there: `ethernet`, `wifi`, `cellular` or `other`; empty when there is no default route.
    #[serde(default)]
    pub link: String,
    /// The network that the node's requests come from as the hub sees it, a /24 or /64; never by the node's own word.
    #[serde(default)]
    pub seen_from: String,
}

/// The network around an address, for people: `/24` or, of the sixth version, `/64`.
pub fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// What an agent sees of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedStack {
    /// The stack.
    pub stack: StackName,
    /// The tree that `current` names, committed or not.
    pub current: Option<TreeDigest>,
    /// The tree that `previous` names.
    pub previous: Option<TreeDigest>,
    /// The deployment that committed `current`.
    pub deployment: Option<DeploymentId>,
    /// Health.
    pub health: StackHealth,
    /// Why, when not healthy; what drifted.
    pub detail: String,
    /// Whether the way back is still open (previous release and its images are there).
    pub can_return: bool,
    /// Its containers or processes.
    pub containers: Vec<Container>,
    /// What it says about itself.
    #[serde(default, skip_serializing_if = "Figures::is_empty")]
    pub figures: Figures,
    /// What departs from what should be, at most [`MOST_DRIFTS`](crate::MOST_DRIFTS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
}

/// A stack's health as the agent sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StackHealth {
    /// Running as it should.
    Healthy,
    /// A deployment is under way.
    Deploying,
    /// Running, but not as it should.
    Degraded,
    /// Not running.
    Down,
    /// Not looked at yet.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_prefix_whatever_the_address_is_written_as() {
        let network = |address: &str| network_of(address.parse().unwrap());
        assert_eq!(network("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(network("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("::1"), "::/64");
    }
}
