//! A machine that systemd runs, in a container: a real target for units, journal and watchdog.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    command::Failed,
    docker::Docker,
    left_out::{Part, require},
    paths::cache_dir,
    wait::eventually_within,
};

const IMAGE: &str = "images/systemd-node-1.tar";
const NAME: &str = "systemd-node";

/// A Debian machine with systemd as its first process, on an engine of its own.
#[derive(Debug)]
pub struct SystemdNode {
    docker: Docker,
    units: PathBuf,
}

impl SystemdNode {
    /// Boots it, or notes that the test is left out. `shared` is there under the same path; `units` in it is the
    /// machine's `/etc/systemd/system`.
    ///
    /// # Panics
    /// When it does not boot; with `CI=true` when a part is missing.
    pub fn require(shared: &Path, units: &Path) -> Option<Self> {
        let image = cache_dir().join(IMAGE);
        let there =
            if image.is_file() { Ok(image) } else { Err(format!("{} is not there", image.display())) };
        let image = require(Part::SystemdNode, there)?;
        let docker = Docker::require()?;
        docker.run(&["import", &image.display().to_string(), NAME]);
        let node = Self { docker, units: units.to_owned() };
        node.boot(shared);
        Some(node)
    }

    fn boot(&self, shared: &Path) {
        fs::create_dir_all(&self.units).expect("create the folder for units");
        let mounts = [
            format!("{0}:{0}", shared.display()),
            format!("{}:/etc/systemd/system", self.units.display()),
            "/sys/fs/cgroup:/sys/fs/cgroup:ro".to_owned(),
        ];
        let mut args =
            vec!["run", "--detach", "--name", NAME, "--network", "none", "--stop-signal", "SIGRTMIN+3"];
        args.extend(["--tmpfs", "/run", "--tmpfs", "/run/lock", "--cap-add", "SYS_ADMIN"]);
        args.extend(["--security-opt", "seccomp=unconfined", "--stop-timeout", "10"]);
        for mount in &mounts {
            args.extend(["--volume", mount]);
        }
        args.extend([NAME, "/sbin/init"]);
        self.docker.run(&args);
        self.wait_booted();
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
