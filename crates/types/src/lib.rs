//! The nouns of Backstay: typed ids, domain structs and state enums.
//!
//! Everything here is data. Time, random numbers and secrets come in through
//! [`World`] and [`Secret`], so that every other pure crate can be tested with
//! a clock and a seed of the test's own.

mod agent;
pub mod backup;
mod change;
mod code;
mod constraint;
mod conversation;
mod decision;
mod deployment;
pub mod diff;
mod digest;
mod drift;
mod figures;
mod health;
mod host;
mod id;
mod labels;
mod ledger;
mod migration;
mod name;
mod node;
mod pattern;
pub mod redact;
mod release;
mod repository;
mod rollout;
mod safety;
mod secret;
pub mod tree;
mod undo;
mod world;

pub use agent::{AgentBuild, AgentDecision, AgentOutcome, AgentUpdate, AgentUpdateState};
pub use change::{Change, Link, LinkSource, Person};
pub use code::ErrorCode;
pub use constraint::{Constraint, ConstraintOrigin, Effect, Scope};
pub use conversation::{Conversation, ForeignId, ToolEvent, ToolEventKind};
pub use decision::{Decision, DecisionKind};
pub use deployment::{
    Container, DataFor, Deployment, DeploymentData, DeploymentState, FailureKind, ImageId, Removed, Step,
    StepOutcome, StepRecord,
};
pub use digest::{CommitId, Digest, DigestError, TreeDigest};
pub use drift::{Drift, DriftPart, DriftState, MOST_DRIFTS};
pub use figures::Figures;
pub use health::{FleetHealth, FleetThresholds, HealthLevel};
pub use host::{
    CLOCK_TOLERANCE_MS, ContainerFigures, HostCondition, HostFigures, MOST_CONTAINERS, Room, Throttling,
};
pub use id::{
    AgentUpdateId, BackupJobId, ConstraintId, ConversationId, DeliveryId, DeploymentId, EventId, Id, IdError,
    LinkId, MigrationId, NodeId, ReleaseId, ReportId, RepositoryId, RequestId, RolloutId, SafeModeId,
    SessionId, TokenId, UndoId, UserId,
};
pub use labels::{Labels, LabelsError};
pub use ledger::{Event, LedgerEntry, LedgerHead, Refs, UserChange, body_hash, chain_hash};
pub use migration::{ItemCheck, Migration, MigrationState, MigrationStep, Passage, Stay, TWO_EPOCHS};
pub use name::{EnvironmentName, NameError, NodeName, PartName, RepositoryName, StackName, UserName};
pub use node::{HostFacts, Node, NodeState, ObservedStack, StackHealth, network_of};
pub use pattern::{Blame, ErrorGroup, FailurePattern, Feature, SameElsewhere, Sureness};
pub use release::{Release, ReleaseStanding};
pub use repository::{Repository, RepositoryHealth, RepositoryWarning};
pub use rollout::{Cause, OnStop, Overridden, Paused, Rollout, RolloutKind, RolloutState, RolloutStrategy};
pub use safety::{FailingStack, LeaveSafeMode, NodeSafety, SafeMode, SshState, WaitingUpdate};
pub use secret::Secret;
pub use undo::{
    ConflictedFile, DataMove, DataSource, DemandKind, Meaning, NodeMove, PushState, RepositoryUndo,
    SkippedChange, Undo, UndoDemand, UndoPlan, UndoRoute, UndoScope, UndoSelector, UndoState,
};
pub use world::{Clock, Entropy, FixedClock, SeededEntropy, World};

/// The instant type used everywhere: UTC, written as RFC 3339.
pub use jiff::Timestamp;
