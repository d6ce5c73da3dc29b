//! Constraints: pins, holds, bans, freezes and nodes left alone are effects of one thing.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CommitId, ConstraintId, EnvironmentName, MigrationId, ReleaseId, RepositoryId, StackName, TreeDigest,
    UndoId,
};

/// A limit on what may be planned. Only `plan` evaluates them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Constraint {
    /// Its id.
    pub id: ConstraintId,
    /// Whom it concerns.
    pub scope: Scope,
    /// What it does.
    #[serde(flatten)]
    pub effect: Effect,
    /// Why.
    pub reason: String,
    /// Who set it: a user, or a part of Backstay such as `rollout`.
    pub by: String,
    /// Where it came from.
    pub origin: ConstraintOrigin,
    /// When it was set.
    pub created_at: Timestamp,
    /// When it begins; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// When it was lifted.
    pub lifted_at: Option<Timestamp>,
}

/// Whom a constraint concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum Scope {
    /// Every node.
    Fleet,
    /// The nodes that a label selector matches.
    Nodes {
        /// The selector, as in `fleet.toml`; `name=…` selects by node name.
        selector: String,
    },
    /// The nodes of an environment.
    Environment {
        /// Its name.
        environment: EnvironmentName,
    },
}

/// What a constraint does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// These nodes run this release of this stack, whatever rollouts say.
    Pin {
        /// The stack.
        stack: StackName,
        /// The release.
        release: ReleaseId,
    },
    /// These nodes run the newest release of another branch of the stack's repository, and no rollout of the deployed one
    /// moves them.
    Follow {
        /// The stack.
        stack: StackName,
        /// The branch, without `refs/heads/`.
        branch: String,
    },
    /// Releases that contain this change without its undo are not planned.
    Hold {
        /// The repository.
        repository: RepositoryId,
        /// The change.
        commit: CommitId,
    },
    /// This tree is not planned for this stack.
    Ban {
        /// The stack.
        stack: StackName,
        /// The tree.
        tree: TreeDigest,
    },
    /// Nothing forward begins on these nodes; a freeze of everyone opens no wave either. What is under way ends, and
    /// undos go through.
    Freeze {
        /// Only this stack; all of them when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stack: Option<StackName>,
    },
    /// These nodes keep what they run, whatever is asked of the others: an undo does not reach them either.
    UpdatesOff {
        /// Only this stack; all of them when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stack: Option<StackName>,
    },
    /// These nodes keep what they run, and count nowhere: not in gates, nor in what is said of the fleet's health.
    Maintenance,
    /// These nodes are taken out of the fleet: nothing forward begins there, what they run is taken away, whatever windows,
    /// freezes and the cap on removals say, and then they are revoked. Data stays.
    Decommission,
    /// These nodes run this stack, whatever assignments say: it was moved there.
    RunsHere {
        /// The stack.
        stack: StackName,
        /// The release that it ran where it was, which is the first that it runs here.
        release: ReleaseId,
    },
    /// These nodes do not run this stack, whatever assignments and pins say: it was moved away. What they run of it is saved
    /// once more and taken away; its data stays.
    RunsNot {
        /// The stack.
        stack: StackName,
    },
}

impl Effect {
    /// The stack that it is about; none where it is about all of them, or about a commit.
    pub fn stack(&self) -> Option<&StackName> {
        match self {
            Self::Pin { stack, .. }
            | Self::Follow { stack, .. }
            | Self::Ban { stack, .. }
            | Self::RunsHere { stack, .. }
            | Self::RunsNot { stack } => Some(stack),
            Self::Freeze { stack } | Self::UpdatesOff { stack } => stack.as_ref(),
            Self::Hold { .. } | Self::Maintenance | Self::Decommission => None,
        }
    }
}

impl Constraint {
    /// Whether it holds at `now`: it has begun, has not run out, and nobody lifted it.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        let begun = self.from.is_none_or(|from| from <= now);
        begun && self.lifted_at.is_none() && self.until.is_none_or(|until| now < until)
    }
}

/// Where a constraint came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub enum ConstraintOrigin {
    /// A person, by CLI or page.
    Person,
    /// An undo; lifted when the undo is undone.
    Undo {
        /// The undo.
        undo: UndoId,
    },
    /// A rollout that stopped by itself.
    Rollout,
    /// A migration.
    Migration {
        /// The migration.
        migration: MigrationId,
    },
    /// An entry in `fleet.toml`.
    Manifest {
        /// The repository.
        repository: RepositoryId,
    },
}
