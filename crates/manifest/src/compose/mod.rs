//! Compose files: what Backstay must know of them, and the override document that it gives
//! Compose beside them. Compose itself stays the one that runs them.

mod classify;
mod drill;
mod image;
mod overlay;
mod read;
mod volume;
mod yaml;

use std::collections::BTreeMap;

pub use classify::{LiveMount, MountContent, MountPlan, TrackedMount, TreeEntry, classify};
pub use drill::{DrillDocument, DrillInput, DrillPort, FindPort, HostPath, drill_document, drill_probe};
pub use image::{ImageRef, Pinning};
pub use overlay::{OverrideInput, ServiceOverlay, override_document};

use crate::{Problem, Variables};

/// File names that make a folder a stack, in Compose's order of preference.
pub const FILE_NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// What is known of a Compose file.
#[derive(Debug, Clone)]
pub struct Compose {
    /// Its path, as given to [`Compose::parse`].
    pub file: String,
    /// The project's name, from `name:`.
    pub name: Option<String>,
    /// Services by name. `extends` within the file is resolved.
    pub services: BTreeMap<String, Service>,
    /// Top-level `configs` that come from a file.
    pub configs: BTreeMap<String, FileSource>,
    /// Top-level `secrets` that come from a file.
    pub secrets: BTreeMap<String, FileSource>,
    /// Named volumes, with the name that Docker knows when the file sets one.
    pub volumes: BTreeMap<String, Option<String>>,
    /// Other Compose files that it takes in, by `include` or `extends`; these cannot be followed.
    pub includes: Vec<Place<String>>,
    /// Whether every variable was known when it was read.
    pub(crate) complete: bool,
}

/// A value and where it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<T> {
    /// The value.
    pub value: T,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// A config or secret that comes from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// The path as written, after interpolation.
    pub path: Place<String>,
}

/// What is known of a service.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// The line of its name or first key.
    pub line: u32,
    /// Its image, after interpolation.
    pub image: Option<Place<String>>,
    /// Whether it is built on the node.
    pub build: bool,
    /// The name of its container, when the file fixes one.
    pub container_name: Option<String>,
    /// Binds of paths on the host, relative and absolute. Named volumes and tmpfs are not among them.
    pub binds: Vec<Bind>,
    /// Named volumes that it mounts: volume and path in the container.
    pub volumes: Vec<(String, String)>,
    /// Its `env_file` entries.
    pub env_files: Vec<EnvFile>,
    /// Top-level configs that it uses.
    pub configs: Vec<String>,
    /// Top-level secrets that it uses.
    pub secrets: Vec<String>,
    /// Whether it has a health check of its own that is not switched off. The image may have one too.
    pub healthcheck: bool,
    /// Published ports, as written; the long form as `published:target/protocol`.
    pub ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Services that it waits for.
    pub depends_on: Vec<String>,
    /// Profiles; without any it always runs.
    pub profiles: Vec<String>,
}

/// A bind mount of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Bind {
    /// The path on the host as written, after interpolation.
    pub source: String,
    /// The path in the container.
    pub target: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// Other settings of the mount (`bind:`, `consistency:`), handed on as they are.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// An `env_file` entry of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// The path as written, after interpolation.
    pub path: String,
    /// Whether Compose fails when it is not there.
    pub required: bool,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Compose {
    /// Reads a Compose file. `file` is its path, for messages. With complete [`Variables`] (on a node)
    /// every reference is replaced; with partial ones those without value or default stay.
    ///
    /// # Errors
    /// Everything that keeps it from being understood: YAML (file, line, column), shapes that Compose
    /// would refuse too, references.
    pub fn parse(file: &str, bytes: &[u8], variables: &Variables) -> Result<Self, Vec<Problem>> {
        read::parse(file, bytes, variables)
    }

    /// The project's name: what `stack.toml` says, else `name:`, else the stack's name with `.` as `-`.
    pub fn project_name(&self, said: Option<&str>, stack: &backstay_types::StackName) -> String {
        match (said, self.name.as_deref()) {
            (Some(name), _) | (None, Some(name)) => name.to_owned(),
            (None, None) => stack.as_str().replace('.', "-"),
        }
    }
}

/// A path below the stack's folder, written without `./`, `a/../` and trailing slashes; the folder
/// itself is empty. `None` when it is not relative, leaves the folder, or cannot be told yet.
pub fn normalise(path: &str) -> Option<String> {
    if path.starts_with(['/', '~']) || path.contains(['\\', '\0', '$']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
