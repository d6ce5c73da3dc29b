//! Why data could not be saved or put back.

use std::{fmt::Display, io};

use backstay_types::{ErrorCode, StackName};

/// Each says the code that people look up.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum BackupError {
    /// It could not be made ready.
    #[error("{0} ({code})", code = ErrorCode::BS9023)]
    Prepare(String),
    /// The program that writes or reads the repository.
    #[error("{0} ({code})", code = ErrorCode::BS9024)]
    Program(String),
    /// It could not be put back.
    #[error("{0} ({code})", code = ErrorCode::BS9026)]
    Restore(String),
    /// The node does not run the stack.
    #[error(
        "stack `{0}` does not run on this node: assign it to the node and wait until it is deployed, or restore into a folder ({code})",
        code = ErrorCode::BS9053
    )]
    RunsNot(StackName),
}

impl BackupError {
    pub(crate) fn io(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Prepare(format!("{what}: {error}"))
    }

    pub(crate) fn restore(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Restore(format!("{what}: {error}"))
    }
}
