//! The demo's machines: a hub in this process, three agents beside it, all in one folder.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_config::Settings;
use backstay_hub::Hub;
use backstay_types::{ErrorCode, World};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    api::Api,
    error::CliError,
    local::{self, AgentPlace, LocalAgent},
};

/// Name, memory in MB and size of each node. The second is the one that a large cache does not fit.
const NODES: [(&str, u64, &str); 3] =
    [("web-1", 2048, "large"), ("web-2", 256, "small"), ("web-3", 2048, "large")];

/// A node of the demo.
#[derive(Debug)]
pub(super) struct Node {
    /// Its name.
    pub(super) name: &'static str,
    /// Where its web server listens.
    pub(super) port: u16,
    /// Its memory.
    pub(super) memory_mb: u64,
    place: AgentPlace,
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Stage {
    /// The folder.
    pub(super) dir: PathBuf,
    /// The hub as its admin.
    pub(super) api: Api,
    /// The nodes.
    pub(super) nodes: Vec<Node>,
    hub: Hub,
    agents: Vec<LocalAgent>,
}

impl Stage {
    /// Starts the hub and the three agents, each joined with a token of its own.
    pub(super) async fn set(dir: &Path, world: &World) -> Result<Self, CliError> {
        let mut settings = Settings::default();
        settings.hub.data_dir = dir.join("hub");
        settings.hub.listen = ([127, 0, 0, 1], 0).into();
        settings.source.poll_every = Duration::from_millis(300);
        settings.poll.interval = Duration::from_millis(500);
        settings.poll.jitter = Duration::ZERO;
        let hub = local::start(settings, world.clone()).await?;
        let api = Api::new(&hub.url(), Some(hub.admin_token().clone()), Duration::from_secs(30))?;
        let nodes = nodes(dir)?;
        let mut stage = Self { dir: dir.to_owned(), api, nodes, hub, agents: Vec::new() };
        if let Err(error) = stage.start_agents().await {
            stage.strike().await;
            return Err(error);
        }
        Ok(stage)
    }

    async fn start_agents(&mut self) -> Result<(), CliError> {
        for node in &self.nodes {
            node.place.join(&self.api).await?;
            self.agents.push(node.place.start()?);
        }
        Ok(())
    }

    /// The hub's data folder: commands find address and token in it.
    pub(super) fn hub_dir(&self) -> PathBuf {
        self.dir.join("hub")
    }

    /// Ends agents, hub, and then what the agents had started: it would stay by design.
    pub(super) async fn strike(self) {
        for agent in self.agents {
            agent.stop().await;
        }
        self.hub.stop().await;
        end_processes_under(&self.dir).await;
    }
}

fn nodes(dir: &Path) -> Result<Vec<Node>, CliError> {
    let failed = |e| CliError::new(ErrorCode::BS8016, "no free port on loopback").with_source(e);
    let ports = local::free_ports::<3>().map_err(failed)?;
    let program = std::env::current_exe().map_err(|e| {
        CliError::new(ErrorCode::BS8004, "the path of this program cannot be found").with_source(e)
    })?;
    NODES
        .iter()
        .zip(ports)
        .map(|((name, memory_mb, size), port)| {
            let home = dir.join("nodes").join(name);
            let env_dir = home.join("env");
            write_values(
                &env_dir,
                &format!("BACKSTAY={}\nPORT={port}\nMEMORY_MB={memory_mb}\nNODE={name}\n", program.display()),
            )?;
            let settings = vec![
                ("BACKSTAY_AGENT_ENV_DIR", env_dir.into_os_string()),
                ("BACKSTAY_AGENT_RUN_DIR", home.join("run").into_os_string()),
                ("BACKSTAY_AGENT_CHECK_EVERY", OsString::from("2s")),
                ("BACKSTAY_AGENT_DISK_MARGIN_BYTES", OsString::from("10000000")),
            ];
            let labels = vec!["role=web".to_owned(), format!("size={size}")];
            let place =
                AgentPlace { dir: home.join("agent"), settings, name: Some((*name).to_owned()), labels };
            Ok(Node { name, port, memory_mb: *memory_mb, place })
        })
        .collect()
}

/// A node's own values, which are not in Git. Readable by its owner alone, as an agent demands.
fn write_values(dir: &Path, text: &str) -> Result<(), CliError> {
    let path = dir.join("page.env");
    let write = || {
        fs::create_dir_all(dir)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
    };
    write().map_err(|e| CliError::file("write", &path, e))
}

/// Ends every process that was started from below `dir`: its folder is of this demo alone.
async fn end_processes_under(dir: &Path) {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    // A supervisor may start another one in between.
    for _ in 0..20 {
        let found = processes_under(&dir);
        if found.is_empty() {
            return;
        }
        for pid in found {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn processes_under(dir: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids.filter(|pid| *pid != own && is_agents_work(*pid, dir)).filter_map(Pid::from_raw).collect()
}

/// A supervised process runs in its release's folder; its supervisor is told a file in the node's folder.
/// Only these: a shell that someone opened in the folder is not ours to end.
fn is_agents_work(pid: i32, dir: &Path) -> bool {
    let nodes = dir.join("nodes");
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let command = fs::read(proc.join("cmdline")).unwrap_or_default();
    let needle = nodes.as_os_str().as_bytes();
    let named = command.windows(needle.len()).any(|part| part == needle);
    let ours = |name: &[u8]| command.windows(name.len()).any(|part| part == name);
    let inside = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&nodes));
    (named && ours(b"supervise")) || (inside && ours(b"demo-web"))
}
