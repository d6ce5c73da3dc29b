//! Environments, and letting releases into them.

use backstay_types::{
    CommitId, EnvironmentName, NodeName, ReleaseId, RepositoryName, StackName, Timestamp, TreeDigest, UndoId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StackPath;
use crate::endpoint::endpoints;

endpoints! {
    /// Every environment with its stacks: which release is where, and why the next is not.
    ListEnvironments = Get "/api/v1/environments" Viewer () -> Environments;
    /// Lets the release that comes next into an environment: where it may enter, or by force.
    PromoteStack = Post "/api/v1/stacks/{stack}/promote" Operator
        (path: StackPath, body: PromoteStackRequest) -> EnvironmentView;
}

/// All environments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environments {
    /// In the order of the manifests.
    pub environments: Vec<EnvironmentView>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentView {
    /// Its name.
    pub name: EnvironmentName,
    /// The repository whose `fleet.toml` has it.
    pub repository: RepositoryName,
    /// Its nodes, as a selector.
    pub of: String,
    /// How many nodes that are.
    pub nodes: u64,
    /// The environments that a release comes from; none when it follows the branch.
    pub after: Vec<EnvironmentName>,
    /// Whether a person lets releases in.
    pub by_hand: bool,
    /// How long a release is watched here before it goes on, in seconds.
    pub soak_seconds: u64,
    /// Whether its nodes are there for tests, before all others.
    pub test: bool,
    /// Its stacks, by name.
    pub stacks: Vec<EnvironmentStackView>,
}

/// A stack in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentStackView {
    /// The stack.
    pub stack: StackName,
    /// The release that the environment is meant to run.
    pub release: Option<EnvironmentReleaseView>,
    /// Since when it is meant to.
    pub since: Option<Timestamp>,
    /// Who let it in: a user, `promotion` or `branch`.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The undo that brought it, if one did.
    pub undo: Option<UndoId>,
    /// Nodes of the environment that the stack is assigned to.
    pub nodes: u64,
    /// Of these, those that run the release.
    pub run: u64,
    /// Of these, those on which it failed.
    pub failed: u64,
    /// The first that does not run it.
    pub missing: Option<NodeName>,
    /// The release that comes next.
    pub next: Option<EnvironmentReleaseView>,
    /// Whether that may enter as soon as a person says so.
    pub ready: bool,
    /// Why the next has not entered, or why there is none.
    pub why: String,
}

/// A release in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentReleaseView {
    /// The release.
    pub release: ReleaseId,
    /// Its tree.
    pub tree: TreeDigest,
    /// A commit that carries it.
    pub commit: CommitId,
}

/// Which release is to be let in where, and why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PromoteStackRequest {
    /// Where to.
    pub environment: EnvironmentName,
    /// The release that comes next there: asked again, nothing else is let in.
    pub release: ReleaseId,
    /// Why.
    pub reason: String,
    /// Let it in although the environments before do not run it as they should. What is held or banned stays out.
    #[serde(default)]
    pub force: bool,
}
