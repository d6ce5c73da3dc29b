//! What can go wrong with files.

use std::io;

/// A file could not be listed, read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no such file.
    #[error("there is no file `{0}`")]
    Missing(String),
    /// No room is left.
    #[error("no room is left at `{place}`: {source}")]
    Full {
        /// Where.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// A name that no file may have.
    #[error(
        "`{0}` is no name for a file: expected parts of letters, digits, `-`, `_` and `.` with `/` between"
    )]
    Name(String),
    /// What came is not what was to come.
    #[error("the content has SHA-256 {found}, expected {expected}")]
    Digest {
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// More came than may.
    #[error("the content has more than {0} bytes")]
    TooLarge(u64),
    /// What was to come was cut off.
    #[error("the content was cut off: {0}")]
    CutOff(String),
    /// The folder failed.
    #[error("`{place}`: {source}")]
    Io {
        /// Which file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bucket refused.
    #[error("the object store refused `{place}`: {source}")]
    Refused {
        /// Which file.
        place: String,
        /// What it said.
        source: Box<opendal::Error>,
    },
    /// The bucket failed, or did not answer in time.
    #[error("the object store failed at `{place}`: {source}")]
    Store {
        /// Which file.
        place: String,
        /// What it said.
        source: Box<opendal::Error>,
    },
}

impl ObjectError {
    /// What an operation of the system came to.
    pub(crate) fn io(place: impl ToString, source: io::Error) -> Self {
        let place = place.to_string();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(place),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { place, source },
            _ => Self::Io { place, source },
        }
    }

    /// What reading a file of a bucket came to.
    pub(crate) fn stream(place: impl ToString, error: io::Error) -> Self {
        match error.downcast::<opendal::Error>() {
            Ok(source) => Self::store(place, source),
            Err(source) => Self::io(place, source),
        }
    }

    /// What a request to a bucket came to.
    pub(crate) fn store(place: impl ToString, source: opendal::Error) -> Self {
        let place = place.to_string();
        if is_full(&source) {
            return Self::Full { place, source: io::Error::new(io::ErrorKind::StorageFull, source) };
        }
        match source.kind() {
            opendal::ErrorKind::NotFound => Self::Missing(place),
            opendal::ErrorKind::PermissionDenied => Self::Refused { place, source: Box::new(source) },
            _ => Self::Store { place, source: Box::new(source) },
        }
    }
}

/// Whether a bucket has no room left. There is no kind for it: it is told by the status, or by the server's own word.
fn is_full(error: &opendal::Error) -> bool {
    let said = error.to_string();
    ["status: 507", "QuotaExceeded", "StorageFull", "storage_cap_exceeded", "StorageCapExceeded"]
        .iter()
        .any(|word| said.contains(word))
}
