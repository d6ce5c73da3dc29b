//! A machine that systemd runs, in a container: a real target for units, journal and watchdog.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use crate::{
    command::Failed,
    docker::Docker,
    left_out::{Part, require},
    paths::{cache_dir, scratch_dir},
    wait::eventually_within,
};

const IMAGE: &str = "images/systemd-node-1.tar";
const NAME: &str = "systemd-node";

const LINK: &str = "link";

/// A Debian machine with systemd as its first process, on an engine of its own.
#[derive(Debug)]
pub struct SystemdNode {
    docker: Docker,
}

impl SystemdNode {
    /// Boots it, or notes that the test is left out. `shared` is there under the same path; `units` in it is the
    /// machine's `/etc/systemd/system`. It has no network.
    ///
    /// # Panics
    /// When it does not boot; with `CI=true` when a part is missing.
    pub fn require(shared: &Path, units: &Path) -> Option<Self> {
        let node = Self::made()?;
        fs::create_dir_all(units).expect("create the folder for units");
        let mounts =
            [format!("{0}:{0}", shared.display()), format!("{}:/etc/systemd/system", units.display())];
        node.boot("none", &mounts);
        Some(node)
    }

    /// Boots one that shares no files with this machine, and reaches it by a link.
    ///
    /// # Panics
    /// As [`SystemdNode::require`].
    pub fn require_linked() -> Option<Self> {
        let node = Self::made()?;
        node.docker.run(&["network", "create", LINK]);
        node.boot(LINK, &[]);
        Some(node)
    }

    fn made() -> Option<Self> {
        let image = cache_dir().join(IMAGE);
        let there =
            if image.is_file() { Ok(image) } else { Err(format!("{} is not there", image.display())) };
        let image = require(Part::SystemdNode, there)?;
        let docker = Docker::require()?;
        docker.run(&["import", &image.display().to_string(), NAME]);
        Some(Self { docker })
    }

    fn boot(&self, network: &str, mounts: &[String]) {
        let mut args =
            vec!["run", "--detach", "--name", NAME, "--network", network, "--stop-signal", "SIGRTMIN+3"];
        args.extend(["--tmpfs", "/run", "--tmpfs", "/run/lock", "--cap-add", "SYS_ADMIN"]);
        args.extend(["--security-opt", "seccomp=unconfined", "--stop-timeout", "10"]);
        args.extend(["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]);
        for mount in mounts {
            args.extend(["--volume", mount]);
        }
        args.extend([NAME, "/sbin/init"]);
        self.docker.run(&args);
        self.wait_booted();
    }

    /// The address at which one that is linked reaches this machine.
    pub fn host(&self) -> String {
        self.docker.run(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", LINK])
    }

    /// Copies a file of this machine to it.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn put(&self, from: &Path, to: &str) {
        self.docker.run(&["cp", &from.display().to_string(), &format!("{NAME}:{to}")]);
    }

    /// Writes a file there, and the folder that it is in.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, to: &str, text: &str) {
        let dir = Path::new(to).parent().expect("a file's folder").display().to_string();
        self.run(&["mkdir", "-p", &dir]);
        let from = scratch_dir();
        let file = from.path().join("file");
        fs::write(&file, text).expect("write a file");
        self.put(&file, to);
    }

    fn wait_booted(&self) {
        eventually_within(Duration::from_secs(60), "the machine is up", || {
            let said =
                self.try_run(&["systemctl", "is-system-running"]).unwrap_or_else(|failed| failed.output);
            let up = ["running", "degraded"].iter().any(|state| said.contains(state));
            if up { Ok(()) } else { Err(said) }
        });
    }

    /// Ends everything on the machine and boots it again.
    pub fn reboot(&self) {
        self.docker.run(&["restart", "--time", "10", NAME]);
        self.wait_booted();
    }

    /// Runs a program on the machine and gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, args: &[&str]) -> String {
        self.try_run(args).unwrap_or_else(|failed| panic!("{failed}"))
    }

    /// Runs a program on the machine.
    ///
    /// # Errors
    /// When it fails.
    pub fn try_run(&self, args: &[&str]) -> Result<String, Failed> {
        let mut all = vec!["exec", NAME];
        all.extend(args);
        self.docker.try_run(&all)
    }

    /// A program on the machine, not yet run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.docker.command();
        command.args(["exec", NAME]).args(args);
        command
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", &format!("--property={property}"), unit])
    }

    /// Puts programs into `dir` that stand for systemd's own and speak to this machine. Returns what a program
    /// beside needs in its environment to find them.
    pub fn programs(&self, dir: &Path) -> Vec<(String, String)> {
        fs::create_dir_all(dir).expect("create a folder for programs");
        for program in ["systemctl", "journalctl", "systemd-analyze"] {
            let path = dir.join(program);
            fs::write(&path, format!("#!/bin/sh\nexec docker exec {NAME} {program} \"$@\"\n"))
                .expect("write a program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make a program executable");
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let docker = self.docker.env().map(|(name, value)| (name.to_owned(), value));
        let mut env = vec![("PATH".to_owned(), format!("{}:{path}", dir.display()))];
        env.extend(docker);
        env
    }
}
