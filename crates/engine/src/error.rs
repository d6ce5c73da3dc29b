//! What can go wrong in the engine.

use backstay_plan::Refusal;
use backstay_source::SourceError;
use backstay_store::StoreError;
use backstay_types::{DemandKind, ErrorCode, NodeName, StackName};

/// An error of the engine. Nothing was changed when one is returned, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Git failed or refused.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no such thing.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Which one.
        id: String,
    },
    /// Several things could be meant.
    #[error("`{prefix}` could be any of {}: give more digits", candidates.join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// What it could be.
        candidates: Vec<String>,
    },
    /// A value that cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// It does not fit the present state.
    #[error("{0}")]
    Conflict(String),
    /// An undo selects nothing, or not exactly.
    #[error("{0}")]
    Refused(Refusal),
    /// The result of an undo would not be a valid repository.
    #[error("the result would not be valid: {0}")]
    InvalidResult(String),
    /// An undo goes back to what is banned: nobody would be moved there.
    #[error("{stack} would go back to {tree}, which is banned by {by} ({constraint}): {reason}")]
    BannedResult {
        /// The stack.
        stack: String,
        /// Its tree, shortened.
        tree: String,
        /// Who banned it.
        by: String,
        /// The constraint's id.
        constraint: String,
        /// Why.
        reason: String,
    },
    /// An undo was not told in so many words what it has to be.
    #[error("{why}")]
    UnmetDemand {
        /// What kind of thing.
        demand: DemandKind,
        /// What is meant, and why.
        why: String,
    },
    /// A branch is not fit to be followed.
    #[error("branch `{branch}`: {reason}")]
    Branch {
        /// The branch.
        branch: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Backups are not set up at this hub.
    #[error("backups are not set up at this hub: `backup.target` is missing in its settings")]
    BackupsNotSetUp,
    /// There is no snapshot that may be restored.
    #[error("{0}")]
    NothingProven(String),
    /// A node does not run the stack whose data it should get.
    #[error("{node} does not run {stack}")]
    RunsNot {
        /// The stack.
        stack: StackName,
        /// The node.
        node: NodeName,
    },
    /// A stack that must not run twice is not known to have stopped where it ran.
    #[error("{stack} must not run twice, and {node} has not told that it stopped it")]
    NotStopped {
        /// The stack.
        stack: StackName,
        /// The node.
        node: NodeName,
    },
    /// A stack cannot be moved to another node.
    #[error("{0}")]
    CannotMove(String),
    /// A node that stacks leave has been shut out, and nobody has said that nothing runs there.
    #[error("{node} is not in the fleet any more, and cannot tell that it stopped what it ran")]
    NotKnownGone {
        /// The node.
        node: NodeName,
    },
    /// A migration cannot be changed any more.
    #[error("{0}")]
    MigrationOver(String),
    /// Another recovery key is set.
    #[error("passwords are sealed to another recovery key: {0}")]
    OtherRecoveryKey(String),
    /// A background task was stopped.
    #[error("the hub is stopping")]
    Stopping,
}

impl EngineError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Source(error) => error.code(),
            Self::NotFound { .. } => ErrorCode::BS4004,
            Self::Ambiguous { .. } | Self::Invalid(_) => ErrorCode::BS4007,
            Self::Conflict(_) => ErrorCode::BS4005,
            Self::Refused(_) => ErrorCode::BS5001,
            Self::InvalidResult(_) => ErrorCode::BS5002,
            Self::BannedResult { .. } => ErrorCode::BS5003,
            Self::UnmetDemand { demand: DemandKind::WithoutData, .. } => ErrorCode::BS9041,
            Self::UnmetDemand { demand: DemandKind::SharedData, .. } => ErrorCode::BS9042,
            Self::UnmetDemand { demand: DemandKind::DoubleSign, .. } => ErrorCode::BS9043,
            Self::Branch { .. } => ErrorCode::BS4019,
            Self::BackupsNotSetUp => ErrorCode::BS9011,
            Self::NothingProven(_) => ErrorCode::BS9017,
            Self::NotStopped { .. } => ErrorCode::BS9052,
            Self::RunsNot { .. } => ErrorCode::BS9053,
            Self::CannotMove(_) => ErrorCode::BS9054,
            Self::NotKnownGone { .. } => ErrorCode::BS9056,
            Self::MigrationOver(_) => ErrorCode::BS9057,
            Self::OtherRecoveryKey(_) => ErrorCode::BS9018,
            Self::Stopping => ErrorCode::BS7001,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused(Refusal::Nothing) => {
                Some("`backstay conversations show ID` lists what a conversation changed, guesses included")
            }
            Self::Refused(Refusal::Inseparable { .. }) => {
                Some("`--before` returns to the state just before the conversation began")
            }
            Self::InvalidResult(_) => {
                Some("`backstay rollback … --dry-run` shows the files; resolve them with `--resolve`")
            }
            Self::BannedResult { .. } => Some(
                "lift the ban (`backstay hold lift ID`) if it may be tried again, or undo more: `--before`, or `--to` an earlier state",
            ),
            Self::UnmetDemand { demand: DemandKind::WithoutData, .. } => {
                Some("`--without-data-of NODE/STACK` takes the code back there and leaves the data as it is")
            }
            Self::UnmetDemand { demand: DemandKind::SharedData, .. } => {
                Some("`--and-data-of STACK` says that it is meant")
            }
            Self::UnmetDemand { demand: DemandKind::DoubleSign, .. } => {
                Some("`--confirm NODE/STACK` says that no other copy of its keys runs")
            }
            Self::BackupsNotSetUp => Some("see docs/guides/backups-hub.md"),
            Self::NothingProven(_) => Some("`backstay backup verify NODE` reads snapshots back now"),
            Self::RunsNot { .. } => {
                Some("assign the stack to the node first, or put the data into a folder of it: `--to FOLDER`")
            }
            Self::NotStopped { .. } => Some(
                "take it away there first, or let a new machine join under the lost one's name; `--to FOLDER` starts nothing",
            ),
            Self::OtherRecoveryKey(_) => Some("`--replace` seals them to the new one"),
            _ => None,
        }
    }

    pub(crate) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
