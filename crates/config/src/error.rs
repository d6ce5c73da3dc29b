//! Errors of the settings.

use std::{fmt, io, path::PathBuf};

use backstay_types::ErrorCode;

/// Why the settings cannot be used. Always names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in the file or the environment is wrong.
    #[error("{place}: {message}")]
    Wrong {
        /// Where.
        place: Place,
        /// What, and what was expected.
        message: String,
    },
}

impl ConfigError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::BS7003
    }
}

/// Where a wrong setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line and column of the file, from 1.
    File {
        /// The file's name.
        file: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// Neither: a default that does not fit what was set.
    Key(String),
}

impl Place {
    /// The place of a byte of the text.
    pub(crate) fn at(file: &str, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self::File {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Key(key) => f.write_str(key),
        }
    }
}
