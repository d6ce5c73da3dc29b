//! Senders and readers of telemetry that others made, in Python: OpenTelemetry's SDK, pyarrow.

use std::path::{Path, PathBuf};

use crate::{
    left_out::{Part, require},
    paths::cache_dir,
};

/// A Python that has them.
#[derive(Debug, Clone)]
pub struct Senders(PathBuf);

impl Senders {
    /// The one that `scripts/setup` made, or notes that the test is left out.
    ///
    /// # Panics
    /// With `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        let path = cache_dir().join("senders/bin/python3");
        let there = path.is_file().then_some(path.clone());
        let path = require(Part::Senders, there.ok_or_else(|| format!("{} is not there", path.display())))?;
        Some(Self(path))
    }

    /// The Python.
    pub fn python(&self) -> &Path {
        &self.0
    }
}
