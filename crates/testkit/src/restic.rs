//! restic itself, which reads and writes the same repositories.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    capture,
    left_out::{Part, require},
    paths::{cache_dir, find_tool},
};

/// The program.
#[derive(Debug, Clone)]
pub struct Restic {
    path: PathBuf,
}

impl Restic {
    /// The program, or notes that the test is left out.
    ///
    /// # Panics
    /// With `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        let cached = cache_dir().join("tools/bin/restic");
        let path = if cached.is_file() { Some(cached) } else { find_tool("restic") };
        let found = path.ok_or_else(|| "restic is not installed".to_owned()).and_then(|path| {
            let version = capture(Command::new(&path).arg("version")).map_err(|failed| failed.to_string())?;
            let new = version
                .strip_prefix("restic 0.")
                .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
            if new.is_some_and(|minor| minor >= 17) { Ok(path) } else { Err(format!("{version} is too old")) }
        });
        require(Part::Restic, found).map(|path| Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that works in a repository.
    pub fn command(&self, repository: &str, password: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", password);
        command.env("RESTIC_PROGRESS_FPS", "0.1").args(["--no-cache", "--quiet"]);
        command
    }
}
