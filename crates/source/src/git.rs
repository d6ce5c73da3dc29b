//! Runs `git` as if everything around it were hostile: argv only, a cleared
//! environment, no system, user or repository hooks, one protocol, deadlines
//! that end the whole process group, and caps on what is read back.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{endpoint::Protocol, error::SourceError, ssh::Ssh, text};

/// Variables that are passed on: what `ssh` and TLS need to find their keys, and proxies.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "SUDO_UID",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Never asks, never hangs, and takes nothing from the other side but Git's own stream. It is a constant:
/// Git hands the host and the command to it as arguments, and the settings' path comes in a variable.
const SSH: &str = "ssh -F \"${BACKSTAY_SSH_CONFIG:-/dev/null}\" -oBatchMode=yes -oConnectTimeout=15 -oServerAliveInterval=10 -oServerAliveCountMax=3 \
                   -oClearAllForwardings=yes -oForwardAgent=no -oPermitLocalCommand=no";

const BASE_CONFIG: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.fsync", "all"),
    ("core.sshCommand", SSH),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.fsckObjects", "true"),
    ("fetch.unpackLimit", "1"),
    ("fetch.recurseSubmodules", "no"),
    ("fetch.writeCommitGraph", "false"),
    ("push.recurseSubmodules", "no"),
    ("push.gpgSign", "false"),
    ("submodule.recurse", "false"),
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "30"),
    ("transfer.credentialsInUrl", "die"),
];

const STDERR_CAP: usize = 16 << 10;

/// How long a Git command may run and how much it may say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Until it is stopped, whatever it does.
    pub total: Duration,
    /// Without a byte of output or progress.
    pub idle: Duration,
    /// Of standard output.
    pub stdout: usize,
    /// Of what it receives into the mirror.
    pub received: Option<u64>,
}

impl Limits {
    /// For commands that only read the mirror.
    pub(crate) fn local(stdout: usize) -> Self {
        let total = Duration::from_secs(60);
        Self { total, idle: total, stdout, received: None }
    }
}

/// A Git command to be run.
#[derive(Debug)]
pub(crate) struct Invocation {
    args: Vec<OsString>,
    config: Vec<(String, String)>,
    protocol: Option<Protocol>,
    ssh: Option<PathBuf>,
    stdin: Option<File>,
    limits: Limits,
}

impl Invocation {
    pub(crate) fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, limits: Limits) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Self { args, config: Vec::new(), protocol: None, ssh: None, stdin: None, limits }
    }

    /// Allows one protocol; none is allowed otherwise.
    pub(crate) fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Takes keys and known hosts from here; none of the user's serve without it.
    pub(crate) fn ssh(mut self, ssh: Option<&Ssh>) -> Self {
        self.ssh = ssh.map(Ssh::config);
        self
    }

    /// Adds a setting. It travels in the environment, so it may be a secret.
    pub(crate) fn config(mut self, settings: impl IntoIterator<Item = (String, String)>) -> Self {
        self.config.extend(settings);
        self
    }

    /// Lets the command read a file as its standard input.
    pub(crate) fn reading(mut self, file: File) -> Self {
        self.stdin = Some(file);
        self
    }

    /// Lets the command hold a lock: it stays held until the last process of it ends, even if this one dies.
    pub(crate) fn holding(mut self, lock: &File) -> io::Result<Self> {
        self.stdin = Some(lock.try_clone()?);
        Ok(self)
    }

    fn name(&self) -> String {
        self.args.first().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn command(&mut self, dir: &Path) -> Command {
        let mut command = Command::new("git");
        command.env_clear().current_dir(dir).process_group(0);
        command.envs(PASSED_ON.iter().filter_map(|name| env::var_os(name).map(|value| (*name, value))));
        command
            .env("LC_ALL", "C")
            .env("GIT_DIR", dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_DEFAULT_HASH", "sha1")
            .env("GIT_DEFAULT_REF_FORMAT", "files")
            .env("GIT_ALLOW_PROTOCOL", self.protocol.map_or("", Protocol::name));
        command.envs(self.ssh.take().map(|config| ("BACKSTAY_SSH_CONFIG", config)));
        let mut settings: Vec<(String, String)> =
            BASE_CONFIG.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        settings.push(("protocol.allow".into(), "never".into()));
        if let Some(protocol) = self.protocol {
            settings.push((format!("protocol.{}.allow", protocol.name()), "always".into()));
        }
        settings.append(&mut self.config);
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (at, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key).env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        let stdin = self.stdin.take().map_or_else(Stdio::null, Stdio::from);
        command.args(&self.args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What a Git command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    /// More was written than the limit allows; the command was stopped.
    pub truncated: bool,
    /// It received more than the limit allows; it was stopped.
    pub too_large: bool,
    /// The last lines for people, cleaned.
    pub stderr: String,
    /// It was stopped after this long.
    pub stopped_after: Option<Duration>,
}

/// Runs a command in the bare repository `dir` to its end.
///
/// # Errors
/// When Git cannot be started. A failure of Git itself is in the output.
pub(crate) fn run(dir: &Path, mut invocation: Invocation) -> Result<Output, SourceError> {
    let name = invocation.name();
    let failed = |message: String| SourceError::Git { command: name.clone(), message };
    let limits = invocation.limits;
    let started = Instant::now();
    let mut child = invocation.command(dir).spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("`git` is not installed or not in PATH".to_owned()),
        _ => failed(error.to_string()),
    })?;
    let group = Group(Pid::from_child(&child));
    let (events, heard) = mpsc::channel();
    let stdout = capture(child.stdout.take(), events.clone(), limits.stdout, Keep::First);
    let stderr = capture(child.stderr.take(), events, STDERR_CAP, Keep::Last);
    let mut stopped_after = None;
    let (mut truncated, mut too_large) = (false, false);
    match listen(&heard, &limits, started, dir) {
        Heard::End => {}
        Heard::TooMuch => {
            too_large = true;
            group.kill();
        }
        Heard::Full => {
            truncated = true;
            group.kill();
        }
        Heard::Silence => {
            stopped_after = Some(started.elapsed());
            group.kill();
        }
    }
    let status = reap(&mut child, &group, limits.total.saturating_sub(started.elapsed()))
        .map_err(|error| failed(error.to_string()))?;
    let stdout = stdout.join().unwrap_or_default();
    let stderr = text::progress_free(&stderr.join().unwrap_or_default());
    tracing::debug!(command = %name, %status, ms = started.elapsed().as_millis() as u64, "git");
    Ok(Output { status, stdout, truncated, too_large, stderr, stopped_after })
}

/// Runs a command that must succeed, and returns its standard output.
///
/// # Errors
/// When it does not start, fails, or is stopped.
pub(crate) fn expect(dir: &Path, invocation: Invocation) -> Result<Vec<u8>, SourceError> {
    let command = invocation.name();
    let output = run(dir, invocation)?;
    match output.stopped_after {
        Some(after) => Err(SourceError::TimedOut { command, after }),
        None if output.truncated => {
            let message = format!("it said more than {} bytes", output.stdout.len());
            Err(SourceError::Git { command, message })
        }
        None if output.status.success() => Ok(output.stdout),
        None => Err(SourceError::Git { command, message: text::last_lines(&output.stderr, 3) }),
    }
}

struct Group(Pid);

impl Group {
    fn kill(&self) {
        // Gone already is as good.
        kill_process_group(self.0, Signal::KILL).ok();
    }
}

enum Event {
    Bytes,
    Full,
    End,
}

enum Heard {
    End,
    Full,
    TooMuch,
    Silence,
}

#[derive(Clone, Copy, PartialEq)]
enum Keep {
    /// The first bytes; more than the cap ends the command.
    First,
    /// The last bytes.
    Last,
}

fn listen(events: &mpsc::Receiver<Event>, limits: &Limits, started: Instant, dir: &Path) -> Heard {
    const WATCH: Duration = Duration::from_millis(200);
    let mut open = 2;
    let mut last_heard = Instant::now();
    let mut last_watched = Instant::now();
    while open > 0 {
        let left = limits.total.saturating_sub(started.elapsed());
        let left = left.min(limits.idle.saturating_sub(last_heard.elapsed()));
        if left.is_zero() {
            return Heard::Silence;
        }
        match events.recv_timeout(limits.received.map_or(left, |_| left.min(WATCH))) {
            Ok(Event::Bytes) => last_heard = Instant::now(),
            Ok(Event::Full) => return Heard::Full,
            Ok(Event::End) => open -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Heard::End,
        }
        if limits.received.is_some() && last_watched.elapsed() >= WATCH {
            last_watched = Instant::now();
            if limits.received.is_some_and(|limit| receiving(dir) > limit) {
                return Heard::TooMuch;
            }
        }
    }
    Heard::End
}

/// Bytes of packs that are on their way into a repository.
fn receiving(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir.join("objects/pack")) else { return 0 };
    let arriving =
        entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"tmp_"));
    arriving.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn capture<R: Read + Send + 'static>(
    from: Option<R>,
    events: Sender<Event>,
    cap: usize,
    keep: Keep,
) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 16 << 10];
        let Some(mut from) = from else { return kept };
        // The receiver may be gone after a stop; reading on lets the child end.
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            events.send(Event::Bytes).ok();
            kept.extend_from_slice(&buffer[..n]);
            if kept.len() > cap {
                match keep {
                    Keep::First => {
                        kept.truncate(cap);
                        events.send(Event::Full).ok();
                    }
                    Keep::Last => drop(kept.drain(..kept.len() - cap)),
                }
            }
        }
        events.send(Event::End).ok();
        kept
    })
}

/// Waits for a child whose output has ended; one that lingers is killed.
fn reap(child: &mut Child, group: &Group, patience: Duration) -> io::Result<ExitStatus> {
    let until = Instant::now() + patience.max(Duration::from_millis(200));
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            group.kill();
            return child.wait();
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// The folder of a mirror as Git wants it: absolute, since the child changes into it.
pub(crate) fn absolute(dir: &Path) -> Result<PathBuf, SourceError> {
    std::path::absolute(dir).map_err(SourceError::io(dir, "resolving its path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::local(1 << 20)
    }

    fn repo() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        expect(dir.path(), Invocation::new(["init", "-q", "--bare", "--template="], limits())).unwrap();
        dir
    }

    #[test]
    fn a_silent_command_is_stopped_with_its_children() {
        let dir = repo();
        // The alias is a shell command that Git starts as a child of its own.
        let slow = Invocation::new(["slow"], Limits { idle: Duration::from_millis(200), ..limits() })
            .config([("alias.slow".to_owned(), "!sleep 60; true".to_owned())]);
        let started = Instant::now();
        let output = run(dir.path(), slow).unwrap();
        assert!(output.stopped_after.is_some());
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(!output.status.success());
    }

    #[test]
    fn endless_output_is_cut_off() {
        let dir = repo();
        let loud = Invocation::new(["loud"], Limits { stdout: 1000, ..limits() })
            .config([("alias.loud".to_owned(), "!yes".to_owned())]);
        let output = run(dir.path(), loud).unwrap();
        assert!(output.truncated);
        assert_eq!(output.stdout.len(), 1000);
    }

    #[test]
    fn the_environment_is_clean_and_settings_arrive() {
        let dir = repo();
        let env = Invocation::new(["env"], limits()).config([("alias.env".to_owned(), "!env".to_owned())]);
        let text = String::from_utf8(expect(dir.path(), env).unwrap()).unwrap();
        assert!(text.contains("GIT_NO_REPLACE_OBJECTS=1"), "{text}");
        assert!(!text.contains("CARGO"), "{text}");
        let hooks = Invocation::new(["config", "core.hooksPath"], limits());
        assert_eq!(expect(dir.path(), hooks).unwrap(), b"/dev/null\n");
    }

    #[test]
    fn no_protocol_is_allowed_unless_named() {
        let (here, there) = (repo(), repo());
        let list = |invocation| run(here.path(), invocation).unwrap();
        let args = ["ls-remote".as_ref(), there.path().as_os_str()];
        assert!(!list(Invocation::new(args, limits())).status.success());
        assert!(list(Invocation::new(args, limits()).protocol(Protocol::File)).status.success());
    }

    #[test]
    fn a_lock_is_held_as_long_as_any_process_of_the_command_lives() {
        let dir = repo();
        let path = dir.path().join("lock");
        let lock = File::create(&path).unwrap();
        lock.lock().unwrap();
        let script = "!exec 3<&0; sleep 1 <&3 >/dev/null 2>&1 & true".to_owned();
        let lingering =
            Invocation::new(["x"], limits()).config([("alias.x".to_owned(), script)]).holding(&lock).unwrap();
        run(dir.path(), lingering).unwrap();
        drop(lock);
        let again = File::open(&path).unwrap();
        assert!(again.try_lock().is_err());
        again.lock().unwrap();
    }

    #[test]
    fn a_pack_that_grows_too_large_ends_the_command() {
        let dir = repo();
        let script = "!head -c 20000 /dev/zero > objects/pack/tmp_pack_x; sleep 60; true";
        let big = Invocation::new(["big"], Limits { received: Some(10_000), ..limits() })
            .config([("alias.big".to_owned(), script.to_owned())]);
        let started = Instant::now();
        let output = run(dir.path(), big).unwrap();
        assert!(output.too_large && !output.status.success());
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
