//! Where everything is.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use backstay_types::{DeploymentId, Digest, StackName, TreeDigest};

use super::files::{remove_dir, sync_dir};

/// Where systemd reads units that the administrator installed.
const UNITS: &str = "/etc/systemd/system";

/// The name of the minimal stack. It has a folder of its own, beside those of all others.
pub(crate) const SAFE_MODE: &str = "backstay-safe-mode";

/// The agent's folders.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    data: PathBuf,
    run: PathBuf,
    env: PathBuf,
    units: PathBuf,
}

impl Layout {
    /// `run` is shared by agents on a machine; each has a folder of its own in it, named by its data folder.
    pub(crate) fn new(data: &Path, run: Option<&Path>, env: &Path) -> Self {
        let own = Digest::of(data.as_os_str().as_encoded_bytes()).short();
        let run = match run {
            Some(run) => run.join(own),
            None if rustix::process::geteuid().is_root() => Path::new("/run/backstay").join(own),
            None => data.join("run"),
        };
        Self { data: data.to_owned(), run, env: env.to_owned(), units: PathBuf::from(UNITS) }
    }

    /// Installs units elsewhere.
    pub(crate) fn with_units(self, units: &Path) -> Self {
        Self { units: units.to_owned(), ..self }
    }

    /// Tells this agent from others on the machine.
    pub(crate) fn id(&self) -> String {
        Digest::of(self.data.as_os_str().as_encoded_bytes()).short()
    }

    /// Where systemd reads units that the administrator installed.
    pub(crate) fn units(&self) -> &Path {
        &self.units
    }

    /// What a stack's units refer to in releases. Beside the agent's own folder, which nobody else may enter.
    pub(crate) fn files(&self, stack: &StackName) -> PathBuf {
        let name = self.data.file_name().unwrap_or_default().to_string_lossy();
        self.data.with_file_name(format!("{name}-files")).join(stack.as_str())
    }

    /// Makes the folders that must be there. Nobody else may enter them.
    pub(crate) fn create(&self) -> io::Result<()> {
        for dir in [&self.data, &self.stacks(), &self.run] {
            private_dir(dir)?;
        }
        Ok(())
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }
    pub(crate) fn journal(&self) -> PathBuf {
        self.data.join("agent.db")
    }
    /// What backups need: copies that are made ready, the repository's index, what is fetched.
    pub(crate) fn backups(&self) -> PathBuf {
        self.data.join("backups")
    }
    /// Copies that are made ready to be saved; nothing in it outlives a job.
    pub(crate) fn staging(&self) -> PathBuf {
        self.backups().join("staging")
    }
    /// What is kept of another node's repository while data of it is put back here.
    pub(crate) fn lent_cache(&self) -> PathBuf {
        self.backups().join("lent-cache")
    }
    /// A statement that came by hand and is not taken up yet.
    pub(crate) fn inbox(&self) -> PathBuf {
        self.data.join("inbox.json")
    }
    /// Packs that came by hand.
    pub(crate) fn bundled(&self) -> PathBuf {
        self.data.join("bundled")
    }
    pub(crate) fn bundled_pack(&self, tree: TreeDigest) -> PathBuf {
        self.bundled().join(format!("{tree}.pack"))
    }
    pub(crate) fn stacks(&self) -> PathBuf {
        self.data.join("stacks")
    }
    pub(crate) fn stack(&self, stack: &StackName) -> PathBuf {
        if stack.as_str() == SAFE_MODE {
            return self.data.join("safe-mode");
        }
        self.stacks().join(stack.as_str())
    }
    pub(crate) fn releases(&self, stack: &StackName) -> PathBuf {
        self.stack(stack).join("releases")
    }
    pub(crate) fn release(&self, stack: &StackName, tree: TreeDigest) -> PathBuf {
        self.releases(stack).join(tree.to_string())
    }
    /// Where a deployment's files grow before they get their name.
    pub(crate) fn growing(&self, stack: &StackName, deployment: DeploymentId) -> PathBuf {
        self.releases(stack).join(format!(".tmp-{deployment}"))
    }
    /// Where a deployment's pack is kept while it is unpacked.
    pub(crate) fn pack(&self, stack: &StackName, deployment: DeploymentId) -> PathBuf {
        self.releases(stack).join(format!(".tmp-{deployment}.pack"))
    }
    /// What the stack's containers or processes write.
    pub(crate) fn state(&self, stack: &StackName) -> PathBuf {
        self.stack(stack).join("state")
    }
    /// Files and folders from releases, under the digest of their content.
    pub(crate) fn mounts(&self, stack: &StackName) -> PathBuf {
        self.stack(stack).join("mounts")
    }
    /// Folders of parts that are reloaded: their content is switched under what runs.
    pub(crate) fn live(&self, stack: &StackName) -> PathBuf {
        self.stack(stack).join("live")
    }
    /// Leads to the release that runs.
    pub(crate) fn current(&self, stack: &StackName) -> PathBuf {
        self.stack(stack).join("current")
    }
    /// Lists of the files of releases.
    pub(crate) fn lists(&self, stack: &StackName) -> PathBuf {
        self.stack(stack).join("lists")
    }
    pub(crate) fn logs(&self, stack: &StackName) -> PathBuf {
        self.stack(stack).join("logs")
    }
    /// The node's own values for a stack.
    pub(crate) fn values(&self, stack: &StackName) -> PathBuf {
        self.env.join(format!("{stack}.env"))
    }
    /// Rendered values and records of processes; in memory where there is a folder for that.
    pub(crate) fn run_stack(&self, stack: &StackName) -> PathBuf {
        self.run.join(stack.as_str())
    }
    /// The variables of a release, rendered.
    pub(crate) fn rendered(&self, stack: &StackName, tree: TreeDigest) -> PathBuf {
        self.run_stack(stack).join(format!("{tree}.env"))
    }
    /// What Compose is given beside the stack's own file. It names deployments, so each has its own.
    pub(crate) fn overlay(&self, stack: &StackName, tree: TreeDigest) -> PathBuf {
        self.run_stack(stack).join(format!("{tree}.override.yaml"))
    }

    /// The stacks that have a folder here.
    pub(crate) fn stacks_here(&self) -> io::Result<Vec<StackName>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.stacks())? {
            if let Some(stack) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push(stack);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Deletes what unfinished work on any stack left behind. Nothing works at that time, so nobody owns it.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        for stack in self.stacks_here()? {
            self.sweep_stack(&stack)?;
        }
        Ok(())
    }

    /// Deletes what unfinished work on a stack left behind.
    pub(crate) fn sweep_stack(&self, stack: &StackName) -> io::Result<()> {
        for dir in [self.releases(stack), self.mounts(stack), self.live(stack)] {
            let entries = match fs::read_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let mut found = false;
            for entry in entries {
                let entry = entry?;
                if !entry.file_name().to_string_lossy().starts_with(".tmp-") {
                    continue;
                }
                found = true;
                if entry.file_type()?.is_dir() {
                    remove_dir(&entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            if found {
                sync_dir(&dir)?;
            }
        }
        Ok(())
    }
}

/// Makes a folder that only its owner may enter, with its parents.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
