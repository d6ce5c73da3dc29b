//! Programs that make data ready: hooks, dumps, commands. By arguments, never by a shell's line; ended with all that they
//! started when nobody waits for them any more.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use backstay_types::Secret;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use super::{BackupError, chore::Group};
use crate::child;

/// So much of what a program said is repeated, from the end.
const SAID: usize = 2000;
/// The most that is taken from a program whose output is read here.
const OUTPUT: u64 = 4 << 20;
/// How long a hook may take.
pub(super) const HOOK: Duration = Duration::from_secs(10 * 60);

/// Where programs run, and what they may see.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// The release's folder.
    pub(super) dir: PathBuf,
    /// The stack's variables and the node's names.
    pub(super) variables: BTreeMap<String, Secret>,
}

/// A program to run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// What it is, for messages.
    pub(super) what: &'a str,
    /// Program and arguments. A program with a `/` that does not begin with one is in the release.
    pub(super) argv: Vec<String>,
    /// Variables besides the stack's.
    pub(super) variables: Vec<(&'static str, String)>,
    pub(super) stdin: Option<File>,
    /// Where its output goes; it is read when there is none.
    pub(super) stdout: Option<File>,
    pub(super) limit: Duration,
}

impl<'a> Run<'a> {
    pub(super) fn new(what: &'a str, argv: Vec<String>) -> Self {
        Self { what, argv, variables: Vec::new(), stdin: None, stdout: None, limit: HOOK }
    }
}

impl Scene {
    /// Runs a program to its end; what it printed. Anything but a status of 0 is a failure that tells what it said.
    pub(super) async fn run(&self, run: Run<'_>) -> Result<Vec<u8>, BackupError> {
        let Run { what, argv, variables, stdin, stdout, limit } = run;
        let failed = |why: String| BackupError::Prepare(format!("{what}: {why}"));
        let Some((program, arguments)) = argv.split_first() else { return Ok(Vec::new()) };
        let named = if program.contains('/') { self.dir.join(program) } else { PathBuf::from(program) };
        let mut command = Command::new(named);
        command.args(arguments).env_clear().envs(child::environment()).env("PATH", child::PATH);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if self.dir.is_dir() {
            command.current_dir(&self.dir);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value.expose())));
        command.envs(variables);
        command.process_group(0).kill_on_drop(true).stderr(Stdio::piped());
        command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
        let reads = stdout.is_none();
        command.stdout(stdout.map_or_else(Stdio::piped, Stdio::from));
        let mut child =
            command.spawn().map_err(|error| failed(format!("`{program}` cannot be started: {error}")))?;
        drop(command);
        let group = Group::of(&child);
        let (out, err) = (child.stdout.take().filter(|_| reads), child.stderr.take());
        let talk = async {
            let (out, err, status) = tokio::join!(whole(out), tail(err), child.wait());
            status.map(|status| (status, out, err))
        };
        let (status, out, err) = match timeout(limit, talk).await {
            Ok(ended) => ended.map_err(|error| failed(error.to_string()))?,
            Err(_) => {
                let limit = backstay_manifest::format_duration(limit);
                return Err(failed(format!("`{program}` did not end within {limit}")));
            }
        };
        group.done();
        if status.success() {
            return Ok(out);
        }
        let said = String::from_utf8_lossy(&err);
        Err(failed(format!("{} ({status})", said.trim().replace('\n', "; "))))
    }

    /// Runs a hook, when there is one.
    pub(super) async fn hook(&self, what: &str, argv: &[String]) -> Result<(), BackupError> {
        self.run(Run::new(what, argv.to_vec())).await.map(drop)
    }

    /// A text of the manifest with the stack's values filled in.
    pub(super) fn fill(&self, text: &str) -> Result<String, BackupError> {
        let values = backstay_manifest::Variables::complete(self.variables.clone());
        backstay_manifest::interpolate::expand(text, &values)
            .map_err(|error| BackupError::Prepare(error.to_string()))
    }
}

/// A new file for a program's output, for the agent's user alone.
pub(super) fn output(path: &Path) -> Result<File, BackupError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(BackupError::io(path.display()))
}

async fn whole(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(stream) = stream {
        let _ = stream.take(OUTPUT).read_to_end(&mut out).await;
    }
    out
}

async fn tail(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..n]);
        let surplus = kept.len().saturating_sub(SAID);
        kept.drain(..surplus);
    }
    kept
}
