//! Why a hub does not start.

use std::{io, net::SocketAddr, path::PathBuf};

use backstay_api::Problem;
use backstay_config::ConfigError;
use backstay_engine::EngineError;
use backstay_store::StoreError;
use backstay_types::ErrorCode;

/// Why a hub could not be started, or ended.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file with the database's address cannot be read.
    #[error("{}: the database's address cannot be read: {source}", .path.display())]
    DatabaseUrl {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the data folder cannot be used.
    #[error("{}: {source}", .path.display())]
    DataDir {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another hub holds the data folder.
    #[error("{}: another hub runs on this data folder; stop it first, or give this one a folder of its own", .path.display())]
    Held {
        /// The folder.
        path: PathBuf,
    },
    /// The key does not belong to the database: agents would refuse every statement.
    #[error(
        "the signing key in the data folder is not the one that this database's nodes trust; restore signing.key from the backup that the database came from"
    )]
    ForeignKey,
    /// The address cannot be listened on.
    #[error("{address}: cannot listen: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine could not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The hub's own token could not be made.
    #[error("the hub's own token could not be made: {0}")]
    AdminToken(Problem),
    /// A backup target cannot be used.
    #[error("{what}: {source}")]
    BackupTarget {
        /// Which.
        what: String,
        /// Why.
        source: Box<backstay_objects::ObjectError>,
    },
    /// The hub could not be restored.
    #[error("{0}")]
    Restore(String),
    /// The build is wrong: handlers and declarations do not match.
    #[error("{0}")]
    Routes(String),
}

impl HubError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Config(error) => error.code(),
            Self::DatabaseUrl { .. } => ErrorCode::BS7003,
            Self::DataDir { .. } | Self::ForeignKey => ErrorCode::BS7005,
            Self::Held { .. } => ErrorCode::BS7004,
            Self::Listen { .. } => ErrorCode::BS7006,
            Self::Store(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::AdminToken(problem) => problem.code,
            Self::BackupTarget { .. } => ErrorCode::BS9016,
            Self::Restore(_) => ErrorCode::BS9019,
            Self::Routes(_) => ErrorCode::BS7001,
        }
    }
}
