//! Paths inside a repository.

use backstay_types::tree;

use crate::{error::SourceError, text};

/// A path that a release may hold.
pub(crate) fn check(path: &str) -> Result<(), SourceError> {
    tree::check_path(path).map_err(|error| SourceError::Path(error.to_string()))
}

/// A folder: the empty text is the root; one trailing slash is forgiven.
pub(crate) fn folder(path: &str) -> Result<&str, SourceError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path == "." {
        return Ok("");
    }
    check(path)?;
    Ok(path)
}

/// A path from Git as text.
pub(crate) fn utf8(path: &[u8]) -> Result<&str, SourceError> {
    std::str::from_utf8(path)
        .map_err(|_| SourceError::Path(format!("the path `{}` is not UTF-8", text::escaped(path))))
}
