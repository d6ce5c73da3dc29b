//! What keeps a node from being broken by updates: counters, pauses, safe mode, and what is remembered of a time
//! without a hub. Nothing here goes by a wall clock: counts, boot ids and monotonic time decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backstay_types::{SafeModeId, StackName, Timestamp, TreeDigest};
use serde::{Deserialize, Serialize};

use crate::journal::{BootId, Committed, Prepared};

/// The longest pause after failed updates.
const LONGEST: Duration = Duration::from_secs(3600);
/// So many releases that failed in a row are remembered.
const TREES: usize = 16;
/// Without a hub for so long it is an outage that the hub is told of.
pub const OUTAGE: Duration = Duration::from_secs(5 * 60);

/// What of it survives a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Safety {
    /// Set while the node is in safe mode.
    pub safe_mode: Option<InSafeMode>,
    /// Set while there is no hub for longer than [`OUTAGE`].
    pub outage: Option<Outage>,
}

/// A time in safe mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InSafeMode {
    /// Names it.
    pub id: SafeModeId,
    /// Since when.
    pub since: Timestamp,
    /// The stacks that failed, and why.
    pub stacks: BTreeMap<StackName, String>,
    /// Those of them that no update brought here, but something that departs over and over.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drifted: BTreeSet<StackName>,
}

/// Updates of one stack that failed, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// How many in a row were activated and did not stay. One that proves itself makes it none.
    pub failures: u32,
    /// What they were, newest last.
    pub trees: Vec<TreeDigest>,
    /// How often in a row what should run could not be made to, in safe mode.
    pub unhealed: u32,
    /// Not even the last good release ran: the stack was stopped, until it is led out of safe mode.
    pub stopped: bool,
    /// The way back failed: what runs may be the release that failed, however it looks, until what should run was
    /// started again.
    pub astray: bool,
    /// Nothing ran before it, and it could not be stopped: it is tried again until it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Box<Left>>,
}

/// A release that failed and that may run still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its tree.
    pub tree: TreeDigest,
    /// How it was to run.
    pub prepared: Prepared,
}

/// A time without a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Since when.
    pub from: Timestamp,
    /// The boot in which the agent last ran.
    pub boot: BootId,
    /// How often the agent was started since.
    pub restarts: u32,
    /// How often the machine was.
    pub reboots: u32,
    /// How many deployments ended since.
    pub deployments: u32,
    /// How often what runs departed from what should.
    pub drifts: u32,
}

impl Left {
    /// As something that runs, to be stopped or taken away.
    pub(crate) fn as_running(&self, at: Timestamp) -> Committed {
        Committed {
            tree: self.tree,
            target: None,
            deployment: None,
            prepared: Some(self.prepared.clone()),
            containers: Vec::new(),
            at,
        }
    }
}

impl Trouble {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// One more update failed.
    pub(crate) fn failed(&mut self, tree: TreeDigest) {
        self.failures = self.failures.saturating_add(1);
        self.trees.retain(|known| *known != tree);
        self.trees.push(tree);
        let surplus = self.trees.len().saturating_sub(TREES);
        self.trees.drain(..surplus);
    }

    /// How long to wait before the next update is tried: `first`, then six times as long each time, an hour at most.
    pub fn pause(&self, first: Duration) -> Duration {
        match self.failures {
            0 => Duration::ZERO,
            n => first.saturating_mul(6u32.saturating_pow(n - 1)).min(LONGEST.max(first)),
        }
    }
}

impl Outage {
    /// What happened in it, in words.
    pub fn detail(&self) -> String {
        let parts = [
            (self.restarts, "start of the agent", "starts of the agent"),
            (self.reboots, "reboot", "reboots"),
            (self.deployments, "deployment ended", "deployments ended"),
            (self.drifts, "departure from what should run", "departures from what should run"),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, more)| format!("{count} {}", if *count == 1 { one } else { more }))
            .collect();
        if parts.is_empty() { "nothing but running on".to_owned() } else { parts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_an_hour() {
        let first = Duration::from_secs(5);
        let pause = |failures| Trouble { failures, ..Trouble::default() }.pause(first).as_secs();
        assert_eq!((0..7).map(pause).collect::<Vec<_>>(), [0, 5, 30, 180, 1080, 3600, 3600]);
        assert_eq!(pause(u32::MAX), 3600);
    }

    #[test]
    fn only_so_many_failed_releases_are_remembered() {
        let mut trouble = Trouble::default();
        for n in 0..40u8 {
            trouble.failed(backstay_types::Digest::of(&[n]));
            trouble.failed(backstay_types::Digest::of(&[n]));
        }
        assert_eq!((trouble.failures, trouble.trees.len()), (80, TREES));
        assert_eq!(trouble.trees.last(), Some(&backstay_types::Digest::of(&[39])));
    }
}
