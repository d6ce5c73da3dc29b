//! A container engine of the test's own, with Compose v2.
//!
//! Each guard starts a `dockerd` in one of a number of slots under the cache.
//! A slot keeps its folder, so that the engine itself finds and clears what a
//! killed test left behind. An engine of one's own is half a second and
//! 110 MB; in exchange tests prune, stop and break it as they like, and three
//! nodes on this machine have an engine each.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use serde_json::Value;

use crate::{
    command::{Failed, capture, run},
    image::{Image, check_busybox},
    left_out::{Part, require},
    paths::{cache_dir, find_tool, run_dir},
    process::{is_alive, kill_under, send},
    program::{Program, Ready},
    wait::eventually,
};

const SLOTS: u8 = 40;

/// A running engine, its slot and its command line. Dropped, everything in it is removed and it ends.
#[derive(Debug)]
pub struct Docker {
    dir: PathBuf,
    daemon: Program,
    _lock: File,
}

/// A container as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The Compose service, empty if none.
    pub service: String,
    /// The id of the image it runs, `sha256:…`.
    pub image: String,
    /// `running`, `exited`, `created`, …
    pub state: String,
    /// `healthy`, `unhealthy`, `starting`, or empty without a check.
    pub health: String,
    /// When it was started, as the engine says.
    pub started_at: String,
}

impl Docker {
    /// Starts an engine, or notes that the test is left out.
    ///
    /// # Panics
    /// When an engine that should start does not; with `CI=true` when a part is missing.
    pub fn require() -> Option<Self> {
        require(Part::Docker, can_start())?;
        require(Part::Compose, compose_works())?;
        require(Part::Busybox, check_busybox())?;
        Some(Self::start_in_a_slot())
    }

    fn start_in_a_slot() -> Self {
        let engines = run_dir().join("engines");
        for slot in 0..SLOTS {
            let dir = engines.join(slot.to_string());
            fs::create_dir_all(&dir).expect("create a folder for an engine");
            let path = dir.join("lock");
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path);
            let lock = lock.expect("open an engine's lock");
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                end_stale(&dir);
                let docker = Self { daemon: daemon(&dir, slot).started(), dir, _lock: lock };
                docker.clear();
                return docker;
            }
        }
        panic!("all {SLOTS} slots for engines under {} are taken", engines.display());
    }

    /// What a program needs in its environment to use this engine.
    pub fn env(&self) -> [(&'static str, String); 2] {
        [
            ("DOCKER_HOST", format!("unix://{}", self.socket().display())),
            ("DOCKER_CONFIG", docker_config().display().to_string()),
        ]
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// `docker`, pointed at this engine.
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.envs(self.env()).env_remove("DOCKER_CONTEXT");
        command
    }

    /// `docker ARGS`, giving what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, args: &[&str]) -> String {
        run(self.command().args(args))
    }

    /// `docker ARGS`.
    ///
    /// # Errors
    /// When it fails.
    pub fn try_run(&self, args: &[&str]) -> Result<String, Failed> {
        capture(self.command().args(args))
    }

    /// Makes a tiny image under `reference` (`web:v1`) and gives its id.
    pub fn image(&self, reference: &str, image: &Image) -> String {
        image.import(self, reference)
    }

    /// All containers, running or not, in the order of their names.
    pub fn containers(&self) -> Vec<RunningContainer> {
        let ids = self.run(&["ps", "--all", "--quiet", "--no-trunc"]);
        if ids.is_empty() {
            return Vec::new();
        }
        let mut args = vec!["inspect"];
        args.extend(ids.lines());
        // One may end between the two calls.
        let text = self.try_run(&args).unwrap_or_else(|failed| failed.output);
        let list: Vec<Value> = serde_json::from_str(json_of(&text)).unwrap_or_default();
        let mut containers: Vec<_> = list.iter().map(to_container).collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        containers
    }

    /// The container of a Compose service, in any project.
    pub fn service(&self, service: &str) -> Option<RunningContainer> {
        let mut all = self.containers().into_iter().filter(|container| container.service == service);
        all.clone().find(|container| container.state == "running").or_else(|| all.next())
    }

    /// `image prune --all`: every image that no container holds.
    pub fn prune_images(&self) {
        self.run(&["image", "prune", "--all", "--force"]);
    }

    /// Kills the engine and what it supervises; containers run on, as they do when it crashes.
    pub fn kill_engine(&mut self) {
        self.daemon.kill();
        end_stale(&self.dir);
    }

    /// Loses what the engine remembers of its containers, and the containers, as a cut of the power may.
    /// Images and volumes stay. Only while the engine is killed.
    ///
    /// # Panics
    /// When something in its folder cannot be removed.
    pub fn lose_containers(&self) {
        kill_under(&self.dir.join("exec"));
        for folder in ["data/containers", "data/network"] {
            let path = self.dir.join(folder);
            if path.exists() {
                fs::remove_dir_all(path).expect("lose the engine's memory");
            }
        }
    }

    /// A program that starts the engine again, as `systemctl restart docker` does on a machine: for whoever is told to
    /// do so, in `dir`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn restart_program(&self, dir: &Path) -> PathBuf {
        let path = dir.join("restart-engine");
        let search = std::env::var("PATH").unwrap_or_default();
        let words: Vec<_> = self.daemon.line().iter().map(|word| format!("'{}'", word.display())).collect();
        let text = format!(
            "#!/bin/sh\nset -eu\ncd /\nexport PATH='{search}'\nsetsid {} </dev/null >>'{}' 2>&1 &\n",
            words.join(" "),
            self.dir.join("restarted.log").display(),
        );
        fs::write(&path, text).expect("write a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make a program executable");
        path
    }

    /// Starts the engine again.
    pub fn start_engine(&mut self) {
        self.daemon.start();
    }

    /// Removes all containers, networks, volumes and images.
    fn clear(&self) {
        let ids = self.run(&["ps", "--all", "--quiet"]);
        if !ids.is_empty() {
            let mut args = vec!["rm", "--force", "--volumes"];
            args.extend(ids.lines());
            self.run(&args);
        }
        self.run(&["network", "prune", "--force"]);
        let volumes = self.run(&["volume", "ls", "--quiet"]);
        if !volumes.is_empty() {
            let mut args = vec!["volume", "rm", "--force"];
            args.extend(volumes.lines());
            self.run(&args);
        }
        self.prune_images();
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if !self.daemon.is_running() {
            // Another may have started it meanwhile.
            end_stale(&self.dir);
            self.daemon.start();
        }
        self.clear();
        self.daemon.terminate();
    }
}

/// `docker inspect` prints the list even when one of several is gone, with the error after it.
fn json_of(text: &str) -> &str {
    text.rfind(']').map_or(text, |end| &text[..=end])
}

fn to_container(value: &Value) -> RunningContainer {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    RunningContainer {
        id: text("/Id"),
        name: text("/Name").trim_start_matches('/').to_owned(),
        service: text("/Config/Labels/com.docker.compose.service"),
        image: text("/Image"),
        state: text("/State/Status"),
        health: text("/State/Health/Status"),
        started_at: text("/State/StartedAt"),
    }
}

fn docker_config() -> PathBuf {
    cache_dir().join("docker")
}

fn can_start() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("an engine of the test's own needs root".to_owned());
    }
    for tool in ["docker", "dockerd"] {
        find_tool(tool).ok_or_else(|| format!("{tool} is not installed"))?;
    }
    Ok(())
}

fn compose_works() -> Result<(), String> {
    let mut compose = Command::new("docker");
    compose.env("DOCKER_CONFIG", docker_config()).args(["compose", "version", "--short"]);
    capture(&mut compose).map(drop).map_err(|failed| failed.to_string())
}

/// An engine on a socket, with networks of its own range and no rules in the system's firewall:
/// networks within it and ports on loopback work all the same.
fn daemon(dir: &Path, slot: u8) -> Program {
    let path = find_tool("dockerd").expect("dockerd");
    let file = |name: &str| dir.join(name).display().to_string();
    let args = [
        format!("--data-root={}", file("data")),
        format!("--exec-root={}", file("exec")),
        format!("--pidfile={}", file("pid")),
        format!("--host=unix://{}", file("sock")),
        format!("--default-address-pool=base=10.213.{slot}.0/24,size=28"),
        "--bridge=none".to_owned(),
        "--iptables=false".to_owned(),
        "--ip6tables=false".to_owned(),
        "--ip-masq=false".to_owned(),
        "--shutdown-timeout=1".to_owned(),
    ];
    // Logs of the engine's earlier runs in this slot are of no use.
    let _ = fs::remove_file(dir.join("dockerd.log"));
    Program::at(path, "dockerd", dir).args(args).discreet().ready(Ready::Line("API listen on".to_owned()))
}

/// Ends the engine of a test that was killed.
fn end_stale(dir: &Path) {
    for name in ["pid", "exec/containerd/containerd.pid"] {
        let path = dir.join(name);
        let Some(pid) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()) else {
            continue;
        };
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // The number may long be another program's.
        if command.contains(&*dir.to_string_lossy()) {
            send(pid, rustix::process::Signal::KILL);
            eventually("a stale engine to end", || if is_alive(pid) { Err(pid.to_string()) } else { Ok(()) });
        }
        let _ = fs::remove_file(path);
    }
}

/// Clears the slots that no test holds: what killed tests left behind.
pub(crate) fn clear_slots() {
    let engines = run_dir().join("engines");
    let Ok(entries) = fs::read_dir(&engines) else { return };
    for entry in entries.flatten() {
        let dir = entry.path();
        let Some(slot) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(lock) = OpenOptions::new().write(true).open(dir.join("lock")) else { continue };
        let free = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        // A pid file says that the engine did not end by itself.
        if free && dir.join("pid").exists() && can_start().is_ok() {
            end_stale(&dir);
            drop(Docker { daemon: daemon(&dir, slot).started(), dir, _lock: lock });
        }
    }
}
