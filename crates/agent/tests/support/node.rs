//! A node: a folder, and the real agent in it.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use backstay_types::TreeDigest;
use serde_json::Value;
use tempfile::TempDir;

use super::FakeHub;

/// The agent under test; `BACKSTAY_TEST_AGENT` names another build, such as one for another machine.
fn agent() -> String {
    std::env::var("BACKSTAY_TEST_AGENT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_backstay-agent").to_owned())
}

/// A node that has joined a fake hub.
#[derive(Debug)]
pub(crate) struct Node {
    dir: TempDir,
    data: PathBuf,
    agent: Option<Child>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) settings: String,
}

impl Node {
    pub(crate) fn join(hub: &FakeHub) -> Self {
        let node = Self::new();
        let output = node.try_join(hub, &hub.token());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        node
    }

    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self { dir, data, agent: None, env: Vec::new(), settings: String::new() }
    }

    pub(crate) fn try_join(&self, hub: &FakeHub, token: &str) -> std::process::Output {
        self.command(&[
            "join",
            "--hub",
            &hub.url,
            "--name",
            "node-1",
            "--label",
            "role=test",
            "--token",
            token,
        ])
        .output()
        .unwrap()
    }

    /// Keeps the data elsewhere.
    pub(crate) fn with_data(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let config = self.dir.path().join("settings.toml");
        let text = format!(
            "[agent]\ndata_dir = \"{}\"\nenv_dir = \"{}\"\nrun_dir = \"{}\"\nunit_dir = \"{}\"\ndisk_margin_bytes = 1000\n{}\n",
            self.data.display(),
            self.env_dir().display(),
            self.dir.path().join("run").display(),
            self.dir.path().join("units").display(),
            self.settings
        );
        // An agent that has just been started may be reading it.
        if fs::read_to_string(&config).ok().as_deref() != Some(&text) {
            fs::write(&config, text).unwrap();
        }
        fs::create_dir_all(self.env_dir()).unwrap();
        let mut command = Command::new(agent());
        command.args(&arguments[..1]).arg("--config").arg(config).args(&arguments[1..]);
        command.env("BACKSTAY_LOG", "debug,hyper=info,hyper_util=info,reqwest=info,rustls=info");
        command.envs(self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        command
    }

    /// The folder of all that belongs to it.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn env_dir(&self) -> PathBuf {
        self.dir.path().join("env")
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts the agent, to die at a point when one is named.
    pub(crate) fn start(&mut self, points: &str) {
        assert!(self.agent.is_none(), "one agent at a time");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.command(&["run"]);
        if !points.is_empty() {
            command.env("FAILPOINTS", points);
        }
        self.agent = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Waits until the agent ends by itself; the exit status.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().unwrap();
        let deadline = Instant::now() + Duration::from_secs(45);
        while Instant::now() < deadline {
            if let Some(status) = agent.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let _ = agent.kill();
        let _ = agent.wait();
        panic!("the agent did not end:\n{}", self.log());
    }

    /// Waits until it was killed at a point.
    pub(crate) fn wait_killed(&mut self) {
        let status = self.wait();
        assert_eq!(status.signal(), Some(9), "{status}\n{}", self.log());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let agent = self.agent.as_ref().unwrap();
        let pid = rustix::process::Pid::from_child(agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn stack(&self) -> PathBuf {
        self.data.join("stacks/web")
    }

    /// Where a link points, which must be a whole release or nothing.
    pub(crate) fn link(&self, name: &str) -> Option<TreeDigest> {
        let path = self.stack().join(name);
        let target = fs::read_link(&path).ok()?;
        assert!(
            path.join("stack.toml").exists() || path.join("compose.yaml").exists(),
            "{name} -> {target:?} is not whole"
        );
        Some(target.file_name().unwrap().to_str().unwrap().parse().unwrap())
    }

    /// The version that runs, by what its process works in. More than one is an error.
    pub(crate) fn running(&self) -> Vec<String> {
        let releases = self.stack().join("releases");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(cwd) = fs::read_link(entry.path().join("cwd")) else { continue };
            let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
            if cwd.starts_with(&releases) && command.starts_with(b"sleep\0") {
                found.extend(fs::read_to_string(cwd.join("version")));
            }
        }
        found.sort();
        found
    }

    /// The ids of the processes that run, to tell whether one was started again.
    pub(crate) fn pids(&self) -> Vec<String> {
        let releases = self.stack().join("releases");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(cwd) = fs::read_link(entry.path().join("cwd")) else { continue };
            if cwd.starts_with(&releases) {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found.sort();
        found
    }

    /// Files that no one should find: leftovers of unfinished work.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.stack().join("releases"));
        let names =
            entries.into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with('.')).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.kill();
        // Supervisors outlive their agent; the test's must not.
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
            let mine = self.dir.path().as_os_str().as_encoded_bytes();
            if command.windows(mine.len()).any(|window| window == mine) {
                kill(&entry.file_name().to_string_lossy());
            }
        }
        for pid in self.pids() {
            kill(&pid);
        }
    }
}

fn kill(pid: &str) {
    if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Waits until something holds.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(15), what, look)
}

pub(crate) fn eventually_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come to pass: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
