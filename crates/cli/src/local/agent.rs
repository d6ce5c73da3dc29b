//! An agent on this machine: a process of its own, that outlives nothing but itself.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use backstay_api::{
    Empty,
    v1::{CreateJoinToken, CreateJoinTokenRequest},
};
use backstay_types::ErrorCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{api::Api, error::CliError, paths};

/// How long an agent may take to end.
const GRACE: Duration = Duration::from_secs(15);

/// Where an agent keeps things, and how it is called.
#[derive(Debug, Clone)]
pub(crate) struct AgentPlace {
    /// Its data folder.
    pub(crate) dir: PathBuf,
    /// Settings of the agent, as `BACKSTAY_AGENT_…` variables; others of ours are not handed on.
    pub(crate) settings: Vec<(&'static str, OsString)>,
    /// The node's name; the host's when absent.
    pub(crate) name: Option<String>,
    /// Labels as `key=value`.
    pub(crate) labels: Vec<String>,
}

impl AgentPlace {
    /// Where it writes what it has to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// Whether it has joined a hub before.
    pub(crate) fn has_joined(&self) -> bool {
        self.dir.join("identity.json").exists()
    }

    /// Joins the hub with a token made for it.
    ///
    /// # Errors
    /// When the hub refuses, or the agent's program cannot be run.
    pub(crate) async fn join(&self, api: &Api) -> Result<(), CliError> {
        let request = CreateJoinTokenRequest { expires_in_seconds: Some(300) };
        let token = api.call::<CreateJoinToken>(Empty {}, Empty {}, request).await?;
        let mut command = self.command("join");
        command.arg("--hub").arg(api.url()).env("BACKSTAY_JOIN_TOKEN", token.token.expose());
        if let Some(name) = &self.name {
            command.arg("--name").arg(name);
        }
        for label in &self.labels {
            command.arg("--label").arg(label);
        }
        let output = command.stdin(Stdio::null()).output().await.map_err(missing)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(CliError::new(ErrorCode::BS8016, "this machine's agent could not join the hub")
            .with_source(io::Error::other(said)))
    }

    /// Starts it.
    ///
    /// # Errors
    /// When its program or log cannot be had.
    pub(crate) fn start(&self) -> Result<LocalAgent, CliError> {
        fs::create_dir_all(&self.dir).map_err(|e| CliError::file("create", &self.dir, e))?;
        let log = self.log();
        let file = fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(|e| CliError::file("write", &log, e))?;
        let copy = file.try_clone().map_err(|e| CliError::file("write", &log, e))?;
        // A group of its own: Ctrl-C in the terminal is for us, and we end the agent in order.
        let child =
            self.command("run").stdin(Stdio::null()).stdout(copy).stderr(file).process_group(0).spawn();
        Ok(LocalAgent { child: child.map_err(missing)? })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(paths::agent_program());
        command.arg(verb).arg("--data-dir").arg(&self.dir);
        // What is said to this program about its hub is not meant for the agent.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("BACKSTAY_") && !name_text.starts_with("BACKSTAY_AGENT_") {
                command.env_remove(&name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn missing(error: io::Error) -> CliError {
    let program = paths::agent_program();
    CliError::new(ErrorCode::BS8005, format!("{} cannot be started", program.display()))
        .with_source(error)
        .hint("the agent is a program of its own: put backstay-agent beside backstay, or on PATH")
}

/// The end of an agent's log, for people.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct LocalAgent {
    child: Child,
}

impl LocalAgent {
    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end, and waits for that. What it runs keeps running.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
