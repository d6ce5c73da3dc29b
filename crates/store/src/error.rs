//! What can go wrong in the store.

use backstay_types::ErrorCode;

/// A result of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away; the same call may work later.
    #[error("the database cannot be reached: {0}; check that it runs and that its disk has room")]
    Unreachable(#[source] sqlx::Error),
    /// Two transactions met; the same call works when repeated.
    #[error("the database asked for the transaction to be repeated: {0}")]
    Busy(#[source] sqlx::Error),
    /// The database refused a statement.
    #[error("the database refused a statement: {0}")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The location is not one that the store knows.
    #[error("`{0}` is not a database: expected a file's path, `sqlite:PATH` or `postgres://…`")]
    Location(String),
    /// The row is no longer in the state that the writer saw, or is gone.
    #[error("{what} {id} has changed since it was read; read it again")]
    Stale {
        /// What kind of thing.
        what: &'static str,
        /// Which one.
        id: String,
    },
    /// Something else already has this name, key or id.
    #[error("there is already another {what} {id}")]
    Conflict {
        /// What kind of thing.
        what: &'static str,
        /// Which name, key or id.
        id: String,
    },
    /// Another process has taken over the work that this lease was for.
    #[error("the lease `{name}` is held by someone else now")]
    LeaseLost {
        /// The lease.
        name: String,
    },
    /// A row does not hold what this build writes there.
    #[error("column `{column}` holds something unexpected: {message}")]
    Corrupt {
        /// The column.
        column: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A value could not be written as JSON.
    #[error("a value could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl StoreError {
    /// The stable code that users meet.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable(_) | Self::Busy(_) => ErrorCode::BS7002,
            Self::Stale { .. } | Self::Conflict { .. } | Self::LeaseLost { .. } => ErrorCode::BS4005,
            _ => ErrorCode::BS7001,
        }
    }

    /// Whether the same transaction may work when it is run again from its start.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_))
    }

    pub(crate) fn stale(what: &'static str, id: impl ToString) -> Self {
        Self::Stale { what, id: id.to_string() }
    }

    pub(crate) fn conflict(what: &'static str, id: impl ToString) -> Self {
        Self::Conflict { what, id: id.to_string() }
    }

    pub(crate) fn corrupt(column: &str, message: impl ToString) -> Self {
        Self::Corrupt { column: column.to_owned(), message: message.to_string() }
    }

    /// Turns a violated uniqueness into [`Self::Conflict`].
    pub(crate) fn or_conflict(self, what: &'static str, id: impl ToString) -> Self {
        match &self {
            Self::Database(sqlx::Error::Database(e)) if e.is_unique_violation() => Self::conflict(what, id),
            _ => self,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unreachable(error),
            sqlx::Error::Database(e) => match e.code().as_deref().unwrap_or_default() {
                // PostgreSQL: connection lost, shutting down or starting, out of connections or disk, read-only.
                code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => {
                    Self::Unreachable(error)
                }
                // PostgreSQL: serialization failure, deadlock, lock not available.
                "40001" | "40P01" | "55P03" => Self::Busy(error),
                // SQLite result codes (the low byte): BUSY and LOCKED; READONLY, IOERR, FULL, CANTOPEN.
                code => match code.parse::<u32>().map(|n| n & 0xff) {
                    Ok(5 | 6) if code.len() < 5 => Self::Busy(error),
                    Ok(8 | 10 | 13 | 14) if code.len() < 5 => Self::Unreachable(error),
                    _ => Self::Database(error),
                },
            },
            _ => Self::Database(error),
        }
    }
}
