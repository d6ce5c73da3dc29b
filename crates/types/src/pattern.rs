//! What the failures of a rollout have in common, and whose changes it brought.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CommitId, ConversationId, FailureKind, LinkSource, NodeName, StackName, Step};

/// What sets the nodes on which a rollout failed apart from those on which it succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailurePattern {
    /// When it was looked at last.
    pub at: Timestamp,
    /// Nodes on which it failed.
    pub failed: u64,
    /// Nodes on which it succeeded.
    pub succeeded: u64,
    /// Nodes whose attempt had not ended.
    pub open: u64,
    /// Failures that are the same, most nodes first; 20 at most.
    pub errors: Vec<ErrorGroup>,
    /// What sets the failed apart, strongest first; 8 at most. Empty when nothing stands out.
    pub apart: Vec<Feature>,
    /// The conversations behind the commits that the rollout brought. Guesses are nobody's blame and are left out.
    pub blamed: Vec<Blame>,
    /// Commits that it brought and that no conversation is known to have caused.
    pub unlinked: Vec<CommitId>,
}

/// Failures that are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorGroup {
    /// The step that failed.
    pub step: Step,
    /// What kind of failure.
    pub failure: FailureKind,
    /// The reason without what differs from node to node: `N` stands for a number, `#` for an id or a digest,
    /// `<node>` for the node's name.
    pub reason: String,
    /// The reason as one of the nodes gave it.
    pub example: String,
    /// On how many nodes.
    pub nodes: u64,
    /// Some of them, by name; 5 at most.
    pub names: Vec<NodeName>,
    /// How long after its beginning the first of these attempts ended, in seconds.
    pub soonest_seconds: u64,
    /// And the last.
    pub latest_seconds: u64,
    /// Other stacks that failed in the same way, from a day before the rollout on, most nodes first; 5 at most. With any
    /// of them, the release alone is hardly to blame.
    #[serde(default)]
    pub elsewhere: Vec<SameElsewhere>,
}

/// Another stack that failed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SameElsewhere {
    /// The stack.
    pub stack: StackName,
    /// On how many nodes, whether or not the rollout had come to them.
    pub nodes: u64,
    /// Some of them, by name; 5 at most.
    pub names: Vec<NodeName>,
}

/// Something that is so of many nodes that failed and of few that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Feature {
    /// What is looked at: `label region`, `arch`, `agent version`, `also runs stack`, `began`, …
    pub what: String,
    /// Its value.
    pub value: String,
    /// Nodes with it that failed.
    pub failed: u64,
    /// Of so many that failed and of which this is known.
    pub of_failed: u64,
    /// Nodes with it that succeeded.
    pub succeeded: u64,
    /// Of so many that succeeded and of which this is known.
    pub of_succeeded: u64,
    /// How many times likelier a node with it fails than any node does.
    pub lift: f64,
    /// How likely at least as many of the failed would have it if it had nothing to do with the failure, from 0 to 1.
    pub chance: f64,
}

/// A conversation whose commits the rollout brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blame {
    /// The conversation.
    pub conversation: ConversationId,
    /// How its strongest link is known; never a guess.
    pub source: LinkSource,
    /// Its commits among those that the rollout brought, oldest first.
    pub commits: Vec<CommitId>,
    /// How sure it is that it caused the failure.
    pub sure: Sureness,
}

/// How sure it is that a conversation caused a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sureness {
    /// The rollout brought its commits and nothing else.
    Only,
    /// The rollout brought other commits too.
    OneOf,
}
