//! Why the store did not do what was asked.

use std::{io, path::PathBuf};

use crate::ReadError;

/// Why the store could not be opened, written or kept in order. What was not acknowledged may be sent again: a sample that
/// is there already is not stored twice.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be read or written.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried, such as `write`.
        what: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("{0} is used by another process")]
    Held(PathBuf),
    /// The disk has too little room.
    #[error(
        "the disk of the telemetry folder has {free} free bytes, and {needed} are kept free: make room there"
    )]
    NoRoom {
        /// Free bytes.
        free: u64,
        /// What has to stay free.
        needed: u64,
    },
    /// Memory is full.
    #[error(
        "memory is full with {used} bytes of at most {limit}: all of it goes to disk as soon as possible, try again"
    )]
    MemoryFull {
        /// Bytes in use.
        used: u64,
        /// Bytes at most.
        limit: u64,
    },
    /// The log could not be written; the next batch begins a new file.
    #[error("the log could not be written: {0}")]
    Log(String),
    /// A block is not what was written.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// Which file, relative to the store's folder.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::NoRoom { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { file, what } => Self::Damaged { file, what },
            StoreError::Io { path, source, .. } => {
                Self::Io { file: path.display().to_string(), what: source.to_string() }
            }
            other => Self::Io { file: String::new(), what: other.to_string() },
        }
    }
}
