//! The project's own programs: start, wait until ready, kill, start again, read what they said.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{http, network::Network, process, wait::eventually_within};

/// How one sees that a program is ready.
#[derive(Debug, Clone)]
pub enum Ready {
    /// It runs.
    Started,
    /// A line of its output contains this text.
    Line(String),
    /// This URL answers with a status below 400.
    Http(String),
}

/// A program under test. Dropped, it is killed; after a panic the end of its output is shown.
#[derive(Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cleared: bool,
    log: PathBuf,
    ready: Ready,
    discreet: bool,
    child: Option<Child>,
}

impl Program {
    /// One of the workspace's own programs, not started yet. Its output is
    /// appended to `<log_dir>/<name>.log`.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn ours(name: &str, log_dir: &Path) -> Self {
        Self::at(built(name), name, log_dir)
    }

    /// Any program by path; `name` is for its log.
    pub fn at(path: impl Into<PathBuf>, name: &str, log_dir: &Path) -> Self {
        fs::create_dir_all(log_dir).expect("create the folder for logs");
        Self {
            name: name.to_owned(),
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            cleared: false,
            log: log_dir.join(format!("{name}.log")),
            ready: Ready::Started,
            discreet: false,
            child: None,
        }
    }

    /// Runs it at that place in the network.
    #[must_use]
    pub fn within(mut self, network: &Network) -> Self {
        let [first, rest @ ..] = network.prefix();
        let path = std::mem::replace(&mut self.path, first.into());
        self.args.splice(0..0, rest.map(OsString::from).into_iter().chain([path.into()]));
        self
    }

    /// Names this instance, where several run the same program; its log too.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.log.set_file_name(format!("{name}.log"));
        name.clone_into(&mut self.name);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: Into<OsString>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, for this and every later start.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.set_env(key, value);
        self
    }

    /// As [`Program::env`], for the next start of one that is already there.
    pub fn set_env(&mut self, key: impl Into<OsString>, value: impl Into<OsString>) {
        let key = key.into();
        self.env.retain(|(other, _)| *other != key);
        self.env.push((key, value.into()));
    }

    /// Forgets a variable that was set, for the next start.
    pub fn unset_env(&mut self, key: &str) {
        self.env.retain(|(other, _)| other != key);
    }

    /// Inherits nothing but `PATH`.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.cleared = true;
        self
    }

    /// Keeps its output out of what a failed test shows, unless it is what failed to start.
    #[must_use]
    pub fn discreet(mut self) -> Self {
        self.discreet = true;
        self
    }

    /// How one sees that it is ready.
    #[must_use]
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = ready;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead, or is not ready within 30 seconds.
    #[must_use]
    pub fn started(mut self) -> Self {
        self.start();
        self
    }

    /// As [`Program::started`], for one that was stopped.
    ///
    /// # Panics
    /// As [`Program::started`]; also when it runs already.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("open a log");
        let from = log.metadata().map_or(0, |meta| meta.len());
        self.child = Some(self.spawn(&log));
        let what = format!("{} to be ready", self.name);
        let ready = self.ready.clone();
        let mut ended = None;
        let limit = Duration::from_secs(90);
        eventually_within(limit, &what, || {
            ended = self.exit_status();
            if ended.is_some() { Ok(()) } else { self.look(&ready, from) }
        });
        if let Some(status) = ended {
            panic!("{} ended with {status} instead of becoming ready:\n{}", self.name, self.tail());
        }
    }

    fn spawn(&self, log: &File) -> Child {
        let mut command = Command::new(&self.path);
        if self.cleared {
            command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        }
        command.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        let copy = || Stdio::from(log.try_clone().expect("share a log"));
        command.stdin(Stdio::null()).stdout(copy()).stderr(copy());
        command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.path.display()))
    }

    fn look(&self, ready: &Ready, from: u64) -> Result<(), String> {
        let yes = match ready {
            Ready::Started => true,
            Ready::Line(text) => {
                let log = self.logs();
                let new = log.get(usize::try_from(from).unwrap_or(0)..).unwrap_or(&log);
                new.lines().any(|line| line.contains(text))
            }
            Ready::Http(url) => match http::get(url) {
                Ok(response) => response.status < 400,
                Err(error) => return Err(error.to_string()),
            },
        };
        if yes { Ok(()) } else { Err(format!("{ready:?} has not come; it said:\n{}", self.tail())) }
    }

    /// Itself and its arguments.
    pub(crate) fn line(&self) -> Vec<OsString> {
        [&[self.path.clone().into_os_string()][..], &self.args].concat()
    }

    /// The program's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The variables that were set for it.
    pub fn envs(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.env.iter().map(|(key, value)| (key, value))
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exit_status().is_none()
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("ask for a child's state")
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end with SIGTERM and waits for that.
    ///
    /// # Panics
    /// When it has not ended after 20 seconds.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid().unwrap_or_else(|| panic!("{} does not run", self.name));
        process::send(pid, Signal::TERM);
        self.wait_for_end(Duration::from_secs(20))
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it has not ended after `limit`.
    pub fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        let status = eventually_within(limit, &what, || {
            self.exit_status().ok_or_else(|| format!("it runs; it said:\n{}", self.tail()))
        });
        self.child = None;
        status
    }

    /// [`Program::kill`] and [`Program::start`].
    ///
    /// # Panics
    /// As [`Program::start`].
    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Stops it where it is (SIGSTOP) until [`Program::resume`].
    pub fn pause(&self) {
        self.pid().into_iter().for_each(|pid| process::send(pid, Signal::STOP));
    }

    /// Lets it go on after [`Program::pause`].
    pub fn resume(&self) {
        self.pid().into_iter().for_each(|pid| process::send(pid, Signal::CONT));
    }

    /// All it has said, over all its starts.
    pub fn logs(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last 60 lines of what it said.
    pub fn tail(&self) -> String {
        let logs = self.logs();
        let lines: Vec<_> = logs.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() && !self.discreet {
            eprintln!("--- the end of what {} said ---\n{}\n---", self.name, self.tail());
        }
    }
}

/// Where cargo put a program of the workspace: `BACKSTAY_BIN_DIR`, else beside the tests' own folder. Another version of
/// one program, such as `backstay-agent`, is named by a variable such as `TEST_BACKSTAY_AGENT`.
fn built(name: &str) -> PathBuf {
    if let Some(other) = env::var_os(format!("TEST_{}", name.to_uppercase().replace('-', "_"))) {
        return other.into();
    }
    let beside = || {
        let test = env::current_exe().expect("the path of the running test");
        let deps = test.parent().expect("a folder").to_owned();
        if deps.ends_with("deps") { deps.parent().map_or(deps.clone(), Path::to_owned) } else { deps }
    };
    let dir = env::var_os("BACKSTAY_BIN_DIR").map_or_else(beside, PathBuf::from);
    let path = dir.join(name);
    assert!(path.is_file(), "{} is not built: run `cargo build --workspace --bins` first", path.display());
    path
}
