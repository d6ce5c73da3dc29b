//! A node: a folder, and the real agent in it.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backstay_types::TreeDigest;
use serde_json::Value;
use tempfile::TempDir;

use super::FakeHub;

/// The agent under test; `BACKSTAY_TEST_AGENT` names another build, such as one for another machine.
pub(crate) fn agent() -> String {
    std::env::var("BACKSTAY_TEST_AGENT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_backstay-agent").to_owned())
}

/// A node that has joined a fake hub.
#[derive(Debug)]
pub(crate) struct Node {
    dir: TempDir,
    data: PathBuf,
    agent: Option<Child>,
    loaded: Option<Loaded>,
    /// The process under which the agent runs, when that is another program's.
    over: Option<u32>,
    /// Whether that program has been seen to have started it.
    seen: bool,
    pub(crate) env: Vec<(String, String)>,
    /// What becomes the agent when it is started, such as with another clock.
    pub(crate) prefix: Vec<String>,
    pub(crate) settings: String,
    /// How many bytes must stay free.
    pub(crate) margin: u64,
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
        Self {
            dir,
            data,
            agent: None,
            loaded: None,
            over: None,
            seen: false,
            env: Vec::new(),
            prefix: Vec::new(),
            settings: String::new(),
            margin: 1000,
        }
    }

    pub(crate) fn try_join(&self, hub: &FakeHub, token: &str) -> std::process::Output {
        self.join_command(hub, token).output().unwrap()
    }

    pub(crate) fn try_replace(&self, hub: &FakeHub, token: &str, name: &str) -> std::process::Output {
        let arguments = ["join", "--replace", "--hub", &hub.url, "--name", name, "--token", token];
        self.command(&arguments).output().unwrap()
    }

    fn join_command(&self, hub: &FakeHub, token: &str) -> Command {
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
    }

    /// Joins under another program, such as one that disturbs it.
    pub(crate) fn try_join_under(
        &self,
        prefix: &[String],
        hub: &FakeHub,
        token: &str,
    ) -> std::process::Output {
        under(prefix, &self.join_command(hub, token)).stdin(Stdio::null()).output().unwrap()
    }

    /// Keeps the data elsewhere.
    pub(crate) fn with_data(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let config = self.dir.path().join("settings.toml");
        let text = format!(
            "[agent]\ndata_dir = \"{}\"\nenv_dir = \"{}\"\nrun_dir = \"{}\"\nunit_dir = \"{}\"\ndisk_margin_bytes = {}\n{}\n",
            self.data.display(),
            self.env_dir().display(),
            self.dir.path().join("run").display(),
            self.dir.path().join("units").display(),
            self.margin,
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
        if !self.prefix.is_empty() {
            command = under(&self.prefix, &command);
        }
        if !points.is_empty() {
            command.env("FAILPOINTS", points);
        }
        self.agent = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Where agents are kept when it is started by the loader.
    pub(crate) fn slots(&self) -> PathBuf {
        self.dir.path().join("slots")
    }

    /// Starts the agent by the loader, over and over as systemd does; `points` are for the first start alone.
    pub(crate) fn start_loaded(&mut self, points: &str) {
        assert!(self.agent.is_none() && self.loaded.is_none(), "one agent at a time");
        fs::create_dir_all(self.slots()).unwrap();
        let run = self.command(&["run"]);
        let arguments: Vec<_> = run.get_args().map(ToOwned::to_owned).collect();
        let envs: Vec<_> =
            run.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        let (slots, log, points) = (self.slots(), self.dir.path().join("log"), points.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, pid) = (stop.clone(), Arc::new(AtomicU32::new(0)));
        let running = pid.clone();
        let thread = thread::spawn(move || {
            let mut first = true;
            while !stopped.load(Ordering::SeqCst) {
                let log = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
                let mut loader = Command::new(env!("CARGO_BIN_EXE_backstay-loader"));
                loader.arg(&slots).arg(agent()).args(&arguments).envs(envs.clone());
                if first && !points.is_empty() {
                    loader.env("FAILPOINTS", &points);
                }
                first = false;
                let mut child =
                    loader.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
                running.store(child.id(), Ordering::SeqCst);
                let _ = child.wait();
                thread::sleep(Duration::from_millis(100));
            }
        });
        self.loaded = Some(Loaded { stop, pid, thread: Some(thread) });
    }

    /// Starts the loader once, under another program that follows it into the agents that it becomes.
    pub(crate) fn start_loaded_under(&mut self, prefix: &[String]) {
        assert!(self.agent.is_none() && self.loaded.is_none(), "one agent at a time");
        let run = self.command(&["run"]);
        let mut loader = Command::new(env!("CARGO_BIN_EXE_backstay-loader"));
        loader.arg(self.slots()).arg(agent()).args(run.get_args());
        loader.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.spawn_under(prefix, &loader);
    }

    /// Ends the loader's loop and what it runs.
    pub(crate) fn stop_loaded(&mut self) {
        self.loaded = None;
    }

    /// What the loader remembers.
    pub(crate) fn loader_state(&self) -> backstay_loader::State {
        backstay_loader::State::read(&self.slots()).unwrap().unwrap_or_default()
    }

    /// Starts it under another program, such as one that disturbs it, and which ends when the agent and all that it
    /// started have ended.
    pub(crate) fn start_under(&mut self, prefix: &[String]) {
        assert!(self.agent.is_none(), "one agent at a time");
        let run = self.command(&["run"]);
        self.spawn_under(prefix, &run);
    }

    fn spawn_under(&mut self, prefix: &[String], program: &Command) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = under(prefix, program);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.over = Some(child.id());
        self.agent = Some(child);
    }

    /// Whether the agent itself still runs, also under another program. Before that has started it, it counts as running.
    pub(crate) fn is_alive(&mut self) -> bool {
        if self.agent.as_mut().is_none_or(|agent| agent.try_wait().unwrap().is_some()) {
            return false;
        }
        let Some(over) = self.over else { return true };
        match child_of(over) {
            Some(pid) => {
                self.seen = true;
                fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
            }
            None => !self.seen,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
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
        let mut under = None;
        if let Some(over) = self.over.take() {
            // The agent first: what it runs under would let it live.
            under = child_of(over).inspect(|pid| kill(pid));
            self.seen = false;
        }
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
        if let Some(pid) = under {
            eventually("the agent is gone, and with it its lock", || (!is_running(&pid)).then_some(()));
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

    /// Runs `apply` on a bundle to its end; what it said, and whether it went well.
    pub(crate) fn apply(&self, bundle: &[u8]) -> (bool, String) {
        let path = self.dir.path().join("bundle");
        fs::write(&path, bundle).unwrap();
        let output = self.command(&["apply", path.to_str().unwrap()]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
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

/// The loop around the loader.
#[derive(Debug)]
struct Loaded {
    stop: Arc<AtomicBool>,
    pid: Arc<AtomicU32>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while !self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished) {
            kill(&self.pid.load(Ordering::SeqCst).to_string());
            thread::sleep(Duration::from_millis(20));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.loaded = None;
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

/// Whether a process has not ended, whoever is to take note of that.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn kill(pid: &str) {
    if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The same, run by another program.
fn under(prefix: &[String], command: &Command) -> Command {
    let mut all = Command::new(&prefix[0]);
    all.args(&prefix[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => all.env(name, value),
            None => all.env_remove(name),
        };
    }
    all
}

/// The agent under a tracer. Tracers have other children too, for a moment, while they find out what they can do.
fn child_of(pid: u32) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    // The loader becomes an agent, and one in a slot is called as the slot is.
    let is_agent = |child: &&str| {
        fs::read_to_string(format!("/proc/{child}/comm"))
            .is_ok_and(|name| name.starts_with("backstay-") || ["a", "b"].contains(&name.trim()))
    };
    children.split_whitespace().find(is_agent).map(str::to_owned)
}

/// Waits until something holds.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(90), what, look)
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
