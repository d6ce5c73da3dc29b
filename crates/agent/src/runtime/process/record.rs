//! What is written down about a process: what it should be, and what it is.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_manifest::{Restart, StopSignal};
use backstay_types::{Container, DeploymentId, Digest, ImageId};
use rustix::process::Pid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{disk::write_atomic, proc};

/// What a supervisor runs. Holds secrets.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) signal: StopSignal,
    pub(super) grace: Duration,
    pub(super) restart: Restart,
    pub(super) log: PathBuf,
    pub(super) log_bytes: u64,
    pub(super) image: ImageId,
    pub(super) config: Digest,
    pub(super) deployment: DeploymentId,
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Spec {
    pub(super) fn path(dir: &Path, name: &str) -> PathBuf {
        dir.join(format!("{name}.spec"))
    }

    pub(super) fn read(dir: &Path, name: &str) -> io::Result<Option<Self>> {
        read(&Self::path(dir, name))
    }
}

/// A process, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ref {
    pub(super) pid: i32,
    pub(super) started: u64,
    pub(super) boot: String,
}

impl Ref {
    /// The process with this number, as it is now.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let started = proc::start_time(pid)?;
        Some(Self { pid: pid.as_raw_nonzero().get(), started, boot: proc::boot_id() })
    }

    /// Whether it is still alive.
    ///
    /// # Errors
    /// When that cannot be told: it does not mean that it is not.
    fn is_alive(&self) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        Ok(proc::try_start_time(pid)? == Some(self.started) && self.boot == proc::try_boot_id()?)
    }

    /// Its number, when it is known to be still alive.
    pub(super) fn alive(&self) -> Option<Pid> {
        let pid = Pid::from_raw(self.pid)?;
        (proc::start_time(pid) == Some(self.started) && self.boot == proc::boot_id()).then_some(pid)
    }
}

/// What a supervisor says of itself and its process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) supervisor: Option<Ref>,
    pub(super) child: Option<Ref>,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// How it last ended, or why it could not be started.
    pub(super) last: Option<String>,
    /// Whether it was started at least once.
    pub(super) spawned: bool,
    /// Whether it has ended well and is not to be started again.
    pub(super) rests: bool,
    /// Where its log began when it was first started.
    pub(super) log_from: u64,
    pub(super) image: ImageId,
    pub(super) config: Digest,
    pub(super) deployment: DeploymentId,
    /// Where it was started.
    #[serde(default)]
    pub(super) directory: Option<PathBuf>,
}

impl Status {
    fn path(dir: &Path, name: &str) -> PathBuf {
        dir.join(format!("{name}.status"))
    }

    /// The names of all processes that there are records of, sorted.
    pub(super) fn names(dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            other => other?,
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(".spec").filter(|n| !n.starts_with('.')).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn read(dir: &Path, name: &str) -> io::Result<Option<Self>> {
        read(&Self::path(dir, name))
    }

    pub(super) fn write(&self, dir: &Path, name: &str) -> io::Result<()> {
        write_atomic(&Self::path(dir, name), &serde_json::to_vec(self)?, 0o600)
    }

    pub(super) fn remove(dir: &Path, name: &str) -> io::Result<()> {
        for path in [Self::path(dir, name), Spec::path(dir, name)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it has a supervisor that lives.
    pub(super) fn is_supervised(&self) -> bool {
        self.supervisor.as_ref().and_then(Ref::alive).is_some()
    }

    /// As others see it.
    ///
    /// # Errors
    /// When it cannot be told whether it runs.
    pub(super) fn container(&self, name: &str) -> io::Result<Container> {
        let is_alive = |process: &Option<Ref>| process.as_ref().map_or(Ok(false), Ref::is_alive);
        let running = is_alive(&self.child)? && is_alive(&self.supervisor)?;
        let id = self.child.as_ref().map(|child| format!("{}-{}", child.pid, child.started));
        Ok(Container {
            service: name.to_owned(),
            id: id.unwrap_or_default(),
            name: name.to_owned(),
            image: self.image.clone(),
            running,
            health: self.rests.then(|| "completed".to_owned()),
            deployment: Some(self.deployment),
        })
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
