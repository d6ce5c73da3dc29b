//! What departs from what should be on a node, and what is done about it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A node tells of so many departures of a stack at most.
pub const MOST_DRIFTS: usize = 50;

/// A departure from what should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// What departed.
    pub part: DriftPart,
    /// Which one: a path in the release, a service.
    pub name: String,
    /// What exactly differs. Never a value that may be secret.
    pub detail: String,
    /// Since when it is known.
    pub since: Timestamp,
    /// How often it was put right since then, and came back.
    pub heals: u32,
    /// What becomes of it.
    pub state: DriftState,
}

/// What of a stack can depart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftPart {
    /// What runs: containers, processes, links, the release's folder.
    Running,
    /// The way back: previous release and its images.
    WayBack,
    /// A file of the release.
    File,
    /// A file that is not of the release, in its folder.
    Stray,
    /// A file of the previous release.
    PreviousFile,
    /// A file from the release as a container sees it.
    Mount,
    /// An image.
    Image,
    /// How a container is set up.
    Container,
}

/// What becomes of a departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftState {
    /// It is being put right.
    Healing,
    /// It is told of and left alone: nobody asked the agent to touch it.
    Left,
    /// It came back each time or could not be put right: it needs a person.
    Escalated,
}
